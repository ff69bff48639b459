//! Says why a plan is as it is: which device holds which blocks, what each stage should take and takes, the bottleneck, and
//! how far the plan is from the best there could be. Reads the cluster; decides nothing.

use std::collections::BTreeSet;

use host_core::{
    cluster::{Cluster, Lack, LeftOut, ModelRecord},
    cost::refined::StageTime,
    ids::{DeviceId, ModelId},
    predict::ReplicaPrediction,
    problem::{Objective, Problem, ProposedReplica, ProposedStage},
    shard::{BlockRange, ShardId},
    units::Millis,
};
use host_wire::admin::{ExplainedReplica, ExplainedStage, Explanation, PredictionError, Stage};

/// Explains the plan in force for a model. None if the model is not known.
pub fn explain(cluster: &Cluster, model: &ModelId) -> Option<Explanation> {
    let record = cluster.models().get(model)?;
    let problem = cluster.problem_in_force(model)?;
    let replicas: Vec<ExplainedReplica> = problem.current.iter().filter_map(|replica| explained(cluster, record, &problem, replica)).collect();
    let throughput = problem.throughput(&problem.current) * 1e3;
    let bound = if record.bound > 0.0 && problem.placement.objective != Objective::Latency { record.bound } else { problem.throughput_bound() };
    Some(Explanation {
        model: model.name.to_string(),
        version: model.version,
        plan: cluster.plan().plan().number.0,
        policy: String::new(),
        generation: 0,
        objective: word(problem.placement.objective).to_owned(),
        blocks: problem.model.whole().end(),
        prediction: error_of(&replicas),
        replicas,
        throughput_per_s: throughput,
        bound_per_s: if bound.is_finite() { bound * 1e3 } else { 0.0 },
        refused: None,
        helps: Vec::new(),
        notes: notes(cluster, record, &problem),
    })
}

fn explained(cluster: &Cluster, record: &ModelRecord, problem: &Problem, replica: &ProposedReplica) -> Option<ExplainedReplica> {
    let prediction: ReplicaPrediction = problem.predict(replica);
    let mut stages = Vec::with_capacity(replica.len());
    for (proposed, predicted) in replica.iter().zip(&prediction.stages) {
        let offer = problem.offers.get(proposed.offer as usize)?;
        let range = BlockRange::new(proposed.start, proposed.end).ok()?;
        let shard = ShardId { model: record.profile.id().clone(), range };
        let total = cluster.devices().get(&offer.id.device)?.device.offers.iter().find(|known| known.accelerator == offer.id.accelerator)?.memory;
        let measured = record.measured(&offer.id, &shard);
        stages.push(ExplainedStage {
            stage: Stage { device: offer.id.device.to_string(), accelerator: offer.id.accelerator.to_string(), start: range.start(), end: range.end() },
            predicted_ms: predicted.0,
            planned_ms: record.foreseen(&offer.id, &shard).map(|time| time.0),
            measured_ms: measured.map(|time| time.mean().0),
            error_ratio: measured.map(|time| predicted.0 / time.mean().0 - 1.0).filter(|error| error.is_finite()),
            runs: measured.map_or(0, StageTime::runs),
            memory_bytes: offer.capacity.need(&record.profile, range).0,
            memory_bytes_max: total.0,
        });
    }
    let milliseconds = |times: &[Millis]| times.iter().map(|time| time.0).collect::<Vec<_>>();
    Some(ExplainedReplica {
        stages,
        hops_ms: milliseconds(&prediction.hops),
        latency_ms: prediction.latency().0,
        period_ms: prediction.period().0,
        bottleneck: u32::try_from(prediction.bottleneck).unwrap_or(u32::MAX),
    })
}

/// Over all stages that were measured.
fn error_of(replicas: &[ExplainedReplica]) -> Option<PredictionError> {
    let errors: Vec<f64> = replicas.iter().flat_map(|replica| &replica.stages).filter_map(|stage| stage.error_ratio).map(f64::abs).collect();
    let max_ratio = errors.iter().copied().reduce(f64::max)?;
    let stages = u32::try_from(errors.len()).unwrap_or(u32::MAX);
    Some(PredictionError { stages, mean_ratio: errors.iter().sum::<f64>() / f64::from(stages), max_ratio })
}

fn notes(cluster: &Cluster, record: &ModelRecord, problem: &Problem) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(refusal) = &record.refusal {
        let kept = if problem.current.is_empty() { "it is not served" } else { "the plan before stays" };
        notes.push(format!("it could not be placed at the last try, {kept}: {refusal}"));
    }
    let mut sharing: Vec<&DeviceId> = Vec::new();
    for stage in problem.current.iter().flatten() {
        let Some(offer) = problem.offers.get(stage.offer as usize) else { continue };
        let known = cluster.devices().get(&offer.id.device).map(|known| &known.device);
        let shares = known.is_some_and(|device| device.offers.iter().any(|offer| !offer.shares_cores_with.is_empty()));
        if shares && !sharing.contains(&&offer.id.device) {
            sharing.push(&offer.id.device);
        }
    }
    sharing.sort();
    if sharing.len() > 1 {
        let names = sharing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        notes.push(format!("{names} share the cores of one machine and were calibrated together: each is slower while the others compute"));
    }
    notes.extend(relayed(cluster, problem));
    notes.extend(cluster.left_out(record.profile.id()).iter().map(left_out));
    notes.extend(record.exclusions.iter().map(super::advice::exclusion));
    notes
}

/// An offer that nothing was converted for, with what people can do about it.
fn left_out(left_out: &LeftOut) -> String {
    match left_out.why {
        Lack::Nothing => format!("{left_out}; host model convert {} --for {} makes them", left_out.model.name, left_out.target),
        Lack::TooManyRanges { .. } => format!("{left_out}; raise conversion.unconverted_ranges_max"),
    }
}

/// The hops of the plan that go over the central, each once.
fn relayed(cluster: &Cluster, problem: &Problem) -> BTreeSet<String> {
    let device = |stage: &ProposedStage| problem.offers.get(stage.offer as usize).map(|offer| &offer.id.device);
    let hops = problem.current.iter().flat_map(|replica| replica.windows(2)).filter_map(|pair| Some((device(&pair[0])?, device(&pair[1])?)));
    let relayed = hops.filter(|(source, target)| cluster.links().is_relayed(source, target));
    relayed.map(|(source, target)| format!("{source} cannot reach {target}: the central relays what it sends there")).collect()
}

pub(super) fn word(objective: Objective) -> &'static str {
    match objective {
        Objective::Latency => "latency",
        Objective::Throughput => "throughput",
        Objective::Balanced => "balanced",
    }
}
