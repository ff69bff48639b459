//! What is refused, and in which words.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use host_engine::{Digest, ElementType, Fault, LoadOptions, Tensor, TensorSpec};

use crate::support::{ACL, Double, RKNN, VENDORS, converted, golden_inputs, map};

#[test]
fn a_library_that_is_none_or_another_one_is_named_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("libtext.so");
    std::fs::write(&text, "not a library").expect("room on disk");
    let (rknn, acl) = (Double::new(RKNN), Double::new(ACL));
    let cases: [(&str, &Path, &str); 5] = [
        ("rknn", Path::new("/nowhere/librknnrt.so"), "no such file"),
        ("acl", Path::new("/nowhere/libascendcl.so"), "no such file"),
        ("rknn", &text, "begins with \"not a library\""),
        ("rknn", &acl.path, "expected a function `rknn_init`, found none"),
        ("acl", &rknn.path, "expected a function `aclInit`, found none"),
    ];
    for (engine, path, reason) in cases {
        let error = host_vendor::open(engine, path, &BTreeMap::new()).expect_err(reason).to_string();
        assert!(error.contains(reason) && error.contains(&path.display().to_string()) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_library_of_another_version_is_refused_with_both_versions() {
    let double = Double::new(RKNN);
    let (engine, shard) = (double.engine(), converted(RKNN, "mlp"));
    double.set("version:1.7.5 (old)");
    let error = engine.load(&shard, &LoadOptions::default()).expect_err("it is too old").to_string();
    let expected = format!("library `{}`: expected version 2.x, found 1.7.5 (old)", double.path.display());
    assert!(error.ends_with(&expected) && !error.contains('\n'), "{error}");
    double.assert_clean("after a refusal");
    double.set("");
    engine.load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn an_interface_that_does_not_fit_is_refused_when_its_library_is_opened() {
    for version in ["0.9.3", "2.0.0"] {
        let double = Double::new(ACL);
        double.set(&format!("version:{version}"));
        let error = double.open(&[]).expect_err("another interface").to_string();
        let expected = format!("library `{}`: expected version 1.x, found {version}", double.path.display());
        assert!(error.ends_with(&expected) && !error.contains('\n'), "{error}");
        double.assert_clean("after a refusal");
    }
    let double = Double::new(ACL);
    double.set("version:1.1.0");
    assert_eq!(double.engine().info().version, "1.1.0");
}

#[test]
fn an_operator_that_the_device_lacks_is_refused_as_the_library_says_it() {
    let named = "ACL_ERROR_OP_NOT_FOUND (100024), an operator of the model is not installed: EZ3003: No supported Ops kernel and engine are found for \
        [Relu_1], optype [Relu].";
    for (vendor, words) in [(RKNN, "rknn_init answered RKNN_ERR_FAIL (-1), it failed"), (ACL, named)] {
        let double = Double::new(vendor);
        let (engine, shard) = (double.engine(), converted(vendor, "mlp"));
        double.set("lacks:Relu");
        let error = engine.load(&shard, &LoadOptions::default()).expect_err("it lacks an operator").to_string();
        assert!(error.ends_with(words), "{error}");
        double.assert_clean("after a refusal");
        double.set("lacks:Softmax");
        engine.load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn settings_that_are_not_known_are_refused_when_opened_and_when_loaded() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let error = double.open(&[("colour", "red")]).expect_err("no such setting").to_string();
        assert!(error.contains("knows no setting `colour`"), "{error}");
        let options = LoadOptions { settings: map(&[("colour", "red")]), ..LoadOptions::default() };
        let error = double.engine().load(&converted(vendor, "mlp"), &options).expect_err("no such option").to_string();
        assert!(error.contains("knows no option `colour`"), "{error}");
        double.assert_clean("after settings");
    }
}

#[test]
fn a_shard_without_the_right_artefact_is_refused_with_those_it_has() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let engine = double.open(&[("target", vendor.chip)]).unwrap_or_else(|error| panic!("{error}"));
        let whole = converted(vendor, "mlp");
        let refused = |artefacts| {
            let shard = host_engine::Shard { artefacts, ..whole.clone() };
            engine.load(&shard, &LoadOptions::default()).expect_err("no artefact").to_string()
        };
        let wanted = format!("mlp@1[0..5): the shard needs an artefact for {}:{}, it has ", vendor.engine, vendor.chip);
        assert_eq!(refused(Vec::new()), format!("{wanted}none"));
        let other = host_engine::Artefact { target: format!("{}:other", vendor.engine), ..whole.artefacts[0].clone() };
        assert_eq!(refused(vec![other]), format!("{wanted}{}:other", vendor.engine));
        let mut renamed = whole.artefacts[0].clone();
        renamed.inputs[0].name = "z".into();
        assert!(refused(vec![renamed]).contains("expected input, found z"));
        double.assert_clean("after refusals");
    }
}

#[test]
fn a_broken_artefact_is_refused_as_the_library_says_it() {
    for (vendor, words) in [(RKNN, "RKNN_ERR_MODEL_INVALID (-6)"), (ACL, "ACL_ERROR_PARSE_MODEL (100013)")] {
        let double = Double::new(vendor);
        let engine = double.engine();
        let whole = converted(vendor, "mlp");
        let data = &whole.artefacts[0].data;
        let mut changed = data.to_vec();
        changed[data.len() / 2] ^= 1;
        for broken in [data.slice(..data.len() / 2), Bytes::from(changed), Bytes::from_static(b"RKNN")] {
            let mut shard = whole.clone();
            shard.artefacts[0].digest = Digest::of(&broken);
            shard.artefacts[0].data = broken;
            let error = engine.load(&shard, &LoadOptions::default()).expect_err("broken").to_string();
            assert!(error.contains(words), "{error}");
        }
        double.assert_clean("after broken files");
    }
}

#[test]
fn an_artefact_that_is_not_what_it_is_declared_as_is_refused_with_both() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let engine = double.engine();
        let whole = converted(vendor, "mlp");
        let refused = |change: &dyn Fn(&mut host_engine::Artefact)| {
            let mut shard = whole.clone();
            change(&mut shard.artefacts[0]);
            engine.load(&shard, &LoadOptions::default()).expect_err("it is another one").to_string()
        };
        let error = refused(&|artefact| artefact.inputs[0] = TensorSpec::fixed("input", ElementType::Fp32, &[1, 21]));
        assert!(error.contains("shape in the loaded model of `input`: expected [1, 21], found [1, 20]"), "{error}");
        let error = refused(&|artefact| artefact.outputs[0].element_type = ElementType::Int64);
        assert!(error.contains("element type in the loaded model of `output`: expected INT64, found FP32"), "{error}");
        double.assert_clean("after refusals");
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused_before_the_library_sees_them() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let shard = converted(vendor, "mlp");
        let mut graph = double.engine().load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let cases = [
            (vec![], "number of inputs of `input`: expected 1, found 0"),
            (vec![Tensor::zeros(ElementType::Fp32, &[1, 21]).expect("small")], "shape of `input`: expected [1, 20], found [1, 21]"),
            (vec![Tensor::zeros(ElementType::Int64, &[1, 20]).expect("small")], "element type of `input`: expected FP32, found INT64"),
        ];
        for (inputs, expected) in cases {
            let error = graph.run(inputs).expect_err(expected);
            assert!(matches!(error.fault(), Fault::Mismatch { .. }));
            assert_eq!(error.to_string(), expected);
        }
        graph.run(golden_inputs(&shard)).unwrap_or_else(|error| panic!("{error}"));
        drop(graph);
        double.assert_clean("after wrong inputs");
    }
}
