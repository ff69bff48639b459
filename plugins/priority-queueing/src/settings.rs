//! What can be set, and the shares that come of it.

use serde::Deserialize;

/// More classes than any host has.
const WEIGHTS_MAX: usize = 64;

/// The policy, which is its settings.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Priority {
    /// By class, the most urgent first: how many turns each gets of those that they share. Classes beyond get as many as the last.
    pub weights: Vec<f64>,
    /// How long, in milliseconds, requests that came later may go before one that waits.
    pub ageing_ms: f64,
    /// The part, below 1, of its way through the line by which the nearest deadline brings a request forward.
    pub deadline_ratio: f64,
    /// The deadline, in milliseconds, that brings a request forward by half of that.
    pub deadline_ms: f64,
    /// How many times as long as it looks now a wait may become; who would be late then is turned away.
    pub wait_ratio: f64,
    /// The share of the line, below 1, that each class has to itself; where there are too many classes for that, all is shared out.
    pub reserved_ratio: f64,
}

impl Default for Priority {
    fn default() -> Self {
        Self { weights: vec![64.0, 8.0, 1.0], ageing_ms: 30_000.0, deadline_ratio: 0.5, deadline_ms: 1_000.0, wait_ratio: 1.2, reserved_ratio: 0.1 }
    }
}

impl Priority {
    /// From a JSON object; the error names the setting.
    pub(crate) fn read(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        let read: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if read.weights.is_empty() || read.weights.len() > WEIGHTS_MAX {
            return Err(format!("weights has {} entries, it must have 1 to {WEIGHTS_MAX}", read.weights.len()));
        }
        if let Some(weight) = read.weights.iter().find(|weight| !(1e-3..=1e6).contains(*weight)) {
            return Err(format!("weights has {weight}, each must be from 0.001 to 1000000"));
        }
        for (name, value) in [("ageing_ms", read.ageing_ms), ("deadline_ms", read.deadline_ms)] {
            if !(0.0..=1e9).contains(&value) {
                return Err(format!("{name} is {value}, it must be from 0 to 1000000000"));
            }
        }
        if !(0.0..=1e3).contains(&read.wait_ratio) {
            return Err(format!("wait_ratio is {}, it must be from 0 to 1000", read.wait_ratio));
        }
        for (name, value) in [("deadline_ratio", read.deadline_ratio), ("reserved_ratio", read.reserved_ratio)] {
            if !(0.0..1.0).contains(&value) {
                return Err(format!("{name} is {value}, it must be 0 or more and below 1"));
            }
        }
        Ok(read)
    }

    /// That of a class.
    pub(crate) fn weight(&self, class: u32) -> f64 {
        // There is always a last one.
        self.weights.get(class as usize).or(self.weights.last()).copied().unwrap_or(1.0)
    }

    /// That of the most urgent.
    pub(crate) fn weight_max(&self) -> f64 {
        self.weights.iter().copied().fold(0.0, f64::max)
    }
}
