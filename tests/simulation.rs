//! `host simulate` as people call it: fleets in, text, JSON and a report out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn simulate(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_host")).current_dir(root()).arg("simulate").args(words).output().expect("the host starts")
}

fn printed(words: &[&str]) -> String {
    let output = simulate(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

fn runs(text: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(text).expect("it prints JSON");
    value["runs"].as_array().expect("runs").clone()
}

#[test]
fn the_same_seed_prints_the_same_bytes_and_another_one_does_not() {
    let with = |seed: &str| printed(&["fleets/drawer.toml", "--duration", "20s", "--seed", seed, "-o", "json"]);
    let first = with("3");
    assert_eq!(first, with("3"));
    assert_ne!(first, with("4"));
    let run = &runs(&first)[0];
    let count = |key: &str| run["requests"][key].as_u64().expect("a count");
    assert!(count("arrived") > 1_000, "{run}");
    assert_eq!(count("arrived"), count("served") + count("shed") + count("failed"));
    assert_eq!(run["strikes"], 0, "{run}");
    assert_eq!(run["rejected"], serde_json::json!([]));
}

#[test]
fn policies_of_all_kinds_stand_side_by_side_in_text_json_and_a_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("report.html");
    let compared = "balanced-allocation,greedy-allocation,round-robin-routing,priority-queueing";
    let html = page.display().to_string();
    let text = printed(&["fleets/drawer.toml", "--duration", "5s", "--compare", compared, "--html", &html, "-o", "json"]);
    let labels: Vec<String> = runs(&text).iter().map(|run| run["label"].as_str().expect("a label").to_owned()).collect();
    assert_eq!(labels.join(","), compared);
    let report = fs::read_to_string(&page).expect("it was written");
    assert!(report.starts_with("<!doctype html>") && report.matches("<svg").count() == 9, "{} plots", report.matches("<svg").count());
    assert!(!report.contains("<script") && !report.contains("src="), "it loads and runs nothing");
    assert!(printed(&["fleets/drawer.toml", "--duration", "5s"]).contains("answers/s"));
}

#[test]
fn a_trace_and_a_model_of_a_folder_are_simulated() {
    let folder = tempfile::tempdir().expect("a folder");
    let (fleet, trace) = (folder.path().join("small.toml"), folder.path().join("trace.jsonl"));
    let models = fs::canonicalize(root().join("models/digits")).expect("it is there");
    let text =
        format!("[[devices]]\nname = \"a\"\ncount = 3\nmemory_bytes = 1_000_000_000\n[[models]]\nfolder = \"{}\"\n[run]\nwarm_up_ms = 0\n", models.display());
    fs::write(&fleet, text).expect("written");
    fs::write(&trace, "{\"at_ms\": 5}\n{\"at_ms\": 9, \"priority\": 1}\n{\"at_ms\": 2}\n").expect("written");
    let text = printed(&[&fleet.display().to_string(), "--requests", &trace.display().to_string(), "-o", "json"]);
    let run = &runs(&text)[0];
    assert_eq!((&run["requests"]["served"], &run["classes"][0]["served"]), (&serde_json::json!(3), &serde_json::json!(1)), "{run}");
}

#[test]
fn a_plan_in_force_is_simulated_as_it_is_and_one_of_other_devices_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (fleet, plan) = (folder.path().join("pair.toml"), folder.path().join("plan.json"));
    let device = |name: &str, gflop_ms: f64| format!("[[devices]]\nname = \"{name}\"\nmemory_bytes = 1_000_000_000\ncost = {{ gflop_ms = {gflop_ms:?} }}\n");
    let rest = "[[models]]\nname = \"m\"\nblocks = 4\ngflop = 4\n[[traffic]]\narrivals = \"closed\"\nclients = 1\n[run]\nwarm_up_ms = 0\n";
    fs::write(&fleet, device("fast", 10.0) + &device("slow", 100.0) + rest).expect("written");
    let stage = |device: &str, start: u32, end: u32| serde_json::json!({ "device": device, "accelerator": "npu", "start": start, "end": end });
    let median = |stages: Vec<Value>| {
        let shown = serde_json::json!({ "number": 3, "models": [{ "name": "m", "version": 1, "replicas": [{ "stages": stages }] }] });
        fs::write(&plan, shown.to_string()).expect("written");
        let text = printed(&[&fleet.display().to_string(), "--plan", &plan.display().to_string(), "-o", "json"]);
        let run = &runs(&text)[0];
        assert_eq!(run["policies"]["allocation"], "plan 3 as it is");
        run["requests"]["p50_ms"].as_f64().expect("some were answered")
    };
    // A block takes 10 ms on one and 100 on the other; what a host does beside it takes far less.
    let near = |taken: f64, blocks_ms: f64| (blocks_ms..blocks_ms + 9.0).contains(&taken);
    let (most_on_fast, most_on_slow) = (median(vec![stage("fast", 0, 3), stage("slow", 3, 4)]), median(vec![stage("fast", 0, 1), stage("slow", 1, 4)]));
    assert!(near(most_on_fast, 130.0) && near(most_on_slow, 310.0), "{most_on_fast} and {most_on_slow} ms");
    let shown = serde_json::json!({ "number": 3, "models": [{ "name": "m", "version": 1, "replicas": [{ "stages": [stage("gone", 0, 4)] }] }] });
    fs::write(&plan, shown.to_string()).expect("written");
    let output = simulate(&[&fleet.display().to_string(), "--plan", &plan.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("plan 3 has m@1[0..4) on gone, which is no device of the fleet"), "{said}");
}

#[test]
fn what_cannot_be_simulated_is_named_and_ends_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = folder.path().join("bad.toml");
    fs::write(&fleet, "colour = 1\n[[devices]]\nname = \"a\"\n").expect("written");
    let output = simulate(&[&fleet.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("devices[0].memory_bytes is missing") && said.contains("key `colour` is not known"), "{said}");
    let output = simulate(&["fleets/drawer.toml", "--allocation", "round-robin-routing"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("`round-robin-routing` is of the kind `routing`, `allocation` is wanted"), "{said}");
}
