//! Draws two complete replicas and sends the request to the one with less outstanding work. Nearly as even as asking all of
//! them, and many requests at once do not all run to the one that was idle a moment ago. Source: M. Mitzenmacher, "The power
//! of two choices in randomized load balancing", IEEE Transactions on Parallel and Distributed Systems 12(10), 2001.

use shardhost_sdk::{
    export_routing, no_settings,
    replicas::keep_least,
    routing::{DevicePressures, Pressure, Refusal, Replicas, RouteRequest, RoutingPolicy, Topology},
};

/// The policy: the complete replicas of each model, and the newest pressure of each device.
#[derive(Debug)]
pub struct PowerOfTwo {
    replicas: Replicas,
    pressures: DevicePressures,
}

impl RoutingPolicy for PowerOfTwo {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("power-of-two-routing", config)?;
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
        let (first, second) = two(request.random, replicas.len());
        let mut drawn = vec![&replicas[first].segments, &replicas[second].segments];
        // Where one of the two has just failed, nothing is on its way there either.
        keep_least(&mut drawn, |path| f64::from(u8::from(self.pressures.any_silent(model, path))));
        keep_least(&mut drawn, |path| model.work_ms(path, &request.outstanding));
        keep_least(&mut drawn, |path| self.pressures.highest(model, path, |pressure| pressure.cpu.max(pressure.accelerator).max(pressure.memory)));
        // One at least is the least; of two that tie in everything, the first drawn is as random as the other.
        Ok(drawn[0].clone())
    }
}

/// Two different indexes below `count`, both drawn from one uniform number; the same one twice if there is no other.
fn two(random: f64, count: usize) -> (usize, usize) {
    let scaled = random * count as f64;
    let first = (scaled as usize).min(count - 1);
    // What is left after the first draw is uniform again.
    let rest = scaled - first as f64;
    let others = count - 1;
    if others == 0 {
        return (first, first);
    }
    let second = ((rest * others as f64) as usize).min(others - 1);
    (first, second + usize::from(second >= first))
}

export_routing!(PowerOfTwo);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shardhost_sdk::scene::{pressure, request, whole_replicas};

    use super::*;

    fn policy(run_ms: &[f64]) -> PowerOfTwo {
        let stages: Vec<[(u32, f64); 1]> = (0..).zip(run_ms).map(|(device, &run_ms)| [(device, run_ms)]).collect();
        let mut policy = PowerOfTwo::configure("{}").expect("no settings");
        policy.set_topology(whole_replicas(&stages.iter().map(|stage| stage.as_slice()).collect::<Vec<_>>()));
        policy
    }

    fn chosen(policy: &mut PowerOfTwo, random: f64, outstanding: &[u32]) -> u32 {
        policy.route(&RouteRequest { random, ..request(outstanding) }).expect("a path")[0]
    }

    #[test]
    fn every_pair_is_drawn_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        for draw in 0..1_200 {
            *counts.entry(two((f64::from(draw) + 0.5) / 1_200.0, 4)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 12);
        assert!(counts.iter().all(|((first, second), count)| first != second && *count == 100), "{counts:?}");
        assert_eq!([two(0.7, 1), two(1.0_f64.next_down(), 2), two(0.0, 2)], [(0, 0), (1, 0), (0, 1)]);
    }

    #[test]
    fn of_the_two_the_one_with_less_work_is_chosen() {
        let mut policy = policy(&[1.0, 1.0]);
        assert_eq!([0.1, 0.9].map(|random| chosen(&mut policy, random, &[3, 2])), [1, 1]);
        assert_eq!([0.1, 0.9].map(|random| chosen(&mut policy, random, &[2, 2])), [0, 1], "a tie goes to the first drawn");
    }

    #[test]
    fn work_is_counted_in_time_not_in_requests() {
        let mut policy = policy(&[1.0, 10.0]);
        assert_eq!([0.1, 0.9].map(|random| chosen(&mut policy, random, &[8, 0])), [0, 0]);
    }

    #[test]
    fn a_device_that_just_failed_has_no_load_and_does_not_win() {
        let mut policy = policy(&[1.0, 1.0]);
        policy.set_pressure(vec![pressure(0, 0.9)]);
        assert_eq!([0.1, 0.9].map(|random| chosen(&mut policy, random, &[5, 0])), [0, 0]);
    }

    #[test]
    fn without_a_complete_replica_the_refusal_names_the_model() {
        assert_eq!(policy(&[]).route(&request(&[])).expect_err("none").reason, "model m@1 has no complete replica, 0 segments are ready");
    }

    proptest! {
        #[test]
        fn the_busiest_of_several_is_never_chosen(count in 2_usize..9, busiest in 0_usize..9, random in 0.0_f64..1.0) {
            let busiest = busiest % count;
            let outstanding: Vec<u32> = (0..count).map(|index| if index == busiest { 9 } else { 1 }).collect();
            let path = chosen(&mut policy(&vec![1.0; count]), random, &outstanding);
            prop_assert_ne!(path as usize, busiest);
        }
    }
}
