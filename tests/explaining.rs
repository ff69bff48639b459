//! `host plan explain`, as a person asks it: of a model that fits nowhere, what fails and by how much; of one that serves, what was
//! predicted and measured, and what would help.

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{fs, path::Path};

use pooled::{classify, wait_until};
use running::Host;
use serde_json::Value;

/// A profile of this name, as `--local-devices` takes it.
fn profile(folder: &Path, name: &str, lines: &str) -> String {
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, lines).expect("written");
    path.display().to_string()
}

fn helps<'a>(explanation: &'a Value, kind: &str) -> Vec<&'a Value> {
    explanation["helps"].as_array().expect("a list").iter().filter(|help| help["kind"] == kind).collect()
}

fn stages(explanation: &Value) -> Vec<&Value> {
    let replicas = explanation["replicas"].as_array().expect("replicas");
    replicas.iter().flat_map(|replica| replica["stages"].as_array().expect("stages")).collect()
}

#[test]
fn a_model_that_fits_nowhere_is_explained_with_what_is_missing_and_where() {
    let folder = tempfile::tempdir().expect("a folder");
    // Every loaded shard takes 8 MiB beside its weights, so nothing fits, and twice as much would do.
    let small = profile(folder.path(), "small", "memory_bytes = 8388608\n[compute]\nslowdown = 1\n");
    let smaller = profile(folder.path(), "smaller", "memory_bytes = 4194304\n[compute]\nslowdown = 1\n");
    let host = Host::start(&["--local-devices", &format!("{smaller},{small}"), "--models", "models"]);

    let explanation = host.json(&["plan", "explain", "mlp"]);
    let refused = &explanation["refused"];
    assert_eq!((&refused["constraint"], &refused["nearest"]), (&Value::from("memory"), &Value::from("small/cpu")), "{explanation}");
    let short = refused["short_bytes"].as_u64().expect("a number");
    assert!(short > 0 && short < 8 << 20, "{refused}");
    assert!(refused["shortfall"].as_str().is_some_and(|said| said.starts_with("short of ") && said.contains(" on small: ")), "{refused}");
    let rooms = refused["rooms"].as_array().expect("a list");
    assert_eq!(
        rooms.iter().map(|room| (room["offer"].as_str(), room["blocks"].as_u64())).collect::<Vec<_>>(),
        [(Some("small/cpu"), Some(0)), (Some("smaller/cpu"), Some(0))]
    );
    let memory = helps(&explanation, "memory");
    assert!(
        memory.iter().any(|help| help["change"].as_str().is_some_and(|change| change.contains("on small ")) && help["gain_ratio"].is_null()),
        "{explanation}"
    );

    let printed = host.ok(&["plan", "explain", "mlp"]);
    for part in ["refused     ", "constraint  memory: short of ", "all of it takes", "helps most  ", "it could be served then"] {
        assert!(printed.contains(part), "{part} is not in: {printed}");
    }
    let quick = host.json(&["plan", "explain", "mlp", "--no-advice"]);
    assert!(quick["helps"].as_array().is_some_and(Vec::is_empty) && quick["refused"] == *refused, "{quick}");
}

#[test]
fn stages_are_explained_with_what_was_predicted_and_measured() {
    let host = Host::start(&["--local-devices", "3", "--models", "models"]);
    let before = host.json(&["plan", "explain", "digits"]);
    assert!(before["prediction"].is_null() && stages(&before).iter().all(|stage| stage["measured_ms"].is_null() && stage["runs"] == 0), "{before}");
    assert!(stages(&before).iter().all(|stage| stage["planned_ms"] == stage["predicted_ms"]), "{before}");
    let (answered, _) = classify(&host, 120);
    assert_eq!(answered, 120);
    let all_counted = |explanation: &Value| stages(explanation).iter().all(|stage| stage["runs"].as_u64().is_some_and(|runs| runs >= 100));
    wait_until("the runs of all requests", || all_counted(&host.json(&["plan", "explain", "digits", "--no-advice"])));
    let after = host.json(&["plan", "explain", "digits"]);
    let mut errors = Vec::new();
    for stage in stages(&after) {
        let number = |key: &str| stage[key].as_f64().unwrap_or_else(|| panic!("no {key} in {stage}"));
        assert!((number("predicted_ms") / number("measured_ms") - 1.0 - number("error_ratio")).abs() < 1e-9, "{stage}");
        errors.push(number("error_ratio").abs());
    }
    let largest = errors.iter().copied().fold(0.0, f64::max);
    assert_eq!(after["prediction"]["stages"].as_u64(), Some(errors.len() as u64));
    assert!((after["prediction"]["max_ratio"].as_f64().expect("a number") - largest).abs() < 1e-9, "{after}");
    let printed = host.ok(&["plan", "explain", "digits"]);
    for part in ["planned", "predicted", "measured", "error", "runs", "bottleneck  ", "prediction  ", "throughput  "] {
        assert!(printed.contains(part), "{part} is not in: {printed}");
    }
}

#[test]
fn one_more_device_like_the_only_one_is_said_to_help() {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = profile(folder.path(), "alone", "[compute]\nslowdown = 4\n");
    let host = Host::start(&["--local-devices", &alone, "--models", "models"]);
    let explanation = host.json(&["plan", "explain", "mlp"]);
    let devices = helps(&explanation, "device");
    assert_eq!(devices.len(), 1, "{explanation}");
    assert_eq!(devices[0]["change"], "one more device like alone");
    // Two of the same answer twice as many, whatever each takes.
    assert!(devices[0]["gain_ratio"].as_f64().is_some_and(|gain| (0.9..1.1).contains(&gain)), "{explanation}");
    // The recording, the trials and the plan know nothing of the questions.
    assert_eq!(host.json(&["plan", "explain", "mlp"])["plan"], explanation["plan"]);
}
