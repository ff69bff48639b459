//! What a plan is worth, and the best plan of a small problem, found by trying every one: the measure that answers of
//! allocation policies are held against. Too slow for service; called by measurements and tests.

use crate::{
    problem::{Objective, Problem, Proposal, ProposedReplica, ProposedStage},
    units::Millis,
};

/// Most offers of a problem that is searched: with these limits there are some thousands of plans.
pub const OFFERS_MAX: usize = 4;
/// Most blocks of a problem that is searched.
pub const BLOCKS_MAX: u32 = 8;
/// `Balanced` gives up to this share of throughput for latency.
const BALANCED_RATIO: f64 = 0.05;
/// Two values closer than this share of the larger are the same, so that rounding does not decide.
const TIE_RATIO: f64 = 1e-9;

/// What is expected of a plan.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Worth {
    /// Requests per millisecond over all replicas.
    pub throughput: f64,
    /// Time of one request, the mean over replicas by their share of the throughput.
    pub latency: Millis,
}

/// The best that any plan of a problem is worth.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Optimum {
    /// The most throughput.
    pub throughput: f64,
    /// The least latency.
    pub latency: Millis,
    /// The least latency among plans within five per cent of the most throughput.
    pub balanced: Millis,
}

impl Optimum {
    /// How near a plan comes to the best one: 1 is as good, 0.5 takes twice as long or answers half as many.
    pub fn quality(&self, objective: Objective, worth: &Worth) -> f64 {
        let of_throughput = ratio(worth.throughput, self.throughput);
        match objective {
            Objective::Latency => ratio(self.latency.0, worth.latency.0),
            Objective::Throughput => of_throughput,
            Objective::Balanced if of_throughput < (1.0 - BALANCED_RATIO) * (1.0 - TIE_RATIO) => of_throughput,
            Objective::Balanced => ratio(self.balanced.0, worth.latency.0),
        }
    }
}

/// Two values of 0 are alike.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 1.0 }
}

impl Worth {
    /// One number for a comparison of two plans of the same problem, larger is better: requests per millisecond, or for
    /// `Latency` answers per millisecond of one who waits for each.
    pub fn value(&self, objective: Objective) -> f64 {
        match objective {
            Objective::Latency => ratio(1.0, self.latency.0),
            Objective::Throughput | Objective::Balanced => self.throughput,
        }
    }
}

impl Problem {
    /// What replicas are worth that passed `check`.
    pub fn worth(&self, replicas: &[ProposedReplica]) -> Worth {
        let (mut weighted, mut rates) = (0.0, 0.0);
        for replica in replicas {
            let rate = self.throughput(std::slice::from_ref(replica));
            weighted += rate * self.predict(replica).latency().0;
            rates += rate;
        }
        Worth { throughput: self.throughput(replicas), latency: Millis(if rates > 0.0 { weighted / rates } else { 0.0 }) }
    }

    /// The best of all plans in which no offer holds two stages. None if the problem has no such plan, or is too large.
    pub fn optimum(&self) -> Option<Optimum> {
        if self.offers.len() > OFFERS_MAX || self.model.whole().end() > BLOCKS_MAX {
            return None;
        }
        let mut search = Search { problem: self, plan: Vec::new(), found: Vec::new() };
        search.add_replica(0, 0);
        let throughput = search.found.iter().map(|worth| worth.throughput).fold(f64::NEG_INFINITY, f64::max);
        let least = |floor: f64| search.found.iter().filter(|worth| worth.throughput >= floor).map(|worth| worth.latency.0).reduce(f64::min).map(Millis);
        let balanced = least(throughput * (1.0 - BALANCED_RATIO) * (1.0 - TIE_RATIO));
        Some(Optimum { throughput, latency: least(f64::NEG_INFINITY)?, balanced: balanced? })
    }
}

/// Tries every plan once: replicas in the order of their first offers.
struct Search<'a> {
    problem: &'a Problem,
    plan: Vec<ProposedReplica>,
    found: Vec<Worth>,
}

impl Search<'_> {
    /// Adds each possible replica of unused offers whose first offer is not before `first`.
    fn add_replica(&mut self, used: u32, first: u32) {
        if self.plan.len() >= self.problem.placement.replicas_max as usize {
            return;
        }
        for head in first..self.offers() {
            self.plan.push(Vec::new());
            self.add_stage(used, head, 0);
            self.plan.pop();
        }
    }

    /// Gives blocks from `start` on to `offer`, and what is left to others.
    fn add_stage(&mut self, used: u32, offer: u32, start: u32) {
        let bit = 1 << offer;
        if used & bit != 0 {
            return;
        }
        let blocks = self.problem.model.whole().end();
        for end in start + 1..=blocks {
            let Some(replica) = self.plan.last_mut() else { return };
            replica.push(ProposedStage { offer, start, end });
            if end == blocks {
                self.note(used | bit);
            } else {
                (0..self.offers()).for_each(|next| self.add_stage(used | bit, next, end));
            }
            if let Some(replica) = self.plan.last_mut() {
                replica.pop();
            }
        }
    }

    /// A plan that does not pass `check` does not pass with more replicas either.
    fn note(&mut self, used: u32) {
        let proposal = Proposal { replicas: self.plan.clone(), bound: 0.0 };
        if self.problem.check(&proposal).is_ok() {
            self.found.push(self.problem.worth(&proposal.replicas));
            let head = self.plan.last().and_then(|replica| replica.first()).map_or(0, |stage| stage.offer);
            self.add_replica(used, head + 1);
        }
    }

    fn offers(&self) -> u32 {
        u32::try_from(self.problem.offers.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Cluster, ClusterSettings, Event},
        ids::PlanNumber,
        problem::Placement,
        testing::{device, model_id, uniform_model},
        units::Bytes,
    };
    use proptest::prelude::*;

    /// Devices of these slownesses and memories in MiB, and a model of equal blocks of 1 GFLOP and 1 MiB.
    fn problem(devices: &[(f64, u64)], blocks: usize, placement: Placement) -> Problem {
        let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
        for (name, &(slow, memory)) in ["a", "b", "c", "d"].into_iter().zip(devices) {
            let mut device = device(name, Bytes::mib(memory));
            device.offers[0].cost = device.offers[0].cost.slowed(slow);
            cluster.apply(Event::Joined { device, held: Vec::new(), now: Millis(0.0) });
        }
        cluster.apply(Event::ModelAdded { profile: uniform_model("m", blocks), placement });
        cluster.problem(&model_id("m")).expect("the model is known")
    }

    #[test]
    fn every_device_on_its_own_answers_most_and_the_fastest_answers_first() {
        let optimum = problem(&[(1.0, 9), (2.0, 9)], 4, Placement::default()).optimum().expect("it fits");
        assert_eq!((optimum.throughput, optimum.latency), (0.375, Millis(4.0)));
        // Both replicas are needed for the throughput, so the mean of 4 and 8 ms by their shares is what balanced has.
        assert!((optimum.balanced.0 - (0.25 * 4.0 + 0.125 * 8.0) / 0.375).abs() < 1e-9, "{optimum:?}");
    }

    #[test]
    fn a_model_that_fits_nowhere_has_no_optimum() {
        assert_eq!(problem(&[(1.0, 1), (1.0, 2)], 4, Placement::default()).optimum(), None);
        assert!(problem(&[(1.0, 2), (1.0, 2)], 4, Placement::default()).optimum().is_some());
    }

    #[test]
    fn quality_is_one_for_the_best_and_less_for_others() {
        let problem = problem(&[(1.0, 9), (2.0, 9)], 4, Placement::default());
        let optimum = problem.optimum().expect("it fits");
        let slow = problem.worth(&[vec![ProposedStage { offer: 1, start: 0, end: 4 }]]);
        let quality = |objective| optimum.quality(objective, &slow);
        assert_eq!((quality(Objective::Latency), quality(Objective::Throughput)), (0.5, 1.0 / 3.0));
        assert_eq!(quality(Objective::Balanced), 1.0 / 3.0);
        let best = Worth { throughput: optimum.throughput, latency: optimum.balanced };
        assert_eq!((optimum.quality(Objective::Balanced, &best), optimum.quality(Objective::Throughput, &best)), (1.0, 1.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_chain_of_two_beats_the_optimum_and_the_optimum_does_not_beat_the_bound(slow in prop::collection::vec(0.5_f64..8.0, 2..4), memory in prop::collection::vec(1_u64..8, 3), blocks in 2_usize..6, cut in 1_u32..5) {
            let devices: Vec<(f64, u64)> = slow.iter().copied().zip(memory).collect();
            let problem = problem(&devices, blocks, Placement::default());
            let blocks = u32::try_from(blocks).expect("few");
            let chain = vec![ProposedStage { offer: 0, start: 0, end: cut.min(blocks - 1) }, ProposedStage { offer: 1, start: cut.min(blocks - 1), end: blocks }];
            let proposal = Proposal { replicas: vec![chain], bound: 0.0 };
            let optimum = problem.optimum();
            if problem.check(&proposal).is_ok() {
                let worth = problem.worth(&proposal.replicas);
                let optimum = optimum.expect("there is a plan");
                for objective in [Objective::Latency, Objective::Throughput, Objective::Balanced] {
                    prop_assert!(optimum.quality(objective, &worth) <= 1.0 + 1e-9);
                }
            }
            prop_assert!(optimum.is_none_or(|optimum| optimum.throughput <= problem.throughput_bound() * (1.0 + 1e-9)));
        }
    }
}
