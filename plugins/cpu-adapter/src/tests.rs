//! The adapter against an engine double.

use proptest::prelude::*;
use shardhost_sdk::adapter::{
    PlainConfig as _, ShardAdapter as _,
    plain_double::{EngineDouble, FACTOR, GRAPH_BYTES, call},
};

use super::*;

fn adapter(config: &str) -> PlainAdapter<Config, EngineDouble> {
    PlainAdapter::configure(config).expect("good settings")
}

#[test]
fn there_is_one_offer_of_the_first_usable_engine_or_of_the_one_that_is_named() {
    for (config, expected) in [("{}", "tract"), (r#"{"engine":"other"}"#, "other")] {
        let offers = adapter(config).probe();
        let engines: Vec<_> = offers.iter().map(|offer| offer.attributes[0].1.as_str()).collect();
        assert_eq!(engines, [expected]);
        assert!(offers.iter().all(|offer| offer.memory_pool == 0 && offer.weight_factor == 1.5 && offer.fixed_bytes == 1e6));
    }
}

#[test]
fn a_shard_is_loaded_with_the_engine_of_the_offer_and_the_settings() {
    let mut adapter = adapter(r#"{"engine":"other","threads":4}"#);
    assert_eq!(adapter.load("shard", 0).expect("it loads").memory_bytes, GRAPH_BYTES);
    assert_eq!(*adapter.engine.loads.borrow(), [("other".to_owned(), vec![("threads".to_owned(), "4".to_owned())])]);
}

#[test]
fn refusals_name_what_is_wrong() {
    let mut unnamed = adapter("{}");
    assert_eq!(unnamed.load("shard", 9).expect_err("one offer").reason, "offer 9 does not exist, there is 1");
    assert_eq!(unnamed.load("odd", 0).expect_err("unsupported").reason, "engine tract: operator Odd is not known");
    assert_eq!(unnamed.run(&call(), vec![1]).expect_err("nothing is loaded").message, "no shard is loaded");
    let cases = [
        (r#"{"engine":"broken"}"#, "engine broken cannot be used: its library is not here"),
        (r#"{"engine":"cuda"}"#, "engine cuda is not one for cpu here, there are broken, tract, other"),
    ];
    for (config, expected) in cases {
        assert_eq!(adapter(config).load("shard", 0).expect_err("no such engine").reason, expected);
    }
}

#[test]
fn settings_that_are_not_known_are_refused_by_name() {
    assert!(Config::read(r#"{"thread":4}"#).expect_err("a misspelt field").contains("thread"));
    assert_eq!(Config::read(r#"{"threads":0}"#), Err("threads is 0, it must be 1 or more".to_owned()));
}

proptest! {
    #[test]
    fn tensors_pass_in_order_and_none_is_lost(inputs in prop::collection::vec(0_u32..1000, 0..9)) {
        let mut adapter = adapter("{}");
        adapter.load("shard", 0).expect("it loads");
        let expected: Vec<u32> = inputs.iter().map(|input| input * FACTOR).collect();
        prop_assert_eq!(adapter.run(&call(), inputs).expect("it runs"), expected);
    }
}
