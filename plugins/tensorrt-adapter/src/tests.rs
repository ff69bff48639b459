//! The adapter against an engine double.

use proptest::prelude::*;
use shardhost_sdk::adapter::{
    PlainConfig as _, ShardAdapter as _,
    plain_double::{EngineDouble, FACTOR, call},
};

use super::*;

fn adapter(config: &str) -> PlainAdapter<Config, EngineDouble> {
    PlainAdapter::configure(config).expect("good settings")
}

fn fp16_of(adapter: &PlainAdapter<Config, EngineDouble>) -> Vec<String> {
    let value = |options: &Vec<(String, String)>| options.iter().find(|(name, _)| name == "fp16").map(|(_, value)| value.clone());
    adapter.engine.loads.borrow().iter().filter_map(|(_, options)| value(options)).collect()
}

#[test]
fn the_gpu_is_offered_with_the_memory_that_it_shares_with_cuda() {
    let offers = adapter("{}").probe();
    let [offer] = offers.as_slice() else { panic!("one engine can be used: {offers:?}") };
    assert_eq!((offer.accelerator.as_str(), offer.memory_pool), ("tensorrt", 1));
    assert_eq!(offer.attributes[0], ("engine".to_owned(), "tensorrt".to_owned()));
}

#[test]
fn settings_become_options_of_the_engine() {
    let config =
        r#"{"device_id": 2, "memory_limit": 9, "fp16": "always", "profiles": {"sequence": [1, 64, 512], "past": [0, 1, 2]}, "engine_cache": "/var/cache"}"#;
    let mut adapter = adapter(config);
    adapter.load("shard", 0).expect("it loads");
    let loads = adapter.engine.loads.borrow();
    let options: Vec<_> = loads[0].1.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [("device_id", "2"), ("memory_limit", "9"), ("fp16", "true"), ("profiles", "past=0/1/2,sequence=1/64/512"), ("engine_cache", "/var/cache")];
    assert_eq!((loads[0].0.as_str(), options), ("tensorrt", expected.to_vec()));
}

#[test]
fn sixteen_bit_floats_go_where_the_golden_answers_allow_them() {
    struct Case {
        config: &'static str,
        shard: &'static str,
        tried: &'static [&'static str],
        loads: bool,
    }
    let cases = [
        Case { config: r#"{"fp16": "auto"}"#, shard: "fine", tried: &["true"], loads: true },
        Case { config: r#"{"fp16": "auto"}"#, shard: "coarse", tried: &["true", "false"], loads: true },
        Case { config: r#"{"fp16": "always"}"#, shard: "coarse", tried: &["true"], loads: false },
        Case { config: "{}", shard: "coarse", tried: &["false"], loads: true },
        // What is not about answers is not tried again.
        Case { config: r#"{"fp16": "auto"}"#, shard: "odd", tried: &["true"], loads: false },
    ];
    for case in cases {
        let mut adapter = adapter(case.config);
        let loaded = adapter.load(case.shard, 0);
        assert_eq!(
            (fp16_of(&adapter), loaded.is_ok()),
            (case.tried.iter().map(|text| (*text).to_owned()).collect(), case.loads),
            "{} {}",
            case.config,
            case.shard
        );
        if let Ok(fit) = loaded {
            let last = case.tried.last().map(|text| (*text).to_owned());
            assert!(fit.attributes.iter().any(|(name, value)| name == "fp16" && Some(value) == last.as_ref()), "{:?}", fit.attributes);
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let cases = [
        (r#"{"fp_16": "auto"}"#, "fp_16"),
        (r#"{"fp16": "sometimes"}"#, "sometimes"),
        (r#"{"memory_limit": 0}"#, "memory_limit is 0"),
        (r#"{"profiles": {"sequence": [5, 4, 9]}}"#, "profiles.sequence is [5, 4, 9]"),
        (r#"{"profiles": {"a=b": [1, 2, 3]}}"#, "profiles has a length `a=b`"),
    ];
    for (json, expected) in cases {
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
    fn every_range_is_in_the_text_once(profiles in prop::collection::btree_map("[a-z_]{1,12}", [0_u32..9, 9_u32..99, 99_u32..999], 0..6)) {
        let config = Config { profiles: profiles.clone(), ..Config::default() };
        let attempts = config.attempts();
        let text = attempts[0].iter().find(|(name, _)| name == "profiles").map(|(_, value)| value.clone()).unwrap_or_default();
        let read: Vec<(String, Vec<u32>)> = text.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (symbol, numbers) = part.split_once('=').expect("a name");
            (symbol.to_owned(), numbers.split('/').map(|number| number.parse().expect("a number")).collect())
        }).collect();
        let expected: Vec<(String, Vec<u32>)> = profiles.into_iter().map(|(symbol, lengths)| (symbol, lengths.to_vec())).collect();
        prop_assert_eq!(read, expected);
    }
}
