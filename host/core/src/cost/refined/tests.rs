use proptest::prelude::*;

use super::*;
use crate::testing::{model_id, offer_id, range};

const SETTINGS: RefiningSettings = RefiningSettings { memory_runs: 64, runs_min: 8, stray_ratio: 2.0, factor_max: 64.0, retell_ratio: 0.1 };

fn shard(start: u32, end: u32) -> ShardId {
    ShardId { model: model_id("m"), range: range(start, end) }
}

/// A stage of which these times were measured, each the typical one of so many runs.
fn measured(times: &[(f64, u32)]) -> StageTime {
    let mut stage = StageTimes::default();
    for &(run, runs) in times {
        stage.note(offer_id("a"), shard(0, 1), Millis(run), runs, &SETTINGS);
    }
    *stage.get(&offer_id("a"), &shard(0, 1)).expect("it was measured")
}

fn near(found: Millis, expected: f64) -> bool {
    (found.0 / expected - 1.0).abs() < 0.15
}

#[test]
fn a_hundred_runs_that_jitter_give_their_mean() {
    let times: Vec<(f64, u32)> = (0..25).map(|beat| (if beat % 2 == 0 { 8.0 } else { 12.0 }, 4)).collect();
    let stage = measured(&times);
    assert!(near(stage.mean(), 10.0), "{stage:?}");
    assert_eq!(stage.runs(), 100);
}

#[test]
fn a_machine_that_is_busy_for_a_while_does_not_poison_the_mean() {
    let mut times = vec![(10.0, 4); 30];
    times.extend([(60.0, 4); 5]);
    times.extend([(10.0, 4); 1]);
    times.extend([(80.0, 4); 5]);
    assert_eq!(measured(&times).mean(), Millis(10.0));
}

#[test]
fn a_first_run_that_is_cold_is_forgotten_as_soon_as_others_come() {
    assert_eq!(measured(&[(100.0, 1), (10.0, 99)]).mean(), Millis(10.0));
    assert_eq!(measured(&[(100.0, 1), (10.0, 1)]).mean(), Millis(10.0));
}

#[test]
fn a_stage_that_stays_slower_is_believed_after_as_many_runs_as_are_remembered() {
    let mut times = vec![(10.0, 8); 20];
    times.extend([(40.0, 8); 7]);
    assert_eq!(measured(&times).mean(), Millis(10.0));
    times.push((40.0, 8));
    let stage = measured(&times);
    assert_eq!((stage.mean(), stage.believed, stage.runs()), (Millis(40.0), 64, 224));
}

#[test]
fn what_is_no_time_is_no_measurement() {
    let mut stage = StageTimes::default();
    for (run, runs) in [(f64::NAN, 1), (f64::INFINITY, 1), (0.0, 1), (-1.0, 1), (5.0, 0)] {
        stage.note(offer_id("a"), shard(0, 1), Millis(run), runs, &SETTINGS);
    }
    assert_eq!(stage, StageTimes::default());
}

#[test]
fn a_factor_is_known_after_enough_runs() {
    let mut times = StageTimes::default();
    let predict = |_: &OfferId, shard: &ShardId| Some(Millis(f64::from(shard.range.count())));
    times.note(offer_id("a"), shard(0, 9), Millis(27.0), 7, &SETTINGS);
    assert_eq!(times.biases(predict, &SETTINGS), BTreeMap::new());
    times.note(offer_id("a"), shard(0, 9), Millis(27.0), 1, &SETTINGS);
    let bias = times.biases(predict, &SETTINGS)[&offer_id("a")];
    assert!((bias.factor - 3.0).abs() < 1e-6 && bias.surcharge.0 < 1e-6, "{bias:?}");
    times.note(offer_id("b"), shard(0, 1), Millis(1e9), 100, &SETTINGS);
    assert_eq!(times.biases(predict, &SETTINGS)[&offer_id("b")], Bias { factor: SETTINGS.factor_max, surcharge: Millis::ZERO });
    times.forget(|device| *device == offer_id("b").device);
    assert_eq!(times.biases(predict, &SETTINGS).len(), 1);
}

#[test]
fn what_an_earlier_plan_measured_fades_when_another_range_runs() {
    let mut times = StageTimes::default();
    let predict = |_: &OfferId, _: &ShardId| Some(Millis(10.0));
    times.note(offer_id("a"), shard(0, 5), Millis(10.0), 200, &SETTINGS);
    for _ in 0..50 {
        times.note(offer_id("a"), shard(0, 6), Millis(15.0), 4, &SETTINGS);
    }
    let bias = times.biases(predict, &SETTINGS)[&offer_id("a")];
    let refined = bias.factor * 10.0 + bias.surcharge.0;
    assert!((14.5..15.1).contains(&refined), "{bias:?}");
}

#[test]
fn shards_of_long_ago_are_forgotten_first() {
    let mut times = StageTimes::default();
    for end in 1..40 {
        times.note(offer_id("a"), shard(0, end), Millis(10.0), 8, &SETTINGS);
    }
    assert_eq!(times.0.len(), SHARDS_MAX);
    assert!(times.get(&offer_id("a"), &shard(0, 39)).is_some() && times.get(&offer_id("a"), &shard(0, 1)).is_none());
}

#[test]
fn the_median_of_factors_is_the_middle_one() {
    for (factors, expected) in [(vec![], None), (vec![3.0], Some(3.0)), (vec![8.0, 2.0], Some(4.0)), (vec![100.0, 2.0, 1.0], Some(2.0))] {
        assert_eq!(median(factors), expected);
    }
}

proptest! {
    #[test]
    fn a_mean_lies_between_the_least_and_the_most_that_was_measured(times in prop::collection::vec((0.001_f64..1e6, 1_u32..500), 1..60)) {
        let mean = measured(&times).mean().0;
        let least = times.iter().map(|(run, _)| *run).fold(f64::INFINITY, f64::min);
        let most = times.iter().map(|(run, _)| *run).fold(0.0, f64::max);
        prop_assert!(mean >= least * (1.0 - 1e-9) && mean <= most * (1.0 + 1e-9), "{mean} of {least} to {most}");
    }

    /// One beat in five is disturbed by as much as can be, the others jitter by a tenth.
    #[test]
    fn after_a_hundred_runs_the_mean_is_within_fifteen_per_cent(truth in 0.01_f64..1e3, beats in prop::collection::vec((0.9_f64..1.1, 0_u32..5, 2.5_f64..100.0), 25..80)) {
        let mut last = false;
        let mut times = vec![(truth, 4)];
        for (jitter, luck, trouble) in beats {
            // Never two in a row: what stays for as long as that is no disturbance.
            last = luck == 0 && !last;
            times.push((truth * if last { trouble } else { jitter }, 4));
        }
        prop_assert!(near(measured(&times).mean(), truth));
    }
}
