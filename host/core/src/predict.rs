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
