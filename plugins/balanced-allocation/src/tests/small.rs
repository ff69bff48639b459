//! The policy on small pools, against all plans there are, and its properties on generated ones.

use proptest::prelude::*;
use shardhost_sdk::allocation::{Exclusion, Roles, SharedWeight, Speed, Stage};

use super::support::{MIB, plan, problem};
use crate::*;

#[test]
fn equal_devices_that_each_hold_the_model_make_a_replica_each() {
    assert_eq!(plan(&problem(&[1.0; 6], &[(9.0, 1.0); 3], Objective::Balanced)), [[(0, 0, 6)], [(1, 0, 6)], [(2, 0, 6)]]);
}

#[test]
fn three_stages_on_three_equal_devices_are_equal() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0); 3], Objective::Balanced);
    problem.placement.stages_min = 3;
    assert_eq!(plan(&problem), [[(0, 0, 2), (1, 2, 4), (2, 4, 6)]]);
}

#[test]
fn a_weak_device_is_left_idle_when_it_would_slow_the_only_chain() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0), (9.0, 50.0)], Objective::Latency);
    assert_eq!(plan(&problem), [[(0, 0, 6)]]);
    problem.placement.replicas_max = 1;
    problem.placement.objective = Objective::Throughput;
    assert_eq!(plan(&problem), [[(0, 0, 6)]]);
}

#[test]
fn unequal_blocks_are_cut_where_the_bottleneck_is_least() {
    let mut problem = problem(&[1.0, 1.0, 1.0, 9.0, 1.0, 1.0], &[(4.0, 1.0), (4.0, 1.0)], Objective::Throughput);
    problem.placement.replicas_max = 1;
    let chain = &plan(&problem)[0];
    assert_eq!(chain.iter().map(|stage| (stage.1, stage.2)).collect::<Vec<_>>(), [(0, 3), (3, 6)]);
}

#[test]
fn devices_share_a_model_for_throughput_only_where_that_gains_more_than_predictions_are_worth() {
    // Of two blocks the first device is better at one and the second at the other; either takes 20 ms for both.
    let replicas = |better_ms: f64| {
        let mut problem = problem(&[1.0, 0.0], &[(9.0, 10.0 - better_ms), (9.0, 10.0 + better_ms)], Objective::Throughput);
        problem.blocks[1].activation_bytes = 1e6;
        for (offer, activation_mb_ms) in problem.offers.iter_mut().zip([10.0 + better_ms, 10.0 - better_ms]) {
            offer.cost.activation_mb_ms = activation_mb_ms;
        }
        plan(&problem)
    };
    assert_eq!(replicas(0.15), [[(0, 0, 2)], [(1, 0, 2)]]);
    assert_eq!(replicas(1.0), [[(0, 0, 1), (1, 1, 2)]]);
}

#[test]
fn a_chain_of_blocks_that_take_no_time_stays_where_its_offers_do_not_hold_the_whole_model() {
    let problem = problem(&[0.0; 4], &[(2.0, 1.0), (2.0, 1.0), (4.0, 1.0)], Objective::Throughput);
    let ranges = Ranges::new(&problem);
    let stages = |stages: &[(u32, u32, u32)]| Replica { stages: stages.iter().map(|&(offer, start, end)| Stage { offer, start, end }).collect() };
    let plan = vec![stages(&[(0, 0, 2), (1, 2, 4)]), stages(&[(2, 0, 4)])];
    assert_eq!(uncut::uncut(&Pool::variants(&ranges)[0], plan.clone(), 0.02), plan);
}

#[test]
fn the_only_feasible_order_is_found_whatever_the_order_of_joining() {
    // The middle device takes neither end; capacities 13, 5 and 6 just hold 24 blocks.
    let mut problem = problem(&[1.0; 24], &[(13.0, 1.0), (5.0, 1.0), (6.0, 1.0)], Objective::Balanced);
    problem.offers[1].roles = Roles::BODY;
    let chain = &plan(&problem)[0];
    assert_eq!((chain.len(), chain[1].0), (3, 1));
}

#[test]
fn slow_links_count_as_bottlenecks_and_as_latency() {
    let mut problem = problem(&[1.0; 4], &[(4.0, 1.0), (4.0, 1.0)], Objective::Balanced);
    problem.placement.replicas_max = 1;
    assert_eq!(plan(&problem)[0].len(), 2);
    problem.within_site = Speed { latency_ms: 50.0, bytes_per_ms: 1e5 };
    assert_eq!(plan(&problem)[0].len(), 1);
}

#[test]
fn what_was_refused_on_loading_is_not_proposed_again() {
    let mut problem = problem(&[1.0; 4], &[(4.0, 1.0)], Objective::Balanced);
    problem.exclusions = vec![Exclusion { offer: 0, start: 0, end: 4, reason: "too large".into() }];
    let refusal = Balanced::default().allocate(&problem).expect_err("there is nothing else");
    assert!(refusal.reason.contains("refused on loading"), "{}", refusal.reason);
}

#[test]
fn cache_workspace_factor_and_shared_weights_count_in_memory() {
    let mut problem = problem(&[1.0; 2], &[(5.0, 1.0)], Objective::Balanced);
    problem.offers[0].weight_factor = 1.5;
    problem.shared_weights = vec![SharedWeight { bytes: MIB / 1.5, blocks: vec![0, 1] }];
    problem.blocks[0].workspace_bytes = MIB;
    assert_eq!(plan(&problem), [[(0, 0, 2)]]);
    (problem.blocks[1].kv_bytes_per_token, problem.sequences, problem.tokens) = (16.0, 2, 100);
    let refusal = Balanced::default().allocate(&problem).expect_err("3,200 bytes too many");
    assert_eq!(refusal.nearest, Some(0));
    assert!(refusal.reason.contains("d0/cpu"), "{}", refusal.reason);
}

#[test]
fn offers_that_share_a_pool_do_not_use_its_memory_twice() {
    let mut problem = problem(&[1.0; 4], &[(4.0, 1.0), (4.0, 1.0)], Objective::Throughput);
    problem.offers[1].device = 0;
    assert_eq!(plan(&problem), [[(0, 0, 2), (1, 2, 4)]], "together they hold the model once");
    problem.blocks[0].weight_bytes *= 2.0;
    assert!(Balanced::default().allocate(&problem).is_err());
    problem.blocks[0].weight_bytes /= 2.0;
    problem.placement.stages_max = 1;
    assert_eq!(plan(&problem), [[(0, 0, 4)]]);
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_nearest_offer_and_the_missing_bytes() {
    let refusal = Balanced::default().allocate(&problem(&[1.0; 6], &[(2.0, 1.0), (3.0, 1.0)], Objective::Balanced)).expect_err("5 of 6 blocks fit");
    assert!(refusal.reason.contains("5 of 6 blocks found a place"), "{}", refusal.reason);
    assert!(refusal.nearest.is_some());
    assert!(Balanced::default().allocate(&problem(&[1.0], &[], Objective::Balanced)).is_err());
}

#[test]
fn a_gain_that_does_not_pay_for_the_move_changes_nothing() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0), (9.0, 0.9)], Objective::Latency);
    problem.current = vec![Replica { stages: vec![Stage { offer: 0, start: 0, end: 6 }] }];
    problem.within_site = Speed { latency_ms: 0.0, bytes_per_ms: 1000.0 };
    problem.horizon_ms = 10_000.0;
    assert_eq!(plan(&problem), [[(0, 0, 6)]], "6 s of loading for a tenth of 10 s");
    problem.horizon_ms = 1_000_000.0;
    assert_eq!(plan(&problem), [[(1, 0, 6)]]);
}

#[test]
fn a_review_asks_for_another_plan_only_if_solving_again_gives_one() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0), (9.0, 1.0)], Objective::Balanced);
    problem.current = Balanced::default().allocate(&problem).expect("it fits").replicas;
    let observed = |problem: &Problem| Observation { problem: problem.clone(), stages: Vec::new(), pressure_max: 0.0, pressure_mean: 0.0, arrival_ms: 10.0 };
    assert_eq!(Balanced::default().review(&observed(&problem)), Verdict::Keep);
    problem.current.pop();
    assert!(matches!(Balanced::default().review(&observed(&problem)), Verdict::Replan(_)));
}

#[test]
fn a_hundred_devices_are_placed_without_exact_search() {
    let offers: Vec<(f64, f64)> = (0..100).map(|index| (3.0 + f64::from(index % 5), 1.0 + f64::from(index % 7) / 3.0)).collect();
    let problem = problem(&[1.0; 24], &offers, Objective::Balanced);
    let proposal = Balanced::default().allocate(&problem).expect("it fits");
    assert!(Ranges::new(&problem).throughput(&proposal.replicas) > 0.6 * proposal.bound);
}

/// Every chain over these offers in every order with every cut.
fn chains(problem: &Problem, used: u32, start: u32) -> Vec<Vec<Stage>> {
    let blocks = u32::try_from(problem.blocks.len()).expect("few");
    if start == blocks {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for offer in (0..u32::try_from(problem.offers.len()).expect("few")).filter(|offer| used & (1 << offer) == 0) {
        for end in start + 1..=blocks {
            for mut rest in chains(problem, used | 1 << offer, end) {
                rest.insert(0, Stage { offer, start, end });
                all.push(rest);
            }
        }
    }
    all
}

/// The best value of any plan of disjoint chains: the least latency, or the most throughput.
fn optimum(problem: &Problem) -> Option<f64> {
    let ranges = Ranges::new(problem);
    let valid: Vec<Replica> =
        chains(problem, 0, 0).into_iter().map(|stages| Replica { stages }).filter(|replica| ranges.check(std::slice::from_ref(replica)).is_ok()).collect();
    if problem.placement.objective == Objective::Latency {
        return valid.iter().map(|replica| ranges.latency_ms(replica)).min_by(f64::total_cmp);
    }
    let mut best = vec![0.0_f64; 1 << problem.offers.len()];
    for set in 1_u32..1 << problem.offers.len() {
        for replica in &valid {
            let used: u32 = replica.stages.iter().map(|stage| 1 << stage.offer).sum();
            if used & !set == 0 {
                let rate = ranges.throughput(std::slice::from_ref(replica));
                best[set as usize] = best[set as usize].max(rate + best[(set & !used) as usize]);
            }
        }
    }
    best.last().copied().filter(|&value| value > 0.0)
}

fn objectives() -> impl Strategy<Value = Objective> {
    prop_oneof![Just(Objective::Latency), Just(Objective::Throughput), Just(Objective::Balanced)]
}

prop_compose! {
    fn pools()(
        gflops in prop::collection::vec(0.2_f64..3.0, 1..6),
        offers in prop::collection::vec((1.0_f64..7.0, 0.5_f64..5.0), 1..5),
        hop_ms in 0.0_f64..3.0,
        stages_min in 1_u32..3,
        objective in objectives(),
    ) -> Problem {
        let mut problem = problem(&gflops, &offers, objective);
        let most = u32::try_from(gflops.len().min(offers.len())).expect("few");
        problem.placement.stages_min = stages_min.min(most);
        problem.placement.stages_max = most;
        problem.within_site = Speed { latency_ms: hop_ms, bytes_per_ms: 1e5 };
        problem
    }
}

proptest! {
    #[test]
    fn small_pools_get_the_best_plan_there_is(problem in pools()) {
        let ranges = Ranges::new(&problem);
        match (Balanced::default().allocate(&problem), optimum(&problem)) {
            (Ok(proposal), Some(optimum)) => {
                prop_assert_eq!(ranges.check(&proposal.replicas), Ok(()));
                let score = Score::of(&ranges, &proposal.replicas);
                match problem.placement.objective {
                    Objective::Latency => prop_assert!(score.latency_ms <= optimum * 1.000_001, "{} > {optimum}", score.latency_ms),
                    Objective::Throughput => prop_assert!(score.throughput >= optimum * 0.999_999, "{} < {optimum}", score.throughput),
                    Objective::Balanced => prop_assert!(score.throughput >= optimum * 0.949_999, "{} < {optimum}", score.throughput),
                }
            }
            (Err(_), None) => {}
            (found, optimum) => prop_assert!(false, "{found:?} against {optimum:?}"),
        }
    }

    #[test]
    fn no_plan_is_better_than_the_bound(problem in pools()) {
        if let Ok(proposal) = Balanced::default().allocate(&problem) {
            let score = Score::of(&Ranges::new(&problem), &proposal.replicas);
            match problem.placement.objective {
                Objective::Latency => prop_assert!(proposal.bound <= score.latency_ms * 1.000_001),
                _ => prop_assert!(proposal.bound >= score.throughput * 0.999_999),
            }
        }
    }

    #[test]
    fn solving_again_moves_nothing(mut problem in pools()) {
        if let Ok(first) = Balanced::default().allocate(&problem) {
            problem.current = first.replicas.clone();
            prop_assert_eq!(Balanced::default().allocate(&problem).expect("it fits still").replicas, first.replicas);
        }
    }

    #[test]
    fn the_order_of_joining_never_matters(problem in pools(), seed in 0_u32..1000) {
        let mut other = problem.clone();
        for offer in &mut other.offers {
            offer.joined = (offer.joined * 7 + seed) % 11;
        }
        prop_assert_eq!(Balanced::default().allocate(&problem), Balanced::default().allocate(&other));
    }
}
