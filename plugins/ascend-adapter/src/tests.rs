//! The adapter against an engine double. What all such adapters do is tested in the SDK.

use shardhost_sdk::adapter::{
    ElementType, Phase,
    double::{Computes, Double, Shard, Tensor, info},
};

use super::*;

fn adapter(config: &str) -> AscendAdapter<Double> {
    let adapter = AscendAdapter::<Double>::configure(config).expect("good settings");
    adapter.0.engine().infos.borrow_mut().extend([info("tract", "cpu"), info("cann", "ascend"), info("acl", "ascend")]);
    adapter
}

fn call() -> Call {
    Call { request: 1, sequence: 0, phase: Phase::Whole, past_tokens: 0, new_tokens: 0, batch: 1 }
}

/// An encoder that was not converted: its graph leaves every length open.
fn shard() -> Shard {
    let inputs: [(&str, ElementType, &[&str]); 2] = [("x", ElementType::Fp32, &["1", "tokens", "1"]), ("attention_mask", ElementType::Int64, &["1", "tokens"])];
    let shard = Shard::new(Computes::Attention, &inputs, &[("y", ElementType::Fp32, &["1", "tokens", "1"])]);
    shard.converted(&[(ElementType::Fp32, &[1, -1, 1]), (ElementType::Int64, &[1, -1])])
}

#[test]
fn both_engines_are_one_offer_and_the_settings_choose() {
    let mut both = adapter("{}");
    let engines = |offers: &[Offer]| offers[0].attributes.iter().filter(|(name, _)| name == "engine").map(|(_, value)| value.clone()).collect::<Vec<_>>();
    let offers = both.probe();
    assert_eq!((offers.len(), engines(&offers)), (1, vec!["acl".to_owned(), "cann".to_owned()]));
    let mut one = adapter(r#"{"engine":"cann","device_id":1}"#);
    assert_eq!(engines(&one.probe()), ["cann"]);
    one.load(shard(), 0).expect("it loads");
    assert_eq!(*one.0.engine().loads.borrow(), [("cann".to_owned(), vec![("device_id".to_owned(), "1".to_owned())])]);
}

#[test]
fn where_cann_is_not_used_shards_must_be_converted() {
    let needs = |config: &str| {
        let offers = adapter(config).probe();
        offers[0].attributes.iter().find(|(name, _)| name == "needs-artefacts").map(|(_, target)| target.clone())
    };
    assert_eq!(needs(r#"{"target":"Ascend310P3"}"#), None);
    assert_eq!(needs(r#"{"engine":"acl","target":"Ascend310P3"}"#).as_deref(), Some("acl:ascend310p3"));
}

#[test]
fn lengths_are_padded_to_those_of_the_settings() {
    let mut adapter = adapter(r#"{"buckets":[{"tokens":4},{"tokens":16}]}"#);
    adapter.load(shard(), 0).expect("it loads");
    let (x, mask) = (Tensor::new(ElementType::Fp32, &[1, 3, 1], &[1.0, 2.0, 3.0]), Tensor::new(ElementType::Int64, &[1, 3], &[1.0, 0.0, 1.0]));
    let answer = adapter.run(&call(), vec![x, mask]).expect("it runs");
    assert_eq!(answer, [Tensor::new(ElementType::Fp32, &[1, 3, 1], &[5.0, 6.0, 7.0])]);
    assert_eq!(adapter.0.engine().runs.borrow()[0], [vec![1, 4, 1], vec![1, 4]]);
}

#[test]
fn settings_that_are_not_known_are_refused_by_name() {
    let says = |config: &str| AscendAdapter::<Double>::configure(config).map(drop).expect_err("wrong settings");
    assert!(says(r#"{"device":1}"#).contains("device"));
    assert_eq!(says(r#"{"engine":"rknn"}"#), "engine is `rknn`, there are acl, cann");
    assert_eq!(says(r#"{"buckets":[{"tokens":0}]}"#), "a bucket has tokens = 0, it must be 1 or more");
}
