//! The golden probe: right shards pass it on every path, wrong ones do not take traffic.

use host_engine::{
    DecoderSize, EncoderSize, Engine, Engines, Fault, Golden, Inspection, Kind, LoadOptions, OnnxFile, OpenDimensions, Shard, TractEngine, check_golden,
    generate, split,
};

use crate::chain::inspected;

fn decoder() -> Inspection {
    let size = DecoderSize { vocabulary: 60, hidden: 32, layers: 2, heads: 4, kv_heads: 2, feed_forward: 48, tied: true };
    inspected(&generate(&Kind::Decoder(size), 3).expect("a small decoder"), "decoder").with_golden().expect("golden answers")
}

fn encoder() -> Inspection {
    let size = EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 };
    inspected(&generate(&Kind::Encoder(size), 3).expect("a small encoder"), "encoder").with_golden().expect("golden answers")
}

#[test]
fn one_plan_serves_every_length_of_encoders_and_decoders() {
    for inspection in [encoder(), decoder()] {
        for shard in split(&inspection, &inspection.legal_cuts()).expect("legal cuts") {
            for open in [OpenDimensions::All, OpenDimensions::Past, OpenDimensions::None] {
                let mut graph = TractEngine.load(&shard, &LoadOptions { open, ..LoadOptions::default() }).unwrap_or_else(|error| panic!("{open:?}: {error}"));
                check_golden(graph.as_mut(), shard.golden.as_ref().expect("made with golden answers"))
                    .unwrap_or_else(|error| panic!("{} {open:?}: {error}", shard.id));
            }
        }
    }
}

#[test]
fn several_threads_give_the_same_answers() {
    let inspection = encoder();
    for shard in split(&inspection, &[]).expect("the whole model") {
        let mut graph = TractEngine.load(&shard, &LoadOptions { threads: 2, ..LoadOptions::default() }).expect("threads are no reason to fail");
        check_golden(graph.as_mut(), shard.golden.as_ref().expect("made with golden answers")).expect("the same answers");
    }
}

/// The same shard with one bit of one weight turned over: the exponent of the middle number of its largest weight.
fn corrupted(shard: &Shard) -> Shard {
    let golden = shard.golden.as_ref().expect("made with golden answers");
    let mut file = shard.file.to_vec();
    let weight = shard.file.windows(8).position(|window| window == [0; 8]).unwrap_or(shard.file.len() / 2);
    let place = (weight.max(shard.file.len() / 2) / 4) * 4;
    file[place..place + 64].iter_mut().for_each(|byte| *byte ^= 0x41);
    Shard { file: file.into(), golden: Some(golden.clone()), ..shard.clone() }
}

#[test]
fn a_corrupted_weight_is_caught_and_named_before_it_takes_traffic() {
    let inspection = encoder();
    let engines = Engines::default();
    let mut caught = 0;
    for shard in split(&inspection, &inspection.legal_cuts()).expect("legal cuts") {
        let broken = corrupted(&shard);
        if OnnxFile::parse(broken.file.clone(), None).is_err() {
            continue;
        }
        let error = engines.load("tract", &broken, &LoadOptions::default()).expect_err("a wrong weight gives wrong answers");
        if matches!(error.fault(), Fault::Probe { .. }) {
            caught += 1;
            assert!(error.to_string().starts_with(&format!("{}: output `", shard.id)), "{error}");
        }
    }
    assert!(caught >= 1, "no corrupted weight was caught by the probe");
}

#[test]
fn golden_answers_of_another_shape_are_a_mismatch() {
    let inspection = encoder();
    let shard = split(&inspection, &[]).expect("the whole model").remove(0);
    let golden = shard.golden.clone().expect("made with golden answers");
    let first = golden.outputs[0].rows().expect("a batch")[0].clone();
    let shape = [first.shape(), &[1]].concat();
    let wrong = Golden { outputs: vec![first.reshaped(shape).expect("as many elements")], ..golden };
    let error = Engines::default().load("tract", &Shard { golden: Some(wrong), ..shard }, &LoadOptions::default()).expect_err("one axis too many");
    assert!(error.to_string().contains("golden output of `last_hidden_state`: expected FP32[1, 5, 32, 1], found FP32[1, 5, 32]"), "{error}");
}

#[test]
fn the_same_shard_loaded_twice_is_one_native_graph() {
    let inspection = encoder();
    let shard = split(&inspection, &[]).expect("the whole model").remove(0);
    let engines = Engines::default();
    let first = engines.load("tract", &shard, &LoadOptions::default()).expect("it loads");
    // The bytes are not read again: the digest names the graph.
    let unreadable = Shard { file: bytes::Bytes::from_static(b"not a model"), ..shard.clone() };
    let second = engines.load("tract", &unreadable, &LoadOptions::default()).expect("it is loaded already");
    drop((first, second));
    assert!(engines.load("tract", &unreadable, &LoadOptions::default()).is_err(), "the graph outlived its users");
}

#[test]
fn a_wrong_input_is_named_with_what_was_expected() {
    use host_engine::Tensor;
    let inspection = encoder();
    let shard = split(&inspection, &[]).expect("the whole model").remove(0);
    let mut graph = Engines::default().load("tract", &shard, &LoadOptions::default()).expect("it loads");
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
}

#[test]
fn a_batch_is_run_row_by_row_and_put_together() {
    use host_engine::{Tensor, run_rows};
    let inspection = encoder();
    let shard = split(&inspection, &[]).expect("the whole model").remove(0);
    let mut graph = Engines::default().load("tract", &shard, &LoadOptions::default()).expect("it loads");
    let tensor = |values: &[i64]| Tensor::from_i64(&[values.len() / 3, 3], values).expect("rows of 3");
    let both = run_rows(graph.as_mut(), vec![tensor(&[1, 2, 3, 4, 5, 6]), tensor(&[1; 6])]).expect("two rows").remove(0);
    let second = graph.run(vec![tensor(&[4, 5, 6]), tensor(&[1; 3])]).expect("one row").remove(0);
    assert_eq!(both.shape(), [2, 3, 32]);
    assert_eq!(both.rows().expect("two rows")[1], second);
}
