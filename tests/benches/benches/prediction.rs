//! How near predicted stage times come to measured ones: for each model a chain over three unlike devices of one host, predicted before
//! any request, after a hundred requests, and, cut at other blocks, before any request has gone through that cut. One JSON line each.

#[path = "../../../host/plugin/tests/support/guests.rs"]
#[allow(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod guests;

use std::{error::Error, fs, net::TcpStream, path::Path};

use guests::guest;
use host_engine::{Kind, MlpSize};
use host_wire::admin::{ExplainedStage, Explanation};
use serde_json::{Value, json};
use shardhost_benches::{Host, http::Connection, load::PictureRequest, models, pool, report, round};

/// By name, how many times slower than this machine.
const DEVICES: [(&str, u32); 3] = [("fast", 1), ("half", 2), ("quarter", 4)];
/// A chain over all of them.
const PLACEMENT: &str = "objective: throughput, stages_min: 3, replicas_max: 1";
const PIXELS: usize = 224;
const REQUESTS: u32 = 100;
/// Plans that are asked at most.
const PLANS_MAX: u32 = 5;

type Failed = Box<dyn Error>;

/// What a model is asked.
enum Asked {
    Picture(PictureRequest),
    /// Path and body.
    Json(String, String),
}

/// All models, or those that the command line names.
fn main() -> Result<(), Failed> {
    let named: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|one| one == name);
    let mlp = Kind::Mlp(MlpSize { inputs: 64, hidden: 128, layers: 8, outputs: 10 });
    if wanted("mlp") {
        measure("mlp", |folder| models::write(folder, "mlp", &models::generated(&mlp)?, PLACEMENT), &numbers("mlp", "input", &[1, 64]))?;
    }
    if wanted("digits") {
        measure("digits", copy_digits, &numbers("digits", "image", &[1, 1, 8, 8]))?;
    }
    for (name, kind) in
        [("mobilenet", Kind::MobileNet { pixels: PIXELS }), ("resnet50", Kind::ResNet50 { pixels: PIXELS })].into_iter().filter(|(name, _)| wanted(name))
    {
        measure(name, |folder| models::write(folder, name, &models::generated(&kind)?, PLACEMENT), &Asked::Picture(PictureRequest::new(name, PIXELS)))?;
    }
    Ok(())
}

fn measure(name: &str, write: impl FnOnce(&Path) -> Result<(), Failed>, asked: &Asked) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    write(&models)?;
    let host = Host::start(folder.path().join("data"), &["--local-devices", &profiles(folder.path())?, "--models", &models.display().to_string()])?;
    let (first, measured) = ask(&host, name, asked, pool::placed(&host, name, |_| true)?)?;
    let cuts = cuts(&measured);
    split_evenly(&host, folder.path())?;
    let (other, other_measured) = ask(&host, name, asked, pool::placed(&host, name, |explanation| self::cuts(explanation) != cuts)?)?;
    let values = json!({
        "model": name,
        "requests": REQUESTS,
        // As it was predicted by calibration and by the timed blocks alone.
        "before_requests": stages(&first, &measured),
        "after_requests": stages(&measured, &measured),
        // Another cut, as it was predicted by what the first one took.
        "other_cut_before_requests": stages(&other, &other_measured),
        "other_cut_after_requests": stages(&other_measured, &other_measured),
        "largest_error": round(largest(&measured, &measured)),
        "largest_error_of_other_cut": round(largest(&other, &other_measured)),
    });
    report("prediction", values);
    Ok(())
}

/// Sends the requests, one at a time, and waits until all of them are counted; what the plan in force predicted before them, and what
/// it has measured after them. A plan that its stages refute meanwhile is made again, and then the next one is asked.
fn ask(host: &Host, name: &str, asked: &Asked, mut first: Explanation) -> Result<(Explanation, Explanation), Failed> {
    for _ in 0..PLANS_MAX {
        let before: Vec<u32> = each(&first).map(|stage| stage.runs).collect();
        let mut connection = Connection::to_door(&host.address)?;
        for _ in 0..REQUESTS {
            asked.send(&mut connection)?;
        }
        let last = pool::until("the count of all runs", || {
            let explanation = pool::explained(host, name)?;
            let is_counted = each(&explanation).zip(&before).all(|(stage, before)| stage.runs >= before + REQUESTS);
            Ok((is_counted || cuts(&explanation) != cuts(&first)).then_some(explanation))
        })?;
        if cuts(&last) == cuts(&first) {
            return Ok((first, last));
        }
        first = pool::placed(host, name, |explanation| cuts(explanation) == cuts(&last))?;
    }
    Err(format!("{name}: {PLANS_MAX} plans were each refuted before they had answered {REQUESTS} requests").into())
}

impl Asked {
    fn send(&self, connection: &mut Connection<TcpStream>) -> Result<(), String> {
        match self {
            Self::Picture(request) => request.ask(connection).map(drop),
            Self::Json(path, body) => {
                let answer = connection.post(path, &[("content-type", "application/json")], body.as_bytes()).map_err(|error| error.to_string())?;
                answer.json::<Value>().map(drop)
            }
        }
    }
}

/// Some numbers in this shape.
fn numbers(model: &str, input: &str, shape: &[usize]) -> Asked {
    let data: Vec<f64> = (0..shape.iter().product::<usize>()).map(|index| (index % 7) as f64 / 7.0).collect();
    let body = json!({ "inputs": [{ "name": input, "datatype": "FP32", "shape": shape, "data": data }] });
    Asked::Json(format!("/v2/models/{model}/infer"), body.to_string())
}

/// The model of the repository, as it is.
fn copy_digits(folder: &Path) -> Result<(), Failed> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/digits");
    let to = folder.join("digits");
    fs::create_dir_all(to.join("1"))?;
    for file in ["model.yaml", "1/model.onnx"] {
        fs::copy(from.join(file), to.join(file))?;
    }
    Ok(())
}

/// Files for `--local-devices`.
fn profiles(folder: &Path) -> Result<String, Failed> {
    let mut files = Vec::new();
    for (name, slowdown) in DEVICES {
        let path = folder.join(format!("{name}.toml"));
        fs::write(&path, format!("[compute]\nslowdown = {slowdown}\n"))?;
        files.push(path.display().to_string());
    }
    Ok(files.join(","))
}

/// Puts the policy in service that knows nothing of speeds: it cuts elsewhere.
fn split_evenly(host: &Host, folder: &Path) -> Result<(), Failed> {
    let file = folder.join("even-allocation.wasm");
    fs::write(&file, &guest("even-allocation").bytes)?;
    host.command(&["plugin", "install", &file.display().to_string(), "--slot", "allocation", "--accept-worse", "-o", "json"])?;
    Ok(())
}

fn each(explanation: &Explanation) -> impl Iterator<Item = &ExplainedStage> {
    explanation.replicas.iter().flat_map(|replica| &replica.stages)
}

/// Which device has the blocks up to where.
fn cuts(explanation: &Explanation) -> Vec<(String, u32)> {
    each(explanation).map(|stage| (stage.stage.device.clone(), stage.stage.end)).collect()
}

/// Each stage as one explanation predicts it and the other has measured it; both are of the same plan.
fn stages(predicted: &Explanation, measured: &Explanation) -> Vec<Value> {
    let stage = |(one, other): (&ExplainedStage, &ExplainedStage)| {
        json!({
            "device": one.stage.device,
            "blocks": [one.stage.start, one.stage.end],
            "predicted_ms": round(one.predicted_ms),
            "measured_ms": other.measured_ms.map(round),
            "measured_to_predicted": other.measured_ms.map(|measured| round(measured / one.predicted_ms)),
        })
    };
    each(predicted).zip(each(measured)).map(stage).collect()
}

/// The largest part by which a prediction is off, above or below.
fn largest(predicted: &Explanation, measured: &Explanation) -> f64 {
    let off = |(one, other): (&ExplainedStage, &ExplainedStage)| other.measured_ms.map_or(f64::NAN, |measured| (one.predicted_ms / measured - 1.0).abs());
    each(predicted).zip(each(measured)).map(off).fold(0.0, f64::max)
}
