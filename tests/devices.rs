//! Devices in processes of their own: they join with a token, share a model, and when one dies nothing is lost.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::collections::BTreeSet;

use running::{Host, classify, serves, text, wait_until};
use serde_json::Value;

/// A central without devices of its own.
fn central() -> Host {
    Host::start(&["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", "models"])
}

/// The devices that hold stages of a model, once the model serves.
fn stages(central: &Host, model: &str) -> BTreeSet<String> {
    let output = central.command(&["plan", "explain", model, "-o", "json"]);
    let explanation: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let replicas = explanation["replicas"].as_array().cloned().unwrap_or_default();
    let stages = replicas.iter().flat_map(|replica| replica["stages"].as_array().cloned().unwrap_or_default());
    stages.filter_map(|stage| stage["device"].as_str().map(str::to_owned)).collect()
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
