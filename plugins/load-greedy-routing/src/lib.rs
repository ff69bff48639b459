//! Sends each request to the complete replica whose devices report the lowest load: a weighted mean of how busy CPU, memory,
//! accelerator and network are, and of how far the device is away. The load of a replica is that of its most loaded device.
//! Looks at what devices report, so what was sent since the last report counts only where replicas tie.

use serde::Deserialize;
use shardhost_sdk::{
    export_routing,
    replicas::{in_turn, keep_least},
    routing::{DevicePressures, Pressure, Refusal, Replicas, RouteRequest, RoutingPolicy, Topology},
};

/// What the config says: how much each part of a load counts. Only the proportions of the weights matter.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Of the share of CPU time in use.
    pub cpu_weight: f64,
    /// Of the share of memory in use.
    pub memory_weight: f64,
    /// Of the share of time that the accelerator is busy.
    pub accelerator_weight: f64,
    /// Of the share of network bandwidth in use: what is not free.
    pub bandwidth_weight: f64,
    /// Of the latency, as a share of `latency_ms_max`.
    pub latency_weight: f64,
    /// A latency that counts in full, in milliseconds; higher ones count no more.
    pub latency_ms_max: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cpu_weight: 0.3, memory_weight: 0.1, accelerator_weight: 0.4, bandwidth_weight: 0.1, latency_weight: 0.1, latency_ms_max: 100.0 }
    }
}

impl Settings {
    fn read(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        let read: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        let names = ["cpu_weight", "memory_weight", "accelerator_weight", "bandwidth_weight", "latency_weight"];
        for (name, weight) in names.into_iter().zip(read.weights()) {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(format!("{name} is {weight}, it must be 0 or more"));
            }
        }
        if read.weights().iter().sum::<f64>() <= 0.0 {
            return Err("every weight is 0, one at least must be more".to_owned());
        }
        if !(read.latency_ms_max.is_finite() && read.latency_ms_max > 0.0) {
            return Err(format!("latency_ms_max is {}, it must be more than 0", read.latency_ms_max));
        }
        Ok(read)
    }

    fn weights(&self) -> [f64; 5] {
        [self.cpu_weight, self.memory_weight, self.accelerator_weight, self.bandwidth_weight, self.latency_weight]
    }

    /// The load of a device, 0 to 1.
    fn load(&self, pressure: &Pressure) -> f64 {
        let latency = (pressure.latency_ms / self.latency_ms_max).clamp(0.0, 1.0);
        let parts = [pressure.cpu, pressure.memory, pressure.accelerator, pressure.bandwidth, latency];
        let weighted: f64 = self.weights().iter().zip(parts).map(|(weight, part)| weight * part).sum();
        weighted / self.weights().iter().sum::<f64>()
    }
}

/// The policy: the complete replicas of each model, and the newest pressure of each device.
#[derive(Debug)]
pub struct LoadGreedy {
    settings: Settings,
    replicas: Replicas,
    pressures: DevicePressures,
}

impl RoutingPolicy for LoadGreedy {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { settings: Settings::read(config)?, replicas: Replicas::default(), pressures: DevicePressures::default() })
    }

    fn set_topology(&mut self, topology: Topology) {
        self.pressures = DevicePressures::of(&topology);
        self.replicas = Replicas::of(topology);
    }

    fn set_pressure(&mut self, pressures: Vec<Pressure>) {
        self.pressures.note(pressures);
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let (model, replicas) = self.replicas.of_request(request)?;
        let mut best: Vec<&Vec<u32>> = replicas.iter().map(|replica| &replica.segments).collect();
        keep_least(&mut best, |path| self.pressures.highest(model, path, |pressure| self.settings.load(pressure)));
        keep_least(&mut best, |path| model.work_ms(path, &request.outstanding));
        // One at least is the least.
        Ok(in_turn(&best, request.ordinal).map_or_else(Vec::new, |path| (*path).clone()))
    }
}

export_routing!(LoadGreedy);

#[cfg(test)]
mod tests;
