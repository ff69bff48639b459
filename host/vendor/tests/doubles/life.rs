//! Loading and unloading, and processes that end.

use std::{os::unix::process::ExitStatusExt as _, process::Command};

use host_engine::LoadOptions;

use crate::support::{Double, VENDORS, converted, golden_inputs};

/// In the environment of a child: which engine it is to try.
const CHILD: &str = "SHARDHOST_DOUBLE_CHILD";
/// SIGABRT.
const ABORTED: i32 = 6;

const TIMES: usize = 1000;

#[test]
fn a_thousand_loads_leave_nothing_behind() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let shard = converted(vendor, "mlp");
        let engine = double.engine();
        for time in 0..TIMES {
            let graph = engine.load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("load {time}: {error}"));
            let mut shared = graph.share().unwrap_or_else(|error| panic!("share {time}: {error}"));
            // The first user goes before the second.
            drop(graph);
            if time % 100 == 0 {
                shared.run(golden_inputs(&shard)).unwrap_or_else(|error| panic!("run {time}: {error}"));
            }
        }
        double.assert_clean("after a thousand loads");
    }
}

#[test]
fn a_loaded_shard_outlives_its_engine_and_says_what_it_holds() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let shard = converted(vendor, "mlp");
        let mut graph = double.engine().load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(graph.memory() >= shard.weight_bytes, "{} is less than the weights' {}", graph.memory(), shard.weight_bytes);
        graph.run(golden_inputs(&shard)).unwrap_or_else(|error| panic!("{error}"));
        drop(graph);
        double.assert_clean("after the engine");
    }
}

/// What a child process does; nothing without the variable.
#[test]
fn child() {
    let Ok(name) = std::env::var(CHILD) else { return };
    let vendor = VENDORS.into_iter().find(|vendor| vendor.engine == name).expect("one of ours");
    let shard = converted(vendor, "mlp");
    let double = Double::new(vendor);
    let mut graph = double.engine().load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let error = graph.run(golden_inputs(&shard)).expect_err("a fault in the environment");
    assert!(error.to_string().contains(vendor.failure.1), "{error}");
}

#[test]
fn faults_in_the_environment_reach_a_process_and_a_crash_ends_it() {
    for vendor in VENDORS {
        let run = |faults: String| {
            let program = std::env::current_exe().expect("this test");
            let variable = format!("DOUBLE_{}", vendor.engine.to_uppercase());
            let output = Command::new(program).args(["--exact", "life::child"]).env(CHILD, vendor.engine).env(variable, faults).output().expect("it starts");
            (output.status, String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (status, text) = run(format!("fail:{}:1:{}", vendor.runs, vendor.failure.0));
        assert!(status.success(), "{text}");
        let (status, text) = run(format!("crash:{}:1", vendor.runs));
        assert_eq!(status.signal(), Some(ABORTED), "{text}");
    }
}
