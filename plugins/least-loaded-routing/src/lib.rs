//! Sends each request to the complete replica that would answer it first, judged by outstanding work: each stage
//! contributes its run time for every request that waits there and for the new one. Replicas that tie are told apart by
//! the highest pressure of their devices, and then take turns by the request's ordinal.

use shardhost_sdk::{
    export_routing, no_settings,
    replicas::{in_turn, keep_least},
    routing::{DevicePressures, Pressure, Refusal, Replicas, RouteRequest, RoutingPolicy, Topology},
};

/// The policy: the complete replicas of each model, and the newest pressure of each device.
#[derive(Debug)]
pub struct LeastLoaded {
    replicas: Replicas,
    pressures: DevicePressures,
}

impl RoutingPolicy for LeastLoaded {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("least-loaded-routing", config)?;
        Ok(Self { replicas: Replicas::default(), pressures: DevicePressures::default() })
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
        // Nothing is on its way to a device that has just failed: silence is no leisure.
        keep_least(&mut best, |path| f64::from(u8::from(self.pressures.any_silent(model, path))));
        keep_least(&mut best, |path| model.work_ms(path, &request.outstanding));
        keep_least(&mut best, |path| self.pressures.highest(model, path, |pressure| pressure.cpu.max(pressure.accelerator).max(pressure.memory)));
        // One at least is the least.
        Ok(in_turn(&best, request.ordinal).map_or_else(Vec::new, |path| (*path).clone()))
    }
}

export_routing!(LeastLoaded);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shardhost_sdk::scene::{pressure, whole_replicas};

    use super::*;

    fn policy(replicas: &[&[(u32, f64)]]) -> LeastLoaded {
        let mut policy = LeastLoaded::configure("{}").expect("no settings");
        policy.set_topology(whole_replicas(replicas));
        policy
    }

    fn request(ordinal: u32, outstanding: &[u32]) -> RouteRequest {
        RouteRequest { ordinal, ..shardhost_sdk::scene::request(outstanding) }
    }

    #[test]
    fn the_replica_with_the_least_outstanding_work_is_chosen() {
        let mut policy = policy(&[&[(0, 1.0), (1, 1.0)], &[(2, 1.0), (3, 1.0)]]);
        assert_eq!(policy.route(&request(0, &[1, 0, 0, 0])), Ok(vec![2, 3]));
        assert_eq!(policy.route(&request(0, &[0, 0, 0, 2])), Ok(vec![0, 1]));
    }

    #[test]
    fn work_is_counted_in_time_not_in_requests() {
        let mut policy = policy(&[&[(0, 1.0)], &[(1, 10.0)]]);
        assert_eq!(policy.route(&request(1, &[0, 0])), Ok(vec![0]));
        assert_eq!(policy.route(&request(1, &[8, 0])), Ok(vec![0]));
        assert_eq!(policy.route(&request(1, &[10, 0])), Ok(vec![1]));
    }

    #[test]
    fn pressure_decides_between_replicas_that_tie_and_a_new_topology_forgets_it() {
        let mut policy = policy(&[&[(0, 1.0)], &[(1, 1.0)]]);
        policy.set_pressure(vec![pressure(0, 0.9), pressure(1, 0.2), pressure(77, 0.0)]);
        assert_eq!((0..4).map(|ordinal| policy.route(&request(ordinal, &[0, 0])).expect("a path")[0]).collect::<Vec<_>>(), [1, 1, 1, 1]);
        let topology = policy.replicas.topology().clone();
        policy.set_topology(topology);
        assert_eq!((0..4).map(|ordinal| policy.route(&request(ordinal, &[0, 0])).expect("a path")[0]).collect::<Vec<_>>(), [0, 1, 0, 1]);
    }

    #[test]
    fn a_device_that_just_failed_has_no_load_and_does_not_win() {
        let mut policy = policy(&[&[(0, 1.0)], &[(1, 1.0)]]);
        policy.set_pressure(vec![pressure(0, 0.9)]);
        assert_eq!(policy.route(&request(0, &[7, 0])), Ok(vec![0]), "the other device says nothing while this one does");
        // With the next topology it is gone, and so is what was known of the device that had its index.
        policy.set_topology(whole_replicas(&[&[(0, 1.0)]]));
        assert_eq!(policy.route(&request(1, &[7])), Ok(vec![0]));
    }

    #[test]
    fn without_a_complete_replica_the_refusal_names_the_model() {
        let mut policy = policy(&[&[(0, 1.0), (1, 1.0)]]);
        let mut topology = policy.replicas.topology().clone();
        topology.models[0].segments.remove(0);
        policy.set_topology(topology);
        assert_eq!(policy.route(&request(0, &[0])).expect_err("no head").reason, "model m@1 has no complete replica, 1 segments are ready");
    }

    proptest! {
        #[test]
        fn no_other_replica_has_less_outstanding_work(run_ms in prop::collection::vec(0.1_f64..50.0, 2..6), outstanding in prop::collection::vec(0_u32..20, 6), ordinal in 0_u32..100) {
            let stages: Vec<[(u32, f64); 1]> = (0_u32..).zip(&run_ms).map(|(device, &run_ms)| [(device, run_ms)]).collect();
            let replicas: Vec<&[(u32, f64)]> = stages.iter().map(|stage| stage.as_slice()).collect();
            let mut policy = policy(&replicas);
            let outstanding = &outstanding[..run_ms.len()];
            let path = policy.route(&request(ordinal, outstanding)).expect("a path");
            let work = |index: usize| (f64::from(outstanding[index]) + 1.0) * run_ms[index];
            let chosen = work(path[0] as usize);
            prop_assert!((0..run_ms.len()).all(|index| chosen <= work(index) * (1.0 + 1e-6)));
            prop_assert_eq!(policy.route(&request(ordinal, outstanding)), Ok(path));
        }
    }
}
