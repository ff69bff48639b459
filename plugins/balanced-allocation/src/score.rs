//! What a plan is worth, and which of several is best under an objective. Used by every search of this plugin.

use std::cmp::Ordering;

use shardhost_sdk::{
    allocation::{Objective, Replica},
    problem::Ranges,
};

/// Two values closer than this share of the larger tie, so that rounding does not decide.
pub const TIE_RATIO: f64 = 1e-9;
/// `balanced` gives up to this share of throughput for latency.
pub const BALANCED_RATIO: f64 = 0.05;

/// What is expected of a plan.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Score {
    /// Requests per millisecond over all replicas.
    pub throughput: f64,
    /// Milliseconds of one request, the mean over replicas by their share of the throughput.
    pub latency_ms: f64,
    /// Stages of the longest chain.
    pub stages: usize,
}

impl Score {
    /// Of a plan. Stages of several replicas on one offer take turns, as the host computes it; the latency of a replica is
    /// weighed with what it would answer alone.
    pub fn of(ranges: &Ranges<'_>, plan: &[Replica]) -> Self {
        let mut busy = vec![0.0; ranges.offers() as usize];
        for stage in plan.iter().flat_map(|replica| &replica.stages) {
            busy[stage.offer as usize] += ranges.run_ms(stage.offer, stage.start, stage.end);
        }
        let rate = |period_ms: f64| if period_ms > 0.0 { 1.0 / period_ms } else { 0.0 };
        let (mut throughput, mut weighted, mut rates, mut stages) = (0.0, 0.0, 0.0, 0);
        for replica in plan {
            let (mut hop_ms, mut run_ms, mut busy_ms, mut latency_ms) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0);
            for (position, stage) in replica.stages.iter().enumerate() {
                let hop = position.checked_sub(1).map_or(0.0, |before| ranges.hop_ms(replica.stages[before].offer, stage.offer, stage.start));
                let run = ranges.run_ms(stage.offer, stage.start, stage.end);
                (hop_ms, run_ms, busy_ms) = (hop_ms.max(hop), run_ms.max(run), busy_ms.max(busy[stage.offer as usize]));
                latency_ms += hop + run;
            }
            throughput += rate(hop_ms.max(busy_ms));
            weighted += rate(hop_ms.max(run_ms)) * latency_ms;
            rates += rate(hop_ms.max(run_ms));
            stages = stages.max(replica.stages.len());
        }
        Self { throughput, latency_ms: if rates > 0.0 { weighted / rates } else { 0.0 }, stages }
    }
}

/// Compares with a tolerance: less, equal within rounding, or greater.
pub fn compare(a: f64, b: f64) -> Ordering {
    if (a - b).abs() <= TIE_RATIO * a.abs().max(b.abs()) { Ordering::Equal } else { a.total_cmp(&b) }
}

/// The order of two plans, the better one first. For `Balanced` both must be within its share of the best throughput.
pub fn order(objective: Objective, a: &Score, b: &Score) -> Ordering {
    let faster = compare(b.throughput, a.throughput);
    let sooner = compare(a.latency_ms, b.latency_ms);
    let fewer = a.stages.cmp(&b.stages);
    match objective {
        Objective::Throughput => faster.then(sooner).then(fewer),
        Objective::Latency | Objective::Balanced => sooner.then(fewer).then(faster),
    }
}

/// The best of several plans; the first of equals.
pub fn best(objective: Objective, plans: Vec<(Score, Vec<Replica>)>) -> Option<(Score, Vec<Replica>)> {
    let most = plans.iter().map(|(score, _)| score.throughput).fold(0.0, f64::max);
    let enough = |score: &Score| objective != Objective::Balanced || compare(score.throughput, most * (1.0 - BALANCED_RATIO)) != Ordering::Less;
    plans.into_iter().filter(|(score, _)| enough(score)).min_by(|a, b| order(objective, &a.0, &b.0))
}
