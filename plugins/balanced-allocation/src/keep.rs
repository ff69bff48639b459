//! Whether a better plan is worth the change. A change loads shards and loses caches, so it must gain more than it costs
//! within the time that the answer will be in force.

use shardhost_sdk::{
    allocation::{Objective, Replica},
    problem::Ranges,
};

use crate::score::{BALANCED_RATIO, Score};

/// A change that gains less than this share never pays: predictions are no better.
const GAIN_RATIO_MIN: f64 = 0.02;
/// Assumed if the host does not know how long the answer will be in force: ten minutes.
const HORIZON_MS: f64 = 600_000.0;

/// The plan in force, if it still holds and the proposed one does not gain enough; else the proposed one.
pub fn keep_or_change(ranges: &Ranges<'_>, proposed: (Score, Vec<Replica>)) -> (Score, Vec<Replica>) {
    let current = &ranges.problem().current;
    if ranges.check(current).is_err() {
        return proposed;
    }
    let score = Score::of(ranges, current);
    let gain = gain(ranges.problem().placement.objective, &score, &proposed.0);
    let horizon_ms = if ranges.problem().horizon_ms > 0.0 { ranges.problem().horizon_ms } else { HORIZON_MS };
    if gain < GAIN_RATIO_MIN || gain * horizon_ms <= load_ms(ranges, &proposed.1) { (score, current.clone()) } else { proposed }
}

/// The share of time that the change saves.
fn gain(objective: Objective, now: &Score, then: &Score) -> f64 {
    let throughput = if then.throughput > 0.0 { (then.throughput - now.throughput) / then.throughput } else { 0.0 };
    let latency = if now.latency_ms > 0.0 { (now.latency_ms - then.latency_ms) / now.latency_ms } else { 0.0 };
    match objective {
        Objective::Latency => latency,
        Objective::Throughput => throughput,
        Objective::Balanced if throughput > BALANCED_RATIO => throughput,
        Objective::Balanced => latency,
    }
}

/// Time to send the shards that are not where they would be, one after another.
fn load_ms(ranges: &Ranges<'_>, plan: &[Replica]) -> f64 {
    let there = |replicas: &[Replica], stage| replicas.iter().any(|replica| replica.stages.contains(stage));
    let moved = plan.iter().flat_map(|replica| &replica.stages).filter(|stage| !there(&ranges.problem().current, stage));
    let bytes: f64 = moved.map(|stage| ranges.weight_bytes(stage.start, stage.end)).sum();
    bytes / ranges.problem().within_site.bytes_per_ms
}
