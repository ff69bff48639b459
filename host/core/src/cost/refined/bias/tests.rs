use proptest::prelude::*;

use super::*;

/// Predicted, measured and weight of each stage.
fn bias(stages: &[(f64, f64, f64)]) -> Bias {
    let samples: Vec<Sample> =
        stages.iter().map(|&(predicted, measured, weight)| Sample { predicted: Millis(predicted), measured: Millis(measured), weight }).collect();
    Bias::of(&samples, 64.0).expect("stages were measured")
}

fn refined(bias: Bias, predicted: f64) -> f64 {
    bias.factor * predicted + bias.surcharge.0
}

#[test]
fn without_samples_that_weigh_anything_nothing_is_known() {
    assert_eq!(Bias::of(&[], 64.0), None);
    assert_eq!(Bias::of(&[Sample { predicted: Millis(1.0), measured: Millis(2.0), weight: 0.0 }], 64.0), None);
}

#[test]
fn one_stage_says_nothing_of_a_surcharge() {
    let bias = bias(&[(10.0, 25.0, 1.0)]);
    assert!((bias.factor - 2.5).abs() < 1e-9 && bias.surcharge.0 < 1e-6, "{bias:?}");
}

#[test]
fn a_short_stage_that_takes_far_longer_than_its_share_shows_a_surcharge() {
    // A whole model on a slow device, and its last blocks there, each of whose runs finds cold caches.
    let bias = bias(&[(400.0, 453.0, 0.5), (35.0, 105.0, 1.0)]);
    assert!((50.0..80.0).contains(&bias.surcharge.0) && (0.9..1.1).contains(&bias.factor), "{bias:?}");
    for (predicted, measured) in [(400.0, 453.0), (35.0, 105.0)] {
        assert!((refined(bias, predicted) / measured - 1.0).abs() < 0.05, "{bias:?}");
    }
}

#[test]
fn a_tenth_between_stages_that_are_about_as_long_is_noise() {
    let bias = bias(&[(100.0, 100.0, 1.0), (90.0, 99.0, 1.0)]);
    assert!(bias.surcharge.0 < 5.0 && (0.95..1.1).contains(&bias.factor), "{bias:?}");
}

#[test]
fn a_short_stage_that_takes_less_than_its_share_makes_no_surcharge() {
    let bias = bias(&[(400.0, 453.0, 1.0), (35.0, 20.0, 1.0)]);
    assert_eq!((bias.surcharge, bias.factor), (Millis::ZERO, 473.0 / 435.0));
}

proptest! {
    #[test]
    fn a_bias_is_sound_whatever_was_measured(stages in prop::collection::vec((1e-6_f64..1e9, 1e-6_f64..1e9, 1e-6_f64..1.0), 1..16)) {
        let bias = bias(&stages);
        prop_assert!((1.0 / 64.0..=64.0).contains(&bias.factor) && bias.surcharge.0.is_finite() && bias.surcharge.0 >= 0.0, "{bias:?}");
    }

    #[test]
    fn a_factor_with_a_surcharge_is_found_where_stages_are_unlike(factor in 0.1_f64..10.0, share in 0.0_f64..0.5, short in 0.05_f64..0.4, noise in 0.97_f64..1.03) {
        let truth = |predicted: f64| factor * (predicted + share * 100.0);
        let found = bias(&[(100.0, truth(100.0) * noise, 1.0), (short * 100.0, truth(short * 100.0), 1.0)]);
        for predicted in [100.0, 50.0, short * 100.0] {
            let error = refined(found, predicted) / truth(predicted) - 1.0;
            prop_assert!(error.abs() < 0.15, "{found:?} is {error} off at {predicted}");
        }
    }
}
