//! Engines against each other, on every generated kind and cut anywhere: they agree, or one is refused; what is wrong is never taken.

use host_engine::{
    CnnSize, DecoderSize, EncoderSize, Engines, Inspection, Kind, LoadOptions, MlpSize, RtenEngine, Tensor, check_golden, generate, run_rows, split,
};

use crate::chain::{Named, Near, compare, inputs, inspected, run_on};

/// Different engines add in another order; what they were seen to differ by is 1e-5.
const FLOATS: Near = Near::Within(1e-4);
/// With weights of 8 and 4 bits, a value that falls on the other side of a step is a whole step away.
const COARSE: Near = Near::Within(2e-2);

struct Case {
    name: &'static str,
    kind: Kind,
    near: Near,
    /// Lengths of the open axes, beside the batch.
    lengths: &'static [&'static [(&'static str, usize)]],
}

fn cases() -> Vec<Case> {
    let encoder = EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 };
    let decoder = DecoderSize { vocabulary: 60, hidden: 64, layers: 2, heads: 4, kv_heads: 2, feed_forward: 96, tied: true };
    let sequences: &[&[(&str, usize)]] = &[&[("sequence", 1)], &[("sequence", 9)]];
    let steps: &[&[(&str, usize)]] = &[
        &[("past_sequence_length", 0), ("sequence_length", 6)],
        &[("past_sequence_length", 6), ("sequence_length", 1)],
        &[("past_sequence_length", 4), ("sequence_length", 3)],
    ];
    let case = |name, kind, near, lengths| Case { name, kind, near, lengths };
    vec![
        case("mlp", Kind::Mlp(MlpSize { inputs: 20, hidden: 40, layers: 4, outputs: 5 }), FLOATS, &[&[]]),
        case("cnn", Kind::Cnn(CnnSize { pixels: 16, channels: 8, blocks: 4, classes: 5 }), FLOATS, &[&[]]),
        case("mobilenet", Kind::MobileNet { pixels: 32 }, FLOATS, &[&[]]),
        case("resnet50", Kind::ResNet50 { pixels: 32 }, FLOATS, &[&[]]),
        case("encoder", Kind::Encoder(encoder.clone()), FLOATS, sequences),
        case("decoder", Kind::Decoder(decoder.clone()), FLOATS, steps),
        case("encoder-int8", Kind::EncoderInt8(encoder), COARSE, sequences),
        case("decoder-int4", Kind::DecoderInt4(decoder), COARSE, steps),
    ]
}

fn inspection(case: &Case) -> Inspection {
    let file = generate(&case.kind, 7).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    inspected(&file, case.name).with_golden().unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

fn given(case: &Case, inspection: &Inspection, batch: usize) -> Vec<Named> {
    let with_batch = |lengths: &&[(&'static str, usize)]| [&[("batch", batch), ("batch_size", batch)][..], lengths].concat();
    case.lengths.iter().map(|lengths| inputs(inspection.inputs(), &with_batch(lengths), 50, 3)).collect()
}

/// Few cuts of large models: each shard is loaded by each engine.
fn some_cuts(inspection: &Inspection) -> Vec<u32> {
    let legal = inspection.legal_cuts();
    let step = legal.len().div_ceil(6).max(1);
    legal.into_iter().step_by(step).collect()
}

#[test]
fn every_shard_of_every_kind_is_taken_by_every_engine_and_agrees_with_its_golden_answers() {
    let engines = Engines::default();
    for case in cases() {
        let inspection = inspection(&case);
        for cuts in [Vec::new(), some_cuts(&inspection)] {
            for shard in split(&inspection, &cuts).expect("legal cuts") {
                for info in engines.info() {
                    let mut graph = engines.load(&info.name, &shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{}: {error}", info.name));
                    check_golden(graph.as_mut(), shard.golden.as_ref().expect("made with them")).expect("it was checked when it was loaded");
                }
            }
        }
    }
}

#[test]
fn engines_agree_at_other_lengths_than_the_golden_ones_and_chains_of_both_equal_the_whole() {
    let engines = Engines::default();
    for case in cases() {
        let inspection = inspection(&case);
        let whole = split(&inspection, &[]).expect("no cut is legal");
        let shards = split(&inspection, &some_cuts(&inspection)).expect("legal cuts");
        for given in given(&case, &inspection, 1) {
            let expected = run_on(&engines, &["tract"], &whole, &given);
            let found = [
                ("rten whole", run_on(&engines, &["rten"], &whole, &given)),
                ("tract, then rten", run_on(&engines, &["tract", "rten"], &shards, &given)),
                ("rten, then tract", run_on(&engines, &["rten", "tract"], &shards, &given)),
            ];
            for (how, found) in found {
                for output in inspection.outputs() {
                    compare(&output.name, &found[&output.name], &expected[&output.name], case.near, &format!("{} {how}", case.name));
                }
            }
        }
    }
}

#[test]
fn rten_computes_a_batch_at_once_and_gives_what_its_rows_give() {
    let engines = Engines::new(vec![std::sync::Arc::new(RtenEngine)]);
    for case in cases() {
        let inspection = inspection(&case);
        let whole = split(&inspection, &[]).expect("no cut is legal").remove(0);
        let mut graph = engines.load("rten", &whole, &LoadOptions { threads: 2, ..LoadOptions::default() }).expect("it loads");
        assert!(graph.inputs()[0].shape[0].fixed().is_none(), "{}: the batch is open", case.name);
        for given in given(&case, &inspection, 3) {
            let inputs: Vec<Tensor> = graph.inputs().iter().map(|spec| given[&spec.name].clone()).collect();
            let rows: Vec<Vec<Tensor>> = inputs.iter().map(|tensor| tensor.rows().expect("a batch")).collect();
            let at_once = run_rows(graph.as_mut(), inputs).expect("a batch of three");
            let single = |row: usize, graph: &mut dyn host_engine::Graph| graph.run(rows.iter().map(|rows| rows[row].clone()).collect()).expect("one row");
            let singles: Vec<Vec<Tensor>> = (0..3).map(|row| single(row, graph.as_mut())).collect();
            for (index, output) in at_once.iter().enumerate() {
                let together = Tensor::concat(&singles.iter().map(|outputs| outputs[index].clone()).collect::<Vec<_>>()).expect("equal rows");
                compare(&format!("output {index}"), output, &together, case.near, case.name);
            }
        }
    }
}

#[test]
fn rten_names_what_is_wrong_with_an_input() {
    let case = &cases()[4];
    let whole = split(&inspection(case), &[]).expect("no cut is legal").remove(0);
    let mut graph = Engines::default().load("rten", &whole, &LoadOptions::default()).expect("it loads");
    let ids = |shape: &[usize], id: i64| Tensor::from_i64(shape, &vec![id; shape.iter().product()]).expect("as many as the shape has");
    let cases = [
        (vec![ids(&[1, 3], 1)], "number of inputs of `input_ids, attention_mask`: expected 2, found 1"),
        (vec![ids(&[1, 3], 1), ids(&[1, 4], 1)], "length of an axis of `attention_mask`: expected 3 (sequence), found 4"),
        (vec![ids(&[2, 3], 1), ids(&[1, 3], 1)], "length of an axis of `attention_mask`: expected 2 (batch), found 1"),
        (vec![ids(&[1, 3], 1 << 33), ids(&[1, 3], 1)], "input `input_ids` holds 8589934592, engine rten takes integers from -2147483648 to 2147483647"),
    ];
    for (inputs, expected) in cases {
        assert_eq!(graph.run(inputs).expect_err(expected).to_string(), expected);
    }
    let error = graph.run(vec![ids(&[1, 3], 1000), ids(&[1, 3], 1)]).expect_err("there are 50 tokens").to_string();
    assert!(error.contains("engine rten failed to run") && error.contains("Gather"), "{error}");
}
