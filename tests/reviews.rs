//! Plans that are made again: because a policy that was asked to review them says so, and because another policy serves after a
//! restart than made them. `host plan history` shows both.

#[path = "../host/plugin/tests/support/guests.rs"]
mod guests;
#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{fs, path::Path};

use pooled::{classify, wait_until};
use running::Host;
use serde_json::Value;

/// Reviews as often as they can be, so that a test need not wait for minutes.
const OFTEN: [&str; 10] = [
    "--set",
    "review.interval_ms=300",
    "--set",
    "review.cause_ms_min=200",
    "--set",
    "review.pause_ms_min=200",
    "--set",
    "review.pause_ms_max=400",
    "--set",
    "review.runs_min=1",
];

/// A device that begins at its nominal speed, soon computes at a third of it, and again and again later on, and a steady one. Their
/// names are in this order so that the first offer is the one that tires.
fn profiles(folder: &Path) -> String {
    let file = |(name, fluctuation): (&str, &str)| {
        let path = folder.join(format!("{name}.toml"));
        fs::write(&path, format!("memory_bytes = 1073741824\n[compute]\nslowdown = 4\n{fluctuation}")).expect("written");
        path.display().to_string()
    };
    [("a-tiring", "[fluctuation]\nratio = 0.9\nperiod_ms = 4000\nseed = 7778\n"), ("b-steady", "")].map(file).join(",")
}

/// The flag that puts a misbehaving policy in the allocation slot.
fn allocation(folder: &Path, how: &str) -> String {
    let path = folder.join("misbehaving-allocation.wasm");
    fs::write(&path, guests::guest("misbehaving-allocation").bytes).expect("written");
    format!("slots={}", serde_json::json!({ "allocation": { "plugin": path.display().to_string(), "config": how } }))
}

fn history(host: &Host) -> Vec<Value> {
    host.json(&["plan", "history", "--count", "1000"]).as_array().cloned().unwrap_or_default()
}

/// Plans that reviews led to, the newest first.
fn reviewed(host: &Host) -> Vec<Value> {
    history(host).into_iter().filter(|record| record["reason"].as_str().is_some_and(|reason| reason.starts_with("review of digits@1, because "))).collect()
}

#[test]
fn a_device_that_tires_makes_a_review_ask_for_another_plan() {
    let folder = tempfile::tempdir().expect("a folder");
    let (devices, slot) = (profiles(folder.path()), allocation(folder.path(), "review-drift"));
    // Only a stage that drifts is cause: each review shows what stages take by then, and a little more each time would be no news.
    let seldom = ["--set", "review.interval_ms=600000"];
    let flags = [&["--local-devices", devices.as_str(), "--models", "models", "--set", slot.as_str()][..], &OFTEN, &seldom].concat();
    let host = Host::start(&flags);
    let again = history(&host).into_iter().find(|record| record["reason"] == "another allocation policy is in service");
    assert_eq!(again, None, "no other policy made a plan before the one of the config");
    wait_until("a plan by review", || {
        assert_eq!(classify(&host, 10).0, 10, "every picture is answered while plans change");
        !reviewed(&host).is_empty()
    });
    let record = reviewed(&host).pop().expect("there is one");
    assert!(record["reason"].as_str().is_some_and(|reason| reason.ends_with("is slow")), "{record}");
    assert_eq!((&record["expected"][0]["name"], &record["expected"][0]["objective"]), (&Value::from("digits"), &Value::from("balanced")), "{record}");
    assert!(record["expected"][0]["throughput_per_s"].as_f64() > Some(0.0), "{record}");
    let changed = record["changes"][0].as_str().unwrap_or_default();
    assert!(changed.starts_with("digits@1 gets ") && changed.contains(" and loses "), "{record}");
    let printed = host.ok(&["plan", "history"]);
    assert!(printed.contains("  why      review of digits@1, because ") && printed.contains("by misbehaving-allocation"), "{printed}");
    assert!(host.metric("host_plugin_calls_total{plugin=\"misbehaving-allocation\",function=\"review\",outcome=\"answered\"}") >= 1.0);
    assert!(host.metric("host_plugin_calls_total{plugin=\"misbehaving-allocation\",function=\"allocate\",outcome=\"answered\"}") >= 1.0);
    let (code, _data) = host.stop();
    assert_eq!(code, Some(0));
}

#[test]
fn a_policy_that_fails_in_reviews_is_rolled_back_and_the_plan_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let slot = allocation(folder.path(), "review-trap");
    // One that was rolled back stays out for as long as this test.
    let once = ["--set", "plugin_limits.retry_first_ms=600000"];
    let flags = [&["--local-devices", "2", "--models", "models", "--set", slot.as_str()][..], &OFTEN, &once].concat();
    let host = Host::start(&flags);
    let struck = "host_plugin_strikes_total{plugin=\"misbehaving-allocation\",kind=\"trap\"}";
    wait_until("three strikes", || {
        assert_eq!(classify(&host, 10).0, 10);
        host.metric(struck) >= 3.0
    });
    let status = || host.json(&["status"])["slots"].as_array().cloned().unwrap_or_default();
    wait_until("the roll back", || status().iter().any(|slot| slot["slot"] == "allocation" && slot["plugin"] == "balanced-allocation"));
    assert_eq!(classify(&host, 10).0, 10);
}

#[test]
fn another_allocation_policy_in_the_config_makes_every_model_be_placed_again_after_a_restart() {
    let two = ["--local-devices", "2", "--models", "models"];
    let greedy = ["--set", "slots={\"allocation\":\"greedy-allocation\"}"];
    let by = |host: &Host| history(host).first().map(|record| record["policy"]["plugin"].clone()).unwrap_or_default();
    let number = |host: &Host| host.json(&["plan", "show"])["number"].clone();
    let host = Host::start(&two);
    wait_until("the first policy to be noted", || by(&host) == "balanced-allocation");
    let (_, data) = host.stop();

    let host = Host::start_in(data, &[&two[..], &greedy].concat());
    wait_until("the other policy to be asked", || by(&host) == "greedy-allocation");
    let placed = history(&host);
    let asked = placed.iter().filter(|record| record["reason"] == "another allocation policy is in service").count();
    // The two disagree on at least one of the models, of which greedy makes a single replica.
    assert!(asked >= 1, "{placed:?}");
    let before = number(&host);
    assert_eq!(classify(&host, 10).0, 10);
    let (_, data) = host.stop();

    let host = Host::start_in(data, &[&two[..], &greedy].concat());
    assert_eq!(classify(&host, 10).0, 10);
    assert_eq!((number(&host), by(&host)), (before, Value::from("greedy-allocation")), "the same policy is not asked again");
}
