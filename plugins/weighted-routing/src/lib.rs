//! Shares the requests of a model out among its complete replicas by weights from the config, whatever their load: a canary on
//! one device, an A/B test between two replicas. A replica has the weight of the first rule that fits it.

use serde::Deserialize;
use shardhost_sdk::{
    export_routing,
    rendezvous::weighted_draw,
    routing::{Refusal, ReplicaPath, Replicas, RouteRequest, RoutingPolicy, ServedModel, Topology},
};

/// What the config says.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The first that fits a replica counts.
    pub rules: Vec<Rule>,
    /// The weight of replicas that no rule fits.
    pub default_weight: f64,
    /// How often lots are drawn.
    pub draw: Draw,
}

/// How often lots are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Draw {
    /// For each request.
    Request,
    /// Once for each sequence, so that all of its requests see the same variant; for each request that belongs to none.
    Sequence,
}

/// A weight, and the replicas that have it: those that everything fits which the rule names.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A model's name, of any version, or `NAME@VERSION`.
    #[serde(default)]
    pub model: Option<String>,
    /// The plan's number for the replica.
    #[serde(default)]
    pub replica: Option<u32>,
    /// The id of a device that any of the replica's stages is on.
    #[serde(default)]
    pub device: Option<String>,
    /// 0 or more; requests are shared out in proportion.
    pub weight: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rules: Vec::new(), default_weight: 1.0, draw: Draw::Request }
    }
}

impl Settings {
    fn read(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        let read: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        let named = |number: usize| format!("the weight of rule {number}");
        let rules = (1..).zip(&read.rules).map(|(number, rule)| (named(number), rule.weight));
        for (name, weight) in rules.chain([("default_weight".to_owned(), read.default_weight)]) {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(format!("{name} is {weight}, it must be 0 or more"));
            }
        }
        match read.rules.iter().position(|rule| rule.model.is_none() && rule.replica.is_none() && rule.device.is_none()) {
            Some(index) => Err(format!("rule {} names no model, replica or device, it must name one of them", index + 1)),
            None => Ok(read),
        }
    }

    fn weight(&self, topology: &Topology, model: &ServedModel, replica: &ReplicaPath) -> f64 {
        let rule = self.rules.iter().find(|rule| rule.fits(topology, model, replica));
        rule.map_or(self.default_weight, |rule| rule.weight)
    }
}

impl Rule {
    fn fits(&self, topology: &Topology, model: &ServedModel, replica: &ReplicaPath) -> bool {
        let name = model.id.split('@').next().unwrap_or_default();
        let device = |index: u32| topology.devices.get(model.segments[index as usize].device as usize).map(|device| device.id.as_str());
        let of_model = self.model.as_deref().is_none_or(|named| named == model.id || named == name);
        let of_replica = self.replica.is_none_or(|named| named == replica.replica);
        let of_device = self.device.as_deref().is_none_or(|named| replica.segments.iter().any(|&index| device(index) == Some(named)));
        of_model && of_replica && of_device
    }
}

/// The policy: the complete replicas of each model with their weights.
#[derive(Debug)]
pub struct Weighted {
    settings: Settings,
    replicas: Replicas,
    /// By model, parallel to its replicas.
    weights: Vec<Vec<f64>>,
    identities: Vec<Vec<u64>>,
}

impl RoutingPolicy for Weighted {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { settings: Settings::read(config)?, replicas: Replicas::default(), weights: Vec::new(), identities: Vec::new() })
    }

    fn set_topology(&mut self, topology: Topology) {
        self.replicas = Replicas::of(topology);
        self.identities = self.replicas.identities();
        let (settings, topology) = (&self.settings, self.replicas.topology());
        let weights = |(model, replicas): (&ServedModel, &[ReplicaPath])| replicas.iter().map(|replica| settings.weight(topology, model, replica)).collect();
        self.weights = self.replicas.by_model().map(weights).collect();
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let (model, replicas) = self.replicas.of_request(request)?;
        let (weights, identities) = (&self.weights[request.model as usize], &self.identities[request.model as usize]);
        let chosen = match self.settings.draw {
            Draw::Sequence if request.sequence_key != 0 => by_sequence(request.sequence_key, weights, identities),
            Draw::Sequence | Draw::Request => by_number(request.random, weights),
        };
        let none = || Refusal::because(format!("model {} has {} complete replicas, but the weight of each is 0", model.id, replicas.len()));
        Ok(replicas[chosen.ok_or_else(none)?].segments.clone())
    }
}

/// The replica whose part of the unit interval a uniform number lies in; each has a part as long as its share of the weights.
fn by_number(random: f64, weights: &[f64]) -> Option<usize> {
    let mut left = random * weights.iter().sum::<f64>();
    for (index, &weight) in weights.iter().enumerate() {
        if left < weight {
            return Some(index);
        }
        left -= weight;
    }
    // Rounding may leave a little over: that is the last one's.
    weights.iter().rposition(|&weight| weight > 0.0)
}

/// The replica that a sequence draws. Another weight moves no more sequences than it must.
fn by_sequence(key: u32, weights: &[f64], identities: &[u64]) -> Option<usize> {
    let drawn = weights.iter().zip(identities).map(|(&weight, &identity)| weighted_draw(key, identity, weight));
    drawn.enumerate().filter(|(_, draw)| *draw > 0.0).max_by(|one, other| one.1.total_cmp(&other.1)).map(|(index, _)| index)
}

export_routing!(Weighted);

#[cfg(test)]
mod tests;
