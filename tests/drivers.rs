//! Driver processes of a running host that are killed, hang, crash, end or talk nonsense in the middle of a call: each client gets its
//! right answer, and the host says what happened. What vendors' libraries refuse is said, and the plan goes round it.
//!
//! The libraries are doubles, whose faults come in each process anew. The program of this test is also the converter that the host calls.
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[allow(dead_code, reason = "the other tests with doubles use the rest")]
mod doubled;

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use double_core::library;
use doubled::{CHIPS, assert_close, converter, expected, infer, put};
use host_engine::{Kind, MlpSize, OnnxFile, Tensor, generate};
use pooled::{classify, is_loaded, serves, stages, wait_until};
use running::Host;
use serde_json::{Value, json};

const TESTS: [(&str, fn()); 7] = [
    ("calls_over_which_the_library_fails_are_answered_all_the_same", calls_over_which_the_library_fails_are_answered_all_the_same),
    ("a_process_that_is_killed_or_stopped_in_the_middle_of_calls_costs_no_answer", a_process_that_is_killed_or_stopped_in_the_middle_of_calls_costs_no_answer),
    ("the_process_ends_with_its_last_shard_and_comes_back_with_the_next", the_process_ends_with_its_last_shard_and_comes_back_with_the_next),
    ("no_process_outlives_a_host_that_is_killed", no_process_outlives_a_host_that_is_killed),
    ("a_process_in_the_middle_of_a_call_does_not_outlive_its_host", a_process_in_the_middle_of_a_call_does_not_outlive_its_host),
    ("what_an_accelerator_refuses_is_said_and_the_plan_goes_round_it", what_an_accelerator_refuses_is_said_and_the_plan_goes_round_it),
    ("a_library_that_cannot_be_used_is_named_once_and_the_host_serves", a_library_that_cannot_be_used_is_named_once_and_the_host_serves),
];

const MODEL: &str = "mlp";
const INPUTS: usize = 64;
/// Clients that ask at the same time.
const CLIENTS: usize = 4;
/// More than are asked while all goes well; after that a test that has failed ends.
const ROUNDS_MAX: usize = 500;
/// Longer than any call takes on a busy machine.
const CALL_MS_MAX: u64 = 5_000;

fn main() {
    doubled::run(&TESTS);
}

/// A vendor whose library there is a double of.
struct Vendor {
    engine: &'static str,
    adapter: &'static str,
    target: &'static str,
    /// The environment variable that names faults.
    variable: &'static str,
    /// The library's function that computes.
    runs: &'static str,
}

const RKNN: Vendor = Vendor { engine: "rknn", adapter: "rknn", target: "rknn:rk3588", variable: "DOUBLE_RKNN", runs: "rknn_run" };
const ACL: Vendor = Vendor { engine: "acl", adapter: "ascend", target: "ascend:Ascend310P3", variable: "DOUBLE_ACL", runs: "aclmdlExecute" };

fn model() -> OnnxFile {
    generate(&Kind::Mlp(MlpSize { inputs: INPUTS, hidden: 64, layers: 3, outputs: 10 }), 3).expect("a small model")
}

/// The path of a double.
fn double(vendor: &Vendor) -> String {
    let path = library(&format!("{}_double", vendor.engine)).unwrap_or_else(|error| panic!("{error}"));
    path.display().to_string()
}

/// A host with two devices, `plain` with its CPU and `npu` with a vendor's accelerator, and one model, converted whole for that.
struct Pool {
    host: Host,
    engine: &'static str,
    _folder: tempfile::TempDir,
}

impl Pool {
    /// The double shows these faults in each of its processes. `role` is that of the converter.
    fn start(vendor: &Vendor, faults: &str, role: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let models = folder.path().join("models");
        put(&models, MODEL, &model());
        let config = folder.path().join("host.yaml");
        fs::write(&config, config_text(vendor, &models, role).to_string()).expect("there is room");
        let host = Host::start_with(&["--config", &config.display().to_string()], &[(vendor.variable, faults)]);
        let blocks = host.json(&["model", "show", MODEL])["blocks"].as_u64().expect("a number");
        let done = host.json(&["model", "convert", MODEL, "--for", vendor.target, "--ranges", &format!("0..{blocks}")]);
        assert_eq!(done["state"], "done", "{done}");
        Self { host, engine: vendor.engine, _folder: folder }
    }

    /// The same with the model on the accelerator alone, so that nobody else can make good what goes wrong there.
    fn on_the_accelerator(vendor: &Vendor, faults: &str) -> Self {
        let pool = Self::start(vendor, faults, "convert");
        pool.moves("plain", "npu");
        pool
    }

    /// Has a device give its work to the other one.
    fn moves(&self, from: &str, to: &str) {
        self.host.ok(&["device", "drain", from]);
        wait_until(&format!("the model on {to} alone"), || is_on(&self.host, to) && is_loaded(&self.host, MODEL) && serves(&self.host, MODEL));
    }

    /// A count of driver processes, by its name and further labels.
    fn count(&self, name: &str, more: &str) -> f64 {
        self.host.metric(&format!("host_driver_{name}_total{{engine=\"{}\"{more}}}", self.engine))
    }

    fn deaths(&self, cause: &str) -> f64 {
        self.count("deaths", &format!(",cause=\"{cause}\""))
    }

    /// Its driver process, if there is one.
    fn driver(&self) -> Option<u32> {
        drivers(&self.host, self.engine).first().copied()
    }

    /// Whether a line of its log has all of these words.
    fn says(&self, words: &[&str]) -> bool {
        says(&self.host, words)
    }
}

/// JSON is YAML, too. A death is forgotten soon, so that many of them in a row do not make starts wait.
fn config_text(vendor: &Vendor, models: &Path, role: &str) -> Value {
    let mut config = json!({
        "models": models,
        "local_devices": [{"id": "plain", "adapters": ["cpu"]}, {"id": "npu", "adapters": [vendor.adapter]}],
        "engines": {"driver": {"environment": ["DOUBLE_*"], "calm_ms": 1, "call_ms_max": CALL_MS_MAX}},
        "conversion": {"rknn": converter(role, "rknn"), "ascend": converter(role, "acl")},
    });
    config["engines"][vendor.engine] = json!({"library": double(vendor)});
    if vendor.engine == RKNN.engine {
        config["slots"] = json!({"adapter/rknn": {"plugin": "rknn-adapter", "config": {"target": CHIPS[0].1}}});
    }
    config
}

fn is_on(host: &Host, device: &str) -> bool {
    stages(host, MODEL) == BTreeSet::from([device.to_owned()])
}

fn says(host: &Host, words: &[&str]) -> bool {
    host.said().iter().any(|line| words.iter().all(|word| line.contains(word)))
}

/// Driver processes of an engine that a host has started and that run.
fn drivers(host: &Host, engine: &str) -> Vec<u32> {
    let parent = format!("PPid:\t{}\n", host.pid());
    let processes = fs::read_dir("/proc").expect("there is one").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&parent));
    pids.filter(|pid| is_child(pid) && is_driver(*pid, engine)).collect()
}

/// Whether this is a driver process that runs. One that has ended and is waited for has no command line any more.
fn is_driver(pid: u32, engine: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    words.contains(&b"driver".as_slice()) && words.windows(2).any(|pair| *pair == [b"--engine".as_slice(), engine.as_bytes()])
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "no signal {name} for {pid}");
}

/// What clients ask, and what they must be answered.
struct Questions {
    inputs: Vec<Value>,
    answers: Vec<Vec<f64>>,
}

impl Questions {
    fn new(count: usize) -> Self {
        let number = |value: usize| f32::from(u8::try_from(value % 101).unwrap_or(0)) / 50.0 - 1.0;
        let values: Vec<Vec<f32>> = (0..count).map(|question| (0..INPUTS).map(|place| number(place * 37 + question * 11)).collect()).collect();
        let tensor = |values: &Vec<f32>| Tensor::from_f32(&[1, INPUTS], values).expect("as many as its shape has");
        let answers = expected(&model(), values.iter().map(|values| vec![tensor(values)]));
        let inputs = values.iter().map(|values| json!([{"name": "input", "shape": [1, INPUTS], "datatype": "FP32", "data": values}])).collect();
        Self { inputs, answers }
    }

    /// Has clients ask all of it at the same time. How many of the answers were right; panics at one that is not.
    fn ask(&self, host: &Host) -> usize {
        let share = |client: usize| {
            let mut right = 0_usize;
            for (number, (inputs, answer)) in self.inputs.iter().zip(&self.answers).enumerate().filter(|(number, _)| number % CLIENTS == client) {
                let found = infer(host, MODEL, inputs).unwrap_or_else(|instead| panic!("request {number} got {instead}"));
                assert_close(&found, answer, &format!("request {number}"));
                right += 1;
            }
            right
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || share(client))).collect();
            clients.into_iter().map(|client| client.join().expect("every request is answered rightly")).sum()
        })
    }
}

fn calls_over_which_the_library_fails_are_answered_all_the_same() {
    struct Case {
        vendor: &'static Vendor,
        /// What happens in which call of the function that computes, in each process.
        fault: &'static str,
        call: u64,
        cause: &'static str,
        says: String,
    }
    let case = |vendor, fault, call, cause, says: &str| Case { vendor, fault, call, cause, says: says.to_owned() };
    let late = format!("the driver process did not compute within {CALL_MS_MAX} ms");
    let cases = [
        case(&RKNN, "crash", 12, "signal", "the driver process ended with signal: 6"),
        case(&ACL, "exit", 12, "exit", "the driver process ended with exit status: 3"),
        case(&ACL, "crash", 12, "signal", "the driver process ended with signal: 6"),
        case(&RKNN, "babble", 12, "garbage", "the driver process said what is no message"),
        case(&RKNN, "hang", 30, "late", &late),
    ];
    let questions = Questions::new(70);
    for Case { vendor, fault, call, cause, says } in cases {
        let pool = Pool::on_the_accelerator(vendor, &format!("{fault}:{}:{call}", vendor.runs));
        assert_eq!(questions.ask(&pool.host), 70, "{fault}");
        assert!(pool.deaths(cause) >= 1.0, "{fault}: {:?}", pool.host.said());
        assert!(pool.count("retries", "") >= 1.0 && pool.count("starts", "") >= 2.0, "{fault}");
        let (of_driver, of_cause) = (format!("driver=\"{}\"", pool.engine), format!("cause=\"{cause}\""));
        // What is said of the last one may still be on its way here.
        wait_until(&says, || pool.says(&[says.as_str(), of_driver.as_str()]));
        wait_until("what was done then", || pool.says(&["done again in a fresh driver process", of_driver.as_str(), of_cause.as_str()]));
        assert!(is_on(&pool.host, "npu") && serves(&pool.host, MODEL), "{fault}: the device is not to blame");
    }
}

fn a_process_that_is_killed_or_stopped_in_the_middle_of_calls_costs_no_answer() {
    // So slow that it hardly ever does anything else than computing.
    let pool = Pool::on_the_accelerator(&RKNN, "slow:rknn_run:100");
    let questions = Questions::new(2 * CLIENTS);
    let done = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut rounds, mut is_last) = (Vec::new(), false);
            // The last round begins when all has happened.
            while !is_last && rounds.len() < ROUNDS_MAX {
                is_last = done.load(Ordering::Acquire);
                rounds.push(questions.ask(&pool.host));
            }
            rounds
        });
        for (name, cause) in [("KILL", "signal"), ("STOP", "silent"), ("KILL", "signal")] {
            let (calls, deaths) = (pool.count("calls", ""), pool.deaths(cause));
            wait_until("a call", || pool.driver().is_some() && pool.count("calls", "") > calls);
            let pid = pool.driver().expect("it computes");
            signal(pid, name);
            wait_until("a new process", || !is_driver(pid, pool.engine) && pool.driver().is_some() && pool.deaths(cause) > deaths);
        }
        done.store(true, Ordering::Release);
        asking.join().expect("every request is answered rightly")
    });
    assert!(rounds.iter().all(|answered| *answered == 2 * CLIENTS), "{rounds:?}");
    assert!(pool.count("retries", "") >= 1.0, "{:?}", pool.host.said());
    assert!(is_on(&pool.host, "npu"));
}

fn the_process_ends_with_its_last_shard_and_comes_back_with_the_next() {
    let pool = Pool::on_the_accelerator(&RKNN, "");
    let questions = Questions::new(8);
    let first = drivers(&pool.host, pool.engine);
    assert_eq!((first.len(), questions.ask(&pool.host)), (1, 8), "one process for the engine");

    pool.host.ok(&["device", "undrain", "plain"]);
    pool.moves("npu", "plain");
    wait_until("the end of the process", || !is_driver(first[0], pool.engine));
    assert_eq!((drivers(&pool.host, pool.engine), questions.ask(&pool.host)), (Vec::new(), 8));
    wait_until("that it is said", || pool.says(&["driver process ended, nothing is loaded in it", "driver=\"rknn\""]));
    assert_eq!(pool.host.metric("host_driver_memory_bytes{engine=\"rknn\"}"), 0.0);

    pool.host.ok(&["device", "undrain", "npu"]);
    pool.moves("plain", "npu");
    let second = drivers(&pool.host, pool.engine);
    assert_eq!((second.len(), questions.ask(&pool.host)), (1, 8));
    assert_ne!(first, second);
    assert!(["signal", "exit", "late", "silent", "garbage"].iter().all(|cause| pool.deaths(cause) == 0.0), "nothing has died");
}

fn no_process_outlives_a_host_that_is_killed() {
    let host = Host::start(&["--local-devices", "2", "--models", "models", "--set", r#"engines.isolate=["tract"]"#]);
    assert_eq!(classify(&host, 8).0, 8);
    let pids = drivers(&host, "tract");
    assert!(!pids.is_empty(), "tract is isolated");
    host.kill();
    wait_until("the end of its driver processes", || !pids.iter().any(|pid| is_driver(*pid, "tract")));
}

fn a_process_in_the_middle_of_a_call_does_not_outlive_its_host() {
    const CALL: u32 = 40;
    let pool = Pool::on_the_accelerator(&RKNN, &format!("hang:rknn_run:{CALL}"));
    let questions = Questions::new(1);
    std::thread::scope(|scope| {
        // Until the host is gone: the last one gets no answer.
        scope.spawn(|| (0..ROUNDS_MAX).all(|_| infer(&pool.host, MODEL, &questions.inputs[0]).is_ok()));
        wait_until("the call that hangs", || pool.count("calls", "") >= f64::from(CALL));
        let pids = drivers(&pool.host, pool.engine);
        assert_eq!(pids.len(), 1);
        pool.host.signal("KILL");
        wait_until("the end of the driver process", || !is_driver(pids[0], pool.engine));
    });
}

fn what_an_accelerator_refuses_is_said_and_the_plan_goes_round_it() {
    let questions = Questions::new(8);
    let cases = [
        ("garbage", "convert", "differs from the golden one by"),
        ("memory:1000", "convert", "RKNN_ERR_MALLOC_FAIL (-4), out of memory"),
        ("chip:rk3566", "convert", "RKNN_ERR_TARGET_PLATFORM_UNMATCH (-13), the model was converted for another chip"),
        ("version:1.7.5", "convert", "expected version 2.x, found 1.7.5"),
        ("", "spoil", "RKNN_ERR_MODEL_INVALID (-6), the model file is broken or no RKNN model"),
    ];
    for (faults, role, reason) in cases {
        let pool = Pool::start(&RKNN, faults, role);
        // Nothing but the accelerator is left to plan with, so it is tried; what serves goes on, as nothing can take its place.
        pool.host.ok(&["device", "drain", "plain"]);
        let explained = || pool.host.json(&["plan", "explain", MODEL, "--no-advice"])["notes"].to_string();
        wait_until("a refusal", || explained().contains(reason));
        assert!(explained().contains("refused mlp@1[0.."), "{}", explained());
        wait_until("that it is said", || pool.says(&["a shard could not be loaded", reason]));
        assert_eq!(questions.ask(&pool.host), 8, "{reason}");
        pool.host.ok(&["device", "undrain", "plain"]);
        wait_until("a plan that goes round the accelerator", || is_on(&pool.host, "plain") && is_loaded(&pool.host, MODEL));
        assert_eq!(questions.ask(&pool.host), 8, "{reason}");
        wait_until("the end of the driver process", || pool.driver().is_none());
    }
}

/// The head of a library for another machine than this one.
fn foreign_library() -> Vec<u8> {
    // x86-64 and aarch64, by the numbers of the ELF specification.
    let machine: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    let mut head = vec![0; 64];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    // ET_DYN: a shared library.
    head[16] = 3;
    head[18..20].copy_from_slice(&machine.to_le_bytes());
    head
}

fn a_library_that_cannot_be_used_is_named_once_and_the_host_serves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("there is room");
        path.display().to_string()
    };
    let whole = fs::read(double(&RKNN)).expect("it was built");
    let other = if cfg!(target_arch = "aarch64") { "found one for x86-64" } else { "found one for aarch64" };
    let cases = [
        (folder.path().join("missing.so").display().to_string(), "found no such file"),
        (folder.path().display().to_string(), "found a folder"),
        (file("text.so", b"not a library"), "that is no library and begins with"),
        (file("foreign.so", &foreign_library()), other),
        (file("cut.so", &whole[..whole.len() / 2]), "it was cut off"),
        (double(&ACL), "expected a function `rknn_init`, found none"),
    ];
    for (path, reason) in cases {
        let host = Host::start(&["--local-devices", "1", "--models", "models", "--set", &format!("engines.rknn.library={path}")]);
        wait_until("what is wrong with it", || says(&host, &["the engine cannot be used"]));
        let lines: Vec<String> = host.said().into_iter().filter(|line| line.contains("the engine cannot be used")).collect();
        assert!(matches!(&lines[..], [line] if line.contains(&path) && line.contains(reason)), "{path}: {:?}", host.said());
        assert_eq!((classify(&host, 8).0, drivers(&host, "rknn")), (8, Vec::new()), "{path}");
    }
}
