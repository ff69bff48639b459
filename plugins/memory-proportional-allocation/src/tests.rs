//! The policy on small pools, and its properties on generated problems.

use proptest::prelude::*;
use shardhost_sdk::testing::{MIB, block, even_problem, generated, offer, problem};

use super::*;

fn stages(problem: &Problem) -> Result<Vec<(u32, u32, u32)>, Refusal> {
    let proposal = MemoryProportional.allocate(problem)?;
    Ok(proposal.replicas[0].stages.iter().map(|stage| (stage.offer, stage.start, stage.end)).collect())
}

#[test]
fn shares_are_those_that_exo_computes() {
    struct Case {
        free: &'static [f64],
        blocks: i64,
        shares: &'static [i64],
    }
    // The first five are in exo's own tests.
    let cases = [
        Case { free: &[500.0, 500.0, 1000.0], blocks: 12, shares: &[3, 3, 6] },
        Case { free: &[500.0, 500.0, 500.0], blocks: 12, shares: &[4, 4, 4] },
        Case { free: &[312.0, 518.0, 1024.0], blocks: 12, shares: &[2, 3, 7] },
        Case { free: &[1.0, 1.0, 1.0, 1.0], blocks: 12, shares: &[3, 3, 3, 3] },
        Case { free: &[0.975, 0.0125, 0.0125], blocks: 20, shares: &[18, 1, 1] },
        Case { free: &[900.0, 50.0, 50.0], blocks: 20, shares: &[18, 1, 1] },
        Case { free: &[1.0, 1.0, 1.0], blocks: 4, shares: &[2, 1, 1] },
        Case { free: &[1.0, 1000.0, 1.0], blocks: 3, shares: &[1, 1, 1] },
    ];
    for Case { free, blocks, shares } in cases {
        assert_eq!(shares::shares(free, blocks), shares, "{blocks} blocks by {free:?}");
        // The same as a problem: blocks so small that every share fits.
        let offers = (0..).zip(free).map(|(index, free)| offer(index, free * 1000.0 * MIB, 1.0)).collect();
        let counts = stages(&problem(vec![block(MIB); usize::try_from(blocks).expect("few")], offers));
        let counts = counts.map(|stages| stages.into_iter().map(|(_, start, end)| i64::from(end - start)).collect::<Vec<_>>());
        assert_eq!(counts.as_deref(), Ok(shares), "{blocks} blocks by {free:?}");
    }
}

#[test]
fn stages_stand_in_the_order_of_joining() {
    let mut problem = even_problem(4, &[(6.0, 1.0), (18.0, 1.0)]);
    assert_eq!(stages(&problem), Ok(vec![(0, 0, 1), (1, 1, 4)]));
    (problem.offers[0].joined, problem.offers[1].joined) = (1, 0);
    assert_eq!(stages(&problem), Ok(vec![(1, 0, 3), (0, 3, 4)]));
}

#[test]
fn a_share_that_does_not_fit_is_refused_with_the_missing_bytes() {
    let mut problem = even_problem(6, &[(4.0, 1.0), (4.0, 1.0)]);
    problem.blocks[5].weight_bytes = 4.0 * MIB;
    let refusal = stages(&problem).expect_err("the last three blocks are 6 MiB");
    assert_eq!((refusal.nearest, refusal.short_bytes), (Some(1), 2.0 * MIB));
    assert_eq!(refusal.reason, "blocks [3..6) of m@1 need 6291456 bytes on d0001/cpu, it has 4194304");
}

#[test]
fn those_with_the_most_memory_take_part_where_stages_are_limited() {
    let mut problem = even_problem(4, &[(8.0, 1.0), (2.0, 1.0), (16.0, 1.0), (0.5, 1.0)]);
    assert_eq!(stages(&problem), Ok(vec![(0, 0, 1), (1, 1, 2), (2, 2, 4)]), "the last holds no block");
    problem.placement.stages_max = 2;
    assert_eq!(stages(&problem), Ok(vec![(0, 0, 1), (2, 1, 4)]));
    problem.placement.stages_min = 4;
    problem.placement.stages_max = 4;
    assert!(stages(&problem).expect_err("only three hold a block").reason.contains("3 stages, allowed are 4 to 4"));
}

#[test]
fn a_pool_without_room_is_refused() {
    let refusal = stages(&even_problem(4, &[(0.5, 1.0), (0.9, 1.0)])).expect_err("no block fits");
    assert!(refusal.nearest.is_some() && refusal.short_bytes > 0.0, "{refusal:?}");
    assert!(stages(&even_problem(4, &[])).is_err());
}

#[test]
fn a_thousand_devices_are_placed() {
    let offers: Vec<(f64, f64)> = (0..1000).map(|index| (3.0 + f64::from(index % 5), 1.0)).collect();
    let problem = even_problem(48, &offers);
    let proposal = MemoryProportional.allocate(&problem).expect("it fits");
    assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(()));
    assert_eq!(proposal.replicas[0].stages.len(), 48);
}

#[test]
fn a_plan_is_made_again_only_where_there_is_none_that_holds() {
    let mut problem = even_problem(4, &[(4.0, 1.0)]);
    let observed = |problem: &Problem| Observation { problem: problem.clone(), stages: Vec::new(), pressure_max: 0.9, pressure_mean: 0.1, arrival_ms: 1.0 };
    assert!(matches!(MemoryProportional.review(&observed(&problem)), Verdict::Replan(reason) if reason.contains("0 replicas")));
    problem.current = MemoryProportional.allocate(&problem).expect("it fits").replicas;
    assert_eq!(MemoryProportional.review(&observed(&problem)), Verdict::Keep);
}

proptest! {
    #[test]
    fn shares_sum_to_the_blocks_and_differ_from_the_exact_ones_by_less_than_one_or_are_one(free in prop::collection::vec(1.0_f64..1e12, 1..20), more in 0_i64..60) {
        let blocks = i64::try_from(free.len()).expect("few") + more;
        let shares = shares::shares(&free, blocks);
        let total: f64 = free.iter().sum();
        prop_assert_eq!(shares.iter().sum::<i64>(), blocks);
        prop_assert!(shares.iter().all(|&share| share >= 1));
        for (share, free) in shares.iter().zip(&free) {
            let exact = free / total * blocks as f64;
            prop_assert!((*share as f64) < exact + 1.0 || *share == 1, "{share} of {exact}");
        }
    }
}

#[test]
fn a_good_part_of_the_generated_problems_is_placed_and_a_good_part_refused() {
    let placed = (0..1_000).filter(|&seed| MemoryProportional.allocate(&generated(seed)).is_ok()).count();
    assert!((100..900).contains(&placed), "{placed} of 1000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_answer_is_a_plan_that_the_host_accepts_or_a_sound_refusal(seed in any::<u64>()) {
        let problem = generated(seed);
        let answer = MemoryProportional.allocate(&problem);
        match &answer {
            Ok(proposal) => prop_assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(())),
            Err(refusal) => {
                prop_assert!(!refusal.reason.is_empty() && refusal.short_bytes.is_finite() && refusal.short_bytes >= 0.0);
                prop_assert!(refusal.nearest.is_none_or(|offer| (offer as usize) < problem.offers.len()));
            }
        }
        prop_assert_eq!(MemoryProportional.allocate(&problem), answer);
    }
}
