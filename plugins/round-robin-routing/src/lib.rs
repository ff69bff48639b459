//! Sends requests to the complete replicas in turn: request n of a model goes to replica n mod the number of replicas.
//! Looks at neither load nor pressure. The turn is the request's ordinal, so every instance of this plugin agrees on it.

use shardhost_sdk::{
    export_routing, no_settings,
    replicas::in_turn,
    routing::{Refusal, Replicas, RouteRequest, RoutingPolicy, Topology},
};

/// The policy: the complete replicas of each model.
#[derive(Debug)]
pub struct RoundRobin(Replicas);

impl RoutingPolicy for RoundRobin {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("round-robin-routing", config)?;
        Ok(Self(Replicas::default()))
    }

    fn set_topology(&mut self, topology: Topology) {
        self.0 = Replicas::of(topology);
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let (_, replicas) = self.0.of_request(request)?;
        // There is one at least.
        Ok(in_turn(replicas, request.ordinal).map_or_else(Vec::new, |replica| replica.segments.clone()))
    }
}

export_routing!(RoundRobin);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shardhost_sdk::routing::{Segment, ServedModel};

    use super::*;

    fn topology(replicas: u32, stages: u32) -> Topology {
        let segment = |replica, stage| Segment { device: stage, replica, stage, start: stage, end: stage + 1, run_ms: 1.0, divisible: false };
        let segments: Vec<_> = (0..replicas).flat_map(|replica| (0..stages).map(move |stage| segment(replica, stage))).collect();
        let model = ServedModel { id: "m@1".into(), blocks: stages, border_bytes: vec![0.0; stages as usize], segments };
        Topology { models: vec![model], ..Topology::empty() }
    }

    fn request(ordinal: u32, segments: u32) -> RouteRequest {
        RouteRequest { model: 0, ordinal, random: 0.0, sequence_key: 0, input_bytes: 0.0, outstanding: vec![0; segments as usize] }
    }

    fn policy(topology: Topology) -> RoundRobin {
        let mut policy = RoundRobin::configure("{}").expect("no settings");
        policy.set_topology(topology);
        policy
    }

    #[test]
    fn replicas_take_turns_and_a_path_is_the_replicas_stages_in_order() {
        let mut policy = policy(topology(2, 3));
        let paths: Vec<_> = (0..4).map(|ordinal| policy.route(&request(ordinal, 6)).expect("a path")).collect();
        assert_eq!(paths, [vec![0, 1, 2], vec![3, 4, 5], vec![0, 1, 2], vec![3, 4, 5]]);
    }

    #[test]
    fn a_model_without_a_complete_replica_is_refused_by_name() {
        let mut broken = topology(1, 2);
        broken.models[0].segments.pop();
        let refusal = policy(broken).route(&request(0, 1)).expect_err("block 1 is missing");
        assert_eq!(refusal.reason, "model m@1 has no complete replica, 1 segments are ready");
    }

    #[test]
    fn an_index_beyond_the_models_is_refused() {
        let refusal = policy(topology(1, 1)).route(&RouteRequest { model: 7, ..request(0, 1) }).expect_err("there is one model");
        assert_eq!(refusal.reason, "model 7 is not in topology 0, which has 1 models");
    }

    #[test]
    fn settings_are_refused() {
        assert!(RoundRobin::configure(r#"{"weights":[1]}"#).is_err());
    }

    proptest! {
        #[test]
        fn over_any_run_of_requests_no_replica_gets_two_more_than_another(replicas in 1_u32..6, stages in 1_u32..5, first in 0_u32..1000, count in 0_u32..60) {
            let mut policy = policy(topology(replicas, stages));
            let mut seen = vec![0_u32; replicas as usize];
            for ordinal in first..first + count {
                let path = policy.route(&request(ordinal, replicas * stages)).expect("a path");
                seen[(path[0] / stages) as usize] += 1;
            }
            let (least, most) = (seen.iter().min().expect("one at least"), seen.iter().max().expect("one at least"));
            prop_assert!(most - least <= 1);
        }
    }
}
