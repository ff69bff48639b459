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
    /// Of a plan without stages on the same offer, or with them: the host computes the throughput alike.
    pub fn of(ranges: &Ranges<'_>, plan: &[Replica]) -> Self {
        let weighted = |replica: &Replica| {
            let rate = ranges.throughput(std::slice::from_ref(replica));
            (rate * ranges.latency_ms(replica), rate)
        };
        let (sum, rates) = plan.iter().map(weighted).fold((0.0, 0.0), |total, one| (total.0 + one.0, total.1 + one.1));
        let latency_ms = if rates > 0.0 { sum / rates } else { 0.0 };
        Self { throughput: ranges.throughput(plan), latency_ms, stages: plan.iter().map(|replica| replica.stages.len()).max().unwrap_or(0) }
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
