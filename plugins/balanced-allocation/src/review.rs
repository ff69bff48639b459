//! When the plan in force deserves another: a stage takes another time than predicted, the work is out of balance, or a
//! change would pay for the requests that are expected.

use shardhost_sdk::allocation::{Objective, Observation, Problem, StageObservation, Verdict};
use shardhost_sdk::problem::Ranges;

use crate::{keep::Candidate, settings::Settings};

/// The verdict, without the search for a better plan: none if nothing that was measured asks for one.
pub fn measured(observed: &Observation, settings: &Settings) -> Option<Verdict> {
    drift(observed, settings).or_else(|| imbalance(observed, settings)).map(Verdict::Replan)
}

/// The stage that is furthest from its prediction, if that is too far.
fn drift(observed: &Observation, settings: &Settings) -> Option<String> {
    let off = |stage: &StageObservation| (stage.measured_ms / stage.predicted_ms - 1.0).abs();
    let believed = |stage: &&StageObservation| stage.runs >= settings.drift_runs_min && stage.predicted_ms > 0.0 && stage.measured_ms >= 0.0;
    let furthest = observed.stages.iter().filter(believed).max_by(|a, b| off(a).total_cmp(&off(b)))?;
    if off(furthest) <= settings.drift_ratio_max {
        return None;
    }
    let stage = observed.problem.current.get(furthest.replica as usize).and_then(|replica| replica.stages.get(furthest.stage as usize));
    let offer = stage.and_then(|stage| observed.problem.offers.get(stage.offer as usize)).map_or("a stage", |offer| offer.id.as_str());
    let StageObservation { measured_ms, predicted_ms, runs, .. } = *furthest;
    Some(format!("{offer} takes {measured_ms:.2} ms in {runs} runs, {predicted_ms:.2} ms were predicted"))
}

fn imbalance(observed: &Observation, settings: &Settings) -> Option<String> {
    let (max, mean) = (observed.pressure_max, observed.pressure_mean);
    (max - mean > settings.rebalance_threshold)
        .then(|| format!("the highest pressure is {max:.2}, the mean {mean:.2}, and rebalance_threshold is {}", settings.rebalance_threshold))
}

/// The problem with the time that counts: what is saved is saved only while requests run. With one in ten periods, a tenth
/// of the horizon is what a change can gain from.
pub fn with_arrivals(observed: &Observation, settings: &Settings) -> Problem {
    let mut problem = observed.problem.clone();
    let horizon_ms = if problem.horizon_ms > 0.0 { problem.horizon_ms } else { settings.horizon_ms };
    let ranges = Ranges::new(&observed.problem);
    if observed.arrival_ms > 0.0 && ranges.check(&problem.current).is_ok() {
        let now = Candidate::of(&ranges, problem.current.clone());
        let request_ms = match problem.placement.objective {
            Objective::Latency => now.score.latency_ms,
            Objective::Throughput | Objective::Balanced if now.score.throughput > 0.0 => 1.0 / now.score.throughput,
            Objective::Throughput | Objective::Balanced => 0.0,
        };
        problem.horizon_ms = (horizon_ms * (request_ms / observed.arrival_ms).min(1.0)).max(f64::MIN_POSITIVE);
    }
    problem
}
