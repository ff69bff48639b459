//! The same pool twice: three unlike devices in processes of their own, measured, and the same devices in `host simulate`. Prints
//! throughput with requests in flight all the time, and the mean latency of one at a time, of both, and how near they are. So with
//! the plans of the default policy for three kinds of placement, and with those of other policies for the first of them.
//!
//! There is a pool for each, and they are measured by turns, in rounds: the speed of a machine changes, and so each plan meets the same
//! moments (`of_first` says what throughput it has beside the first one's, round by round).
//!
//! What is compared is one plan: the one that the pool had in force while it was measured, after it had time to learn what its stages
//! take, is simulated as it is, whoever made it and with whatever it reckoned. The simulated devices cost what the central says of the
//! real ones, times what their stages took against that cost, at the mean of the same phase: devices that share this machine's
//! processors take longer while all of them compute, and now and then much longer, which the typical times that plans go by leave
//! out. How well costs are predicted is measured by `pool`, here it is what the simulator makes of them. Beside it stands what the
//! policy would make of these costs from nothing (`anew_per_s`), which says how good the plan in force is by what is known by then.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use host_core::{
    cost::CostModel,
    ids::{ModelId, ModelName},
    model::ModelProfile,
    shard::BlockRange,
};
use host_engine::{Kind, OnnxFile, inspect};
use host_wire::admin::{Cost, Device, ExplainedStage, Explanation};
use serde_json::{Value, json};
use shardhost_benches::{
    Host, Times,
    http::Connection,
    load::PictureRequest,
    models, pool, report, round as rounded,
    simulated::{only, simulate},
};
use tempfile::TempDir;

/// By id, how many times slower than this machine.
const DEVICES: [(&str, u32); 3] = [("fast", 4), ("half", 8), ("quarter", 16)];
const PIXELS: usize = 160;
const CLASSES: usize = 1_000;
/// Enough that every device always has something to do.
const IN_FLIGHT: usize = 12;
const WARM_UP: Duration = Duration::from_secs(4);
const WINDOW: Duration = Duration::from_secs(12);
/// Long enough that a request more or less at its end does not matter. It costs little.
const SIMULATED: Duration = Duration::from_secs(120);
/// Requests one at a time, after a few to warm up.
const ALONE: usize = 20;
const ALONE_FIRST: usize = 4;
/// How often each pool has its turn.
const ROUNDS: usize = 3;
/// The last heartbeats with measured run times are in by then.
const NEWS: Duration = Duration::from_secs(3);
/// What both sides should differ by at most.
const WANTED: f64 = 0.1;

/// Where the model may go, and who says where it goes.
struct Case {
    model: &'static str,
    policy: &'static str,
    manifest: &'static str,
    /// The same as the manifest, for the fleet.
    placement: &'static str,
    /// Devices that its plan must have before it counts, where that is known.
    devices_min: usize,
}

const DEFAULT: &str = "balanced-allocation";
const FREE: Case =
    Case { model: "free", policy: DEFAULT, manifest: "objective: throughput", placement: "objective = \"throughput\"", devices_min: DEVICES.len() };
const CASES: [Case; 7] = [
    FREE,
    Case {
        model: "chain",
        manifest: "objective: throughput, stages_min: 3, replicas_max: 1",
        placement: "objective = \"throughput\", stages_min = 3, replicas_max = 1",
        ..FREE
    },
    Case {
        model: "single",
        manifest: "objective: throughput, stages_max: 1, replicas_max: 1",
        placement: "objective = \"throughput\", stages_max = 1, replicas_max = 1",
        devices_min: 1,
        ..FREE
    },
    Case { policy: "greedy-allocation", devices_min: 1, ..FREE },
    Case { policy: "memory-proportional-allocation", devices_min: 1, ..FREE },
    Case { policy: "compute-proportional-allocation", devices_min: 1, ..FREE },
    Case { policy: "parallax-greedy-allocation", devices_min: 1, ..FREE },
];
/// A plan that a policy made before all devices were there is made again by then.
const SETTLES: Duration = Duration::from_secs(5);
/// So long are requests in flight before anything is counted: stages are measured, and plans that they refute are made again, with the
/// settings that every host has.
const LEARNING: Duration = Duration::from_secs(40);
/// A measurement during which the plan changed is of no plan, and made again so often.
const ATTEMPTS_MAX: u32 = 3;

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let pools = CASES.into_iter().map(Pool::learned).collect::<Result<Vec<_>, _>>()?;
    let mut rounds: Vec<Vec<Round>> = pools.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (pool, rounds) in pools.iter().zip(&mut rounds) {
            rounds.push(pool.round()?);
        }
    }
    for (pool, own) in pools.iter().zip(&rounds) {
        report("simulated", compared(pool, own, &rounds[0]));
    }
    Ok(())
}

/// A central with its devices, in a folder that goes with it.
struct Pool {
    case: Case,
    central: Host,
    /// By id.
    devices: BTreeMap<&'static str, Host>,
    /// Its plan before the first request.
    first: Explanation,
    folder: TempDir,
}

impl Pool {
    /// Starts one, and lets it learn what its stages take.
    fn learned(case: Case) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let all = models_of(folder.path());
        models::write(&all, case.model, &models::generated(&Kind::MobileNet { pixels: PIXELS })?, case.manifest)?;
        let slots = format!("slots={}", json!({ "allocation": { "plugin": case.policy } }));
        let central = pool::central(folder.path().join("central"), &all, &["--set", &slots])?;
        let devices = DEVICES.into_iter().map(|device| Ok((device.0, join(&central, folder.path(), device)?))).collect::<Result<_, Failed>>()?;
        std::thread::sleep(SETTLES);
        let first = pool::placed(&central, case.model, |explanation| devices_of(explanation) >= case.devices_min)?;
        PictureRequest::new(case.model, PIXELS).keep_in_flight(&central.address, IN_FLIGHT, [Duration::ZERO, LEARNING], |_| Ok(()))?;
        Ok(Self { case, central, devices, first, folder })
    }

    /// Measures it both ways while its plan stays the same, and simulates it.
    fn round(&self) -> Result<Round, Failed> {
        let (central, model) = (&self.central, self.case.model);
        for _ in 0..ATTEMPTS_MAX {
            let before = pool::placed(central, model, |_| true)?;
            let (busy, alone) = (self.phase(per_second)?, self.phase(alone_mean_ms)?);
            if [&busy, &alone].iter().all(|phase| phase.plan.plan == before.plan) {
                let real = Real { busy, alone, devices: central.admin()?.look("/devices")?, shown: central.command(&["plan", "show", "-o", "json"])? };
                let imitated = imitated(&self.case, self.folder.path(), &real)?;
                return Ok(Round { real, imitated });
            }
        }
        Err(format!("the plan of {model} changed during each of {ATTEMPTS_MAX} measurements").into())
    }

    fn phase(&self, measure: fn(&Host, &str) -> Result<f64, Failed>) -> Result<Phase, Failed> {
        let model = self.case.model;
        let ran = || self.devices.iter().map(|(&id, device)| Ok((id, device.stages_ran(model)?))).collect::<Result<BTreeMap<_, _>, Failed>>();
        let before = ran()?;
        let measured = measure(&self.central, model)?;
        let mut stage_ms = BTreeMap::new();
        for (id, (runs, seconds)) in ran()? {
            let (runs_before, seconds_before) = before.get(id).copied().unwrap_or_default();
            if runs > runs_before {
                stage_ms.insert(id, (seconds - seconds_before) * 1e3 / (runs - runs_before));
            }
        }
        std::thread::sleep(NEWS);
        Ok(Phase { measured, plan: pool::explained(&self.central, model)?, stage_ms })
    }
}

/// What a pool did in one of its turns, and what the simulator makes of it.
struct Round {
    real: Real,
    imitated: Imitated,
}

/// What was measured.
struct Real {
    busy: Phase,
    alone: Phase,
    devices: Vec<Device>,
    /// The plan, as `host simulate --plan` takes it.
    shown: Value,
}

/// What was measured while requests came in one way.
struct Phase {
    /// Requests per second with many in flight; milliseconds of a request that is alone, at the mean.
    measured: f64,
    /// The plan, with what its stages typically took at the end.
    plan: Explanation,
    /// What a stage took on each device that had one, at the mean of the phase.
    stage_ms: BTreeMap<&'static str, f64>,
}

/// What the simulator makes of it.
struct Imitated {
    /// The plan that the pool had: requests per second with many in flight, milliseconds of one that is alone.
    per_s: f64,
    alone_ms: f64,
    /// Requests per second with the plan that the policy makes of the measured costs.
    anew_per_s: f64,
}

fn imitated(case: &Case, folder: &Path, real: &Real) -> Result<Imitated, Failed> {
    let (model, fleet, shown) = (models_of(folder).join(case.model), folder.join("fleet.toml"), folder.join("plan.json"));
    fs::write(&shown, real.shown.to_string())?;
    let shown = shown.display().to_string();
    let as_it_is = ["--plan", shown.as_str()];
    let run = |clients: usize, phase: &Phase, flags: &[&str]| {
        fs::write(&fleet, described(&model, case, &real.devices, phase, clients)?)?;
        Ok::<Value, Failed>(only(&simulate(&fleet, flags)?)?.clone())
    };
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    Ok(Imitated {
        per_s: number(&run(IN_FLIGHT, &real.busy, &as_it_is)?["throughput_per_s"]),
        alone_ms: number(&run(1, &real.alone, &as_it_is)?["requests"]["mean_ms"]),
        anew_per_s: number(&run(IN_FLIGHT, &real.busy, &["--allocation", case.policy])?["throughput_per_s"]),
    })
}

fn check(output: &[f32]) -> Result<(), String> {
    if output.len() == CLASSES { Ok(()) } else { Err(format!("{} classes, there must be {CLASSES}", output.len())) }
}

fn per_second(central: &Host, model: &str) -> Result<f64, Failed> {
    let answered = PictureRequest::new(model, PIXELS).keep_in_flight(&central.address, IN_FLIGHT, [WARM_UP, WINDOW], check)?;
    Ok(answered.per_second())
}

fn alone_mean_ms(central: &Host, model: &str) -> Result<f64, Failed> {
    let request = PictureRequest::new(model, PIXELS);
    let mut connection = Connection::to_door(&central.address)?;
    let mut times = Vec::new();
    for index in 0..ALONE_FIRST + ALONE {
        let began = std::time::Instant::now();
        check(&request.ask(&mut connection)?)?;
        if index >= ALONE_FIRST {
            times.push(began.elapsed());
        }
    }
    Ok(Times::of(&times).mean() / 1e3)
}

/// All rounds of a pool, beside those of the first.
fn compared(pool: &Pool, own: &[Round], first: &[Round]) -> Value {
    let mean = |value: fn(&Round) -> f64| own.iter().map(value).sum::<f64>() / own.len() as f64;
    let each = |value: fn(&Round) -> f64| own.iter().map(|round| rounded(value(round))).collect::<Vec<_>>();
    let (measured_per_s, per_s) = (mean(|round| round.real.busy.measured), mean(|round| round.imitated.per_s));
    let (measured_ms, ms) = (mean(|round| round.real.alone.measured), mean(|round| round.imitated.alone_ms));
    let (throughput, latency) = (per_s / measured_per_s, ms / measured_ms);
    let of_first: Vec<f64> = own.iter().zip(first).map(|(own, first)| rounded(own.real.busy.measured / first.real.busy.measured)).collect();
    let near = |ratio: f64| (ratio - 1.0).abs() <= WANTED;
    json!({
        "placed": pool.case.model,
        "policy": pool.case.policy,
        "measured_per_s": rounded(measured_per_s),
        "simulated_per_s": rounded(per_s),
        "throughput_ratio": rounded(throughput),
        "throughput_ratios": each(|round| round.imitated.per_s / round.real.busy.measured),
        "of_first": of_first,
        "measured_mean_ms": rounded(measured_ms),
        "simulated_mean_ms": rounded(ms),
        "latency_ratio": rounded(latency),
        "latency_ratios": each(|round| round.imitated.alone_ms / round.real.alone.measured),
        "within_wanted": near(throughput) && near(latency),
        "anew_per_s": rounded(mean(|round| round.imitated.anew_per_s)),
        // As it was planned before anything was measured, and as it was in the last round.
        "first_stages": told(&pool.first, &BTreeMap::new()),
        "stages": own.last().map(|round| told(&round.real.busy.plan, &round.real.busy.stage_ms)),
        "stages_alone": own.last().map(|round| told(&round.real.alone.plan, &round.real.alone.stage_ms)),
    })
}

/// Each stage with what it was planned to take, what it typically took, and what it took at the mean.
fn told(plan: &Explanation, mean_ms: &BTreeMap<&str, f64>) -> Vec<Value> {
    let stage = |stage: &ExplainedStage| {
        json!({
            "device": stage.stage.device,
            "blocks": [stage.stage.start, stage.stage.end],
            "planned_ms": stage.planned_ms.map(rounded),
            "measured_ms": stage.measured_ms.map(rounded),
            "mean_ms": mean_ms.get(stage.stage.device.as_str()).copied().map(rounded),
        })
    };
    stages(plan).map(stage).collect()
}

/// Where the models of a pool are in its folder.
fn models_of(folder: &Path) -> PathBuf {
    folder.join("models")
}

/// Starts a device that is so many times slower than this machine. It measures itself when it starts, so one starts after another.
fn join(central: &Host, folder: &Path, (id, slowdown): (&str, u32)) -> Result<Host, Failed> {
    let profile = folder.join(format!("{id}.toml"));
    fs::write(&profile, format!("[compute]\nslowdown = {slowdown}\n"))?;
    Ok(pool::join(central, folder, id, &["--profile", &profile.display().to_string()])?)
}

fn stages(explanation: &Explanation) -> impl Iterator<Item = &ExplainedStage> {
    explanation.replicas.iter().flat_map(|replica| &replica.stages)
}

fn devices_of(explanation: &Explanation) -> usize {
    stages(explanation).map(|stage| stage.stage.device.as_str()).collect::<std::collections::BTreeSet<_>>().len()
}

/// How many times longer the stages of each device took than its cost says, which is what the simulator goes by. One without a stage
/// is taken for as far off as all together.
fn stretched<'p>(phase: &'p Phase, devices: &[Device], profile: &ModelProfile) -> (BTreeMap<&'p str, f64>, f64) {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let took = |stage: &'p ExplainedStage| Some((&stage.stage, *phase.stage_ms.get(stage.stage.device.as_str())?));
    for (stage, mean_ms) in stages(&phase.plan).filter_map(took) {
        let offer = devices.iter().find(|device| device.id == stage.device).and_then(|device| device.offers.first());
        let Some((offer, range)) = offer.zip(BlockRange::new(stage.start, stage.end).ok()) else { continue };
        let Cost { gflop_ms, weight_mb_ms, activation_mb_ms, fixed_ms } = offer.cost;
        let cost = CostModel { gflop_ms, weight_mb_ms, activation_mb_ms, fixed_ms };
        let sum = sums.entry(stage.device.as_str()).or_default();
        *sum = (sum.0 + mean_ms, sum.1 + cost.predict(profile.work(range)).0);
    }
    let all = sums.values().fold((0.0, 0.0), |all, sum| (all.0 + sum.0, all.1 + sum.1));
    let ratio = |(took, said): (f64, f64)| if said > 0.0 { took / said } else { 1.0 };
    (sums.into_iter().map(|(device, sum)| (device, ratio(sum))).collect(), ratio(all))
}

/// The pool as a fleet.
fn described(model: &Path, case: &Case, devices: &[Device], phase: &Phase, clients: usize) -> Result<String, Failed> {
    let id = ModelId { name: ModelName::parse(case.model)?, version: 1 };
    let (ratios, all) = stretched(phase, devices, inspect(&OnnxFile::open(&model.join("1/model.onnx"))?, id)?.profile());
    let placement = case.placement;
    let mut text = format!(
        "[central]\nsite = \"here\"\n\n[[models]]\nfolder = \"{}\"\nplacement = {{ {placement} }}\n\n[[traffic]]\narrivals = \"closed\"\nclients = {clients}\n\n[run]\nwarm_up_ms = {}\nduration_ms = {}\n\n[within_site]\n{}",
        model.display(),
        WARM_UP.as_millis(),
        SIMULATED.as_millis(),
        within_site(devices),
    );
    for device in devices {
        let offer = device.offers.first().ok_or_else(|| format!("{} offers nothing", device.id))?;
        let (cost, times) = (&offer.cost, ratios.get(device.id.as_str()).copied().unwrap_or(all));
        text += &format!(
            "\n[[devices]]\nname = \"{}\"\nsite = \"here\"\nmemory_bytes = {}\ncost = {{ gflop_ms = {:?}, weight_mb_ms = {:?}, activation_mb_ms = {:?}, fixed_ms = {:?} }}\n",
            device.id,
            offer.memory_bytes,
            cost.gflop_ms * times,
            cost.weight_mb_ms * times,
            cost.activation_mb_ms * times,
            cost.fixed_ms * times,
        );
    }
    Ok(text)
}

/// The mean of what was measured of the ways between the devices and to the central; nothing where nothing was.
fn within_site(devices: &[Device]) -> String {
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let links = || devices.iter().flat_map(|device| &device.links).filter(|link| !link.relayed);
    let latency = mean(links().filter_map(|link| link.latency_ms).collect());
    let bandwidth = mean(links().filter_map(|link| link.bytes_per_s).collect());
    let latency = latency.map(|ms| format!("latency_ms = {ms:?}\n")).unwrap_or_default();
    let bandwidth = bandwidth.map(|bytes| format!("bandwidth_bytes_per_s = {bytes:?}\n")).unwrap_or_default();
    latency + &bandwidth
}
