//! The default policy on pools made from a seed, against the exact optimum.

use shardhost_policy_tests::{
    optimum,
    policies::{BALANCED, PARALLAX_GREEDY, Policy, policies},
    pools::{Pool, Random},
    quality::{measure, throughput},
};
use shardhost_sdk::allocation::Objective;

#[test]
fn two_hundred_pools_are_placed_within_three_per_cent_of_the_optimum() {
    let quality = measure(&BALANCED, 1, 200, (4, 7), false);
    assert!(quality.pools > 150, "{quality:?}");
    assert_eq!((quality.refused, quality.wrong, quality.order_matters), (0, 0, 0), "{quality:?}");
    assert!(quality.mean >= 0.99 && quality.least >= 0.97, "{quality:?}");
}

#[test]
fn so_are_pools_whose_links_differ() {
    let quality = measure(&BALANCED, 2, 60, (4, 5), true);
    assert_eq!((quality.refused, quality.wrong, quality.order_matters), (0, 0, 0), "{quality:?}");
    assert!(quality.mean >= 0.99 && quality.least >= 0.97, "{quality:?}");
}

#[test]
fn the_fastest_chain_over_unlike_links_is_found() {
    let mut random = Random::new(3);
    for _ in 0..40 {
        let devices = random.between(3, 6);
        let pool = Pool::random(&mut random, devices).with_links(&mut random);
        let Some(best) = optimum::latency_ms(&pool) else { continue };
        let proposal = BALANCED.place(&pool.problem(Objective::Latency)).expect("it fits");
        let stages = &proposal.replicas[0].stages;
        let runs: f64 = stages.iter().map(|stage| pool.machines[stage.offer as usize].block_ms * f64::from(stage.end - stage.start)).sum();
        let hops: f64 = stages.windows(2).map(|pair| pool.link_ms(pair[0].offer, pair[1].offer)).sum();
        assert!((runs + hops) / best < 1.0 + 1e-9, "{} against {best}", runs + hops);
        assert!((proposal.bound / best - 1.0).abs() < 1e-6, "the bound of an exact search is its answer: {} against {best}", proposal.bound);
    }
}

#[test]
fn no_policy_proposes_a_plan_that_breaks_a_rule() {
    for policy in policies() {
        assert_eq!(measure(&policy, 4, 30, (4, 6), true).wrong, 0, "{}", policy.name);
    }
}

/// Mean over a few pools of what the default policy answers as a multiple of what another one does.
fn gain_over(other: Policy, devices: u32) -> f64 {
    const POOLS: u32 = 3;
    let mut random = Random::new(u64::from(devices));
    let mut sum = 0.0;
    for number in 0..POOLS {
        let pool = Pool::large(&mut random, devices, 36, number.is_multiple_of(2));
        let problem = pool.problem(Objective::Throughput);
        let worth = |policy: Policy| throughput(&pool, &policy.place(&problem).expect("it fits").replicas).expect("a sound plan");
        sum += worth(BALANCED) / worth(other);
    }
    sum / f64::from(POOLS)
}

#[test]
fn larger_pools_answer_a_fifth_more_than_with_the_plans_of_parallax() {
    for devices in [24, 64, 128] {
        let gain = gain_over(PARALLAX_GREEDY, devices);
        assert!(gain >= 1.2, "{devices} devices: {gain}");
    }
}
