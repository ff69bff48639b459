//! Whether a better plan is worth the change, and which of several ways to change.
//!
//! A change must gain more within the time that the answer will be in force than it costs to load what is not there and to
//! fill caches that are lost. What a change costs on two ways is never more than on the way around over a third plan, so an
//! answer that is given back as the plan in force is kept.

use shardhost_sdk::{
    allocation::{Objective, Replica},
    problem::Ranges,
};

use crate::{
    held::Held,
    score::{BALANCED_RATIO, Score, TIE_RATIO},
    settings::Settings,
};

/// A plan and what is expected of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// What it is worth.
    pub score: Score,
    /// The plan.
    pub replicas: Vec<Replica>,
}

impl Candidate {
    /// Of a plan that the host would accept.
    pub fn of(ranges: &Ranges<'_>, replicas: Vec<Replica>) -> Self {
        Self { score: Score::of(ranges, &replicas), replicas }
    }
}

/// The plan to be in force: the one in force if there is one and no other pays, else the one that pays most.
pub fn choose(ranges: &Ranges<'_>, held: &Held, settings: &Settings, current: Option<Candidate>, others: Vec<Candidate>) -> Option<Candidate> {
    let all: Vec<&Candidate> = current.iter().chain(&others).collect();
    let worth = Worth::of(ranges.problem().placement.objective, &all);
    let horizon_ms = if ranges.problem().horizon_ms > 0.0 { ranges.problem().horizon_ms } else { settings.horizon_ms };
    let now = current.as_ref().map(|current| worth.value(&current.score));
    let net = |candidate: &Candidate| {
        let gain = worth.value(&candidate.score) - now.unwrap_or(0.0);
        (gain, gain * horizon_ms - change_ms(ranges, held, &candidate.replicas))
    };
    let pays = |candidate: &Candidate| {
        let (gain, net) = net(candidate);
        now.is_none() || (gain >= settings.gain_ratio_min && net > 0.0)
    };
    let paying = others.iter().filter(|candidate| pays(candidate));
    let best = paying.reduce(|best, next| if net(next).1 > net(best).1 + TIE_RATIO * horizon_ms { next } else { best });
    best.cloned().or(current)
}

/// What plans are compared with: the best of each value among them.
struct Worth {
    objective: Objective,
    throughput: f64,
    latency_ms: f64,
}

impl Worth {
    fn of(objective: Objective, all: &[&Candidate]) -> Self {
        let throughput = all.iter().map(|candidate| candidate.score.throughput).fold(0.0, f64::max);
        let mut worth = Self { objective, throughput, latency_ms: 0.0 };
        let enough = all.iter().filter(|candidate| worth.has_enough(&candidate.score));
        worth.latency_ms = enough.map(|candidate| candidate.score.latency_ms).fold(f64::INFINITY, f64::min);
        worth
    }

    fn has_enough(&self, score: &Score) -> bool {
        match self.objective {
            Objective::Latency => true,
            Objective::Throughput => false,
            Objective::Balanced => score.throughput >= self.throughput * (1.0 - BALANCED_RATIO) * (1.0 - TIE_RATIO),
        }
    }

    /// Shares of time saved: of throughput up to 1, and of latency where throughput is enough.
    fn value(&self, score: &Score) -> f64 {
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 1.0 };
        match self.objective {
            Objective::Throughput => ratio(score.throughput, self.throughput),
            Objective::Latency => ratio(self.latency_ms, score.latency_ms),
            Objective::Balanced if self.has_enough(score) => 1.0 + ratio(self.latency_ms, score.latency_ms),
            Objective::Balanced => ratio(score.throughput, self.throughput),
        }
    }
}

/// Time to send the shards that are not there, one after another, and to compute again what lost caches held: each sequence
/// of a replica that goes begins anew.
fn change_ms(ranges: &Ranges<'_>, held: &Held, plan: &[Replica]) -> f64 {
    let problem = ranges.problem();
    let load_ms = held.bytes_to_load(ranges, plan) / problem.within_site.bytes_per_ms;
    let caches = problem.blocks.iter().any(|block| block.kv_bytes_per_token > 0.0);
    let lost = problem.current.iter().filter(|replica| caches && !plan.contains(replica));
    let lost_ms: f64 = lost.map(|replica| ranges.latency_ms(replica) * f64::from(problem.sequences)).sum();
    load_ms + lost_ms
}
