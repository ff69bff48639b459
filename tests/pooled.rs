//! A pool for tests: a central, and what its devices do for it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::running::{Host, PATIENCE, samples, text};

/// A central without devices of its own.
pub fn central() -> Host {
    Host::start(&["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", "models"])
}

/// Waits until something has come about.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The devices that hold stages of a model, once the model serves.
pub fn stages(central: &Host, model: &str) -> BTreeSet<String> {
    let output = central.command(&["plan", "explain", model, "-o", "json"]);
    let explanation: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let replicas = explanation["replicas"].as_array().cloned().unwrap_or_default();
    let stages = replicas.iter().flat_map(|replica| replica["stages"].as_array().cloned().unwrap_or_default());
    stages.filter_map(|stage| stage["device"].as_str().map(str::to_owned)).collect()
}

/// Whether each stage of a model's plan is ready on its device, and nothing else of it is left.
pub fn is_loaded(central: &Host, model: &str) -> bool {
    let output = central.command(&["plan", "explain", model, "-o", "json"]);
    let explanation: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let replicas = explanation["replicas"].as_array().cloned().unwrap_or_default();
    let stages = replicas.iter().flat_map(|replica| replica["stages"].as_array().cloned().unwrap_or_default());
    let planned: BTreeSet<(String, String)> =
        stages.map(|stage| (stage["device"].as_str().unwrap_or_default().to_owned(), format!("{model}@1[{}..{})", stage["start"], stage["end"]))).collect();
    let devices = central.json(&["device", "list"]).as_array().cloned().unwrap_or_default();
    let held = devices.iter().flat_map(|device| {
        let shards = device["shards"].as_array().cloned().unwrap_or_default();
        shards.into_iter().map(|shard| (device["id"].as_str().unwrap_or_default().to_owned(), shard.as_str().unwrap_or_default().to_owned()))
    });
    let held: BTreeSet<(String, String)> = held.filter(|(_, shard)| shard.starts_with(&format!("{model}@"))).collect();
    !planned.is_empty() && held == planned
}

/// Whether a model is answered for.
pub fn serves(central: &Host, model: &str) -> bool {
    let status = central.json(&["status"]);
    let models = status["models"].as_array().cloned().unwrap_or_default();
    models.iter().any(|entry| entry["name"] == model && entry["ready"] == true)
}

/// How many of the pictures were answered, and how many of those rightly.
pub fn classify(central: &Host, count: usize) -> (usize, usize) {
    let files: Vec<String> = samples().iter().take(count).map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> = ["infer", "digits", "-o", "json"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let output = central.command(&arguments);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let answers: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let is_right = |answer: &&Value| {
        let (file, label) = (answer["file"].as_str().unwrap_or_default(), answer["classes"][0]["label"].as_str().unwrap_or("?"));
        file.ends_with(&format!("_{label}.png"))
    };
    (answers.len(), answers.iter().filter(is_right).count())
}
