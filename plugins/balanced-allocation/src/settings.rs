//! The settings: how much better a plan must be, and from when on the plan in force is worth another look.

use serde::Deserialize;

/// All of it; each has a default.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A change that gains less than this share of the plan in force never pays, nor a cut that gains less over its offers with
    /// the whole model each: predictions are no better.
    pub gain_ratio_min: f64,
    /// Assumed where the host does not say how long an answer will be in force, in milliseconds.
    pub horizon_ms: f64,
    /// Bytes to load when a chain is repaired, as a multiple of the fewest possible, that a faster repair may cost.
    pub repair_bytes_ratio_max: f64,
    /// A stage that takes so much longer or shorter than predicted, as a share of the prediction, asks for another plan.
    pub drift_ratio_max: f64,
    /// Runs of a stage before its time is believed.
    pub drift_runs_min: u32,
    /// Highest less mean pressure of the devices in the plan from which on work is out of balance.
    pub rebalance_threshold: f64,
    /// Members looked at while large pools are improved, for each offer, and at least and at most in all: a limit of work
    /// that is the same on every machine. A million take about 30 milliseconds.
    pub steps_per_offer: u32,
    /// The least of it.
    pub steps_min: u32,
    /// The most of it.
    pub steps_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gain_ratio_min: 0.02,
            horizon_ms: 600_000.0,
            repair_bytes_ratio_max: 1.2,
            drift_ratio_max: 0.25,
            drift_runs_min: 20,
            rebalance_threshold: 0.3,
            steps_per_offer: 500,
            steps_min: 2_000_000,
            steps_max: 10_000_000,
        }
    }
}

impl Settings {
    /// From a JSON object. The error names the setting and its value.
    pub fn parse(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        let read: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        let least = [
            ("gain_ratio_min", read.gain_ratio_min, 0.0),
            ("horizon_ms", read.horizon_ms, 0.0),
            ("repair_bytes_ratio_max", read.repair_bytes_ratio_max, 1.0),
            ("drift_ratio_max", read.drift_ratio_max, 0.0),
            ("rebalance_threshold", read.rebalance_threshold, 0.0),
        ];
        if let Some((name, value, least)) = least.into_iter().find(|(_, value, least)| !(value.is_finite() && value >= least)) {
            return Err(format!("{name} is {value}, it must be {least} or more"));
        }
        if read.steps_max < read.steps_min {
            return Err(format!("steps_max is {}, it must be steps_min, {}, or more", read.steps_max, read.steps_min));
        }
        Ok(read)
    }

    /// Members that may be looked at while a pool of so many offers is improved.
    pub fn steps(&self, offers: u32) -> u64 {
        (u64::from(self.steps_per_offer) * u64::from(offers)).clamp(u64::from(self.steps_min), u64::from(self.steps_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults_and_those_that_make_no_sense_are_refused_by_name() {
        assert_eq!(Settings::parse(""), Ok(Settings::default()));
        assert_eq!(Settings::parse(r#"{"drift_runs_min":5}"#), Ok(Settings { drift_runs_min: 5, ..Settings::default() }));
        assert_eq!(Settings::parse(r#"{"gain_ratio_min":-1}"#), Err("gain_ratio_min is -1, it must be 0 or more".into()));
        assert_eq!(Settings::parse(r#"{"repair_bytes_ratio_max":0.5}"#), Err("repair_bytes_ratio_max is 0.5, it must be 1 or more".into()));
        assert_eq!(Settings::parse(r#"{"steps_max":1}"#), Err("steps_max is 1, it must be steps_min, 2000000, or more".into()));
        assert!(Settings::parse(r#"{"gain":1}"#).is_err_and(|reason| reason.contains("gain")));
    }
}
