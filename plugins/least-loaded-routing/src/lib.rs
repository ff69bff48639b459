//! Sends each request to the complete replica that would answer it first, judged by outstanding work: each stage
//! contributes its run time for every request that waits there and for the new one. Replicas that tie are told apart by
//! the highest pressure of their devices, and then take turns by the request's ordinal.

use shardhost_sdk::{
    export_routing, no_settings,
    routing::{Pressure, Refusal, RouteRequest, RoutingPolicy, ServedModel, Topology},
};

/// Two values closer than this share of the larger one tie, so that rounding does not decide.
const TIE_RATIO: f64 = 1e-9;

/// The policy: the topology with the complete replicas of each model, and the newest pressure of each device.
#[derive(Debug)]
pub struct LeastLoaded {
    topology: Topology,
    paths: Vec<Vec<Vec<u32>>>,
    pressures: Vec<f64>,
}

impl RoutingPolicy for LeastLoaded {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("least-loaded-routing", config)?;
        Ok(Self { topology: Topology::empty(), paths: Vec::new(), pressures: Vec::new() })
    }

    fn set_topology(&mut self, topology: Topology) {
        self.paths = topology.models.iter().map(|model| model.replicas().into_iter().map(|replica| replica.segments).collect()).collect();
        self.pressures = vec![0.0; topology.devices.len()];
        self.topology = topology;
    }

    fn set_pressure(&mut self, pressures: Vec<Pressure>) {
        for pressure in pressures {
            if let Some(known) = self.pressures.get_mut(pressure.device as usize) {
                *known = pressure.cpu.max(pressure.accelerator).max(pressure.memory);
            }
        }
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let model = self.topology.model(request)?;
        let paths = &self.paths[request.model as usize];
        let work: Vec<f64> = paths.iter().map(|path| outstanding_ms(model, path, &request.outstanding)).collect();
        let least = work.iter().copied().fold(f64::INFINITY, f64::min);
        let mut best: Vec<&Vec<u32>> = paths.iter().zip(&work).filter(|(_, work)| ties(**work, least)).map(|(path, _)| path).collect();
        if best.len() > 1 {
            let pressure = |path: &Vec<u32>| self.pressure(model, path);
            let lowest = best.iter().map(|path| pressure(path)).fold(f64::INFINITY, f64::min);
            best.retain(|path| ties(pressure(path), lowest));
        }
        let none = || Refusal::because(format!("model {} has no complete replica, {} segments are ready", model.id, model.segments.len()));
        let turn = (request.ordinal as usize).checked_rem(best.len()).ok_or_else(none)?;
        Ok(best[turn].clone())
    }
}

impl LeastLoaded {
    fn pressure(&self, model: &ServedModel, path: &[u32]) -> f64 {
        let device = |&index: &u32| self.pressures.get(model.segments[index as usize].device as usize).copied();
        path.iter().filter_map(device).fold(0.0, f64::max)
    }
}

fn outstanding_ms(model: &ServedModel, path: &[u32], outstanding: &[u32]) -> f64 {
    let waiting = |index: u32| f64::from(outstanding.get(index as usize).copied().unwrap_or(0));
    path.iter().map(|&index| (waiting(index) + 1.0) * model.segments[index as usize].run_ms).sum()
}

fn ties(value: f64, least: f64) -> bool {
    value <= least + least.abs() * TIE_RATIO
}

export_routing!(LeastLoaded);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shardhost_sdk::routing::{Device, Segment};

    use super::*;

    /// One segment list per replica: `(device, run_ms)` for each stage.
    fn policy(replicas: &[&[(u32, f64)]]) -> LeastLoaded {
        let mut segments = Vec::new();
        for (replica, stages) in (0_u32..).zip(replicas) {
            for (stage, &(device, run_ms)) in (0_u32..).zip(*stages) {
                segments.push(Segment { device, replica, stage, start: stage, end: stage + 1, run_ms, divisible: false });
            }
        }
        let blocks = u32::try_from(replicas[0].len()).expect("few stages");
        let devices = (0..8).map(|index| Device { id: format!("d{index}"), site: 0, attributes: Vec::new() }).collect();
        let model = ServedModel { id: "m@1".into(), blocks, border_bytes: vec![0.0; blocks as usize], segments };
        let mut policy = LeastLoaded::configure("{}").expect("no settings");
        policy.set_topology(Topology { models: vec![model], devices, ..Topology::empty() });
        policy
    }

    fn request(ordinal: u32, outstanding: &[u32]) -> RouteRequest {
        RouteRequest { model: 0, ordinal, random: 0.0, sequence_key: 0, input_bytes: 0.0, outstanding: outstanding.to_vec() }
    }

    fn pressure(device: u32, cpu: f64) -> Pressure {
        Pressure { device, cpu, memory: 0.0, accelerator: 0.0, bandwidth: 0.0, latency_ms: 0.0 }
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
        let topology = policy.topology.clone();
        policy.set_topology(topology);
        assert_eq!((0..4).map(|ordinal| policy.route(&request(ordinal, &[0, 0])).expect("a path")[0]).collect::<Vec<_>>(), [0, 1, 0, 1]);
    }

    #[test]
    fn without_a_complete_replica_the_refusal_names_the_model() {
        let mut policy = policy(&[&[(0, 1.0), (1, 1.0)]]);
        let mut topology = policy.topology.clone();
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
