//! Calibration on this machine, whatever it is.

use host_core::units::Millis;
use host_engine::{Engine, Kind, LoadOptions, MlpSize, Tensor, TractEngine, calibrate, calibrate_together, generate};

use crate::chain::inspected;

#[test]
fn calibration_predicts_which_of_two_models_is_slower() {
    let cost = calibrate(&TractEngine).expect("five tiny models run");
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
    let cost = calibrate_together(&TractEngine, 3, Millis(30.0)).expect("five tiny models run on three threads");
    eprintln!("{cost:?} in {:?}", start.elapsed());
    assert!(cost.coefficients().into_iter().all(|(_, value)| value.is_finite() && value >= 0.0));
}
