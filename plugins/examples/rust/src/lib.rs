//! fewest-outstanding-rust: sends each request to the complete replica with the fewest requests on their way; replicas that tie take turns.
//!
//! The host keeps several instances of this plugin and asks whichever is free. So an answer may depend on the topology, the
//! pressures and the request, and on nothing else: no counter, no clock, no randomness of its own.

use shardhost_sdk::{
    export_routing, no_settings,
    routing::{Refusal, RouteRequest, RoutingPolicy, Topology},
};

/// The newest topology, and for each of its models the complete replicas as paths: indexes into the model's segments.
#[derive(Debug)]
pub struct Policy {
    topology: Topology,
    paths: Vec<Vec<Vec<u32>>>,
}

impl RoutingPolicy for Policy {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("fewest-outstanding-rust", config)?;
        Ok(Self { topology: Topology::empty(), paths: Vec::new() })
    }

    /// Called for each plan, before the first `route`: the place for work that `route` should not repeat.
    fn set_topology(&mut self, topology: Topology) {
        self.paths = topology.models.iter().map(|model| model.replicas().into_iter().map(|replica| replica.segments).collect()).collect();
        self.topology = topology;
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let model = self.topology.model(request)?;
        let paths = &self.paths[request.model as usize];
        let outstanding = |path: &[u32]| -> u64 { path.iter().map(|&segment| u64::from(request.outstanding[segment as usize])).sum() };
        let fewest = paths.iter().map(|path| outstanding(path)).min();
        let best: Vec<&Vec<u32>> = paths.iter().filter(|path| Some(outstanding(path)) == fewest).collect();
        // A refusal is an honest answer: the client is told that no device can take the request.
        let none = || Refusal::because(format!("model {} has no complete replica, {} segments are ready", model.id, model.segments.len()));
        // The request's ordinal counts up: the only way to take turns.
        let turn = (request.ordinal as usize).checked_rem(best.len()).ok_or_else(none)?;
        Ok(best[turn].clone())
    }
}

export_routing!(Policy);

#[cfg(test)]
mod tests {
    use shardhost_sdk::routing::{Segment, ServedModel};

    use super::*;

    /// Two replicas of one stage each.
    fn policy() -> Policy {
        let segment = |replica| Segment { device: replica, replica, stage: 0, start: 0, end: 4, run_ms: 1.0, divisible: false };
        let model = ServedModel { id: "m@1".into(), blocks: 4, border_bytes: vec![0.0; 4], segments: vec![segment(0), segment(1)] };
        let mut policy = Policy::configure("{}").unwrap();
        policy.set_topology(Topology { models: vec![model], ..Topology::empty() });
        policy
    }

    fn request(ordinal: u32, outstanding: [u32; 2]) -> RouteRequest {
        RouteRequest { model: 0, ordinal, random: 0.0, sequence_key: 0, input_bytes: 0.0, outstanding: outstanding.to_vec() }
    }

    #[test]
    fn the_replica_with_fewer_requests_on_their_way_is_taken() {
        assert_eq!(policy().route(&request(0, [3, 1])), Ok(vec![1]));
    }

    #[test]
    fn replicas_that_tie_take_turns() {
        let paths: Vec<_> = (0..4).map(|ordinal| policy().route(&request(ordinal, [2, 2])).unwrap()).collect();
        assert_eq!(paths, [[0], [1], [0], [1]]);
    }
}
