//! Plans in force: what is kept, what is repaired, what is refused and why, and when another look is worth it.

use proptest::prelude::*;
use shardhost_sdk::allocation::{Exclusion, Objective, Observation, Roles, Speed, Stage, StageObservation};

use super::support::{MIB, plan, problem};
use crate::*;

fn stage(offer: u32, start: u32, end: u32) -> Stage {
    Stage { offer, start, end }
}

/// Three stages on three of four equal devices; one of the three has left, which the others still hold their parts for.
fn broken() -> Problem {
    let mut problem = problem(&[1.0; 12], &[(6.0, 1.0), (6.0, 1.0), (6.0, 1.2)], Objective::Balanced);
    problem.within_site = Speed { latency_ms: 0.1, bytes_per_ms: 10_000.0 };
    problem.placement.replicas_max = 1;
    problem.offers[0].attributes = vec![("holds".into(), "0..4".into())];
    problem.offers[1].attributes = vec![("holds".into(), "8..12".into())];
    problem
}

#[test]
fn a_broken_chain_is_closed_by_an_idle_device_and_nothing_else_moves() {
    assert_eq!(plan(&broken()), [[(0, 0, 4), (2, 4, 8), (1, 8, 12)]]);
}

#[test]
fn without_an_idle_device_the_others_take_over_what_is_missing_with_the_fewest_bytes() {
    let mut problem = broken();
    problem.offers.pop();
    problem.devices.pop();
    let pair = &plan(&problem)[0];
    // Either keeps what it has only if the other holds all the rest, which memory for six blocks forbids.
    assert_eq!(pair.iter().map(|stage| stage.2 - stage.1).collect::<Vec<_>>(), [6, 6]);
    problem.offers.iter_mut().for_each(|offer| offer.memory_bytes = 8.0 * MIB);
    let pair = &plan(&problem)[0];
    assert!(pair.contains(&(0, 0, 4)) || pair.contains(&(1, 8, 12)), "one of two stages stays: {pair:?}");
}

#[test]
fn what_offers_hold_is_read_only_if_it_is_a_range_of_the_model() {
    let mut problem = broken();
    for nonsense in ["4..", "..4", "4", "8..4", "0..99", "a..b", "-1..4"] {
        problem.offers[2].attributes = vec![("holds".into(), nonsense.into())];
        assert!(held::Held::of(&problem).ranges(2).is_empty(), "{nonsense}");
    }
    assert_eq!(held::Held::of(&problem).ranges(1), [(8, 12)]);
}

#[test]
fn of_equal_devices_those_are_used_that_hold_the_shards_already() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0); 4], Objective::Latency);
    problem.offers[2].attributes = vec![("holds".into(), "0..6".into())];
    assert_eq!(plan(&problem), [[(2, 0, 6)]]);
}

fn observed(problem: Problem) -> Observation {
    Observation { problem, stages: Vec::new(), pressure_max: 0.5, pressure_mean: 0.4, arrival_ms: 1.0 }
}

#[test]
fn a_review_says_which_stage_takes_another_time_than_predicted_once_it_ran_often_enough() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0), (9.0, 1.0)], Objective::Balanced);
    problem.current = Balanced::default().allocate(&problem).expect("it fits").replicas;
    let mut observed = observed(problem);
    assert_eq!(Balanced::default().review(&observed), Verdict::Keep);
    let slow = StageObservation { replica: 1, stage: 0, predicted_ms: 6.0, measured_ms: 9.0, runs: 20 };
    observed.stages = vec![StageObservation { runs: 19, ..slow }, StageObservation { measured_ms: 7.0, ..slow }];
    assert_eq!(Balanced::default().review(&observed), Verdict::Keep, "too few runs, and too little");
    observed.stages.push(slow);
    assert_eq!(Balanced::default().review(&observed), Verdict::Replan("d1/cpu takes 9.00 ms in 20 runs, 6.00 ms were predicted".into()));
    let patient = Balanced::configure(r#"{"drift_ratio_max":0.6}"#);
    assert_eq!(patient.expect("good settings").review(&observed), Verdict::Keep);
}

#[test]
fn a_review_says_when_pressures_are_further_apart_than_the_threshold() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0), (9.0, 1.0)], Objective::Balanced);
    problem.current = Balanced::default().allocate(&problem).expect("it fits").replicas;
    let uneven = Observation { pressure_max: 0.9, pressure_mean: 0.5, ..observed(problem) };
    assert_eq!(Balanced::default().review(&uneven), Verdict::Replan("the highest pressure is 0.90, the mean 0.50, and rebalance_threshold is 0.3".into()));
    assert_eq!(Balanced::configure(r#"{"rebalance_threshold":0.5}"#).expect("good settings").review(&uneven), Verdict::Keep);
}

#[test]
fn a_review_changes_nothing_for_requests_that_hardly_come() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0), (9.0, 0.5)], Objective::Latency);
    problem.current = vec![Replica { stages: vec![stage(0, 0, 6)] }];
    problem.within_site = Speed { latency_ms: 0.0, bytes_per_ms: 1_000.0 };
    let mut observed = observed(problem);
    assert!(matches!(Balanced::default().review(&observed), Verdict::Replan(reason) if reason.contains("6.0 ms") && reason.contains("3.0 ms")));
    observed.arrival_ms = 3_600_000.0;
    assert_eq!(Balanced::default().review(&observed), Verdict::Keep, "one request an hour does not pay for loading");
}

#[test]
fn a_refusal_names_the_constraint_and_by_how_much_it_fails() {
    struct Case {
        change: fn(&mut Problem),
        says: &'static str,
        short_blocks: f64,
    }
    let cases = [
        Case { change: |_| {}, says: "m@1 is short of 1 MiB on d0/cpu: 5 of 6 blocks found a place", short_blocks: 1.0 },
        Case {
            change: |problem| problem.offers.iter_mut().for_each(|offer| (offer.memory_bytes, offer.roles) = (9.0 * MIB, Roles::HEAD | Roles::BODY)),
            says: "2 take the first, 2 one between, 0 the last",
            short_blocks: 0.0,
        },
        Case {
            change: |problem| {
                problem.offers.iter_mut().for_each(|offer| offer.memory_bytes = 3.0 * MIB);
                problem.placement.stages_max = 1;
            },
            says: "m@1 needs 2 stages on these offers, stages_max is 1",
            short_blocks: 0.0,
        },
        Case {
            change: |problem| {
                problem.offers.iter_mut().for_each(|offer| offer.memory_bytes = 6.0 * MIB);
                problem.placement.stages_min = 3;
            },
            says: "fewer stages than stages_min, 3, asks for, 2 offers do not make so many",
            short_blocks: 0.0,
        },
        Case {
            change: |problem| {
                problem.offers.truncate(1);
                problem.offers[0].memory_bytes = 6.0 * MIB;
                problem.exclusions = vec![Exclusion { offer: 0, start: 0, end: 6, reason: "no such operator".into() }];
            },
            says: "1 shards were, [0..6) on d0/cpu: no such operator",
            short_blocks: 0.0,
        },
        Case { change: |problem| problem.offers.clear(), says: "there are 0 offers", short_blocks: 0.0 },
    ];
    for Case { change, says, short_blocks } in cases {
        let mut problem = problem(&[1.0; 6], &[(2.0, 1.0), (3.0, 1.0)], Objective::Balanced);
        change(&mut problem);
        let refusal = Balanced::default().allocate(&problem).expect_err(says);
        assert!(refusal.reason.contains(says), "{}", refusal.reason);
        assert_eq!(refusal.short_bytes, short_blocks * MIB, "{says}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn with_the_memory_that_a_refusal_asks_for_the_model_is_placed(blocks in 3_usize..10, offers in prop::collection::vec((0.5_f64..3.0, 0.5_f64..5.0), 1..6), heavy in any::<bool>()) {
        let mut problem = problem(&vec![1.0; blocks], &offers, Objective::Throughput);
        if heavy {
            problem.blocks[0].weight_bytes *= 2.0;
        }
        if let Err(refusal) = Balanced::default().allocate(&problem) {
            let nearest = refusal.nearest.expect("memory is short somewhere") as usize;
            prop_assert!(refusal.short_bytes > 0.0, "{}", refusal.reason);
            problem.offers[nearest].memory_bytes += refusal.short_bytes;
            prop_assert!(Balanced::default().allocate(&problem).is_ok(), "{}", refusal.reason);
        }
    }

    #[test]
    fn no_cheaper_repair_exists_than_the_one_that_is_measured_against(cut in 1_u32..7, lost in 0_usize..3, memory in prop::collection::vec(3.0_f64..9.0, 4)) {
        let offers: Vec<(f64, f64)> = memory.iter().map(|&memory| (memory, 1.0)).collect();
        let mut problem = problem(&[1.0; 8], &offers, Objective::Throughput);
        problem.placement.replicas_max = 1;
        let borders = [0, cut, (cut + 2).min(8), 8];
        for (offer, pair) in problem.offers.iter_mut().zip(borders.windows(2)).enumerate().filter(|(index, _)| *index != lost).map(|(_, pair)| pair) {
            offer.attributes = vec![("holds".into(), format!("{}..{}", pair[0], pair[1]))];
        }
        // The one that left holds nothing any more and takes nothing.
        problem.offers[lost].memory_bytes = 0.0;
        let ranges = Ranges::new(&problem);
        let held = held::Held::of(&problem);
        let pool = Pool::variants(&ranges).swap_remove(0);
        if let Some(fewest) = repair::fewest_bytes(&pool, &held, &pool.usable()) {
            let proposal = Balanced::default().allocate(&problem).expect("it can be repaired");
            prop_assert!(held.bytes_to_load(&ranges, &proposal.replicas) <= 1.2 * fewest + 1e-6, "{proposal:?}, {fewest} are enough");
        }
    }
}
