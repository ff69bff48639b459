//! Sends all requests of one sequence to the same complete replica, by rendezvous hashing: when a replica comes or goes, only
//! the sequences that it wins move, and what a replica is called in the plan does not matter. A request of no sequence goes
//! where the least work is outstanding.

use shardhost_sdk::{
    export_routing, no_settings,
    rendezvous::draw,
    replicas::{in_turn, keep_least},
    routing::{DevicePressures, Pressure, Refusal, Replicas, RouteRequest, RoutingPolicy, Topology},
};

/// The policy: the complete replicas of each model, who they are, and which devices speak.
#[derive(Debug)]
pub struct Sticky {
    replicas: Replicas,
    /// By model, parallel to its replicas.
    identities: Vec<Vec<u64>>,
    pressures: DevicePressures,
}

impl RoutingPolicy for Sticky {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("sticky-routing", config)?;
        Ok(Self { replicas: Replicas::default(), identities: Vec::new(), pressures: DevicePressures::default() })
    }

    fn set_topology(&mut self, topology: Topology) {
        self.pressures = DevicePressures::of(&topology);
        self.replicas = Replicas::of(topology);
        self.identities = self.replicas.identities();
    }

    fn set_pressure(&mut self, pressures: Vec<Pressure>) {
        self.pressures.note(pressures);
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let (model, replicas) = self.replicas.of_request(request)?;
        let identities = &self.identities[request.model as usize];
        let mut candidates: Vec<usize> = (0..replicas.len()).collect();
        if request.sequence_key == 0 {
            keep_least(&mut candidates, |&index| f64::from(u8::from(self.pressures.any_silent(model, &replicas[index].segments))));
            keep_least(&mut candidates, |&index| model.work_ms(&replicas[index].segments, &request.outstanding));
        } else {
            // The highest draw wins. Replicas of the same stages draw the same, and take turns.
            let drawn = |index: &usize| draw(request.sequence_key, identities[*index]);
            let highest = candidates.iter().map(drawn).fold(0.0, f64::max);
            candidates.retain(|index| drawn(index) >= highest);
        }
        // One at least is the least.
        let chosen = in_turn(&candidates, request.ordinal).copied().unwrap_or(0);
        Ok(replicas[chosen].segments.clone())
    }
}

export_routing!(Sticky);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shardhost_sdk::scene::{pressure, request, whole_replicas};

    use super::*;

    /// One replica on each of these devices.
    fn policy(devices: &[u32]) -> Sticky {
        let stages: Vec<[(u32, f64); 1]> = devices.iter().map(|&device| [(device, 1.0)]).collect();
        let mut policy = Sticky::configure("{}").expect("no settings");
        policy.set_topology(whole_replicas(&stages.iter().map(|stage| stage.as_slice()).collect::<Vec<_>>()));
        policy
    }

    /// The device that a sequence goes to.
    fn device(policy: &mut Sticky, sequence_key: u32, ordinal: u32, outstanding: &[u32]) -> u32 {
        let path = policy.route(&RouteRequest { sequence_key, ordinal, ..request(outstanding) }).expect("a path");
        policy.replicas.topology().models[0].segments[path[0] as usize].device
    }

    #[test]
    fn a_sequence_stays_whatever_the_load_and_the_ordinal_are() {
        let mut policy = policy(&[0, 1, 2]);
        for key in 1..50 {
            let first = device(&mut policy, key, 0, &[0, 0, 0]);
            assert_eq!(device(&mut policy, key, 7, &[9, 9, 9]), first);
        }
    }

    #[test]
    fn sequences_are_spread_over_all_replicas() {
        let mut policy = policy(&[0, 1, 2, 3]);
        let mut counts = [0_u32; 4];
        (1..=4_000).for_each(|key| counts[device(&mut policy, key, 0, &[]) as usize] += 1);
        // Four standard deviations of a fair spread are 110.
        assert!(counts.iter().all(|count| (890..1_110).contains(count)), "{counts:?}");
    }

    #[test]
    fn without_a_sequence_the_replica_with_the_least_work_is_chosen_and_those_that_tie_take_turns() {
        let mut policy = policy(&[0, 1, 2]);
        assert_eq!(device(&mut policy, 0, 0, &[2, 1, 3]), 1);
        assert_eq!([0, 1, 2].map(|ordinal| device(&mut policy, 0, ordinal, &[1, 2, 1])), [0, 2, 0]);
        policy.set_pressure(vec![pressure(0, 0.9), pressure(1, 0.9)]);
        assert_eq!(device(&mut policy, 0, 0, &[2, 1, 0]), 1, "the third says nothing while others do, so it may have failed");
    }

    #[test]
    fn replicas_of_the_same_stages_take_turns() {
        let mut policy = policy(&[5, 5]);
        let path = |policy: &mut Sticky, ordinal| policy.route(&RouteRequest { sequence_key: 3, ordinal, ..request(&[]) }).expect("a path");
        assert_eq!([0, 1].map(|ordinal| path(&mut policy, ordinal)), [vec![0], vec![1]]);
    }

    proptest! {
        #[test]
        fn only_the_sequences_of_a_replica_that_goes_move(devices in 2_u32..9, gone in 0_u32..9, key in 1_u32..0x7fff_ffff) {
            let gone = gone % devices;
            let all: Vec<u32> = (0..devices).collect();
            let left: Vec<u32> = all.iter().copied().filter(|&device| device != gone).collect();
            let before = device(&mut policy(&all), key, 0, &[]);
            let after = device(&mut policy(&left), key, 0, &[]);
            prop_assert!(before == gone || before == after);
            // And back: whoever comes takes only what it wins.
            prop_assert!(after != gone);
        }
    }
}
