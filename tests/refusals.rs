//! What an accelerator does not take: an operator, a shard that its memory has no room for, a length. Each is refused in words that name it,
//! the plan or the request goes round that device, and clients get their right answers. So is a library of another version.
//!
//! The libraries are doubles. The program of this test is also the converter that the host calls.
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[allow(dead_code, reason = "the other tests with doubles use the rest")]
mod doubled;

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;

use std::{collections::BTreeSet, fs, path::Path};

use double_core::library;
use doubled::{CHIPS, assert_close, converter, expected, infer, put};
use host_engine::{EncoderSize, Kind, OnnxFile, Specimen, Tensor, generate};
use pooled::{classify, is_loaded, serves, stages, wait_until};
use running::Host;
use serde_json::{Value, json};

const TESTS: [(&str, fn()); 4] = [
    ("a_shard_with_an_operator_that_an_accelerator_lacks_goes_to_the_others", a_shard_with_an_operator_that_an_accelerator_lacks_goes_to_the_others),
    ("a_shard_that_a_device_has_no_memory_for_goes_to_the_others", a_shard_that_a_device_has_no_memory_for_goes_to_the_others),
    ("a_length_over_the_largest_bucket_goes_to_a_device_that_takes_it", a_length_over_the_largest_bucket_goes_to_a_device_that_takes_it),
    ("a_library_of_another_version_is_named_once_and_the_host_serves", a_library_of_another_version_is_named_once_and_the_host_serves),
];

/// The targets, as people name them: of `rock`, then of `climb`.
const TARGETS: [&str; 2] = ["rknn:rk3588", "ascend:Ascend310P3"];
/// A specimen with the operators `Abs` and `Neg`, which one vendor's toolkit does not list.
const ARITHMETIC: &str = "arithmetic";
const ENCODER: &str = "encoder";
/// Enough for every device to be the first that is asked, several times.
const QUESTIONS: usize = 9;

fn main() {
    doubled::run(&TESTS);
}

fn path(double: &str) -> String {
    library(double).unwrap_or_else(|error| panic!("{error}")).display().to_string()
}

/// One model on three devices, each of which holds all of it if it takes it: `plain` is the CPU, `rock` a Rockchip, `climb` an Ascend.
struct Pool {
    host: Host,
    model: &'static str,
    _folder: tempfile::TempDir,
}

impl Pool {
    /// Starts it and has the model converted, for these lengths on `rock` and on `climb`.
    fn start(model: &'static str, file: &OnnxFile, environment: &[(&str, &str)], lengths: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let models = folder.path().join("models");
        put(&models, model, file);
        let manifest = "placement: { objective: throughput, stages_max: 1 }\nrouting: round-robin\n";
        fs::write(models.join(model).join("model.yaml"), manifest).expect("there is room");
        let config = folder.path().join("host.yaml");
        fs::write(&config, config_text(&models).to_string()).expect("there is room");
        let host = Host::start_with(&["--config", &config.display().to_string()], environment);
        let blocks = host.json(&["model", "show", model])["blocks"].as_u64().expect("a number");
        let whole = format!("0..{blocks}");
        for (target, lengths) in TARGETS.into_iter().zip(lengths) {
            let done = host.json(&["model", "convert", model, "--for", target, "--ranges", &whole, "--buckets", lengths]);
            assert_eq!(done["state"], "done", "{done}");
        }
        Self { host, model, _folder: folder }
    }

    /// Waits until these devices, and no others, hold the model and answer.
    fn wait_for(&self, devices: [&str; 2]) {
        let wanted: BTreeSet<String> = devices.map(str::to_owned).into();
        let is_there = || stages(&self.host, self.model) == wanted && is_loaded(&self.host, self.model) && serves(&self.host, self.model);
        wait_until(&format!("{} on {devices:?}", self.model), is_there);
    }

    /// Whether the plan says that an offer has refused the model, in these words.
    fn has_refused(&self, offer: &str, words: &[&str]) -> bool {
        let explained = self.host.json(&["plan", "explain", self.model, "--no-advice"]);
        let notes = explained["notes"].as_array().cloned().unwrap_or_default();
        let refused = format!("{offer} refused {}@1[0..", self.model);
        notes.iter().filter_map(Value::as_str).any(|note| note.starts_with(&refused) && words.iter().all(|word| note.contains(word)))
    }

    /// Whether a line of its log has all of these words.
    fn says(&self, words: &[&str]) -> bool {
        self.host.said().iter().any(|line| words.iter().all(|word| line.contains(word)))
    }

    /// What the encoder makes of so many tokens, or what came instead.
    fn encode(&self, length: usize) -> Result<Vec<f64>, String> {
        let input = |name: &str, values: &[i64]| json!({"name": name, "shape": [1, length], "datatype": "INT64", "data": values});
        infer(&self.host, self.model, &json!([input("input_ids", &tokens(length)), input("attention_mask", &vec![1; length])]))
    }

    /// Has so many tokens encoded, several times, and panics at an answer that is not right.
    fn encodes(&self, length: usize) {
        let tensor = |values: &[i64]| Tensor::from_i64(&[1, length], values).expect("as many as its shape has");
        let whole = expected(&encoder(), [vec![tensor(&tokens(length)), tensor(&vec![1; length])]]).remove(0);
        for question in 0..QUESTIONS {
            let found = self.encode(length).unwrap_or_else(|instead| panic!("{length} tokens, question {question}: {instead}"));
            assert_close(&found, &whole, &format!("{length} tokens, question {question}"));
        }
    }
}

/// JSON is YAML, too.
fn config_text(models: &Path) -> Value {
    json!({
        "models": models,
        "local_devices": [{"id": "plain", "adapters": ["cpu"]}, {"id": "rock", "adapters": ["rknn"]}, {"id": "climb", "adapters": ["ascend"]}],
        "slots": {"adapter/rknn": {"plugin": "rknn-adapter", "config": {"target": CHIPS[0].1}}},
        "engines": {"driver": {"environment": ["DOUBLE_*"]}, "rknn": {"library": path("rknn_double")}, "acl": {"library": path("acl_double")}},
        "conversion": {"rknn": converter("convert", "rknn"), "ascend": converter("convert", "acl")},
    })
}

fn encoder() -> OnnxFile {
    generate(&Kind::Encoder(EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 64 }), 3).expect("an encoder")
}

fn tokens(length: usize) -> Vec<i64> {
    (0..50).cycle().skip(3).step_by(7).take(length).collect()
}

/// Floats as an input of a request.
fn numbers(name: &str, tensor: &Tensor) -> Value {
    json!({"name": name, "shape": tensor.shape(), "datatype": "FP32", "data": tensor.to_f64()})
}

/// A device that refuses a model when it loads it.
struct Case {
    /// The environment variable of a double, and the faults in it.
    fault: (&'static str, &'static str),
    /// The offer that refuses.
    offer: &'static str,
    /// The devices that answer.
    others: [&'static str; 2],
    /// What is said of it.
    words: &'static [&'static str],
}

/// Has a device refuse a model: the reason is told, and the other devices answer.
fn goes_round(cases: &[Case]) {
    let specimen = Specimen::classes().expect("they can be made").into_iter().find(|specimen| specimen.name == ARITHMETIC).expect("it is one of them");
    let file = OnnxFile::parse(specimen.shard.file.clone(), None).expect("it is whole");
    for Case { fault, offer, others, words } in cases {
        let pool = Pool::start(ARITHMETIC, &file, &[*fault], ["batch=1", "batch=1"]);
        wait_until(&format!("a refusal by {offer} with {words:?}"), || pool.has_refused(offer, words));
        wait_until("that it is said", || pool.says(&[&["a shard could not be loaded"], *words].concat()));
        pool.wait_for(*others);
        for question in 0..QUESTIONS {
            let golden = specimen.golden(&specimen.lengths, question as u64).expect("the reference takes it");
            let inputs: Vec<Value> = specimen.shard.inputs.iter().zip(&golden.inputs).map(|(spec, tensor)| numbers(&spec.name, tensor)).collect();
            let found = infer(&pool.host, ARITHMETIC, &json!(inputs)).unwrap_or_else(|instead| panic!("{offer}, question {question}: {instead}"));
            assert_close(&found, &golden.outputs[0].to_f64(), &format!("{offer}, question {question}"));
        }
        assert!(pool.has_refused(offer, words), "the reason is still there");
    }
}

fn a_shard_with_an_operator_that_an_accelerator_lacks_goes_to_the_others() {
    goes_round(&[
        // The library names the operator in what it prints only, so the adapter names those that the toolkit does not list.
        Case {
            fault: ("DOUBLE_RKNN", "lacks:Neg"),
            offer: "rock/rknn",
            others: ["plain", "climb"],
            words: &["rknn_init answered RKNN_ERR_FAIL (-1)", "does not list operator Abs, Neg"],
        },
        Case {
            fault: ("DOUBLE_ACL", "lacks:Neg"),
            offer: "climb/ascend",
            others: ["plain", "rock"],
            words: &["ACL_ERROR_OP_NOT_FOUND (100024), an operator of the model is not installed", "optype [Neg]"],
        },
    ]);
}

fn a_shard_that_a_device_has_no_memory_for_goes_to_the_others() {
    goes_round(&[
        Case {
            fault: ("DOUBLE_RKNN", "memory:100"),
            offer: "rock/rknn",
            others: ["plain", "climb"],
            words: &["engine rknn has no room to load", "RKNN_ERR_MALLOC_FAIL (-4), out of memory: ", " bytes are needed, ", " are free"],
        },
        // The device has 8 GiB, of which others hold nearly all.
        Case {
            fault: ("DOUBLE_ACL", "memory:8589934592,taken:8589934000"),
            offer: "climb/ascend",
            others: ["plain", "rock"],
            words: &["engine acl has no room to load", ", out of memory: ", " bytes are needed, ", " are free"],
        },
    ]);
}

fn a_length_over_the_largest_bucket_goes_to_a_device_that_takes_it() {
    let pool = Pool::start(ENCODER, &encoder(), &[], ["batch=1,sequence=8", "batch=1,sequence=8,32"]);
    wait_until("the encoder on all three", || stages(&pool.host, ENCODER).len() == 3 && is_loaded(&pool.host, ENCODER));
    // The first all three take, the second all but `rock`, the third `plain` alone.
    for length in [3, 20, 40] {
        pool.encodes(length);
    }
    for words in ["is 20, the largest bucket has 8", "is 40, the largest bucket has 8", "is 40, the largest bucket has 32"] {
        wait_until(words, || pool.says(&["a request is replayed", "dimension `sequence` of input `input_ids`", words]));
    }

    pool.host.ok(&["device", "drain", "plain"]);
    pool.wait_for(["climb", "rock"]);
    pool.encodes(20);
    let refused = pool.encode(40).expect_err("no bucket is so long");
    assert!(refused.contains("dimension `sequence` of input `input_ids` is 40, the largest bucket has "), "{refused}");
}

fn a_library_of_another_version_is_named_once_and_the_host_serves() {
    let path = path("acl_double");
    let library = format!("engines.acl.library={path}");
    let flags = ["--local-devices", "1", "--models", "models", "--set", &library, "--set", r#"engines.driver.environment=["DOUBLE_*"]"#];
    let host = Host::start_with(&flags, &[("DOUBLE_ACL", "version:0.9.3")]);
    let lines = || host.said().into_iter().filter(|line| line.contains("the engine cannot be used")).collect::<Vec<_>>();
    wait_until("what is wrong with it", || !lines().is_empty());
    assert_eq!(classify(&host, 8).0, 8);
    let expected = format!("library `{path}`: expected version 1.x, found 0.9.3");
    assert!(matches!(&lines()[..], [line] if line.contains(&expected)), "{:?}", host.said());
}
