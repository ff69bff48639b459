//! Runs through buckets against runs without any, on an engine double.

use proptest::prelude::*;

use super::*;
use crate::adapter::double::{Computes, Double, Shard, Tensor, info};

const ACCELERATOR: Accelerator =
    Accelerator { kind: "npu", engines: &["first", "second"], converted: &["first"], operators: &["Add", "MatMul"], toolkit: "Toolkit 1" };
const FP32: ElementType = ElementType::Fp32;
const FP16: ElementType = ElementType::Fp16;
const INT64: ElementType = ElementType::Int64;
const INT32: ElementType = ElementType::Int32;

fn adapter(settings: Settings) -> Converted<Double> {
    let adapter = Converted::<Double>::new(ACCELERATOR, settings);
    adapter.engine.infos.borrow_mut().extend([info("second", "npu"), info("other", "cpu"), info("first", "npu")]);
    adapter
}

fn loaded(shard: &Shard) -> Converted<Double> {
    let mut adapter = adapter(Settings::default());
    adapter.load(shard, 0).unwrap_or_else(|refusal| panic!("{}", refusal.reason));
    adapter
}

fn encoder() -> Shard {
    let inputs: [(&str, ElementType, &[&str]); 2] = [("x", FP32, &["batch", "tokens", "2"]), ("attention_mask", INT64, &["batch", "tokens"])];
    Shard::new(Computes::Attention, &inputs, &[("y", FP32, &["batch", "tokens", "2"])])
}

fn decoder() -> Shard {
    let inputs: [(&str, ElementType, &[&str]); 3] = [
        ("x", FP32, &["batch", "tokens", "1"]),
        ("attention_mask", INT64, &["batch", "past + tokens"]),
        ("past_key_values.0.key", FP32, &["batch", "past", "1"]),
    ];
    let outputs: [(&str, ElementType, &[&str]); 2] = [("y", FP32, &["batch", "tokens", "1"]), ("present.0.key", FP32, &["batch", "past + tokens", "1"])];
    Shard::new(Computes::CausalAttention, &inputs, &outputs)
}

/// Whole numbers that differ from each other.
fn values(shape: &[u32], seed: u32) -> Tensor {
    let count: u32 = shape.iter().product();
    Tensor::new(FP32, shape, &(0..count).map(|at| f64::from((at * 7 + seed) % 61) - 30.0).collect::<Vec<_>>())
}

fn mask(shape: &[u32], bits: u64) -> Tensor {
    let count: u32 = shape.iter().product();
    Tensor::new(INT64, shape, &(0..count).map(|at| f64::from(u8::from(bits >> (at % 64) & 1 == 1))).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn an_encoder_through_buckets_answers_as_one_without(tokens in 1_u32..=9, batch in 1_u32..=2, bits: u64, seed in 0_u32..60) {
        let inputs = vec![values(&[batch, tokens, 2], seed), mask(&[batch, tokens], bits)];
        let open = loaded(&encoder().converted(&[(FP32, &[-1, -1, 2]), (INT64, &[-1, -1])]));
        let buckets = encoder().converted(&[(FP16, &[2, 9, 2]), (INT32, &[2, 9])]).converted(&[(FP16, &[1, 4, 2]), (INT32, &[1, 4])]);
        prop_assert_eq!(loaded(&buckets).run(inputs.clone()).expect("it fits"), open.run(inputs).expect("any length"));
    }

    #[test]
    fn a_decoder_through_buckets_answers_as_one_without(tokens in 1_u32..=4, past in 0_u32..=8, bits: u64, seed in 0_u32..60) {
        let inputs = vec![values(&[1, tokens, 1], seed), mask(&[1, past + tokens], bits), values(&[1, past, 1], seed + 5)];
        let open = loaded(&decoder().converted(&[(FP32, &[-1, -1, 1]), (INT64, &[-1, -1]), (FP32, &[-1, -1, 1])]));
        let buckets = decoder()
            .converted(&[(FP32, &[1, 4, 1]), (INT32, &[1, 12]), (FP32, &[1, 8, 1])])
            .converted(&[(FP32, &[1, 1, 1]), (INT32, &[1, 4]), (FP32, &[1, 3, 1])]);
        prop_assert_eq!(loaded(&buckets).run(inputs.clone()).expect("it fits"), open.run(inputs).expect("any length"));
    }

    #[test]
    fn pictures_go_with_their_channels_last_and_come_back(batch in 1_u32..=3, seed in 0_u32..60) {
        let shard = Shard::new(Computes::Inputs, &[("x", FP32, &["batch", "3", "4", "5"])], &[("y", FP32, &["batch", "3", "4", "5"])]);
        let adapter = loaded(&shard.converted(&[(FP16, &[3, 4, 5, 3])]));
        let picture = values(&[batch, 3, 4, 5], seed);
        prop_assert_eq!(adapter.run(vec![picture.clone()]).expect("it fits"), vec![picture]);
        prop_assert_eq!(&adapter.engine.runs.borrow()[0], &vec![vec![3, 4, 5, 3]]);
    }
}

#[test]
fn the_smallest_bucket_that_fits_runs() {
    let shard = [16, 4, 8].iter().fold(encoder(), |shard, &tokens| shard.converted(&[(FP32, &[1, tokens, 2]), (INT64, &[1, tokens])]));
    let adapter = loaded(&shard);
    for (tokens, bucket) in [(1, 4), (4, 4), (5, 8), (16, 16)] {
        adapter.run(vec![values(&[1, tokens, 2], 0), mask(&[1, tokens], u64::MAX)]).expect("it fits");
        assert_eq!(adapter.engine.runs.borrow().last().expect("it ran")[0], [1, bucket, 2], "{tokens}");
    }
    let error = adapter.run(vec![values(&[1, 17, 2], 0), mask(&[1, 17], u64::MAX)]).expect_err("it is too long");
    assert_eq!(error.message, "dimension `tokens` of input `x` is 17, the largest bucket has 16");
}

#[test]
fn a_graph_may_take_its_inputs_in_another_order() {
    let mut shard = encoder().converted(&[(FP32, &[1, 4, 2]), (INT64, &[1, 4])]);
    shard.buckets[0].reverse();
    let inputs = vec![values(&[1, 3, 2], 0), mask(&[1, 3], 0b101)];
    let straight = loaded(&encoder().converted(&[(FP32, &[1, 4, 2]), (INT64, &[1, 4])]));
    assert_eq!(loaded(&shard).run(inputs.clone()).expect("it fits"), straight.run(inputs).expect("it fits"));
}

#[test]
fn lengths_that_a_graph_leaves_open_are_those_of_the_settings() {
    let buckets = [4, 8].map(|tokens| BTreeMap::from([("tokens".to_owned(), tokens)])).to_vec();
    let mut adapter = adapter(Settings { buckets, ..Settings::default() });
    let fit = adapter.load(&encoder().converted(&[(FP32, &[1, -1, 2]), (INT64, &[1, -1])]), 0).expect("it loads");
    assert_eq!(fit.attributes[2], ("buckets".to_owned(), "batch = 1, tokens = 4; batch = 1, tokens = 8".to_owned()));
    adapter.run(vec![values(&[1, 5, 2], 0), mask(&[1, 5], 1)]).expect("it fits");
    assert_eq!(adapter.engine.runs.borrow()[0][0], [1, 8, 2]);
}

#[test]
fn one_accelerator_is_one_offer_and_what_cannot_be_used_is_none() {
    let found = adapter(Settings { attributes: vec![("target".to_owned(), "soc".to_owned())], ..Settings::default() });
    let offers = found.probe();
    assert_eq!(offers.len(), 1);
    let attribute = |name: &str| offers[0].attributes.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    assert_eq!((offers[0].accelerator.as_str(), attribute("engine"), attribute("target")), ("npu", vec!["first", "second"], vec!["soc"]));
    found.engine.infos.borrow_mut()[2].attributes.push((UNUSABLE.to_owned(), "no device".to_owned()));
    assert_eq!(found.probe()[0].attributes[0].1, "second");
    found.engine.infos.borrow_mut()[0].attributes.push((UNUSABLE.to_owned(), "too old".to_owned()));
    assert!(found.probe().is_empty());
    let (said, log) = (std::cell::RefCell::new(Vec::new()), |level: Level, line: String| (format!("{level:?}"), line));
    found.engines(|level, line| said.borrow_mut().push(log(level, line)));
    let lines = said.into_inner();
    assert_eq!(lines[0], ("Level::Warn".to_owned(), "engine first cannot be used: no device".to_owned()));
    assert_eq!(lines[1].1, "engine second cannot be used: too old");
}

#[test]
fn an_offer_says_what_shards_must_be_converted_for_where_no_engine_takes_others() {
    struct Case {
        engine: Option<&'static str>,
        /// Of the settings.
        target: Option<&'static str>,
        /// Of the engine.
        chip: Option<&'static str>,
        needs: Option<&'static str>,
    }
    let cases = [
        Case { engine: None, target: Some("Soc1"), chip: Some("soc2"), needs: None },
        Case { engine: Some("second"), target: Some("Soc1"), chip: None, needs: None },
        Case { engine: Some("first"), target: Some("Soc1"), chip: Some("soc2"), needs: Some("first:soc1") },
        Case { engine: Some("first"), target: None, chip: Some("Soc2"), needs: Some("first:soc2") },
        Case { engine: Some("first"), target: None, chip: None, needs: Some("first") },
    ];
    for Case { engine, target, chip, needs } in cases {
        let attributes = target.map(|target| (TARGET.to_owned(), target.to_owned())).into_iter().collect();
        let adapter = adapter(Settings { engine: engine.map(str::to_owned), attributes, ..Settings::default() });
        adapter.engine.infos.borrow_mut()[2].attributes.extend(chip.map(|chip| (TARGET.to_owned(), chip.to_owned())));
        let offers = adapter.probe();
        let said = offers[0].attributes.iter().find(|(name, _)| name == NEEDS_ARTEFACTS).map(|(_, target)| target.as_str());
        assert_eq!(said, needs, "{engine:?} {target:?} {chip:?}");
    }
}

#[test]
fn refusals_name_what_is_wrong_of_each_engine() {
    struct Case {
        shard: Shard,
        says: &'static str,
    }
    let sound = || encoder().converted(&[(FP32, &[1, 4, 2]), (INT64, &[1, 4])]);
    let mut odd = sound();
    odd.info.operators = ["Add", "Loop", "NonZero"].map(str::to_owned).to_vec();
    odd.refused = Some("it was not converted for this".to_owned());
    let full = Shard { refused: Some("out of memory".to_owned()), is_short: true, ..odd.clone() };
    let mut heavy = sound();
    heavy.info.weight_bytes = 1e9;
    let cases = [
        Case { shard: odd, says: "engine first: it was not converted for this; Toolkit 1 does not list operator Loop, NonZero" },
        Case { shard: full, says: "engine first: out of memory" },
        Case { shard: heavy, says: "engine first: m@1[0..1) takes 1501000000 bytes, there are 1000000000" },
        Case {
            shard: encoder().converted(&[(FP32, &[1, 4, 3]), (INT64, &[1, 4])]),
            says: "engine first: its graph takes `x` as [1, 4, 3], the shard declares [?, ?, 2]",
        },
        Case {
            shard: encoder().converted(&[(FP32, &[1, 4, 2]), (INT64, &[1, 5])]),
            says: "engine first: an axis of input `attention_mask` is 5, the shard and the other inputs make it 4",
        },
        Case { shard: encoder().converted(&[(FP32, &[1, 4, 2])]), says: "engine first: its graph does not take input `attention_mask`" },
        Case {
            shard: encoder().converted(&[(INT32, &[1, 4, 2]), (INT64, &[1, 4])]),
            says: "engine first: its graph takes `x` as ElementType::Int32, which does not hold every ElementType::Fp32",
        },
    ];
    for Case { shard, says } in cases {
        let mut adapter = adapter(Settings { engine: Some("first".to_owned()), ..Settings::default() });
        assert_eq!(adapter.load(&shard, 0).expect_err(says).reason, says);
        assert_eq!(adapter.run(Vec::new()).expect_err("nothing is loaded").message, "no shard is loaded");
    }
    let mut both = adapter(Settings::default());
    let mut refused = sound();
    refused.refused = Some("no".to_owned());
    assert_eq!(both.load(&refused, 0).expect_err("both refuse").reason, "engine first: no; engine second: no");
    assert_eq!(both.load(&sound(), 1).expect_err("there is one offer").reason, "offer 1 does not exist, there are 1");
}

#[test]
fn options_reach_the_engine() {
    let options = vec![("core_mask".to_owned(), "all".to_owned())];
    let mut adapter = adapter(Settings { options: options.clone(), ..Settings::default() });
    adapter.load(&encoder().converted(&[(FP32, &[1, 4, 2]), (INT64, &[1, 4])]), 0).expect("it loads");
    assert_eq!(*adapter.engine.loads.borrow(), [("first".to_owned(), options)]);
}
