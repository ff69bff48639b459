//! Problems in which everything occurs that a host may ask.

use proptest::prelude::*;
use shardhost_sdk::testing::generated;

use super::support::check_proposal;
use crate::*;

#[test]
fn most_generated_problems_have_a_plan() {
    let placed = (0..200).filter(|&seed| Balanced::default().allocate(&generated(seed)).is_ok()).count();
    assert!((60..200).contains(&placed), "{placed} of 200 were placed");
}

#[test]
fn what_finds_room_and_is_refused_all_the_same_is_not_said_to_be_short_of_memory() {
    let refusal = Balanced::default().allocate(&generated(6_240_627_257_912_988_744)).expect_err("there is no chain");
    assert!(refusal.reason.contains("finds room, but no chain"), "{}", refusal.reason);
    assert!(refusal.short_bytes <= 0.0, "{refusal:?}");
}

#[test]
fn blocks_that_take_no_time_are_counted_like_others() {
    let refusal = Balanced::default().allocate(&generated(10_821_237_384_787_019_176)).expect_err("there is no chain");
    assert!(!refusal.reason.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_answer_to_a_generated_problem_is_valid_or_a_sound_refusal(seed in any::<u64>()) {
        let problem = generated(seed);
        match Balanced::default().allocate(&problem) {
            Ok(proposal) => check_proposal(&problem, &proposal),
            Err(refusal) => prop_assert!(!refusal.reason.is_empty() && refusal.short_bytes >= 0.0 && refusal.short_bytes.is_finite()),
        }
    }

    #[test]
    fn the_order_of_joining_never_matters(seed in any::<u64>()) {
        let problem = generated(seed);
        let mut turned = problem.clone();
        turned.offers.iter_mut().for_each(|offer| offer.joined = 20 - offer.joined);
        prop_assert_eq!(Balanced::default().allocate(&problem), Balanced::default().allocate(&turned));
    }

    #[test]
    fn an_answer_that_comes_back_as_the_plan_in_force_is_kept(seed in any::<u64>()) {
        let mut problem = generated(seed);
        if let Ok(first) = Balanced::default().allocate(&problem) {
            problem.current = first.replicas.clone();
            prop_assert_eq!(Balanced::default().allocate(&problem).expect("it fits still").replicas, first.replicas);
        }
    }
}
