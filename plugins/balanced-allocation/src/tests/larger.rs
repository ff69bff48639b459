//! Pools that are too large for every set of offers: what is promised there.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use shardhost_sdk::allocation::{Objective, Roles, Speed};

use super::support::{check_proposal, problem};
use crate::*;

fn offers(count: u32, memory: f64) -> Vec<(f64, f64)> {
    (0..count).map(|index| (memory + f64::from(index % 5), 1.0 + f64::from(index * 7 % 11) / 3.0)).collect()
}

#[test]
fn alike_offers_are_searched_exactly_even_where_there_are_many() {
    let mut offers = vec![(4.0, 1.0); 12];
    offers.extend(vec![(8.0, 3.0); 12]);
    let problem = problem(&[1.0; 12], &offers, Objective::Throughput);
    let proposal = Balanced::default().allocate(&problem).expect("it fits");
    assert_eq!(proposal.attributes[0].1, "exact");
    assert!(Ranges::new(&problem).throughput(&proposal.replicas) > 0.9 * proposal.bound);
}

#[test]
fn forty_unlike_offers_come_near_the_bound() {
    for blocks in [12, 24] {
        let problem = problem(&vec![1.0; blocks], &offers(40, 4.0), Objective::Throughput);
        let proposal = Balanced::default().allocate(&problem).expect("it fits");
        let ranges = Ranges::new(&problem);
        assert_eq!(ranges.check(&proposal.replicas), Ok(()));
        assert!(ranges.throughput(&proposal.replicas) > 0.8 * proposal.bound, "{} of {}", ranges.throughput(&proposal.replicas), proposal.bound);
    }
}

#[test]
fn unlike_blocks_and_roles_are_placed_in_large_pools() {
    let blocks: Vec<f64> = (0..20).map(|index| 0.5 + f64::from(index % 4)).collect();
    let mut problem = problem(&blocks, &offers(30, 4.0), Objective::Balanced);
    for (index, offer) in problem.offers.iter_mut().enumerate() {
        offer.roles = [Roles::HEAD | Roles::BODY, Roles::BODY, Roles::BODY | Roles::TAIL][index % 3];
    }
    let proposal = Balanced::default().allocate(&problem).expect("it fits");
    assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(()));
    assert!(proposal.replicas.len() >= 3, "{} replicas of 30 offers", proposal.replicas.len());
}

#[test]
fn replicas_stay_within_a_site_where_the_way_to_another_is_slow() {
    let mut problem = problem(&[1.0; 12], &offers(24, 4.0), Objective::Throughput);
    problem.devices.iter_mut().enumerate().for_each(|(index, device)| device.site = index as u32 % 2);
    problem.between_sites = Speed { latency_ms: 1e6, bytes_per_ms: 1.0 };
    let proposal = Balanced::default().allocate(&problem).expect("it fits");
    for replica in &proposal.replicas {
        let site = |offer: u32| problem.devices[offer as usize].site;
        assert!(replica.stages.iter().all(|stage| site(stage.offer) == site(replica.stages[0].offer)), "{replica:?}");
    }
}

#[test]
fn the_fastest_chain_over_sites_opens_as_few_as_it_can() {
    // Two fast offers in each of ten sites hold six blocks together; two sites are needed for twelve.
    let mut problem = problem(&[1.0; 12], &[(3.0, 1.0); 20], Objective::Latency);
    problem.devices.iter_mut().enumerate().for_each(|(index, device)| device.site = index as u32 % 10);
    problem.within_site = Speed { latency_ms: 1.0, bytes_per_ms: 1e9 };
    problem.between_sites = Speed { latency_ms: 10.0, bytes_per_ms: 1e9 };
    let proposal = Balanced::default().allocate(&problem).expect("it fits");
    let latency_ms = Ranges::new(&problem).latency_ms(&proposal.replicas[0]);
    assert!((latency_ms - (12.0 + 1.0 + 10.0 + 1.0)).abs() < 1e-3, "{latency_ms}");
    assert!(proposal.bound > latency_ms * 0.999, "proved: {}", proposal.bound);
}

prop_compose! {
    fn pools()(
        blocks in 4_usize..16,
        even in any::<bool>(),
        offers in prop::collection::vec((1.0_f64..9.0, 0.5_f64..5.0), 13..20),
        hop_ms in 0.0_f64..1.0,
        stages_max in 2_u32..20,
        objective in prop_oneof![Just(Objective::Latency), Just(Objective::Throughput), Just(Objective::Balanced)],
    ) -> Problem {
        let gflops: Vec<f64> = (0..blocks).map(|block| if even { 1.0 } else { 0.5 + (block % 3) as f64 }).collect();
        let mut problem = problem(&gflops, &offers, objective);
        problem.placement.stages_max = stages_max.min(blocks as u32);
        problem.within_site = Speed { latency_ms: hop_ms, bytes_per_ms: 1e5 };
        problem
    }
}

/// What large pools are searched with, on pools small enough to know the optimum. It is no promise, so the pools are the same
/// in every run.
#[test]
fn filling_comes_near_what_all_sets_of_a_small_pool_come_to() {
    let mut runner = TestRunner::deterministic();
    let pools = (prop::collection::vec((2.0_f64..9.0, 0.5_f64..5.0), 4..9), 6_usize..14);
    let mut shares = Vec::new();
    for _ in 0..200 {
        let (offers, blocks) = pools.new_tree(&mut runner).expect("a pool").current();
        let problem = problem(&vec![1.0; blocks], &offers, Objective::Throughput);
        let ranges = Ranges::new(&problem);
        let pool = Pool::variants(&ranges).swap_remove(0);
        let exact = exact::solve(&pool).expect("small").throughput;
        let mut gauge = period::Gauge::new(&pool);
        let swept = sweep::groupings(&mut gauge, 6, false);
        let best = swept.into_iter().map(|grouping| local_search::improve(&mut gauge, grouping, 1_000_000).throughput).fold(0.0, f64::max);
        assert!(best <= exact * 1.000_001 && (best > 0.0) == (exact > 0.0), "{best} of {exact}");
        shares.extend((exact > 0.0).then(|| best / exact));
    }
    let (sum, least) = shares.iter().fold((0.0, 1.0_f64), |(sum, least), &share| (sum + share, least.min(share)));
    let mean = sum / shares.len() as f64;
    assert!(shares.len() > 100 && mean > 0.99 && least > 0.85, "mean {mean}, least {least} of {} pools", shares.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn plans_hold_stay_below_their_bound_and_come_back_unchanged(mut problem in pools()) {
        match Balanced::default().allocate(&problem) {
            Ok(proposal) => {
                check_proposal(&problem, &proposal);
                prop_assert!(proposal.bound > 0.0);
                problem.current = proposal.replicas.clone();
                prop_assert_eq!(Balanced::default().allocate(&problem).expect("it fits still").replicas, proposal.replicas);
            }
            Err(refusal) => prop_assert!(refusal.reason.contains("short of") || refusal.reason.contains("stages"), "{}", refusal.reason),
        }
    }

    #[test]
    fn the_search_for_one_chain_agrees_with_the_program_over_all_sets(
        offers in prop::collection::vec((1.0_f64..9.0, 0.5_f64..5.0), 3..7),
        gflops in prop::collection::vec(0.5_f64..2.0, 4..9),
        even in any::<bool>(),
        hop_ms in 0.0_f64..3.0,
        sites in 1_u32..3,
    ) {
        let gflops = if even { vec![1.0; gflops.len()] } else { gflops };
        let mut problem = problem(&gflops, &offers, Objective::Latency);
        problem.devices.iter_mut().enumerate().for_each(|(index, device)| device.site = index as u32 % sites);
        problem.within_site = Speed { latency_ms: hop_ms, bytes_per_ms: 1e5 };
        problem.between_sites = Speed { latency_ms: 3.0 * hop_ms, bytes_per_ms: 1e5 };
        let ranges = Ranges::new(&problem);
        let pool = Pool::variants(&ranges).swap_remove(0);
        let exact = exact::solve(&pool).expect("small");
        let found = latency::fastest(&pool);
        prop_assert_eq!(exact.plan.is_some(), found.is_some());
        if let Some(found) = found {
            let latency_ms = ranges.latency_ms(&found.replica);
            prop_assert!((latency_ms / exact.latency_ms - 1.0).abs() < 1e-6, "{latency_ms} of {}", exact.latency_ms);
            prop_assert!((found.bound_ms / exact.latency_ms - 1.0).abs() < 1e-6, "{} of {}", found.bound_ms, exact.latency_ms);
        }
    }

    #[test]
    fn the_bottleneck_of_a_set_by_counts_is_that_of_the_best_cut(offers in prop::collection::vec((1.0_f64..9.0, 0.5_f64..5.0), 2..5), heavy in any::<bool>()) {
        let mut problem = problem(&[1.0; 8], &offers, Objective::Throughput);
        if heavy {
            problem.blocks[0].weight_bytes *= 1.7;
            problem.blocks[7].flops *= 2.5;
        }
        let ranges = Ranges::new(&problem);
        let pool = Pool::variants(&ranges).swap_remove(0);
        assert!(pool.even().is_some());
        let members = pool.usable();
        let counted = period::Gauge::new(&pool).period_ms(&members);
        let lattice = lattice::Lattice::of(&pool, 1 << 12).expect("small");
        let chains = chains::Tables::of(&pool, &lattice).expect("small").chains(cut::Goal::Bottleneck);
        // Counts may leave a member without blocks, so the best of all parts of the set is what they come to.
        let best = chains.iter().flatten().filter(|chain| chain.stages.len() > 1).map(|chain| chain.cost.period_ms).fold(f64::INFINITY, f64::min);
        prop_assert!(counted.is_finite() == best.is_finite(), "{counted} against {best}");
        if best.is_finite() {
            let loose = if heavy { 1.35 } else { 1.000_001 };
            prop_assert!(counted <= best * loose && counted >= best * 0.999_999, "{counted} against {best}");
        }
    }
}
