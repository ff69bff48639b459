//! Every generated kind: right answers, cut anywhere, at any length.

use std::collections::HashMap;

use host_engine::{
    CnnSize, DecoderSize, EncoderSize, Engine, Engines, Inspection, Kind, LoadOptions, MlpSize, Shard, Tensor, TensorSpec, generate, run_rows, split,
};

use crate::{engine, engines, inspected};

type Named = HashMap<String, Tensor>;
/// How long each symbol is.
type Lengths = &'static [(&'static str, usize)];

fn kinds() -> Vec<(&'static str, Kind)> {
    vec![
        ("mlp", Kind::Mlp(MlpSize { inputs: 20, hidden: 40, layers: 4, outputs: 5 })),
        ("cnn", Kind::Cnn(CnnSize { pixels: 16, channels: 8, blocks: 4, classes: 5 })),
        ("mobilenet", Kind::MobileNet { pixels: 32 }),
        ("encoder", encoder()),
        ("decoder", decoder()),
    ]
}

fn encoder() -> Kind {
    Kind::Encoder(EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 })
}

fn decoder() -> Kind {
    Kind::Decoder(DecoderSize { vocabulary: 60, hidden: 32, layers: 2, heads: 4, kv_heads: 2, feed_forward: 48, tied: true })
}

fn made(name: &str, kind: &Kind) -> Inspection {
    let file = generate(kind, 7).unwrap_or_else(|error| panic!("{name}: {error}"));
    inspected(&file, name).with_golden().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Integers are ones, which are ids and masks of every model here; floats run up and down.
fn tensor(spec: &TensorSpec, lengths: &[(&str, usize)]) -> Tensor {
    let length = |text: &str| -> usize {
        let one = |part: &str| part.parse().unwrap_or_else(|_| lengths.iter().find(|(name, _)| *name == part).unwrap_or_else(|| panic!("{part}")).1);
        text.split(" + ").map(one).sum()
    };
    let shape: Vec<usize> = spec.shape.iter().map(|dimension| length(&dimension.to_string())).collect();
    let count: usize = shape.iter().product();
    if spec.element_type.is_integer() {
        return Tensor::from_i64(&shape, &vec![1; count]).expect("as many as the shape has");
    }
    Tensor::from_f32(&shape, &(0..count).map(|index| (index % 17) as f32 / 17.0 - 0.5).collect::<Vec<_>>()).expect("as many as the shape has")
}

/// Runs shards one after another, values handed on by name.
fn run(engines: &Engines, shards: &[Shard], given: &Named) -> Named {
    let mut values = given.clone();
    for shard in shards {
        let mut graph = engines.load("ort", shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let inputs = graph.inputs().iter().map(|spec| values[&spec.name].clone()).collect();
        let names: Vec<String> = graph.outputs().iter().map(|spec| spec.name.clone()).collect();
        let outputs = graph.run(inputs).unwrap_or_else(|error| panic!("{}: {error}", shard.id));
        values.extend(names.into_iter().zip(outputs));
    }
    values
}

fn assert_near(found: &Tensor, expected: &Tensor, place: &str) {
    assert_eq!((found.shape(), found.element_type()), (expected.shape(), expected.element_type()), "{place}");
    let (a, b) = (found.to_f64(), expected.to_f64());
    let largest = b.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // Operators are fused otherwise where a cut lies between them, which rounds differently.
    assert!(difference <= 1e-4 * largest && a.iter().all(|value| value.is_finite()), "{place}: {difference:e} of {largest:e}");
}

#[test]
fn every_kind_agrees_with_its_golden_answers_whole_and_cut_everywhere() {
    let Some(engines) = engines() else { return };
    for (name, kind) in kinds() {
        let inspection = made(name, &kind);
        for cuts in [Vec::new(), inspection.legal_cuts()] {
            for shard in split(&inspection, &cuts).expect("legal cuts") {
                for threads in [1, 2] {
                    // Loading checks the golden answers.
                    engines.load("ort", &shard, &LoadOptions { threads, ..LoadOptions::default() }).unwrap_or_else(|error| panic!("{error}"));
                }
            }
        }
    }
}

#[test]
fn shards_in_a_row_equal_the_whole_at_lengths_that_nobody_foresaw() {
    let Some(engines) = engines() else { return };
    let cases: [(&str, Kind, &[Lengths]); 2] = [
        ("encoder", encoder(), &[&[("batch", 1), ("sequence", 1)], &[("batch", 1), ("sequence", 31)]]),
        (
            "decoder",
            decoder(),
            &[
                // The first token: the cache has no length at all.
                &[("batch_size", 1), ("past_sequence_length", 0), ("sequence_length", 6)],
                &[("batch_size", 1), ("past_sequence_length", 9), ("sequence_length", 1)],
            ],
        ),
    ];
    for (name, kind, all) in cases {
        let inspection = made(name, &kind);
        let (whole, shards) = (split(&inspection, &[]).expect("one shard"), split(&inspection, &inspection.legal_cuts()).expect("legal cuts"));
        assert!(shards.len() > 2);
        for lengths in all {
            let given: Named = inspection.inputs().iter().map(|spec| (spec.name.clone(), tensor(spec, lengths))).collect();
            let (expected, found) = (run(&engines, &whole, &given), run(&engines, &shards, &given));
            for output in inspection.outputs() {
                assert_near(&found[&output.name], &expected[&output.name], &format!("{name} {} at {lengths:?}", output.name));
            }
        }
    }
}

#[test]
fn the_cache_that_a_run_gives_has_the_tokens_of_the_run() {
    let Some(engines) = engines() else { return };
    let inspection = made("decoder", &decoder());
    let whole = split(&inspection, &[]).expect("one shard");
    let lengths = [("batch_size", 1), ("past_sequence_length", 4), ("sequence_length", 3)];
    let given: Named = inspection.inputs().iter().map(|spec| (spec.name.clone(), tensor(spec, &lengths))).collect();
    let made = run(&engines, &whole, &given);
    for kind in ["key", "value"] {
        let (past, present) = (&given[&format!("past_key_values.1.{kind}")], &made[&format!("present.1.{kind}")]);
        assert_eq!((past.shape()[2], present.shape()[2]), (4, 7), "{:?}", present.shape());
    }
}

#[test]
fn wrong_inputs_are_named_with_what_was_expected() {
    let Some(engines) = engines() else { return };
    let shard = split(&made("encoder", &encoder()), &[]).expect("one shard").remove(0);
    let mut graph = engines.load("ort", &shard, &LoadOptions::default()).expect("it loads");
    let ids = |shape: &[usize]| Tensor::from_i64(shape, &vec![1; shape.iter().product()]).expect("as many as the shape has");
    let cases = [
        (vec![ids(&[1, 3])], "number of inputs of `input_ids, attention_mask`: expected 2, found 1"),
        (vec![ids(&[1, 3]), Tensor::from_f32(&[1, 3], &[1.0; 3]).expect("3 values")], "element type of `attention_mask`: expected INT64, found FP32"),
        (vec![ids(&[1, 3]), ids(&[1, 4])], "length of an axis of `attention_mask`: expected 3 (sequence), found 4"),
        (vec![ids(&[2, 3]), ids(&[2, 3])], "shape of `input_ids`: expected [1, sequence], found [2, 3]"),
    ];
    for (inputs, expected) in cases {
        assert_eq!(graph.run(inputs).expect_err(expected).to_string(), expected);
    }
    let both = run_rows(graph.as_mut(), vec![ids(&[2, 3]), ids(&[2, 3])]).expect("two rows, one after the other").remove(0);
    assert_eq!(both.shape(), [2, 3, 32]);
}

#[test]
fn users_of_one_graph_on_several_threads_get_their_own_answers() {
    let Some(engine) = engine() else { return };
    let inspection = made("encoder", &encoder());
    let shard = split(&inspection, &[]).expect("one shard").remove(0);
    let graph = engine.load(&shard, &LoadOptions { threads: 2, ..LoadOptions::default() }).expect("it loads");
    std::thread::scope(|scope| {
        for length in 1..6 {
            let (mut user, inspection) = (graph.share().expect("shared"), &inspection);
            scope.spawn(move || {
                let given: Vec<Tensor> = inspection.inputs().iter().map(|spec| tensor(spec, &[("batch", 1), ("sequence", length)])).collect();
                let first = user.run(given.clone()).expect("it runs");
                for _ in 0..20 {
                    assert_eq!(user.run(given.clone()).expect("it runs"), first, "length {length}");
                }
            });
        }
    });
}

#[test]
fn settings_are_taken_and_unknown_ones_refused_by_name() {
    let Some(engine) = engine() else { return };
    let shard = split(&made("mlp", &Kind::named("mlp").expect("a kind")), &[]).expect("one shard").remove(0);
    let load = |name: &str, value: &str| engine.load(&shard, &LoadOptions { settings: [(name.to_owned(), value.to_owned())].into(), ..LoadOptions::default() });
    for (name, value) in [("spinning", "true"), ("optimization", "none"), ("optimization", "all")] {
        let mut graph = load(name, value).unwrap_or_else(|error| panic!("{error}"));
        host_engine::check_golden(graph.as_mut(), shard.golden.as_ref().expect("made with golden answers")).expect("the same answers");
    }
    let error = load("core_mask", "1").expect_err("no such option").to_string();
    assert_eq!(error, "mlp@1[0..5): engine ort knows no option `core_mask`, there are threads, optimization, spinning");
}
