//! A pool of three unlike devices, one as fast as another slowed down four times, one half and one a quarter as fast: requests per
//! second of the plan against the best device alone, against the same model split evenly, and against what the plan predicts.
//! All of it in one central, which has the model under a name for each way to place it, by turns in rounds.

#[path = "../../../host/plugin/tests/support/guests.rs"]
#[allow(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod guests;

use std::{collections::BTreeSet, error::Error, fs, path::Path, time::Duration};

use guests::guest;
use host_core::cost::refined::median;
use host_engine::Kind;
use host_wire::admin::{ExplainedReplica, ExplainedStage, Explanation};
use serde_json::json;
use shardhost_benches::{Host, load::PictureRequest, models, pool, report, round};

/// By id, how many times slower than this machine: together they keep less than half a core busy, so none waits for another.
const DEVICES: [(&str, u32); 3] = [("fast", 4), ("half", 8), ("quarter", 16)];
const PIXELS: usize = 160;
/// Enough that every device always has something to do.
const IN_FLIGHT: usize = 12;
const WARM_UP: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(12);
const ROUNDS: usize = 3;
/// So long are requests in flight before anything is counted: stages are measured, plans reckon with it and are made again where that is
/// worth it, which `REVIEWS` lets happen within this time.
const LEARNING: Duration = Duration::from_secs(15);
const REVIEWS: [&str; 4] = ["--set", "review.cause_ms_min=3000", "--set", "review.pause_ms_min=5000"];
/// Classes of the model.
const CLASSES: usize = 1_000;

/// By the name of the model, where it may go: wherever it serves best, in one chain over all devices, on one device.
const PLACEMENTS: [(&str, &str); 3] = [
    ("free", "objective: throughput"),
    ("chain", "objective: throughput, stages_min: 3, replicas_max: 1"),
    ("single", "objective: throughput, stages_max: 1, replicas_max: 1"),
];

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    let file = models::generated(&Kind::MobileNet { pixels: PIXELS })?;
    for (name, placement) in PLACEMENTS {
        models::write(&models, name, &file, placement)?;
    }
    let central = pool::central(folder.path().join("central"), &models, &REVIEWS)?;
    let _devices = DEVICES.into_iter().map(|device| join(&central, folder.path(), device)).collect::<Result<Vec<_>, _>>()?;
    let on_all = |explanation: &Explanation| devices_of(explanation).len() == DEVICES.len();
    let plans = [pool::placed(&central, "free", on_all)?, pool::placed(&central, "chain", on_all)?, pool::placed(&central, "single", |_| true)?];
    let first_predicted = plans.map(|plan| plan.throughput_per_s);
    let names = PLACEMENTS.map(|(name, _)| name);
    let mut rounds: [Vec<Round>; PLACEMENTS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (name, rounds) in names.iter().zip(&mut rounds) {
            rounds.push(Round::of(&central, name)?);
        }
    }
    let balanced = cuts(&pool::explained(&central, "chain")?);
    let even = split_evenly(&central, folder.path(), &balanced)?;
    let even_rounds = (0..ROUNDS).map(|_| Round::of(&central, "chain")).collect::<Result<Vec<_>, _>>()?;
    let [.., single] = &rounds;
    let single_per_s = per_s(single);
    let even_per_s = per_s(&even_rounds);
    let placed = names.iter().zip(first_predicted).zip(&rounds).map(|((name, first), rounds)| (*name, first, rounds));
    for (name, first_predicted_per_s, rounds) in placed.chain([("even", even.throughput_per_s, &even_rounds)]) {
        let ratios: Vec<f64> = rounds.iter().map(|round| round.per_s / round.predicted_per_s).collect();
        let values = json!({
            "placed": name,
            "per_s": round(per_s(rounds)),
            "ratios_to_predicted": ratios.iter().copied().map(round).collect::<Vec<_>>(),
            "ratio_to_predicted": median(ratios).map(round),
            "plans": rounds.iter().map(|round| round.plans.join(", then ")).collect::<Vec<_>>(),
            // Before any of its stages was measured, and perhaps of another plan.
            "ratio_to_first_predicted": round(per_s(rounds) / first_predicted_per_s),
            "ratio_to_single": round(per_s(rounds) / single_per_s),
            "ratio_to_even": round(per_s(rounds) / even_per_s),
        });
        report("pool", values);
    }
    Ok(())
}

/// Starts a device that is so many times slower than this machine. It measures itself when it starts, so one starts after another.
fn join(central: &Host, folder: &Path, (id, slowdown): (&str, u32)) -> Result<Host, Failed> {
    let profile = folder.join(format!("{id}.toml"));
    fs::write(&profile, format!("[compute]\nslowdown = {slowdown}\n"))?;
    Ok(pool::join(central, folder, id, &["--profile", &profile.display().to_string()])?)
}

/// What is predicted once the pool has measured its stages under load, and what is measured right after that. A machine whose
/// speed changes falsifies one round, and hardly most of them.
struct Round {
    predicted_per_s: f64,
    per_s: f64,
    /// The chains that were predicted for, and those that were there after it if they are others: what was measured is of both then.
    plans: Vec<String>,
}

impl Round {
    fn of(central: &Host, model: &str) -> Result<Self, Failed> {
        let requests = PictureRequest::new(model, PIXELS);
        requests.keep_in_flight(&central.address, IN_FLIGHT, [Duration::ZERO, LEARNING], |_| Ok(()))?;
        // Of the plan that is in force then.
        let predicted = pool::placed(central, model, |_| true)?;
        let check = |output: &[f32]| if output.len() == CLASSES { Ok(()) } else { Err(format!("{} classes, there must be {CLASSES}", output.len())) };
        let per_s = requests.keep_in_flight(&central.address, IN_FLIGHT, [WARM_UP, WINDOW], check)?.per_second();
        let mut plans = vec![chains(&predicted), chains(&pool::explained(central, model)?)];
        plans.dedup();
        Ok(Self { predicted_per_s: predicted.throughput_per_s, per_s, plans })
    }
}

/// Requests per second, of all rounds: windows are equally long.
fn per_s(rounds: &[Round]) -> f64 {
    rounds.iter().map(|round| round.per_s).sum::<f64>() / rounds.len() as f64
}

/// Puts the policy in service that knows nothing of speeds, and waits until the chain is cut as it says.
fn split_evenly(central: &Host, folder: &Path, balanced: &[(String, u32)]) -> Result<Explanation, Failed> {
    let file = folder.join("even-allocation.wasm");
    fs::write(&file, &guest("even-allocation").bytes)?;
    central.command(&["plugin", "install", &file.display().to_string(), "--slot", "allocation", "--accept-worse", "-o", "json"])?;
    Ok(pool::placed(central, "chain", |explanation| cuts(explanation) != balanced)?)
}

fn stages(explanation: &Explanation) -> impl Iterator<Item = &ExplainedStage> {
    explanation.replicas.iter().flat_map(|replica| &replica.stages)
}

/// Such as `fast[0..9) half[9..13) | quarter[0..13)`.
fn chains(explanation: &Explanation) -> String {
    let shard = |stage: &ExplainedStage| format!("{}[{}..{})", stage.stage.device, stage.stage.start, stage.stage.end);
    let chain = |replica: &ExplainedReplica| replica.stages.iter().map(shard).collect::<Vec<_>>().join(" ");
    explanation.replicas.iter().map(chain).collect::<Vec<_>>().join(" | ")
}

fn devices_of(explanation: &Explanation) -> BTreeSet<&str> {
    stages(explanation).map(|stage| stage.stage.device.as_str()).collect()
}

/// Which device has the blocks up to where.
fn cuts(explanation: &Explanation) -> Vec<(String, u32)> {
    stages(explanation).map(|stage| (stage.stage.device.clone(), stage.stage.end)).collect()
}
