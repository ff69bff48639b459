//! `host conformance` on the adapters and engines that a test machine can have: tract, rten, ONNX Runtime where it is found, and doubles of
//! Rockchip's and Huawei's libraries, each in a driver process and with a converter.
//!
//! The program of this test is also that converter: with `convert` for its first word it makes a double's model file.
#![allow(clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use double_core::{Payload, library};
use host_engine::Shard;
use host_vendor::ort::{Library, Provider, SearchPaths};
use serde_json::{Value, json};

/// Loads in a row: people run a thousand, and tests few.
const CYCLES: &str = "20";
/// The filling, in MiB; an eighth of it is one shard.
const FILL_MIB: &str = "8";
/// Where the double of Rockchip's library is told what it has for memory: more than two of those shards, and less than three.
const LITTLE_MEMORY: &str = "memory:2600000";

const TESTS: [(&str, fn()); 6] = [
    ("tract_takes_all_of_it", tract_takes_all_of_it),
    ("rten_is_right_or_refuses", rten_is_right_or_refuses),
    ("onnxruntime_is_right_or_refuses", onnxruntime_is_right_or_refuses),
    ("doubles_of_npus_are_right_or_refuse", doubles_of_npus_are_right_or_refuse),
    ("an_npu_with_little_memory_is_well_again_once_it_is_unloaded", an_npu_with_little_memory_is_well_again_once_it_is_unloaded),
    ("what_nobody_converts_is_missing_and_the_command_fails", what_nobody_converts_is_missing_and_the_command_fails),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, kind, chip, model, output] = words.as_slice()
        && role == "convert"
    {
        return convert(kind, chip, Path::new(model), Path::new(output));
    }
    let is_wanted = |name: &str| words.iter().all(|word| word.starts_with('-')) || words.iter().any(|word| name.contains(word.as_str()));
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        test();
        println!("test {name} ... ok");
    }
}

/// What a vendor's tool does: reads a shard with fixed lengths, and writes what its library loads.
fn convert(kind: &str, chip: &str, model: &Path, output: &Path) {
    let shard = Shard::read(fs::read(model).expect("the model is there").into(), None).expect("it is a shard");
    let payload = Payload::of(kind, chip, &shard, &BTreeMap::new()).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(1)
    });
    let payload = if kind == "rknn" { payload.half() } else { payload };
    fs::write(output, payload.to_bytes()).expect("there is room");
}

/// An NPU whose library is a double.
#[derive(Clone, Copy)]
struct Npu {
    adapter: &'static str,
    /// The engine, the kind of its artefacts, and the name of its setting.
    engine: &'static str,
    /// Where a converter for it is set.
    conversion: &'static str,
    chip: &'static str,
    plugin_config: &'static str,
}

const ROCKCHIP: Npu = Npu { adapter: "rknn-adapter", engine: "rknn", conversion: "rknn", chip: "rk3588", plugin_config: r#"{"target":"rk3588"}"# };
const HUAWEI: Npu = Npu { adapter: "ascend-adapter", engine: "acl", conversion: "ascend", chip: "ascend310p3", plugin_config: r#"{"engine":"acl"}"# };

impl Npu {
    fn config(self, folder: &Path, converts: bool) -> PathBuf {
        let double = library(&format!("{}_double", self.engine)).unwrap_or_else(|error| panic!("{error}"));
        let program = std::env::current_exe().expect("it runs");
        let command = if converts { json!([program, "convert", self.engine, self.chip, "{model}", "{output}"]) } else { json!(["/nowhere/converter"]) };
        let config = json!({
            "engines": {self.engine: {"library": double}, "driver": {"environment": ["DOUBLE_*"]}},
            "conversion": {self.conversion: {"command": command}},
        });
        let path = folder.join("host.yaml");
        fs::write(&path, config.to_string()).expect("there is room");
        path
    }
}

/// What the command found, and how it ended.
struct Outcome {
    report: Value,
    code: Option<i32>,
    said: String,
}

impl Outcome {
    fn of(folder: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.args(["conformance", "-o", "json", "--cycles", CYCLES, "--fill-mib", FILL_MIB, "--data"]).arg(folder).args(flags);
        let ended = command.envs(environment.iter().copied()).output().expect("the host starts");
        let (out, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr).into_owned());
        let report = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{said}"));
        Self { report, code: ended.status.code(), said }
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().into_iter().flatten()
    }

    /// The lines of a subject: result and words.
    fn about(&self, subject: &str) -> Vec<(&str, &str)> {
        let of = self.checks().filter(|check| check["about"] == subject);
        of.map(|check| (check["result"].as_str().unwrap_or_default(), check["says"].as_str().unwrap_or_default())).collect()
    }

    /// Nothing is wrong, what is required is taken, and everything was examined.
    fn assert_passed(&self, who: &str) {
        let failed: Vec<&Value> = self.checks().filter(|check| check["passed"] != true).collect();
        assert!(failed.is_empty() && self.code == Some(0), "{who}: {failed:#?} {}", self.said);
        for subject in ["operators", "type", "length", "memory", "cycles", "parallel"] {
            assert!(self.about(subject).iter().any(|(result, _)| *result == "ok"), "{who} takes nothing of {subject}: {:#?}", self.report);
        }
        let required: Vec<&Value> = self.checks().filter(|check| check["required"] == true).collect();
        assert!(required.len() >= 5 && required.iter().all(|check| check["result"] == "ok"), "{who}: {required:#?}");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn tract_takes_all_of_it() {
    let folder = folder();
    let outcome = Outcome::of(folder.path(), &["--adapter", "cpu", "--engine", "tract", "--require", "all"], &[]);
    outcome.assert_passed("tract");
    assert_eq!(outcome.report["accelerator"], "cpu");
    assert!(outcome.checks().all(|check| check["result"] == "ok"), "{:#?}", outcome.report);
}

fn rten_is_right_or_refuses() {
    let folder = folder();
    Outcome::of(folder.path(), &["--adapter", "cpu-adapter", "--engine", "rten"], &[]).assert_passed("rten");
}

fn onnxruntime_is_right_or_refuses() {
    if let Err(error) = Library::find(&SearchPaths::of_machine(Provider::Cpu, None)) {
        assert!(std::env::var_os("SHARDHOST_REQUIRE_ONNXRUNTIME").is_none(), "SHARDHOST_REQUIRE_ONNXRUNTIME is set and {error}");
        println!("skipped: {error}");
        return;
    }
    let folder = folder();
    Outcome::of(folder.path(), &["--adapter", "cpu-adapter", "--engine", "ort"], &[]).assert_passed("ort");
}

fn doubles_of_npus_are_right_or_refuse() {
    for npu in [ROCKCHIP, HUAWEI] {
        let folder = folder();
        let config = npu.config(folder.path(), true).display().to_string();
        let violations = folder.path().join("violations");
        let (variable, file) = (format!("DOUBLE_{}_VIOLATIONS", npu.engine.to_uppercase()), violations.display().to_string());
        let flags = ["--adapter", npu.adapter, "--plugin-config", npu.plugin_config, "--config", &config];
        let outcome = Outcome::of(folder.path(), &flags, &[(variable.as_str(), file.as_str())]);
        outcome.assert_passed(npu.engine);
        assert!(!violations.exists(), "{}: {}", npu.engine, fs::read_to_string(&violations).unwrap_or_default());
        // It was converted for 4 and 16: lengths around them are padded, and 17 is too long.
        let lengths = outcome.about("length");
        assert!(lengths.len() == 6 && lengths.iter().all(|(result, _)| *result == "ok"), "{lengths:#?}");
        let (_, says) = lengths.last().expect("there are six");
        assert!(says.contains("`sequence`") && says.contains("is 17, the largest bucket has 16"), "{says}");
    }
}

fn an_npu_with_little_memory_is_well_again_once_it_is_unloaded() {
    let folder = folder();
    let config = ROCKCHIP.config(folder.path(), true).display().to_string();
    let flags = ["--adapter", ROCKCHIP.adapter, "--plugin-config", ROCKCHIP.plugin_config, "--config", &config];
    let outcome = Outcome::of(folder.path(), &flags, &[("DOUBLE_RKNN", LITTLE_MEMORY)]);
    let memory = outcome.about("memory");
    assert!(matches!(memory[..], [("ok", says)] if says.contains("full after") && says.contains("has no room")), "{memory:?} {}", outcome.said);
    outcome.assert_passed("an NPU with little memory");
}

fn what_nobody_converts_is_missing_and_the_command_fails() {
    let folder = folder();
    let config = ROCKCHIP.config(folder.path(), false).display().to_string();
    let outcome = Outcome::of(folder.path(), &["--adapter", "rknn", "--plugin-config", ROCKCHIP.plugin_config, "--config", &config], &[]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.said);
    for check in outcome.checks() {
        let says = check["says"].as_str().unwrap_or_default();
        assert!(check["result"] == "missing" && says.contains("converted for rknn:rk3588") && says.contains("/nowhere/converter"), "{check}");
    }
    assert!(outcome.said.contains("`rknn-adapter` fails"), "{}", outcome.said);
}
