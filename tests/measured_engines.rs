//! What people see of the choice between engines: a table for each shard that this host holds, measured once, and an adapter that
//! chooses by it.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::collections::BTreeSet;

use running::{Host, samples};
use serde_json::Value;

const THREE: [&str; 4] = ["--local-devices", "3", "--models", "models"];

/// The rows of `model show`, as blocks and engine.
fn rows(shown: &Value) -> BTreeSet<(String, String)> {
    let word = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    shown["engines"].as_array().into_iter().flatten().map(|row| (word(row, "blocks"), word(row, "engine"))).collect()
}

#[test]
fn engines_are_measured_on_each_shard_of_this_host_once_and_the_adapter_takes_what_is_right() {
    let host = Host::start(&THREE);
    assert_eq!(rows(&host.json(&["model", "show", "digits"])), BTreeSet::new(), "nobody has asked for it");
    let measured = host.json(&["model", "show", "digits", "--measure", "--threads", "1"]);
    let plan = host.json(&["plan", "explain", "digits"]);
    let stages = plan["replicas"].as_array().into_iter().flatten().flat_map(|replica| replica["stages"].as_array().into_iter().flatten());
    let found = rows(&measured);
    let engines: BTreeSet<&str> = found.iter().map(|(_, engine)| engine.as_str()).collect();
    assert!(engines.is_superset(&BTreeSet::from(["rten", "tract"])), "{engines:?}");
    assert_eq!(found.len(), engines.len() * stages.count(), "each engine on each stage: {measured}");
    for row in measured["engines"].as_array().expect("a table") {
        assert!(row["figures"]["run_ms"].as_f64().is_some_and(|time| time > 0.0) && row["refusal"].is_null(), "{row}");
        assert!(row["figures"]["difference"].as_f64().is_some_and(|difference| difference < 1e-3), "{row}");
    }
    assert_eq!(host.json(&["model", "show", "digits"])["engines"], measured["engines"], "what was measured is known");
    let text = host.ok(&["model", "show", "digits"]);
    assert!(text.contains("difference") && text.contains("rten  "), "{text}");

    host.ok(&["plugin", "swap", "adapter/cpu", "cpu-adapter", "--plugin-config", r#"{"engine":"auto"}"#]);
    let file = samples()[0].display().to_string();
    host.ok(&["infer", "digits", &file]);
    assert_eq!(host.json(&["model", "show", "digits"])["engines"], measured["engines"], "it was measured again");
    let refused = host.command(&["model", "show", "digits", "--threads", "2"]);
    assert!(!refused.status.success(), "threads say nothing where nothing is measured");
}
