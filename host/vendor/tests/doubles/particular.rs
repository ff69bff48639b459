//! What only one of the vendors has.

use host_engine::LoadOptions;

use crate::support::{ACL, Double, RKNN, converted, map};

#[test]
fn a_machine_without_an_npu_says_so_and_loads_nothing() {
    let double = Double::new(RKNN);
    double.set("fail:rknn_init:*:-3");
    let engine = double.engine();
    let info = engine.info();
    let reason = info.unusable().expect("there is none");
    assert!(reason.contains("RKNN_ERR_DEVICE_UNAVAILABLE (-3)") && reason.contains(&double.path.display().to_string()), "{reason}");
    let error = engine.load(&converted(RKNN, "mlp"), &LoadOptions::default()).expect_err("no device").to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn versions_are_known_once_something_was_loaded() {
    let double = Double::new(RKNN);
    let engine = double.engine();
    assert_eq!((engine.info().version.as_str(), engine.info().unusable()), ("", None));
    drop(engine.load(&converted(RKNN, "mlp"), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(engine.info().version, "2.0.0 (double)");
    let double = Double::new(ACL);
    let info = double.engine().info();
    assert_eq!((info.version.as_str(), info.accelerator.as_str()), ("1.12.0", "ascend"));
    assert!(info.attributes.contains(&("target".into(), "ascend310p3".into())), "{:?}", info.attributes);
    assert!(info.memory.is_some());
}

#[test]
fn cores_are_those_that_are_asked_for() {
    let double = Double::new(RKNN);
    let engine = double.engine();
    let load = |mask: &str| engine.load(&converted(RKNN, "mlp"), &LoadOptions { settings: map(&[("core_mask", mask)]), ..LoadOptions::default() });
    for mask in ["auto", "0", "1", "2", "0_1", "0_1_2"] {
        load(mask).unwrap_or_else(|error| panic!("{mask}: {error}"));
    }
    let error = load("7").expect_err("no such cores").to_string();
    assert!(error.contains("setting `core_mask` of engine rknn is `7`"), "{error}");
    double.assert_clean("after all masks");
}

#[test]
fn a_model_for_another_chip_is_refused_as_the_library_says_it() {
    let double = Double::new(RKNN);
    let engine = double.engine();
    double.set("chip:rk3566");
    let error = engine.load(&converted(RKNN, "mlp"), &LoadOptions::default()).expect_err("another chip").to_string();
    assert!(error.contains("RKNN_ERR_TARGET_PLATFORM_UNMATCH (-13), the model was converted for another chip"), "{error}");
}

#[test]
fn artefacts_for_several_chips_need_the_setting() {
    let double = Double::new(RKNN);
    let mut shard = converted(RKNN, "mlp");
    let other = host_engine::Artefact { target: "rknn:rk3566".into(), ..shard.artefacts[0].clone() };
    shard.artefacts.push(other);
    let engine = double.open(&[]).unwrap_or_else(|error| panic!("{error}"));
    let error = engine.load(&shard, &LoadOptions::default()).expect_err("two chips").to_string();
    assert!(error.contains("there are artefacts for rk3566, rk3588, and setting `target`"), "{error}");
    let options = LoadOptions { settings: map(&[("target", "rk3588")]), ..LoadOptions::default() };
    engine.load(&shard, &options).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn ascendcl_is_started_once_and_ended_with_the_last_that_uses_it() {
    let double = Double::new(ACL);
    let first = double.engine();
    let second = double.engine();
    drop(first);
    let graph = second.load(&converted(ACL, "mlp"), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    drop(second);
    let third = double.engine();
    drop((graph, third));
    let error = double.open(&[]).expect_err("it was ended").to_string();
    assert!(error.contains("can be started once in each"), "{error}");
    double.assert_clean("after its end");
}

#[test]
fn a_start_that_fails_says_why_and_is_not_tried_again() {
    let cases = [
        ("fail:aclInit:1:500000", &[][..], "aclInit answered ACL_ERROR_INTERNAL_ERROR (500000)"),
        ("fail:aclrtSetDevice:1:107001", &[], "aclrtSetDevice answered ACL_ERROR_RT_INVALID_DEVICEID (107001)"),
        ("fail:aclrtCreateContext:1:207001", &[], "aclrtCreateContext answered ACL_ERROR_RT_MEMORY_ALLOCATION (207001)"),
        ("", &[("device", "7")], "setting `device` is 7, the library finds 1 devices"),
        ("", &[("device", "x")], "setting `device` of engine acl is `x`, it must be a number"),
    ];
    for (faults, settings, expected) in cases {
        let double = Double::new(ACL);
        double.set(faults);
        let error = double.open(settings).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        double.assert_clean(expected);
    }
}

/// With `SHARDHOST_RKNN_LIBRARY` naming the vendor's own library for PCs, which has no NPU behind it.
#[test]
#[ignore = "needs the vendor's library, which is not ours to give: see tests/doubles/README.md"]
fn the_vendors_own_library_has_the_functions_and_says_that_there_is_no_npu() {
    let path = std::env::var_os("SHARDHOST_RKNN_LIBRARY").expect("SHARDHOST_RKNN_LIBRARY names the library");
    let engine = host_vendor::open("rknn", path.as_ref(), &map(&[])).unwrap_or_else(|error| panic!("{error}"));
    let info = engine.info();
    assert!(info.unusable().is_some_and(|reason| reason.contains("RKNN_ERR_DEVICE_UNAVAILABLE (-3)")), "{info:?}");
}
