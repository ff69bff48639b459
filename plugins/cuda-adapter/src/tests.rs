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
fn the_gpu_is_offered_with_its_own_memory_and_what_cannot_be_used_is_not() {
    let offers = adapter("{}").probe();
    let [offer] = offers.as_slice() else { panic!("one engine can be used: {offers:?}") };
    assert_eq!((offer.accelerator.as_str(), offer.memory_pool, offer.memory_bytes), ("cuda", 1, 1e9));
    let named: Vec<_> = offer.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(named, [("engine", "cuda"), ("engine-version", "1"), ("gpu", "Double")]);
}

#[test]
fn settings_become_options_of_the_engine() {
    let mut adapter = adapter(r#"{"device_id": 1, "memory_limit": 2000000}"#);
    assert_eq!(adapter.load("shard", 0).expect("it loads").memory_bytes, GRAPH_BYTES);
    let options = vec![("device_id".to_owned(), "1".to_owned()), ("memory_limit".to_owned(), "2000000".to_owned())];
    assert_eq!(*adapter.engine.loads.borrow(), [("cuda".to_owned(), options)]);
}

#[test]
fn refusals_name_the_engine_and_the_operator() {
    let mut adapter = adapter("{}");
    assert_eq!(adapter.load("odd", 0).expect_err("unsupported").reason, "engine cuda: operator Odd is not known");
    assert_eq!(adapter.load("shard", 1).expect_err("one offer").reason, "offer 1 does not exist, there is 1");
    assert_eq!(adapter.run(&call(), vec![1]).expect_err("nothing is loaded").message, "no shard is loaded");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    for (json, expected) in [(r#"{"device": 1}"#, "device"), (r#"{"memory_limit": 0}"#, "memory_limit is 0"), (r#"{"device_id": -1}"#, "-1")] {
        assert!(Config::read(json).expect_err(expected).contains(expected), "{json}");
    }
}

proptest! {
    #[test]
    fn tensors_pass_in_order_and_none_is_lost(inputs in prop::collection::vec(0_u32..1000, 0..9)) {
        let mut adapter = adapter("{}");
        adapter.load("shard", 0).expect("it loads");
        let expected: Vec<u32> = inputs.iter().map(|input| input * FACTOR).collect();
        prop_assert_eq!(adapter.run(&call(), inputs).expect("it runs"), expected);
    }

    #[test]
    fn every_number_reaches_the_engine_as_it_is(device_id in any::<Option<u16>>(), memory_limit in prop::option::of(1_u64..)) {
        let config = Config { device_id, memory_limit };
        let attempts = config.attempts();
        prop_assert_eq!(attempts.len(), 1);
        let value = |name: &str| attempts[0].iter().find(|(known, _)| known == name).map(|(_, value)| value.parse::<u64>().expect("a number"));
        prop_assert_eq!(value("device_id"), device_id.map(u64::from));
        prop_assert_eq!(value("memory_limit"), memory_limit);
    }
}
