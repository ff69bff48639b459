//! Devices that differ, on one machine: profiles make local devices slower, and plans know by how much.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{fs, path::Path, process::Command};

use running::{Host, samples, text};
use serde_json::Value;

/// Profiles that are 1, 2 and 4 times as slow as this machine, as `--local-devices` takes them.
fn profiles(folder: &Path) -> String {
    let file = |(name, slowdown): (&str, u32)| {
        let path = folder.join(format!("{name}.toml"));
        let memory = u64::from(slowdown) << 28;
        let lines =
            format!("memory_bytes = {memory}\naccelerator = \"{name}-unit\"\n[compute]\nslowdown = {slowdown}\n[fluctuation]\nratio = 0.1\nperiod_ms = 50\n");
        fs::write(&path, lines).expect("written");
        path.display().to_string()
    };
    [("fast", 1), ("middling", 2), ("slow", 4)].map(file).join(",")
}

#[test]
fn three_profiles_make_devices_whose_costs_are_as_one_two_and_four() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Host::start(&["--local-devices", &profiles(folder.path()), "--models", "models"]);
    let devices = host.json(&["device", "list"]);
    let offer = |id: &str| -> Value {
        let device = devices.as_array().expect("a list").iter().find(|device| device["id"] == id).unwrap_or_else(|| panic!("no {id} in {devices}"));
        assert_eq!(device["labels"]["profile"], id, "{device}");
        device["offers"][0].clone()
    };
    let fast = offer("fast");
    for (id, slowdown) in [("middling", 2.0), ("slow", 4.0)] {
        for part in ["gflop_ms", "weight_mb_ms", "activation_mb_ms", "fixed_ms"] {
            let cost = |offer: &Value| offer["cost"][part].as_f64().expect("a number");
            // Doubling and quadrupling is exact.
            assert_eq!(cost(&offer(id)), slowdown * cost(&fast), "{part} of {id}");
        }
        assert_eq!(offer(id)["memory_bytes"].as_f64().expect("a number"), slowdown * f64::from(1 << 28));
        assert_eq!(offer(id)["accelerator"], format!("{id}-unit"));
    }

    let files: Vec<String> = samples().iter().map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> = ["infer", "digits"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let printed = host.ok(&arguments);
    let summary = printed.lines().last().expect("a summary");
    let right: u32 = summary.split(", ").nth(1).and_then(|part| part.split(' ').next()).and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(right >= 194, "{summary}");
}

#[test]
fn a_faster_profile_is_as_fast_as_the_machine_and_a_slower_world_keeps_proportions() {
    let empty = tempfile::tempdir().expect("a folder");
    let models = empty.path().display().to_string();
    let gflops = |ratio: &str| -> Vec<f64> {
        let devices = "profiles/gpu-server.toml,profiles/raspberry-pi-5.toml";
        let host = Host::start(&["--local-devices", devices, "--models", &models, "--set", &format!("profile_time_ratio={ratio}")]);
        let devices = host.json(&["device", "list"]);
        devices.as_array().expect("a list").iter().map(|device| 1e3 / device["offers"][0]["cost"]["gflop_ms"].as_f64().expect("a number")).collect()
    };
    // This machine does more than 10080 / 2500 GFLOP/s, and less than a GPU server.
    let slower = gflops("2500");
    assert!((slower[0] - 10_080.0 / 2_500.0).abs() < 1e-6 && (slower[1] - 49.6 / 2_500.0).abs() < 1e-6, "{slower:?}");
    let real = gflops("1");
    assert!(real[0] < 10_080.0 && real[0] >= real[1], "{real:?}");
}

#[test]
fn faults_of_profiles_are_named_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (profile, config) = (folder.path().join("bad.toml"), folder.path().join("host.yaml"));
    fs::write(&profile, "colour = \"red\"\n[compute]\ngflops = -5\n").expect("written");
    fs::write(&config, format!("profile: {}\n", profile.display())).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_host")).args(["config", "check", "--config"]).arg(&config).output().expect("it runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["bad.toml: compute.gflops is -5, it must be a number from 0.001", "bad.toml: key `colour` is not known"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}
