//! The default policy on pools made from a seed, against the exact optimum.

use shardhost_policy_tests::{
    churn::{joined, left, loaded_bytes},
    optimum,
    policies::{BALANCED, policies},
    pools::{Machine, Pool, Random},
    quality::{measure, throughput},
};
use shardhost_sdk::allocation::{Objective, Problem};

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

/// A pool of 30 devices with a plan in force.
fn in_force(seed: u64) -> (Pool, Problem) {
    let mut random = Random::new(seed);
    let pool = Pool::large(&mut random, 30, 24, seed.is_multiple_of(2));
    let mut problem = pool.problem(Objective::Throughput);
    problem.within_site.bytes_per_ms = 110_000.0;
    problem.current = BALANCED.place(&problem).expect("it fits").replicas;
    (pool, problem)
}

#[test]
fn an_answer_that_comes_back_as_the_plan_in_force_stays() {
    for seed in 0..6 {
        let (pool, problem) = in_force(seed);
        assert!(throughput(&pool, &problem.current).is_ok());
        assert_eq!(BALANCED.place(&problem).expect("it fits").replicas, problem.current, "seed {seed}");
    }
}

#[test]
fn so_it_does_where_a_plan_is_not_made_anew_each_time() {
    for (seed, objective) in [(20, Objective::Throughput), (21, Objective::Balanced), (22, Objective::Latency)] {
        let mut problem = Pool::large(&mut Random::new(seed), 300, 24, seed == 21).problem(objective);
        problem.current = BALANCED.place(&problem).expect("it fits").replicas;
        assert_eq!(BALANCED.place(&problem).expect("it fits").replicas, problem.current, "seed {seed}");
    }
}

#[test]
fn a_device_that_leaves_costs_little_more_than_what_it_held() {
    for seed in 0..6 {
        let (_, mut problem) = in_force(seed);
        // A device that could take the place of any other.
        problem = joined(&problem, &Machine { block_ms: 0.3, most: 24 });
        for gone in [0, 7, 15, 29] {
            let after = left(&problem, gone);
            let held: f64 = problem
                .current
                .iter()
                .flat_map(|replica| &replica.stages)
                .filter(|stage| stage.offer == gone)
                .map(|stage| f64::from(stage.end - stage.start))
                .sum();
            let proposal = BALANCED.place(&after).expect("it fits");
            let loaded = loaded_bytes(&after, &proposal.replicas) / problem.blocks[0].weight_bytes;
            assert!(after.current.iter().all(|replica| proposal.replicas.contains(replica)), "seed {seed}, {gone} left: the rest stays");
            assert!(loaded <= 1.2 * held, "seed {seed}, {gone} left with {held} blocks, {loaded} are loaded");
        }
    }
}

#[test]
fn a_device_that_comes_and_goes_ends_with_a_plan_that_stays() {
    let (_, problem) = in_force(9);
    let mut now = problem;
    for _ in 0..3 {
        now = joined(&now, &Machine { block_ms: 0.5, most: 12 });
        now.current = BALANCED.place(&now).expect("it fits").replicas;
        assert_eq!(BALANCED.place(&now).expect("it fits").replicas, now.current, "after it came");
        now = left(&now, now.devices.len() as u32 - 1);
        now.current = BALANCED.place(&now).expect("it fits").replicas;
        now.offers.iter_mut().for_each(|offer| offer.attributes.clear());
        let settled = BALANCED.place(&now).expect("it fits").replicas;
        now.current = settled;
        assert_eq!(BALANCED.place(&now).expect("it fits").replicas, now.current, "after it went");
    }
}
