//! The outcome of simulations as lines for people and as JSON for programs.

use host_core::{
    simulate::{DeviceOutcome, Latencies, Outcome, PlanChange, Requests},
    units::Millis,
};
use serde_json::{Value, json};

use super::{Run, Setting};
use crate::{cli::screen::Screen, error::Error};

/// Most devices, and most plans, that people are shown; JSON has all of them.
const ROWS_MAX: usize = 24;

/// Prints a summary, and the details where there is one run.
pub(super) fn print(screen: &mut Screen, setting: &Setting, runs: &[Run]) -> Result<(), Error> {
    let shown = runs.first().map_or(Millis::ZERO, |run| run.outcome.duration);
    screen.line(&format!("fleet {}, {} devices, {shown} of requests, seed {}", setting.fleet, setting.devices, setting.seed))?;
    summary(screen, runs)?;
    let [only] = runs else { return Ok(()) };
    let outcome = &only.outcome;
    screen.line("")?;
    classes(screen, outcome)?;
    screen.line("")?;
    models(screen, outcome)?;
    screen.line("")?;
    devices(screen, &outcome.devices)?;
    screen.line("")?;
    plans(screen, &outcome.plans)?;
    screen.line("")?;
    moved(screen, outcome)
}

/// Heads of the columns of a summary.
pub(super) const SUMMARY: [&str; 12] =
    ["policies", "served", "shed", "failed", "p50", "p95", "p99", "answers/s", "busy", "fetched", "plans", "without replica"];

/// A run in the columns of a summary.
pub(super) fn summary_row(run: &Run, policies: String) -> [String; 12] {
    let Outcome { requests, .. } = &run.outcome;
    [
        policies,
        requests.served.to_string(),
        requests.shed_sum().to_string(),
        requests.failed_sum().to_string(),
        time(&requests.latencies, 0.5),
        time(&requests.latencies, 0.95),
        time(&requests.latencies, 0.99),
        format!("{:.2}", run.outcome.throughput_per_s),
        percent(run.outcome.utilisation()),
        run.outcome.fetched.to_string(),
        run.outcome.plans.len().to_string(),
        run.outcome.models.iter().map(|model| model.without_replica).sum::<Millis>().to_string(),
    ]
}

fn summary(screen: &mut Screen, runs: &[Run]) -> Result<(), Error> {
    let row = |run: &Run| summary_row(run, run.label.clone());
    screen.table(SUMMARY, &runs.iter().map(row).collect::<Vec<_>>())?;
    for run in runs {
        let queueing = if run.queueing.is_empty() { "order of arrival" } else { &run.queueing };
        screen.line(&format!("{}: {}, {}, {queueing}", run.label, run.allocation, run.routing))?;
        let calls = run.outcome.calls;
        if calls.strikes > 0 {
            screen.line(&format!("{}: policies failed {} times, and the host's own order was taken", run.label, calls.strikes))?;
        }
    }
    Ok(())
}

fn classes(screen: &mut Screen, outcome: &Outcome) -> Result<(), Error> {
    let row = |(class, requests): (usize, &Requests)| {
        let why: Vec<String> = reasons(requests).into_iter().map(|(word, count)| format!("{word} {count}")).collect();
        [
            (class + 1).to_string(),
            requests.arrived.to_string(),
            requests.served.to_string(),
            time(&requests.latencies, 0.5),
            time(&requests.latencies, 0.95),
            time(&requests.latencies, 0.99),
            requests.queued.to_string(),
            why.join(", "),
        ]
    };
    let rows: Vec<[String; 8]> = outcome.classes.iter().enumerate().filter(|(_, requests)| requests.arrived > 0).map(row).collect();
    screen.table(["priority", "arrived", "served", "p50", "p95", "p99", "mean wait", "not served"], &rows)
}

fn models(screen: &mut Screen, outcome: &Outcome) -> Result<(), Error> {
    let row = |model: &host_core::simulate::ModelOutcome| {
        [model.id.to_string(), format!("{:.2}", model.replicas), model.without_replica.to_string(), model.avoidable.to_string()]
    };
    let rows: Vec<[String; 4]> = outcome.models.iter().map(row).collect();
    screen.table(["model", "replicas", "without replica", "with memory for one"], &rows)
}

fn devices(screen: &mut Screen, devices: &[DeviceOutcome]) -> Result<(), Error> {
    let mut busiest: Vec<&DeviceOutcome> = devices.iter().collect();
    busiest.sort_by(|one, other| other.utilisation.total_cmp(&one.utilisation).then_with(|| one.id.cmp(&other.id)));
    let row = |device: &&DeviceOutcome| {
        let DeviceOutcome { id, utilisation, presence, runs, endings, fetched } = *device;
        [id.to_string(), percent(*utilisation), percent(*presence), runs.to_string(), endings.to_string(), fetched.to_string()]
    };
    let rows: Vec<[String; 6]> = busiest.iter().take(ROWS_MAX).map(row).collect();
    screen.table(["device", "busy", "there", "rows", "gone", "fetched"], &rows)?;
    more(screen, "devices", devices.len())
}

fn plans(screen: &mut Screen, plans: &[PlanChange]) -> Result<(), Error> {
    let row = |change: &PlanChange| {
        let swings = if change.is_uncaused { ", though nothing had happened" } else { "" };
        [
            change.plan.to_string(),
            change.at.to_string(),
            change.stages_new.to_string(),
            change.fetched.to_string(),
            change.fetched_min.to_string(),
            format!("{}{swings}", change.reason),
        ]
    };
    let rows: Vec<[String; 6]> = plans.iter().take(ROWS_MAX).map(row).collect();
    screen.table(["plan", "after", "new stages", "fetched", "at least", "why"], &rows)?;
    more(screen, "plans", plans.len())
}

fn more(screen: &mut Screen, what: &str, count: usize) -> Result<(), Error> {
    if count > ROWS_MAX { screen.line(&format!("… and {} more {what}; -o json has all", count - ROWS_MAX)) } else { Ok(()) }
}

fn moved(screen: &mut Screen, outcome: &Outcome) -> Result<(), Error> {
    let (on_losses, lost) = outcome.fetched_on_losses();
    screen
        .line(&format!("shards fetched {}, {} of them from other devices; activations {}", outcome.fetched, outcome.fetched_from_peers, outcome.activations))?;
    screen.line(&format!(
        "after losses {on_losses}, where shards of {lost} were lost; {} plans without a cause; {} replays",
        outcome.uncaused(),
        outcome.replays
    ))?;
    screen.line(&format!(
        "the doors opened after {}; {} policies' answers to {} problems were refusals",
        outcome.opened, outcome.calls.refusals, outcome.calls.solves
    ))?;
    outcome.rejected.iter().try_for_each(|rejected| screen.line(&format!("a fault of the simulator: {rejected}")))
}

/// Why requests were not served, with how many.
pub(super) fn reasons(requests: &Requests) -> Vec<(&'static str, u64)> {
    let shed = requests.shed.iter().map(|(why, count)| (why.word(), *count));
    shed.chain(requests.failed.iter().map(|(why, count)| (why.word(), *count))).collect()
}

fn time(latencies: &Latencies, share: f64) -> String {
    latencies.percentile(share).map_or_else(|| "-".to_owned(), |time| time.to_string())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Everything, as one value.
pub(super) fn as_json(setting: &Setting, runs: &[Run]) -> Value {
    let models: Vec<Value> =
        setting.models.iter().map(|model| json!({ "model": model.profile.id().to_string(), "blocks": model.profile.blocks().len() })).collect();
    let run = |run: &Run| {
        let mut value = outcome(&run.outcome);
        value["label"] = json!(run.label);
        value["policies"] = json!({ "allocation": run.allocation, "routing": run.routing, "queueing": (!run.queueing.is_empty()).then_some(&run.queueing) });
        value
    };
    json!({ "fleet": setting.fleet, "seed": setting.seed, "devices": setting.devices, "models": models, "runs": runs.iter().map(run).collect::<Vec<_>>() })
}

fn outcome(outcome: &Outcome) -> Value {
    let (on_losses, lost) = outcome.fetched_on_losses();
    let device = |device: &DeviceOutcome| json!({ "device": device.id.to_string(), "utilisation": device.utilisation, "presence": device.presence, "rows": device.runs, "endings": device.endings, "fetched_bytes": device.fetched.0 });
    let model = |model: &host_core::simulate::ModelOutcome| json!({ "model": model.id.to_string(), "replicas_mean": model.replicas, "without_replica_ms": model.without_replica.0, "avoidable_ms": model.avoidable.0 });
    let plan = |change: &PlanChange| json!({ "plan": change.plan.0, "at_ms": change.at.0, "reason": change.reason, "is_loss": change.is_loss, "stages_new": change.stages_new, "is_uncaused": change.is_uncaused, "fetched_bytes": change.fetched.0, "fetched_bytes_min": change.fetched_min.0, "lost_bytes": change.lost.0 });
    json!({
        "opened_ms": outcome.opened.0,
        "duration_ms": outcome.duration.0,
        "requests": requests(&outcome.requests),
        "classes": outcome.classes.iter().map(requests).collect::<Vec<_>>(),
        "throughput_per_s": outcome.throughput_per_s,
        "utilisation_mean": outcome.utilisation(),
        "replays": outcome.replays,
        "devices": outcome.devices.iter().map(device).collect::<Vec<_>>(),
        "models": outcome.models.iter().map(model).collect::<Vec<_>>(),
        "fetched_bytes": outcome.fetched.0,
        "fetched_from_peers_bytes": outcome.fetched_from_peers.0,
        "activation_bytes": outcome.activations.0,
        "fetched_on_losses_bytes": on_losses.0,
        "lost_bytes": lost.0,
        "uncaused_plans": outcome.uncaused(),
        "plans": outcome.plans.iter().map(plan).collect::<Vec<_>>(),
        "allocations": { "asked": outcome.calls.solves, "refused": outcome.calls.refusals },
        "strikes": outcome.calls.strikes,
        "rejected": outcome.rejected,
        "happenings": outcome.happenings,
    })
}

fn requests(requests: &Requests) -> Value {
    let ms = |time: Option<Millis>| time.map(|time| time.0);
    let latencies = &requests.latencies;
    let why: Value = reasons(requests).into_iter().map(|(word, count)| (word.to_owned(), json!(count))).collect::<serde_json::Map<_, _>>().into();
    json!({
        "arrived": requests.arrived,
        "served": requests.served,
        "shed": requests.shed_sum(),
        "failed": requests.failed_sum(),
        "not_served": why,
        "mean_ms": ms(latencies.mean()),
        "p50_ms": ms(latencies.percentile(0.5)),
        "p95_ms": ms(latencies.percentile(0.95)),
        "p99_ms": ms(latencies.percentile(0.99)),
        "max_ms": ms(latencies.percentile(1.0)),
        "queued_mean_ms": requests.queued.0,
    })
}
