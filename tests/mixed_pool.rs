//! A pool of three kinds of accelerators, each behind its own adapter and in its own driver process: the CPU, and doubles of Rockchip's
//! and Huawei's libraries. What is converted for them serves beside what is not, and answers within the stated tolerance.
//!
//! The program of this test is also the converter that the host calls.
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[allow(dead_code, reason = "the other tests with doubles use the rest")]
mod doubled;

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;

use std::{fs, path::Path, process::Command};

use double_core::library;
use doubled::{CHIPS, assert_close, converter, expected, infer, put};
use host_engine::{EncoderSize, Kind, OnnxFile, Tensor, generate};
use pooled::{classify, stages, wait_until};
use running::{Host, root};
use serde_json::{Value, json};

/// The targets, as people name them.
const TARGETS: [&str; 2] = ["rknn:rk3588", "ascend:Ascend310P3"];

const TESTS: [(&str, fn()); 2] = [
    ("three_kinds_of_accelerators_serve_three_models", three_kinds_of_accelerators_serve_three_models),
    ("a_driver_that_is_killed_in_the_middle_of_it_costs_no_answer", a_driver_that_is_killed_in_the_middle_of_it_costs_no_answer),
];

fn main() {
    doubled::run(&TESTS);
}

fn encoder() -> OnnxFile {
    generate(&Kind::Encoder(EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 }), 3).expect("an encoder")
}

fn mobilenet() -> OnnxFile {
    generate(&Kind::MobileNet { pixels: 32 }, 3).expect("a MobileNet")
}

/// A host with these three devices and models, with everything converted that its plans want.
struct Mixed {
    host: Host,
    _folder: tempfile::TempDir,
}

impl Mixed {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let models = folder.path().join("models");
        put(&models, "encoder", &encoder());
        put(&models, "mobilenet", &mobilenet());
        let copied = Command::new("cp").arg("-r").arg(root().join("models/digits")).arg(&models).status().expect("cp runs");
        assert!(copied.success(), "the digits are copied");
        let config = folder.path().join("host.yaml");
        fs::write(&config, config_text(&models).to_string()).expect("there is room");
        let host = Host::start(&["--config", &config.display().to_string()]);
        let mixed = Self { host, _folder: folder };
        mixed.convert("digits", &["--ranges", &mixed.all_ranges("digits")]);
        mixed
    }

    fn convert(&self, model: &str, more: &[&str]) {
        for target in TARGETS {
            let done = self.host.json(&[&["model", "convert", model, "--for", target], more].concat());
            assert_eq!(done["state"], "done", "{done}");
        }
    }

    fn all_ranges(&self, model: &str) -> String {
        let blocks = self.host.json(&["model", "show", model])["blocks"].as_u64().expect("a number");
        let ranges = (0..blocks).flat_map(|start| (start + 1..=blocks).map(move |end| format!("{start}..{end}")));
        ranges.collect::<Vec<_>>().join(",")
    }

    /// Waits until all three devices have a part of the digits.
    fn wait_for_all_three(&self) {
        wait_until("a plan with all three devices", || stages(&self.host, "digits").len() == 3);
    }
}

/// JSON is YAML, too.
fn config_text(models: &Path) -> Value {
    let path = |name: &str| library(name).unwrap_or_else(|error| panic!("{error}"));
    json!({
        "models": models,
        "local_devices": [{"id": "plain", "adapters": ["cpu"]}, {"id": "rock", "adapters": ["rknn"]}, {"id": "climb", "adapters": ["ascend"]}],
        "slots": {"adapter/rknn": {"plugin": "rknn-adapter", "config": {"target": CHIPS[0].1}}},
        "engines": {"isolate": ["tract"], "rknn": {"library": path("rknn_double")}, "acl": {"library": path("acl_double")}},
        "conversion": {"rknn": converter("convert", "rknn"), "ascend": converter("convert", "acl")},
    })
}

/// What tract makes of the whole model.
fn whole(file: &OnnxFile, inputs: Vec<Tensor>) -> Vec<f64> {
    expected(file, [inputs]).remove(0)
}

fn answer(host: &Host, model: &str, inputs: &Value) -> Vec<f64> {
    infer(host, model, inputs).unwrap_or_else(|instead| panic!("{instead}"))
}

fn three_kinds_of_accelerators_serve_three_models() {
    let mixed = Mixed::start();
    let offers = mixed.host.json(&["device", "list"]).to_string();
    for target in ["rknn:rk3588", "acl:ascend310p3"] {
        assert!(offers.contains(target), "{target} is what an offer needs: {offers}");
    }
    mixed.convert("encoder", &["--buckets", "batch=1,sequence=8,32"]);
    mixed.convert("mobilenet", &[]);
    mixed.wait_for_all_three();
    let (answered, right) = classify(&mixed.host, 200);
    assert!(answered == 200 && right >= 194, "{right} of {answered}");

    // Padded to 8 and to 32.
    for length in [3_usize, 20] {
        let ids: Vec<i64> = (0..50).cycle().skip(3).step_by(7).take(length).collect();
        let ones = vec![1_i64; length];
        let tensor = |values: &[i64]| Tensor::from_i64(&[1, length], values).expect("as many as its shape has");
        let input = |name: &str, values: &[i64]| json!({"name": name, "shape": [1, length], "datatype": "INT64", "data": values});
        let found = answer(&mixed.host, "encoder", &json!([input("input_ids", &ids), input("attention_mask", &ones)]));
        assert_close(&found, &whole(&encoder(), vec![tensor(&ids), tensor(&ones)]), &format!("encoder, {length}"));
    }
    let pixels: Vec<f32> = (0..3 * 32 * 32).map(|place| f32::from(u8::try_from(place * 37 % 101).unwrap_or(0)) / 50.0 - 1.0).collect();
    let found = answer(&mixed.host, "mobilenet", &json!([{"name": "input", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": pixels}]));
    assert_close(&found, &whole(&mobilenet(), vec![Tensor::from_f32(&[1, 3, 32, 32], &pixels).expect("as many")]), "MobileNet");
}

/// The driver process of an engine, if it runs.
fn driver(host: &Host, engine: &str) -> Option<u32> {
    let said = Command::new("pgrep").args(["-P", &host.pid().to_string(), "-f", &format!("driver.*--engine {engine}")]).output().expect("pgrep runs");
    String::from_utf8_lossy(&said.stdout).lines().next()?.parse().ok()
}

fn a_driver_that_is_killed_in_the_middle_of_it_costs_no_answer() {
    let mixed = Mixed::start();
    mixed.wait_for_all_three();
    let starts = |engine: &str| mixed.host.metric(&format!("host_driver_starts_total{{engine=\"{engine}\"}}"));
    for engine in ["tract", "rknn", "acl"] {
        let before = starts(engine);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| classify(&mixed.host, 200));
            wait_until("its driver process", || driver(&mixed.host, engine).is_some());
            let pid = driver(&mixed.host, engine).expect("just seen");
            let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
            assert!(killed.success(), "{engine} has pid {pid}");
            let (answered, right) = load.join().expect("no request failed");
            assert!(answered == 200 && right >= 194, "{engine}: {right} of {answered}");
        });
        classify(&mixed.host, 8);
        assert!(starts(engine) > before, "{engine} was started again");
    }
}
