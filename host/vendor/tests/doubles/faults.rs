//! What becomes of each fault: an error that names function and code in words, nothing left behind, and the next try is well.

use host_engine::{Fault, LoadOptions};

use crate::support::{Double, RKNN, VENDORS, converted, golden_inputs};

/// When a fault is to show.
#[derive(Clone, Copy, PartialEq, Debug)]
enum When {
    Load,
    Run,
}

/// Functions, when they are called, and whether tensors go in place then.
const RKNN_CALLS: [(&str, When, &str); 10] = [
    ("rknn_init", When::Load, "auto"),
    ("rknn_query", When::Load, "auto"),
    ("rknn_set_core_mask", When::Load, "auto"),
    ("rknn_dup_context", When::Load, "auto"),
    ("rknn_mem_sync", When::Run, "auto"),
    ("rknn_run", When::Run, "auto"),
    ("rknn_run", When::Run, "never"),
    ("rknn_inputs_set", When::Run, "never"),
    ("rknn_outputs_get", When::Run, "never"),
    ("rknn_outputs_release", When::Run, "never"),
];

#[test]
fn every_call_of_librknnrt_that_fails_is_told_and_leaves_nothing_behind() {
    let shard = converted(RKNN, "mlp");
    for (function, when, zero_copy) in RKNN_CALLS {
        let double = Double::new(RKNN);
        let settings = [("core_mask", "0_1"), ("zero_copy", zero_copy)];
        let engine = double.open(&settings).unwrap_or_else(|error| panic!("{error}"));
        let attempt = |fault: Option<When>| {
            let set = |at| {
                if fault == Some(at) {
                    double.set(&format!("fail:{function}:1:-1"))
                }
            };
            set(When::Load);
            let mut graph = engine.load(&shard, &LoadOptions::default())?.share()?;
            set(When::Run);
            graph.run(golden_inputs(&shard))
        };
        let error = attempt(Some(when)).expect_err(function);
        assert!(error.to_string().contains(&format!("{function} answered RKNN_ERR_FAIL (-1)")), "{error}");
        double.set("");
        attempt(None).unwrap_or_else(|error| panic!("after {function}: {error}"));
        if function == "rknn_outputs_release" {
            // The library has refused to take them back, so the next run finds them there: that is the fault's, not the engine's.
            continue;
        }
        double.assert_clean(function);
    }
}

const ACL_CALLS: [(&str, When); 12] = [
    ("aclrtSetCurrentContext", When::Load),
    ("aclmdlQuerySizeFromMem", When::Load),
    ("aclmdlLoadFromMem", When::Load),
    ("aclmdlGetDesc", When::Load),
    ("aclmdlGetInputDims", When::Load),
    ("aclmdlGetOutputDims", When::Load),
    ("aclrtMalloc", When::Load),
    ("aclmdlAddDatasetBuffer", When::Load),
    ("aclrtSetCurrentContext", When::Run),
    ("aclrtMemcpy", When::Run),
    ("aclmdlExecute", When::Run),
    ("aclrtMemcpy", When::Run),
];

#[test]
fn every_call_of_libascendcl_that_fails_is_told_and_leaves_nothing_behind() {
    use crate::support::ACL;
    let shard = converted(ACL, "mlp");
    let double = Double::new(ACL);
    let engine = double.engine();
    for (place, (function, when)) in ACL_CALLS.into_iter().enumerate() {
        // The last one fails on the way back.
        let call = if place + 1 == ACL_CALLS.len() { 2 } else { 1 };
        let attempt = |fault: Option<When>| {
            let set = |at| {
                if fault == Some(at) {
                    double.set(&format!("fail:{function}:{call}:500001"))
                }
            };
            set(When::Load);
            let mut graph = engine.load(&shard, &LoadOptions::default())?;
            set(When::Run);
            graph.run(golden_inputs(&shard))
        };
        let error = attempt(Some(when)).expect_err(function).to_string();
        assert!(error.contains("ACL_ERROR_FAILURE (500001), it failed: EZ9999") && error.contains(&function[..function.len() - 4]), "{function}: {error}");
        double.set("");
        attempt(None).unwrap_or_else(|error| panic!("after {function}: {error}"));
        double.assert_clean(function);
    }
}

#[test]
fn a_device_without_memory_left_is_told_apart_from_one_that_fails() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let shard = converted(vendor, "mlp");
        let engine = double.engine();
        // Enough for the weights and not for the tensors, then not even for the weights.
        for bytes in [shard.file.len() + 16, shard.file.len() / 2] {
            double.set(&format!("memory:{bytes}"));
            let error = engine.load(&shard, &LoadOptions::default()).expect_err("no room");
            assert!(matches!(error.fault(), Fault::Exhausted { .. }), "{bytes} bytes on {}: {error}", vendor.engine);
            assert!(error.to_string().contains(" bytes are needed, "), "{error}");
            double.assert_clean("after a refusal");
        }
        // Others hold nearly all of it. A Rockchip NPU has none of its own.
        double.set("memory:1000000,taken:999408");
        let error = engine.load(&shard, &LoadOptions::default()).expect_err("no room").to_string();
        let free = if vendor.engine == "acl" { ", 592 are free" } else { " are free" };
        assert!(error.ends_with(free), "{error}");
        double.set("");
        engine.load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn answers_that_mean_nothing_do_not_pass_the_golden_ones() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let engines = double.engines(&[]);
        double.set("garbage");
        let error = engines.load(vendor.engine, &converted(vendor, "mlp"), &LoadOptions::default()).expect_err("garbage");
        assert!(matches!(error.fault(), Fault::Probe { .. }), "{error}");
        double.assert_clean("after garbage");
    }
}

#[test]
fn a_run_that_fails_costs_that_run_only() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let shard = converted(vendor, "mlp");
        let mut graph = double.engine().load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let (code, name) = vendor.failure;
        double.set(&format!("fail:{}:2:{code}", vendor.runs));
        let runs: Vec<_> = (0..3).map(|_| graph.run(golden_inputs(&shard)).map_err(|error| error.to_string())).collect();
        assert!(runs[0].is_ok() && runs[0] == runs[2], "{}", vendor.engine);
        let error = runs[1].clone().expect_err("the second fails");
        assert!(error.contains(&format!("{} answered {name} ({code})", vendor.runs)), "{error}");
        drop(graph);
        double.assert_clean("after three runs");
    }
}
