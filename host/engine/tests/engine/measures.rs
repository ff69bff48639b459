//! Calibration on this machine, whatever it is.

use host_core::{
    model::Work,
    units::{Bytes, Millis},
};
use host_engine::{CnnSize, EncoderSize, Engine, Kind, LoadOptions, MlpSize, Tensor, TractEngine, calibrate, calibrate_together, generate};

use crate::chain::inspected;

#[test]
fn calibration_predicts_which_of_two_models_is_slower() {
    let cost = calibrate(&TractEngine).expect("tiny models run");
    eprintln!("{cost:?}");
    assert!(cost.coefficients().iter().all(|(_, value)| value.is_finite() && *value >= 0.0), "{cost:?}");
    let predicted = |hidden: usize| {
        let file = generate(&Kind::Mlp(MlpSize { inputs: hidden, hidden, layers: 4, outputs: hidden }), 1).expect("a small model");
        let inspection = inspected(&file, "held-out");
        let whole = inspection.profile().whole();
        let mut graph = TractEngine.load(&inspection.shard(whole).expect("the whole model"), &LoadOptions::default()).expect("it loads");
        let input = Tensor::from_f32(&[1, hidden], &vec![0.5; hidden]).expect("as many as the shape has");
        let mut time = || {
            let start = std::time::Instant::now();
            graph.run(vec![input.clone()]).expect("it runs");
            start.elapsed().as_secs_f64() * 1e3
        };
        let fastest = (0..8).map(|_| time()).fold(f64::INFINITY, f64::min);
        (cost.predict(inspection.profile().work(whole)), fastest)
    };
    let (small, large) = (predicted(64), predicted(1024));
    eprintln!("predicted and measured: small {small:?}, large {large:?}");
    assert!(small.0 < large.0 && small.1 < large.1, "small {small:?}, large {large:?}");
}

#[test]
fn devices_that_share_a_machine_are_measured_together() {
    let start = std::time::Instant::now();
    let cost = calibrate_together(&TractEngine, 3, Millis(30.0)).expect("tiny models run on three threads");
    eprintln!("{cost:?} in {:?}", start.elapsed());
    assert!(cost.coefficients().into_iter().all(|(_, value)| value.is_finite() && value >= 0.0));
}

#[test]
fn every_block_is_timed_once_and_the_timed_profile_predicts_the_times() {
    let file = generate(&Kind::Cnn(CnnSize { pixels: 32, channels: 16, blocks: 5, classes: 10 }), 1).expect("a small model");
    let inspection = inspected(&file, "timed").with_golden().expect("golden answers");
    let reference = calibrate(&TractEngine).expect("tiny models run");
    let times = inspection.time_blocks(&TractEngine, Millis(60_000.0)).expect("its blocks run").expect("all of them in time");
    let whole = inspection.profile().whole();
    let ends: Vec<u32> = times.iter().map(|(range, _)| range.end()).collect();
    assert_eq!(ends, (1..=whole.end()).collect::<Vec<_>>());
    assert!(times.iter().all(|(_, time)| time.0.is_finite() && time.0 > 0.0), "{times:?}");
    let timed = inspection.timed_profile(&reference, &times);
    assert_eq!(timed.weights(whole), inspection.profile().weights(whole));
    for &(range, time) in &times {
        let (counted, predicted) = (reference.predict(inspection.profile().work(range)), reference.predict(timed.work(range)));
        // A block stays as it was counted where its weights and the run alone are said to take longer than all of it took, and is
        // not scaled beyond what timing believes.
        let alone = reference.predict(Work { flops: 0.0, activations: Bytes::ZERO, ..inspection.profile().work(range) });
        let scale = ((time - alone).0 / (counted - alone).0).clamp(1.0 / 64.0, 64.0);
        let expected = if time.0 > alone.0 { alone.0 + scale * (counted - alone).0 } else { counted.0 };
        assert!((predicted.0 / expected - 1.0).abs() < 0.01, "{range}: {predicted} is not {expected} ms, counted were {counted}, measured {time}");
    }
}

#[test]
fn blocks_are_not_timed_without_golden_answers_with_open_lengths_or_beyond_the_budget() {
    let cnn = generate(&Kind::Cnn(CnnSize { pixels: 32, channels: 8, blocks: 2, classes: 10 }), 1).expect("a small model");
    let encoder = EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 };
    let encoder = generate(&Kind::Encoder(encoder), 1).expect("a small model");
    let without = inspected(&cnn, "without");
    assert_eq!(without.time_blocks(&TractEngine, Millis(60_000.0)).expect("nothing runs"), None);
    let open = inspected(&encoder, "open").with_golden().expect("golden answers");
    assert_eq!(open.time_blocks(&TractEngine, Millis(60_000.0)).expect("nothing runs"), None);
    let late = without.with_golden().expect("golden answers");
    assert_eq!(late.time_blocks(&TractEngine, Millis(0.0)).expect("one block runs"), None);
}
