//! Converting the shards of a running host, with a double in the vendor's place: a shell script that wraps the ONNX file.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use running::{Host, text};
use serde_json::Value;

const TARGET: &str = "rknn:rk3588";
/// Says what it does, and writes a line and the shard.
const WRAPS: &str = "echo \"wrapping $3\"; { echo double; cat \"$1\"; } > \"$2\"";

/// A converter, and a host that calls it.
struct Converter {
    folder: tempfile::TempDir,
}

impl Converter {
    fn new(script: &str) -> Self {
        let converter = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        converter.becomes(script);
        converter
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("convert")
    }

    /// From now on it does this.
    fn becomes(&self, script: &str) {
        fs::write(self.path(), format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o755)).expect("allowed");
    }

    fn flags(&self, more: &[&str]) -> Vec<String> {
        let command = format!(r#"conversion.rknn.command=["{}", "{{model}}", "{{output}}", "{{shapes}}"]"#, self.path().display());
        let flags = ["--models", "models", "--set", &command];
        flags.iter().chain(more).map(|&word| word.to_owned()).collect()
    }

    fn host(&self, more: &[&str]) -> Host {
        Host::start(&self.flags(more).iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn convert(host: &Host, more: &[&str]) -> Value {
    host.json(&[&["model", "convert", "digits", "--for", TARGET], more].concat())
}

/// What a conversion that fails says.
fn refused(host: &Host, more: &[&str]) -> String {
    let output = host.command(&[&["model", "convert", "digits"], more].concat());
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

fn artefacts(host: &Host) -> Vec<Value> {
    host.json(&["model", "artefacts", "digits"]).as_array().cloned().expect("a list")
}

#[test]
fn what_was_converted_is_listed_kept_over_a_restart_and_not_made_twice() {
    let converter = Converter::new(WRAPS);
    let host = converter.host(&[]);
    let blocks = host.json(&["model", "show", "digits"])["blocks"].as_u64().expect("a number");
    let ranges = format!("0..1,1..{blocks}");
    let first = convert(&host, &["--ranges", &ranges]);
    assert_eq!((&first["state"], &first["made"], &first["kept"]), (&"done".into(), &2.into(), &0.into()), "{first}");
    let lines: Vec<&str> = first["lines"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    assert!(lines.iter().any(|line| line.starts_with("wrapping ")), "the tool is heard: {lines:?}");
    let listed = artefacts(&host);
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed.iter().all(|artefact| artefact["target"] == TARGET && artefact["bytes"].as_u64() > Some(7)), "{listed:?}");

    let (code, data) = host.stop();
    assert_eq!(code, Some(0));
    let flags = converter.flags(&[]);
    let host = Host::start_in(data, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(artefacts(&host), listed);
    let second = convert(&host, &["--ranges", &ranges]);
    assert_eq!((&second["made"], &second["kept"]), (&0.into(), &2.into()), "{second}");
    assert!(!host.data().join("conversion").join("1").exists(), "nothing is left of the work");
}

#[test]
fn without_ranges_the_shards_of_the_plan_are_converted_and_a_damaged_one_is_made_anew() {
    let host = Converter::new(WRAPS);
    let running = host.host(&["--local-devices", "2"]);
    convert(&running, &[]);
    let plan = running.json(&["model", "plan", "digits"]);
    let stages: Vec<&Value> =
        plan["models"][0]["replicas"].as_array().expect("replicas").iter().flat_map(|replica| replica["stages"].as_array().expect("stages")).collect();
    let listed = artefacts(&running);
    for artefact in &listed {
        assert!(stages.iter().any(|stage| stage["start"] == artefact["start"] && stage["end"] == artefact["end"]), "{artefact} is none of {stages:?}");
    }
    let digest = listed[0]["digest"].as_str().expect("a digest");
    fs::write(running.data().join("blobs").join(digest), "damaged").expect("written");
    let again = convert(&running, &[]);
    assert_eq!((again["made"].as_u64(), again["kept"].as_u64()), (Some(1), Some(listed.len() as u64 - 1)), "{again}");
    let said = again["lines"].to_string();
    assert!(said.contains("is made anew") && said.contains(digest), "{said}");
    assert_eq!(artefacts(&running).len(), listed.len());
}

#[test]
fn a_tool_that_fails_is_quoted_and_leaves_nothing() {
    let converter = Converter::new("echo 'operator Foo is not supported' >&2; echo half > \"$2\"; exit 7");
    let host = converter.host(&["--set", "conversion.run_ms_max=60000"]);
    let said = refused(&host, &["--for", TARGET, "--ranges", "0..1"]);
    assert!(said.contains("digits@1[0..1)") && said.contains("it ended with 7") && said.contains("operator Foo is not supported"), "{said}");
    converter.becomes("exit 0");
    let said = refused(&host, &["--for", TARGET, "--ranges", "0..1"]);
    assert!(said.contains("has written nothing"), "{said}");
    assert_eq!(artefacts(&host), Vec::<Value>::new());
    assert!(fs::read_dir(host.data().join("conversion")).expect("there").next().is_none(), "its work is removed");
    converter.becomes(WRAPS);
    assert_eq!(convert(&host, &["--ranges", "0..1"])["made"], 1, "it can be tried again");
}

#[test]
fn a_tool_that_hangs_is_ended_and_the_host_goes_on() {
    let converter = Converter::new("sleep 600");
    let host = converter.host(&["--set", "conversion.run_ms_max=500"]);
    let said = refused(&host, &["--for", TARGET, "--ranges", "0..1"]);
    assert!(said.contains("longer than conversion.run_ms_max, 500 ms"), "{said}");
    assert_eq!((artefacts(&host).len(), &host.json(&["status"])["state"]), (0, &"ready".into()));
}

#[test]
fn what_cannot_work_is_said_in_words_before_anything_runs() {
    let converter = Converter::new(WRAPS);
    let host = converter.host(&["--set", "conversion.ascend.atc=/nowhere/atc"]);
    for (words, parts) in [
        (&["--for", "rknn"][..], &["target `rknn` is not understood", "rknn:rk3588"][..]),
        (&["--for", "ascend:Ascend310P3"], &["`/nowhere/atc` is not on this machine", "conversion.ascend.atc"]),
        (&["--for", TARGET, "--ranges", "0..99"], &["range `0..99`", "blocks"]),
        (&["--for", TARGET, "--buckets", "length=3"], &["bucket `length=3`", "open dimensions"]),
        (&["--for", TARGET, "--check"], &["cannot be checked here"]),
    ] {
        let said = refused(&host, words);
        assert!(parts.iter().all(|part| said.contains(part)), "{words:?}: {said}");
    }
    let warm_up = host.json(&["model", "convert", "digits", "--for", "tensorrt"]);
    assert!(warm_up["made"] == 0 && warm_up["lines"].to_string().contains("nothing to convert"), "{warm_up}");
    let unknown = host.command(&["model", "convert", "nothing", "--for", TARGET]);
    assert!(text(&unknown.stderr).contains("'nothing' is not found"), "{}", text(&unknown.stderr));
}
