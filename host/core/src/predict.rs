//! What a placed replica is expected to do: stage times, hops, latency, bottleneck, and the bound that no plan beats.

use crate::{
    problem::{Problem, ProposedReplica, ProposedStage},
    shard::BlockRange,
    units::{Bytes, Millis},
};

/// Expected times of one replica.
#[derive(Clone, PartialEq, Debug)]
pub struct ReplicaPrediction {
    /// Time of each stage, other models' share of the offer included.
    pub stages: Vec<Millis>,
    /// Time on the way from each stage to the next; one less than stages.
    pub hops: Vec<Millis>,
    /// Index of the slowest stage.
    pub bottleneck: usize,
}

impl ReplicaPrediction {
    /// Time of one request through an idle replica.
    pub fn latency(&self) -> Millis {
        self.stages.iter().chain(&self.hops).copied().sum()
    }

    /// Time between two answers when requests queue: the slowest stage or hop.
    pub fn period(&self) -> Millis {
        Millis(self.stages.iter().chain(&self.hops).map(|time| time.0).fold(0.0, f64::max))
    }
}

impl Problem {
    /// Expected times of a replica. Its indexes must have passed `check`; a stage that names nothing counts as endless.
    pub fn predict(&self, replica: &ProposedReplica) -> ReplicaPrediction {
        let stages: Vec<Millis> = replica.iter().map(|stage| self.stage_time(stage)).collect();
        let hops = replica
            .windows(2)
            .map(|pair| {
                let border = BlockRange::new(pair[0].start, pair[0].end).map_or(Bytes::ZERO, |range| self.model.border_after(range));
                self.speed(pair[0].offer, pair[1].offer).time(border)
            })
            .collect();
        let bottleneck = (0..stages.len()).max_by(|&a, &b| stages[a].0.total_cmp(&stages[b].0)).unwrap_or(0);
        ReplicaPrediction { stages, hops, bottleneck }
    }

    /// Requests per millisecond over all replicas. Stages of several replicas on one offer take turns on it.
    pub fn throughput(&self, replicas: &[ProposedReplica]) -> f64 {
        let mut busy = vec![0.0; self.offers.len()];
        for stage in replicas.iter().flatten() {
            if let Some(time) = busy.get_mut(stage.offer as usize) {
                *time += self.stage_time(stage).0;
            }
        }
        let rate = |replica: &ProposedReplica| {
            let hops = self.predict(replica).hops.iter().map(|hop| hop.0).fold(0.0, f64::max);
            let slowest = replica.iter().map(|stage| busy.get(stage.offer as usize).copied().unwrap_or(f64::INFINITY)).fold(hops, f64::max);
            if slowest > 0.0 { 1.0 / slowest } else { 0.0 }
        };
        replicas.iter().map(rate).sum()
    }

    /// Requests per millisecond that no plan can exceed: every offer computes all the time and nothing is sent.
    /// Source: (1/L)·sum over offers of 1/t, taken over the whole model instead of L equal blocks.
    pub fn throughput_bound(&self) -> f64 {
        let whole = self.model.work(self.model.whole());
        let rate = |cost: &crate::cost::CostModel, busy: f64| {
            let time = cost.predict(whole).0 - cost.fixed_ms;
            if time > 0.0 { (1.0 - busy).max(0.0) / time } else { f64::INFINITY }
        };
        self.offers.iter().map(|offer| rate(&offer.cost, offer.busy_ratio)).sum()
    }

    fn stage_time(&self, stage: &ProposedStage) -> Millis {
        let endless = Millis(f64::INFINITY);
        let (Some(offer), Ok(range)) = (self.offers.get(stage.offer as usize), BlockRange::new(stage.start, stage.end)) else {
            return endless;
        };
        let free = 1.0 - offer.busy_ratio.clamp(0.0, 0.99);
        Millis(offer.cost.predict(self.model.work(range)).0 / free)
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
    };

    /// Two devices of one site and a model of four blocks of 1 GFLOP; device `b` is twice as slow.
    fn problem() -> Problem {
        let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
        let mut slow = device("b", Bytes::mib(9));
        slow.offers[0].cost = slow.offers[0].cost.slowed(2.0);
        for device in [device("a", Bytes::mib(9)), slow] {
            cluster.apply(Event::Joined { device, held: Vec::new(), now: Millis(0.0) });
        }
        cluster.apply(Event::ModelAdded { profile: uniform_model("m", 4), placement: Placement::default() });
        cluster.problem(&model_id("m")).expect("the model is known")
    }

    fn stage(offer: u32, start: u32, end: u32) -> ProposedStage {
        ProposedStage { offer, start, end }
    }

    #[test]
    fn a_chain_takes_the_sum_and_answers_as_fast_as_its_slowest_part() {
        let prediction = problem().predict(&vec![stage(0, 0, 3), stage(1, 3, 4)]);
        assert_eq!(prediction.stages, [Millis(3.0), Millis(2.0)]);
        let hop = 0.3 + 1024.0 / 110_000.0;
        assert!((prediction.hops[0].0 - hop).abs() < 1e-9);
        assert!((prediction.latency().0 - (5.0 + hop)).abs() < 1e-9);
        assert_eq!((prediction.period(), prediction.bottleneck), (Millis(3.0), 0));
    }

    #[test]
    fn replicas_that_share_an_offer_take_turns_on_it() {
        let problem = problem();
        assert_eq!(problem.throughput(&[vec![stage(0, 0, 4)]]), 0.25);
        assert_eq!(problem.throughput(&[vec![stage(0, 0, 4)], vec![stage(0, 0, 4)]]), 0.25);
        assert_eq!(problem.throughput(&[vec![stage(0, 0, 4)], vec![stage(1, 0, 4)]]), 0.375);
    }

    #[test]
    fn no_plan_beats_the_bound() {
        let problem = problem();
        assert_eq!(problem.throughput_bound(), 0.375);
        for cut in 1..4 {
            assert!(problem.throughput(&[vec![stage(0, 0, cut), stage(1, cut, 4)]]) <= problem.throughput_bound());
        }
    }

    #[test]
    fn a_stage_that_names_nothing_never_ends() {
        assert_eq!(problem().predict(&vec![stage(9, 0, 4)]).latency(), Millis(f64::INFINITY));
        assert_eq!(problem().throughput(&[vec![stage(9, 0, 4)]]), 0.0);
    }
}
