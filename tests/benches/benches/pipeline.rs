//! A model in three stages, each on a device in a process of its own, against the whole of it in one process: the same engine, one
//! thread to a stage, and with one request at a time one thread at a time on both sides. What handing activations over adds is
//! measured with one request in flight, in turns; with eight in flight, how near the chain comes to what its slowest stage allows.

use std::{
    error::Error,
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use host_core::{
    ids::{ModelId, ModelName},
    model::ModelProfile,
};
use host_engine::{Kind, inspect};
use host_wire::admin::Explanation;
use serde_json::json;
use shardhost_benches::{
    Host, Times,
    http::Connection,
    load::{PictureRequest, difference},
    models, pool, report, round,
};

const PIXELS: usize = 224;
const STAGES: usize = 3;
/// Requests to each side, one at a time, after a tenth as many to warm up.
const RUNS: usize = 100;
const IN_FLIGHT: usize = 8;
const WARM_UP: Duration = Duration::from_secs(4);
const WINDOW: Duration = Duration::from_secs(20);
/// A convolution and the addition after it are one step unless a cut lies between, which rounds differently.
const DIFFERENCE_MAX: f64 = 1e-5;
/// What is wanted of a hop: so much time, and activations at so many bytes in each millisecond.
const HOP_MS: f64 = 0.3;
const BYTES_PER_MS: f64 = 0.8e6;

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    measure("mobilenet", &Kind::MobileNet { pixels: PIXELS })?;
    measure("resnet50", &Kind::ResNet50 { pixels: PIXELS })
}

fn measure(name: &str, kind: &Kind) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = models::generated(kind)?;
    let (whole, _devices, central, explanation) = start(folder.path(), name, &file)?;
    let id = ModelId { name: ModelName::parse(name)?, version: 1 };
    let bytes = activation_bytes(inspect(&models::parsed(&file)?, id)?.profile(), &explanation);
    let request = PictureRequest::new(name, PIXELS);
    latency(name, &request, [&whole, &central], bytes)?;
    throughput(name, &request, &whole, &central)
}

/// A host with the whole model, and a central with three devices that have a third each.
fn start(folder: &Path, name: &str, file: &Bytes) -> Result<(Host, Vec<Host>, Host, Explanation), Failed> {
    let (whole_models, cut_models) = (folder.join("whole-models"), folder.join("cut-models"));
    models::write(&whole_models, name, file, "stages_max: 1")?;
    models::write(&cut_models, name, file, &format!("objective: throughput, stages_min: {STAGES}, stages_max: {STAGES}, replicas_max: 1"))?;
    let whole = Host::start(folder.join("whole"), &["--local-devices", "1", "--models", &whole_models.display().to_string()])?;
    let central = pool::central(folder.join("central"), &cut_models, &[])?;
    // One after another: each measures itself while the machine is quiet.
    let devices = ["a", "b", "c"].into_iter().map(|id| pool::join(&central, folder, id, &[])).collect::<Result<Vec<_>, _>>()?;
    let in_three = |explanation: &Explanation| explanation.replicas.iter().all(|replica| replica.stages.len() == STAGES);
    let explanation = pool::placed(&central, name, in_three)?;
    Ok((whole, devices, central, explanation))
}

/// Everything that crosses from process to process for one request: its input, what leaves each stage, its output.
fn activation_bytes(profile: &ModelProfile, explanation: &Explanation) -> u64 {
    let ends = explanation.replicas.iter().flat_map(|replica| &replica.stages).map(|stage| stage.stage.end as usize);
    profile.input().0 + ends.filter_map(|end| Some(profile.blocks().get(end.checked_sub(1)?)?.border.0)).sum::<u64>()
}

/// One request at a time, in turns.
fn latency(name: &str, request: &PictureRequest, hosts: [&Host; 2], bytes: u64) -> Result<(), Failed> {
    let mut connections = [Connection::to_door(&hosts[0].address)?, Connection::to_door(&hosts[1].address)?];
    let (mut times, mut apart) = ([Vec::new(), Vec::new()], 0.0_f64);
    for run in 0..RUNS + RUNS / 10 {
        let mut outputs = [Vec::new(), Vec::new()];
        for side in 0..hosts.len() {
            let (took, output) = timed(request, &mut connections[side])?;
            outputs[side] = output;
            times[side].extend((run >= RUNS / 10).then_some(took));
        }
        apart = apart.max(difference(&outputs[0], &outputs[1]));
    }
    if apart > DIFFERENCE_MAX {
        return Err(format!("{name}: in stages its output differs by {apart:e} of its largest value, at most {DIFFERENCE_MAX:e} is rounding").into());
    }
    let [whole, cut] = times.map(|times| Times::of(&times));
    // The central hands to the first stage, each stage to the next, and the last one to the central.
    let hops = (STAGES + 1) as f64;
    let added_ms = (cut.percentile(0.5) - whole.percentile(0.5)) / 1e3;
    let wanted_ms = hops * HOP_MS + bytes as f64 / BYTES_PER_MS;
    let values = json!({
        "model": name,
        "whole": whole.summary(),
        "in_stages": cut.summary(),
        "hops": hops,
        "activation_bytes": bytes,
        "added_ms": round(added_ms),
        "added_ms_per_hop": round(added_ms / hops),
        "bytes_per_s": round(bytes as f64 / (added_ms / 1e3)),
        "wanted_ms": round(wanted_ms),
        "ratio_to_wanted": round(added_ms / wanted_ms),
        "largest_difference": apart,
    });
    report("pipeline_latency", values);
    Ok(())
}

fn timed(request: &PictureRequest, connection: &mut Connection<TcpStream>) -> Result<(Duration, Vec<f32>), String> {
    let started = Instant::now();
    let output = request.ask(connection)?;
    Ok((started.elapsed(), output))
}

/// Several requests in flight.
fn throughput(name: &str, request: &PictureRequest, whole: &Host, central: &Host) -> Result<(), Failed> {
    let expected = request.ask(&mut Connection::to_door(&whole.address)?)?;
    let check = |output: &[f32]| match difference(&expected, output) {
        apart if apart <= DIFFERENCE_MAX => Ok(()),
        apart => Err(format!("{name}: an output differs by {apart:e} of the largest value")),
    };
    let whole = request.keep_in_flight(&whole.address, IN_FLIGHT, [WARM_UP, WINDOW], check)?;
    let cut = request.keep_in_flight(&central.address, IN_FLIGHT, [WARM_UP, WINDOW], check)?;
    let explanation = pool::explained(central, name)?;
    let stages = explanation.replicas.iter().flat_map(|replica| &replica.stages);
    let measured_ms: Vec<f64> = stages.map(|stage| stage.measured_ms.unwrap_or(f64::NAN)).collect();
    let slowest_ms = measured_ms.iter().copied().fold(0.0, f64::max);
    let limit = 1e3 / slowest_ms;
    let values = json!({
        "model": name,
        "in_flight": IN_FLIGHT,
        "whole_per_s": round(whole.per_second()),
        "in_stages_per_s": round(cut.per_second()),
        "stages_ms": measured_ms.iter().copied().map(round).collect::<Vec<_>>(),
        "limit_per_s": round(limit),
        "ratio_to_limit": round(cut.per_second() / limit),
        "ratio_to_whole": round(cut.per_second() / whole.per_second()),
    });
    report("pipeline_throughput", values);
    Ok(())
}
