//! Recordings of a real host: every decision with its generation and digest, decided again to the last bit by the plugin
//! that took it, and otherwise by another one; and rehearsals on what the host was really asked.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{collections::BTreeSet, fs, path::Path};

use running::{Host, samples};
use serde_json::Value;

fn lines(recording: &Path) -> Vec<Value> {
    let text = fs::read_to_string(recording).expect("the recording is there");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn infer(host: &Host, pictures: usize) {
    let files: Vec<String> = samples().iter().take(pictures).map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> = ["infer", "digits"].into_iter().chain(files.iter().map(String::as_str)).collect();
    host.ok(&arguments);
}

fn replay(host: &Host, plugin: &str, recording: &Path, more: &[&str]) -> Value {
    host.json(&[&["replay", "--plugin", plugin, &recording.display().to_string()], more].concat())
}

#[test]
fn a_recorded_history_is_decided_again_to_the_last_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = folder.path().join("decisions.jsonl");
    let host = Host::start(&["--local-devices", "3", "--models", "models", "--record", &recording.display().to_string()]);
    infer(&host, 120);
    // Three replicas, so that there is something to decide.
    let request = folder.path().join("request.json");
    fs::write(&request, r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]}]}"#)
        .expect("written");
    let request = request.display().to_string();
    host.ok(&[&["infer", "mlp"][..], &[request.as_str(); 30]].concat());
    let (code, data) = host.stop();
    assert_eq!(code, Some(0));

    let lines = lines(&recording);
    assert_eq!(lines[0]["line"], "header");
    let decisions: Vec<&Value> = lines.iter().filter(|line| line["line"] == "decision").collect();
    let of = |kind: &str| decisions.iter().filter(|line| line["question"]["kind"] == kind).count();
    assert!(of("route") >= 120 && of("allocate") >= 2, "{} routes, {} allocations", of("route"), of("allocate"));
    assert!(decisions.iter().all(|line| line["generation"] == 1 && line["digest"].as_str().is_some_and(|digest| digest.len() == 64)));
    assert!(lines.iter().all(|line| line["line"] != "gap"));
    let paths: BTreeSet<String> = decisions.iter().filter(|line| line["answer"]["kind"] == "path").map(|line| line["answer"]["segments"].to_string()).collect();
    assert!(paths.len() >= 3, "{paths:?}");

    // Any command does for a host that is stopped: a replay needs none.
    let host = Host::start_in(data, &["--local-devices", "1", "--models", "models"]);
    for plugin in ["least-loaded-routing", "balanced-allocation"] {
        let told = replay(&host, plugin, &recording, &[]);
        assert!(told["decided"].as_u64() > Some(0) && told["agree"] == told["decided"], "{told}");
        assert_eq!(told["missing"], 0);
    }
    let limited = replay(&host, "least-loaded-routing", &recording, &["--limit", "7"]);
    assert_eq!((&limited["decided"], &limited["agree"]), (&Value::from(7), &Value::from(7)));
    let greedy = replay(&host, "greedy-allocation", &recording, &[]);
    assert!(greedy["differ"].as_u64() > Some(0), "{greedy}");
    assert!(greedy["replayed_value_sum"].as_f64() <= greedy["recorded_value_sum"].as_f64(), "{greedy}");
    let printed = host.ok(&["replay", "--plugin", "greedy-allocation", &recording.display().to_string()]);
    assert!(printed.contains("recorded") && printed.contains("replayed") && printed.contains("worth"), "{printed}");
    let refused = host.command(&["replay", "--plugin", "cpu-adapter", &recording.display().to_string()]);
    assert!(running::text(&refused.stderr).contains("decides nothing"), "{}", running::text(&refused.stderr));
}

#[test]
fn a_new_plugin_rehearses_on_what_the_host_was_asked_and_is_compared_with_the_one_in_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = folder.path().join("decisions.jsonl");
    let host = Host::start(&["--local-devices", "3", "--models", "models", "--set", &format!("record={}", recording.display())]);
    infer(&host, 200);
    let installed = host.json(&["plugin", "swap", "allocation", "greedy-allocation"]);
    let compared = &installed["rehearsal"]["compared"];
    assert_eq!(compared["with"], "balanced-allocation", "{installed}");
    assert!(installed["rehearsal"]["recorded"].as_u64() >= Some(2), "{installed}");
    assert!(compared["value_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0 && ratio <= 1.000_001), "{installed}");
    assert!(compared["memory_bytes"].as_u64() > Some(0) && compared["call_us_p99_before"].as_f64() > Some(0.0), "{installed}");
    let installed = host.json(&["plugin", "swap", "routing", "round-robin-routing"]);
    assert!(installed["rehearsal"]["recorded"].as_u64() >= Some(1), "{installed}");
    infer(&host, 20);
    let printed = host.ok(&["plugin", "swap", "routing", "least-loaded-routing"]);
    assert!(printed.contains("against round-robin-routing: "), "{printed}");
    let (code, _data) = host.stop();
    assert_eq!(code, Some(0));
    let recorded = lines(&recording);
    let by = |plugin: &str, generation: u64| {
        recorded.iter().filter(|line| line["line"] == "decision" && line["plugin"] == plugin && line["generation"] == generation).count()
    };
    assert!(by("least-loaded-routing", 1) >= 200 && by("round-robin-routing", 2) >= 20 && by("greedy-allocation", 2) >= 1);
    assert!(recorded.iter().any(|line| line["line"] == "plugin" && line["plugin"] == "round-robin-routing" && line["config"] == "{}"));
}
