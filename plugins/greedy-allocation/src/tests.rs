//! The policy on small pools, and its properties on generated ones.

use proptest::prelude::*;
use shardhost_sdk::{
    allocation::Observation,
    testing::{even_problem, generated},
};

use super::*;

/// Blocks of 1 GFLOP and 1 MiB; offers by `(memory in MiB, ms per GFLOP)`.
fn problem(blocks: usize, offers: &[(u32, f64)], stages_min: u32, stages_max: u32) -> Problem {
    let offers: Vec<(f64, f64)> = offers.iter().map(|&(memory, gflop_ms)| (f64::from(memory), gflop_ms)).collect();
    let mut problem = even_problem(blocks, &offers);
    (problem.placement.stages_min, problem.placement.stages_max, problem.placement.replicas_max) = (stages_min, stages_max, 1);
    problem
}

fn stages(problem: &Problem) -> Result<Vec<(u32, u32, u32)>, Refusal> {
    let proposal = Greedy.allocate(problem)?;
    Ok(proposal.replicas[0].stages.iter().map(|stage| (stage.offer, stage.start, stage.end)).collect())
}

#[test]
fn the_fastest_device_takes_all_that_fits_and_the_next_the_rest() {
    assert_eq!(stages(&problem(6, &[(3, 2.0), (4, 1.0), (9, 5.0)], 1, 3)), Ok(vec![(1, 0, 4), (0, 4, 6)]));
}

#[test]
fn room_is_left_for_the_stages_that_the_placement_asks_for() {
    assert_eq!(stages(&problem(6, &[(9, 2.0), (9, 1.0), (9, 5.0)], 3, 3)), Ok(vec![(1, 0, 4), (0, 4, 5), (2, 5, 6)]));
}

#[test]
fn a_last_stage_that_must_end_the_model_skips_devices_that_cannot() {
    assert_eq!(stages(&problem(6, &[(1, 2.0), (4, 1.0), (9, 5.0)], 1, 2)), Ok(vec![(1, 0, 4), (2, 4, 6)]));
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_missing_bytes() {
    let refusal = stages(&problem(6, &[(2, 2.0), (3, 1.0)], 1, 2)).expect_err("5 of 6 blocks fit");
    assert!(refusal.reason.starts_with("blocks [3..6) of m@1 found no place"), "{}", refusal.reason);
    assert_eq!((refusal.nearest, refusal.short_bytes), (Some(1), 0.0));
}

#[test]
fn equally_fast_devices_take_blocks_in_the_order_of_their_ids_whenever_they_joined() {
    let mut problem = problem(6, &[(2, 1.0), (2, 1.0), (2, 1.0)], 1, 3);
    problem.offers.iter_mut().zip([2, 0, 1]).for_each(|(offer, joined)| offer.joined = joined);
    assert_eq!(stages(&problem), Ok(vec![(0, 0, 2), (1, 2, 4), (2, 4, 6)]));
}

#[test]
fn a_thousand_devices_are_placed() {
    let offers: Vec<(u32, f64)> = (0..1000).map(|index| (1 + index % 3, 1.0 + f64::from(index % 7))).collect();
    let problem = problem(48, &offers, 1, 48);
    let proposal = Greedy.allocate(&problem).expect("it fits");
    assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(()));
    assert!(proposal.replicas[0].stages.iter().all(|stage| stage.offer % 7 == 0), "there are enough of the fastest kind");
}

#[test]
fn a_plan_is_made_again_only_where_there_is_none_that_holds() {
    let mut problem = problem(4, &[(4, 1.0)], 1, 1);
    let observed = |problem: &Problem| Observation { problem: problem.clone(), stages: Vec::new(), pressure_max: 0.9, pressure_mean: 0.1, arrival_ms: 1.0 };
    assert!(matches!(Greedy.review(&observed(&problem)), Verdict::Replan(reason) if reason.contains("0 replicas")));
    problem.current = Greedy.allocate(&problem).expect("it fits").replicas;
    assert_eq!(Greedy.review(&observed(&problem)), Verdict::Keep);
    problem.offers[0].memory_bytes = 1.0;
    assert!(matches!(Greedy.review(&observed(&problem)), Verdict::Replan(reason) if reason.contains("does not fit")));
}

proptest! {
    #[test]
    fn each_takes_as_many_blocks_as_fit_and_no_faster_one_is_passed_over(blocks in 1_usize..20, offers in prop::collection::vec((1_u32..24, 0.5_f64..9.0), 1..8)) {
        let most = u32::try_from(blocks.min(offers.len())).expect("few");
        let problem = problem(blocks, &offers, 1, most);
        let Ok(stages) = stages(&problem) else {
            // One that holds a block is never left while there is a stage to be had.
            let held: u32 = offers.iter().map(|(memory, _)| memory).sum();
            prop_assert!((held as usize) < blocks || (most as usize) < offers.len());
            return Ok(());
        };
        let total = u32::try_from(blocks).expect("few");
        let speed = |offer: u32| offers[offer as usize].1;
        for (place, &(offer, start, end)) in stages.iter().enumerate() {
            let last = place + 1 == most as usize;
            prop_assert!(end == total || (end - start == offers[offer as usize].0 && !last), "{stages:?}");
            let used = |other: u32| stages[..place].iter().any(|stage| stage.0 == other);
            let faster = (0..problem.offers.len() as u32).filter(|&other| speed(other) < speed(offer) && !used(other));
            for other in faster {
                prop_assert!(last && offers[other as usize].0 < total - start, "{other} is faster than {offer} and idle: {stages:?}");
            }
        }
    }

    #[test]
    fn the_order_of_joining_never_matters(seed in any::<u64>()) {
        let problem = generated(seed);
        let mut turned = problem.clone();
        turned.offers.iter_mut().for_each(|offer| offer.joined = 20 - offer.joined);
        prop_assert_eq!(Greedy.allocate(&problem), Greedy.allocate(&turned));
    }

    #[test]
    fn every_answer_to_a_generated_problem_is_valid_or_a_sound_refusal(seed in any::<u64>()) {
        let problem = generated(seed);
        match Greedy.allocate(&problem) {
            Ok(proposal) => prop_assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(())),
            Err(refusal) => prop_assert!(!refusal.reason.is_empty() && refusal.short_bytes >= 0.0 && refusal.short_bytes.is_finite()),
        }
    }

    #[test]
    fn every_proposal_is_one_that_the_host_accepts(blocks in 1_usize..20, offers in prop::collection::vec((1_u32..24, 0.5_f64..9.0), 1..8), stages_min in 1_u32..4, stages_max in 1_u32..8) {
        let most = u32::try_from(blocks.min(offers.len())).expect("few");
        let stages_min = stages_min.min(most);
        let problem = problem(blocks, &offers, stages_min, stages_max.clamp(stages_min, most));
        if let Ok(proposal) = Greedy.allocate(&problem) {
            prop_assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(()));
            prop_assert_eq!(Greedy.allocate(&problem), Ok(proposal));
        }
    }
}
