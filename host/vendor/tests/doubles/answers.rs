//! What comes out: the same as from the model itself.

use std::collections::{BTreeMap, HashMap};

use double_core::Payload;
use host_engine::{Engine, LoadOptions, Tensor, TractEngine, split};

use crate::support::{ACL, Double, RKNN, VENDORS, Vendor, converted, difference, golden_inputs, inspection, kinds, payload, with_artefact};

/// The double computes with tract, as the golden answers were; what lies between rounds nothing.
const NEAR: f64 = 1e-5;

#[test]
fn every_kind_of_model_gives_its_answers_whole_and_cut_anywhere() {
    for (vendor, settings) in [(RKNN, &[("zero_copy", "auto")][..]), (RKNN, &[("zero_copy", "never")]), (ACL, &[])] {
        let double = Double::new(vendor);
        let engines = double.engines(settings);
        for (name, _) in kinds() {
            let inspection = inspection(name);
            let golden = inspection.golden().expect("computed");
            for cuts in [Vec::new(), inspection.legal_cuts()] {
                let inputs = inspection.inputs().iter().map(|spec| spec.name.clone()).zip(golden.inputs.clone());
                let mut values: HashMap<String, Tensor> = inputs.collect();
                for shard in split(&inspection, &cuts).expect("legal cuts") {
                    let shard = with_artefact(vendor, shard);
                    // Held against the shard's own golden answers, too.
                    let mut graph = engines.load(vendor.engine, &shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
                    let given = graph.inputs().iter().map(|spec| values[&spec.name].clone()).collect();
                    let made = graph.run(given).unwrap_or_else(|error| panic!("{}: {error}", shard.id));
                    values.extend(graph.outputs().iter().map(|spec| spec.name.clone()).zip(made));
                }
                let found: Vec<Tensor> = inspection.outputs().iter().map(|spec| values[&spec.name].clone()).collect();
                let apart = difference(&found, &golden.outputs);
                assert!(apart <= NEAR, "{} on {}, cut at {cuts:?}: {apart:e}", name, vendor.engine);
            }
        }
        double.assert_clean("after all models");
    }
}

#[test]
fn floats_of_sixteen_bits_inside_come_out_as_the_declared_ones() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let engine = double.engine();
        for name in ["mlp", "cnn"] {
            let mut shard = split(&inspection(name), &[]).expect("no cut is legal").remove(0);
            shard.artefacts = vec![payload(vendor, &shard).half().artefact()];
            let golden = shard.golden.clone().expect("computed");
            let found = engine.load(&shard, &LoadOptions::default()).and_then(|mut graph| graph.run(golden.inputs)).unwrap_or_else(|error| panic!("{error}"));
            let apart = difference(&found, &golden.outputs);
            // 11 bits of a float of 16 are 5e-4; inputs were rounded as well. No difference at all would mean that nothing was.
            assert!((1e-6..=5e-3).contains(&apart), "{name} on {}: {apart:e}", vendor.engine);
        }
        double.assert_clean("after all models");
    }
}

#[test]
fn a_request_goes_to_the_bucket_with_its_shapes() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let mut shard = split(&inspection("encoder"), &[]).expect("no cut is legal").remove(0);
        for length in [8, 32] {
            let lengths = BTreeMap::from([("sequence".to_owned(), length)]);
            shard.artefacts.push(Payload::of(vendor.engine, vendor.chip, &shard, &lengths).expect("all lengths are given").artefact());
        }
        let mut graph = double.engine().load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(graph.inputs()[0].shape_text(), "[1, sequence]");
        assert_eq!(graph.buckets().iter().map(|specs| specs[0].shape_text()).collect::<Vec<_>>(), ["[1, 8]", "[1, 32]"]);
        let mut itself = TractEngine.load(&shard, &LoadOptions::default()).expect("tract takes it");
        let tensors = |length: usize| {
            vec![Tensor::from_i64(&[1, length], &vec![3; length]).expect("ids"), Tensor::from_i64(&[1, length], &vec![1; length]).expect("a mask")]
        };
        for length in [32, 8, 32] {
            let (found, expected) = (graph.run(tensors(length)).unwrap_or_else(|error| panic!("{error}")), itself.run(tensors(length)).expect("tract runs it"));
            assert!(difference(&found, &expected) <= NEAR);
        }
        let error = graph.run(tensors(9)).expect_err("no bucket of 9").to_string();
        assert!(error.contains("INT64 [1, 9]") && error.contains("INT64[1, 8]") && error.contains("INT64[1, 32]"), "{error}");
        drop(graph);
        double.assert_clean("after buckets");
    }
}

#[test]
fn users_of_one_shard_compute_at_the_same_time() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let engines = double.engines(&[]);
        let shard = converted(vendor, "cnn");
        let golden = shard.golden.clone().expect("computed");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut graph = engines.load(vendor.engine, &shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
                let golden = &golden;
                scope.spawn(move || {
                    for _ in 0..10 {
                        let found = graph.run(golden.inputs.clone()).unwrap_or_else(|error| panic!("{error}"));
                        assert!(difference(&found, &golden.outputs) <= NEAR);
                    }
                });
            }
        });
        drop(engines);
        double.assert_clean("after threads");
    }
}

#[test]
fn tensors_copied_and_in_place_are_the_same() {
    let double = Double::new(RKNN);
    let engine = double.engine();
    for name in ["cnn", "decoder"] {
        let shard = converted(RKNN, name);
        let run = |zero_copy: &str| {
            let options = LoadOptions { settings: crate::support::map(&[("zero_copy", zero_copy)]), ..LoadOptions::default() };
            engine.load(&shard, &options).and_then(|mut graph| graph.run(golden_inputs(&shard))).unwrap_or_else(|error| panic!("{zero_copy}: {error}"))
        };
        assert_eq!(run("auto"), run("never"), "{name}");
    }
    double.assert_clean("after both");
}

#[test]
fn a_library_that_binds_no_memory_copies_tensors() {
    let double = Double::new(RKNN);
    let shard = converted(RKNN, "cnn");
    let engine = double.engine();
    // The input's memory is bound, and the output's is not.
    double.set("fail:rknn_set_io_mem:2:-5");
    let mut graph = engine.load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    double.set("fail:rknn_mem_sync:*:-1");
    let found = graph.run(golden_inputs(&shard)).unwrap_or_else(|error| panic!("{error}"));
    assert!(difference(&found, &shard.golden.as_ref().expect("computed").outputs) <= NEAR);
    drop(graph);
    double.assert_clean("after copying");
}

/// Only so that the list of vendors is what the table of names is.
#[test]
fn each_vendor_is_an_engine_that_can_be_opened_by_name() {
    let names: Vec<&str> = VENDORS.iter().map(|vendor: &Vendor| vendor.engine).collect();
    assert!(names.iter().all(|name| host_vendor::ENGINES.contains(name)), "{names:?}");
}
