//! Sends each request to a complete replica drawn at random, each as likely as another. Looks at neither load nor pressure.
//! The draw is the number that the host hands in, so every instance of this plugin agrees on it.

use shardhost_sdk::{
    export_routing, no_settings,
    routing::{Refusal, Replicas, RouteRequest, RoutingPolicy, Topology},
};

/// The policy: the complete replicas of each model.
#[derive(Debug)]
pub struct Random(Replicas);

impl RoutingPolicy for Random {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("random-routing", config)?;
        Ok(Self(Replicas::default()))
    }

    fn set_topology(&mut self, topology: Topology) {
        self.0 = Replicas::of(topology);
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let (_, replicas) = self.0.of_request(request)?;
        // A number below 1 times a count may still be rounded up to the count.
        let drawn = ((request.random * replicas.len() as f64) as usize).min(replicas.len() - 1);
        Ok(replicas[drawn].segments.clone())
    }
}

export_routing!(Random);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shardhost_sdk::scene::{request, whole_replicas};

    use super::*;

    fn policy(replicas: usize) -> Random {
        let stages: Vec<[(u32, f64); 1]> = (0..replicas).map(|_| [(0, 1.0)]).collect();
        let mut policy = Random::configure("{}").expect("no settings");
        policy.set_topology(whole_replicas(&stages.iter().map(|stage| stage.as_slice()).collect::<Vec<_>>()));
        policy
    }

    fn drawn(policy: &mut Random, random: f64) -> Vec<u32> {
        policy.route(&RouteRequest { random, ..request(&[]) }).expect("a path")
    }

    #[test]
    fn each_replica_has_an_equal_part_of_the_unit_interval() {
        let mut policy = policy(4);
        let numbers = [0.0, 0.2499, 0.25, 0.5, 0.75, 1.0_f64.next_down()];
        assert_eq!(numbers.map(|random| drawn(&mut policy, random)[0]), [0, 0, 1, 2, 3, 3]);
    }

    #[test]
    fn a_model_without_a_complete_replica_is_refused_and_settings_are_too() {
        let refusal = policy(0).route(&request(&[])).expect_err("there is no replica");
        assert_eq!(refusal.reason, "model m@1 has no complete replica, 0 segments are ready");
        assert!(Random::configure(r#"{"seed":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn over_evenly_spread_numbers_replicas_get_equal_shares(replicas in 1_usize..9, rounds in 1_u32..40) {
            let mut policy = policy(replicas);
            let draws = rounds * u32::try_from(replicas).expect("few");
            let mut counts = vec![0_u32; replicas];
            for draw in 0..draws {
                counts[drawn(&mut policy, (f64::from(draw) + 0.5) / f64::from(draws))[0] as usize] += 1;
            }
            prop_assert_eq!(counts, vec![rounds; replicas]);
        }
    }
}
