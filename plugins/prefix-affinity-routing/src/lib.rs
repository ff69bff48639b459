//! Sends a sequence to the complete replica that has most of its prefix cached, less the work that waits there. What is cached
//! stands in the devices' attributes of the topology: `cached-prefix-tokens/KEY`, where KEY is the sequence's key, with the
//! number of tokens. Where none is said of a sequence, it goes by rendezvous hashing, so that its requests meet again on one
//! replica and find there what the ones before left; busy replicas win fewer sequences. A request of no sequence goes where
//! the least work is outstanding. Nothing is remembered between requests.

use std::collections::BTreeMap;

use serde::Deserialize;
use shardhost_sdk::{
    export_routing,
    rendezvous::weighted_draw,
    replicas::{in_turn, keep_least},
    routing::{Device, DevicePressures, Pressure, Refusal, Replicas, RouteRequest, RoutingPolicy, ServedModel, Topology},
};

/// What the attributes of cached prefixes begin with; the sequence's key follows.
pub const ATTRIBUTE: &str = "cached-prefix-tokens/";

/// What the config says.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What one cached token saves, in milliseconds.
    pub token_ms: f64,
    /// How much a millisecond of outstanding work counts against one that is saved; 0 to ignore load.
    pub load_weight: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { token_ms: 1.0, load_weight: 1.0 }
    }
}

impl Settings {
    fn read(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        let read: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        for (name, value) in [("token_ms", read.token_ms), ("load_weight", read.load_weight)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("{name} is {value}, it must be 0 or more"));
            }
        }
        Ok(read)
    }
}

/// The policy: the complete replicas of each model, who they are, and what their devices have cached.
#[derive(Debug)]
pub struct PrefixAffinity {
    settings: Settings,
    replicas: Replicas,
    identities: Vec<Vec<u64>>,
    /// By device: tokens by sequence.
    cached: Vec<BTreeMap<u32, f64>>,
    pressures: DevicePressures,
}

impl RoutingPolicy for PrefixAffinity {
    fn configure(config: &str) -> Result<Self, String> {
        let settings = Settings::read(config)?;
        let (replicas, pressures) = (Replicas::default(), DevicePressures::default());
        Ok(Self { settings, replicas, identities: Vec::new(), cached: Vec::new(), pressures })
    }

    fn set_topology(&mut self, topology: Topology) {
        self.cached = topology.devices.iter().map(cached).collect();
        self.pressures = DevicePressures::of(&topology);
        self.replicas = Replicas::of(topology);
        self.identities = self.replicas.identities();
    }

    fn set_pressure(&mut self, pressures: Vec<Pressure>) {
        self.pressures.note(pressures);
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let (model, replicas) = self.replicas.of_request(request)?;
        let path = |index: &usize| replicas[*index].segments.as_slice();
        let work_ms = |index: &usize| model.work_ms(path(index), &request.outstanding);
        let tokens = |index: &usize| self.tokens(model, path(index), request.sequence_key);
        let mut candidates: Vec<usize> = (0..replicas.len()).collect();
        // A device that has just failed has nothing on its way, and may have taken its cache with it.
        keep_least(&mut candidates, |index| f64::from(u8::from(self.pressures.any_silent(model, path(index)))));
        if request.sequence_key == 0 {
            keep_least(&mut candidates, work_ms);
        } else if candidates.iter().any(|index| tokens(index) > 0.0) {
            let Settings { token_ms, load_weight } = self.settings;
            // What the request takes less what it saves, up to a constant: the least is the best.
            let saved_most = candidates.iter().map(tokens).fold(0.0, f64::max) * token_ms;
            keep_least(&mut candidates, |index| load_weight * work_ms(index) + saved_most - tokens(index) * token_ms);
        } else {
            let identities = &self.identities[request.model as usize];
            let drawn = |index: &usize| weighted_draw(request.sequence_key, identities[*index], self.leisure(model.idle_ms(path(index)), work_ms(index)));
            let highest = candidates.iter().map(drawn).fold(0.0, f64::max);
            candidates.retain(|index| drawn(index) >= highest);
        }
        // Whatever was asked, one at least is the best.
        let chosen = in_turn(&candidates, request.ordinal).copied().unwrap_or(0);
        Ok(replicas[chosen].segments.clone())
    }
}

impl PrefixAffinity {
    /// The tokens of a sequence that every stage of a path has cached: a prefix is computed again from the first stage that
    /// lacks it.
    fn tokens(&self, model: &ServedModel, path: &[u32], key: u32) -> f64 {
        let on = |index: u32| self.cached.get(model.segments[index as usize].device as usize)?.get(&key).copied();
        path.iter().map(|&index| on(index).unwrap_or(0.0)).reduce(f64::min).unwrap_or(0.0)
    }

    /// 1 for an idle replica, less the more there is on its way.
    fn leisure(&self, idle_ms: f64, work_ms: f64) -> f64 {
        if work_ms > 0.0 { (idle_ms / work_ms).powf(self.settings.load_weight) } else { 1.0 }
    }
}

/// The tokens that a device has cached, by sequence. An attribute that cannot be read counts as if it were not there.
fn cached(device: &Device) -> BTreeMap<u32, f64> {
    let read = |(name, value): &(String, String)| {
        let key = name.strip_prefix(ATTRIBUTE)?.parse().ok()?;
        let tokens: u32 = value.parse().ok()?;
        Some((key, f64::from(tokens)))
    };
    device.attributes.iter().filter_map(read).collect()
}

export_routing!(PrefixAffinity);

#[cfg(test)]
mod tests;
