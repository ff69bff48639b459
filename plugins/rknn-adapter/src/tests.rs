//! The adapter against an engine double. What all such adapters do is tested in the SDK.

use shardhost_sdk::adapter::{
    ElementType, Phase,
    double::{Computes, Double, Shard, Tensor, info},
};

use super::*;

fn adapter(config: &str) -> RknnAdapter<Double> {
    let adapter = RknnAdapter::<Double>::configure(config).expect("good settings");
    adapter.0.engine().infos.borrow_mut().extend([info("tract", "cpu"), info("rknn", "rknn")]);
    adapter
}

fn call() -> Call {
    Call { request: 1, sequence: 0, phase: Phase::Whole, past_tokens: 0, new_tokens: 0, batch: 1 }
}

fn picture_shard() -> Shard {
    let shard = Shard::new(Computes::Inputs, &[("x", ElementType::Fp32, &["batch", "3", "2", "2"])], &[("y", ElementType::Fp32, &["batch", "3", "2", "2"])]);
    shard.converted(&[(ElementType::Fp16, &[1, 2, 2, 3])])
}

#[test]
fn the_npu_is_one_offer_and_settings_reach_the_engine() {
    let mut adapter = adapter(r#"{"core_mask":"0_1","target":"rk3588","options":{"priority":"high"}}"#);
    let offers = adapter.probe();
    assert_eq!((offers.len(), offers[0].accelerator.as_str()), (1, "rknn"));
    for (name, value) in [("target", "rk3588"), ("needs-artefacts", "rknn:rk3588")] {
        assert!(offers[0].attributes.contains(&(name.to_owned(), value.to_owned())), "{name}");
    }
    adapter.load(picture_shard(), 0).expect("it loads");
    let options = [("core_mask", "0_1"), ("target", "rk3588"), ("priority", "high")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(*adapter.0.engine().loads.borrow(), [("rknn".to_owned(), options.to_vec())]);
}

#[test]
fn a_picture_goes_through_half_floats_with_its_channels_last() {
    let mut adapter = adapter("{}");
    adapter.load(picture_shard(), 0).expect("it loads");
    let picture = Tensor::new(ElementType::Fp32, &[1, 3, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]);
    assert_eq!(adapter.run(&call(), vec![picture.clone()]).expect("it runs"), [picture]);
    assert_eq!(adapter.0.engine().runs.borrow()[0], [[1, 2, 2, 3]]);
}

#[test]
fn operators_that_the_toolkit_does_not_list_are_named_where_a_shard_does_not_load() {
    let mut shard = picture_shard();
    shard.info.operators = ["Conv", "Loop", "com.microsoft.MatMulNBits"].map(str::to_owned).to_vec();
    shard.refused = Some("the shard was not converted for rk3588".to_owned());
    let reason = adapter("{}").load(shard, 0).expect_err("it is refused").reason;
    assert_eq!(reason, "engine rknn: the shard was not converted for rk3588; RKNN-Toolkit2 2.1.0 does not list operator Loop, com.microsoft.MatMulNBits");
}

#[test]
fn settings_that_are_not_known_are_refused_by_name() {
    let says = |config: &str| RknnAdapter::<Double>::configure(config).map(drop).expect_err("wrong settings");
    assert!(says(r#"{"core":"all"}"#).contains("core"));
    assert_eq!(says(r#"{"core_mask":"3"}"#), "core_mask is `3`, there are auto, 0, 1, 2, 0_1, 0_1_2, all");
    assert_eq!(says(r#"{"layout":"hwc"}"#), "layout is `hwc`, there are nchw, nhwc");
}
