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
