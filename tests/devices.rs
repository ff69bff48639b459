//! Devices in processes of their own: they join with a token, share a model, and when one dies nothing is lost.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{collections::BTreeSet, time::Instant};

use running::{Host, PATIENCE, samples, text};
use serde_json::Value;

/// A central without devices of its own.
fn central() -> Host {
    Host::start(&["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", "models"])
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The devices that hold stages of a model, once the model serves.
fn stages(central: &Host, model: &str) -> BTreeSet<String> {
    let output = central.command(&["plan", "explain", model, "-o", "json"]);
    let explanation: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let replicas = explanation["replicas"].as_array().cloned().unwrap_or_default();
    let stages = replicas.iter().flat_map(|replica| replica["stages"].as_array().cloned().unwrap_or_default());
    stages.filter_map(|stage| stage["device"].as_str().map(str::to_owned)).collect()
}

fn serves(central: &Host, model: &str) -> bool {
    let status = central.json(&["status"]);
    let models = status["models"].as_array().cloned().unwrap_or_default();
    models.iter().any(|entry| entry["name"] == model && entry["ready"] == true)
}

/// How many of the pictures were answered, and how many of those rightly.
fn classify(central: &Host, count: usize) -> (usize, usize) {
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

#[test]
fn three_devices_join_share_a_model_and_classify_real_pictures() {
    let central = central();
    assert!(!serves(&central, "digits"), "there is no device yet");
    let devices: Vec<Host> = ["a", "b", "c"].into_iter().map(|id| Host::join(&central, id, &[])).collect();
    wait_until("a plan over all three", || stages(&central, "digits").len() == 3 && serves(&central, "digits"));
    let (answered, right) = classify(&central, 50);
    assert!(answered == 50 && right >= 48, "{answered} answered, {right} right");
    drop(devices);
}

#[test]
fn a_device_that_is_killed_in_the_middle_of_it_costs_no_answer() {
    let central = central();
    let mut devices: Vec<Host> = ["a", "b", "c", "d"].into_iter().map(|id| Host::join(&central, id, &[])).collect();
    wait_until("a plan", || serves(&central, "digits") && stages(&central, "digits").len() >= 3);
    let used = stages(&central, "digits");
    let victim = ["a", "b", "c", "d"].iter().position(|id| used.contains(*id)).expect("one holds a stage");
    let victim = devices.remove(victim);
    let (answered, right) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| classify(&central, 200));
        std::thread::sleep(std::time::Duration::from_millis(150));
        let _data = victim.kill();
        asking.join().expect("asked")
    });
    assert!(answered == 200 && right >= 194, "{answered} answered, {right} right");
}

#[test]
fn a_wrong_token_is_refused_in_words() {
    let central = central();
    let token = central.json(&["token", "create"]);
    let (address, text_of) = (token["central"].as_str().expect("an address"), token["text"].as_str().expect("a token"));
    central.ok(&["token", "revoke", token["id"].as_str().expect("an id")]);
    let data = tempfile::tempdir().expect("a temporary folder");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["run", "--join", address, "--token", text_of, "--data"])
        .arg(data.path())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("was not joined") && said.contains("the token cannot be used"), "{said}");
}
