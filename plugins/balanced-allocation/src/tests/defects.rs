//! Defects that other systems have: each must not exist here.

use shardhost_sdk::allocation::{Objective, Problem, Stage};

use super::support::{MIB, plan, problem};
use crate::*;

/// Bytes of a decoder layer; an embedding or output head takes a good third of it.
const LAYER: f64 = 3_211_591_680.0;
const EMBEDDING: f64 = 1_158_266_880.0;

/// Memory in layers: 13 of them fit on an A100 with 80 GB even beside an embedding, 5 on an RTX 5090, but 4 beside one.
const A100_80: (f64, f64) = (13.5, 0.62);
const A100_40: (f64, f64) = (6.5, 0.66);
const RTX_5090: (f64, f64) = (5.2, 0.57);
const RTX_4090: (f64, f64) = (4.2, 1.0);

/// So many layers, the first with an embedding, the last with an output head.
fn decoder(layers: usize, devices: &[(f64, f64)], objective: Objective) -> Problem {
    let mut problem = problem(&vec![1.0; layers], devices, objective);
    problem.blocks.iter_mut().for_each(|block| block.weight_bytes = LAYER);
    problem.blocks[0].weight_bytes += EMBEDDING;
    problem.blocks[layers - 1].weight_bytes += EMBEDDING;
    for (offer, (layers, _)) in problem.offers.iter_mut().zip(devices) {
        offer.memory_bytes = layers * LAYER;
    }
    problem
}

#[test]
fn a_pool_that_is_feasible_in_one_order_only_is_placed_in_that_order() {
    for objective in [Objective::Throughput, Objective::Balanced, Objective::Latency] {
        let chain = &plan(&decoder(24, &[A100_80, RTX_5090, A100_40], objective))[0];
        let mut held: Vec<(u32, u32)> = chain.iter().map(|stage| (stage.0, stage.2 - stage.1)).collect();
        assert_eq!(held[1], (1, 5), "the RTX 5090 holds five layers only between the others: {held:?}");
        held.sort_unstable();
        assert_eq!(held, [(0, 13), (1, 5), (2, 6)]);
    }
}

#[test]
fn pools_that_a_search_in_order_of_joining_refuses_are_placed() {
    let pools =
        [(16, [A100_40, RTX_4090, A100_40]), (17, [A100_40, RTX_5090, A100_40]), (23, [A100_80, RTX_4090, A100_40]), (23, [A100_40, RTX_4090, A100_80])];
    for (layers, devices) in pools {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let chain = &plan(&decoder(layers, &order.map(|index: usize| devices[index]), Objective::Throughput))[0];
            assert_eq!(chain.len(), 3, "{layers} layers in order {order:?}");
        }
    }
}

#[test]
fn plans_are_as_good_whatever_the_order_of_the_devices() {
    let devices = [A100_80, A100_80, A100_40, A100_40, RTX_4090, RTX_4090];
    let turned: Vec<(f64, f64)> = devices.iter().rev().copied().collect();
    let rate = |devices: &[(f64, f64)]| {
        let problem = decoder(22, devices, Objective::Throughput);
        Ranges::new(&problem).throughput(&Balanced::default().allocate(&problem).expect("it fits").replicas)
    };
    let mixed = [devices[4], devices[0], devices[2], devices[5], devices[3], devices[1]];
    assert!((rate(&devices) - rate(&turned)).abs() < 1e-12);
    assert!((rate(&devices) - rate(&mixed)).abs() < 1e-12);
}

#[test]
fn a_cache_for_64_sequences_is_not_promised_where_9_fit() {
    let mut problem = problem(&[1.0; 4], &[(4.0, 1.0)], Objective::Balanced);
    problem.blocks.iter_mut().for_each(|block| block.kv_bytes_per_token = 1024.0);
    // Beside the weights there is room for 9.6 sequences of 1,024 tokens in all four blocks.
    problem.offers[0].memory_bytes = 4.0 * MIB + 9.6 * 4.0 * 1024.0 * 1024.0;
    (problem.sequences, problem.tokens) = (64, 1024);
    let refusal = Balanced::default().allocate(&problem).expect_err("54 sequences too many");
    assert!((refusal.short_bytes - 54.4 * 4.0 * MIB).abs() < 1.0, "{refusal:?}");
    assert!(refusal.reason.contains("short of 217.6 MiB on d0/cpu"), "{}", refusal.reason);
    problem.sequences = 9;
    assert_eq!(plan(&problem), [[(0, 0, 4)]]);
}

#[test]
fn a_decode_that_is_bound_by_bandwidth_is_not_split_by_compute() {
    // One computes eight times as fast, both read weights alike, and a token is all reading.
    let mut problem = problem(&[0.001; 8], &[(8.0, 0.125), (8.0, 1.0)], Objective::Throughput);
    problem.offers.iter_mut().for_each(|offer| offer.cost.weight_mb_ms = 1.0);
    problem.placement.replicas_max = 1;
    let chain = &plan(&problem)[0];
    assert_eq!(chain.iter().map(|stage| stage.2 - stage.1).collect::<Vec<_>>(), [4, 4]);
}

#[test]
fn blocks_that_do_not_read_the_same_are_split_by_what_they_take() {
    // Weights lie in the last two of eight blocks; they take as long as all others together.
    let mut problem = problem(&[0.0; 8], &[(9.0, 1.0), (9.0, 1.0)], Objective::Throughput);
    problem.placement.replicas_max = 1;
    problem.offers.iter_mut().for_each(|offer| offer.cost.weight_mb_ms = 1.0);
    problem.blocks[6].weight_bytes = 3.5 * MIB;
    problem.blocks[7].weight_bytes = 3.5 * MIB;
    problem.offers.iter_mut().for_each(|offer| offer.memory_bytes = 16.0 * MIB);
    let chain = &plan(&problem)[0];
    assert_eq!(chain.iter().map(|stage| (stage.1, stage.2)).collect::<Vec<_>>(), [(0, 6), (6, 8)]);
}

#[test]
fn a_chain_that_is_slower_than_its_best_device_alone_is_not_built() {
    let mut problem = problem(&[1.0; 6], &[(9.0, 1.0), (9.0, 4.0), (9.0, 4.0)], Objective::Latency);
    problem.within_site.latency_ms = 0.5;
    assert_eq!(plan(&problem), [[(0, 0, 6)]]);
    problem.placement.stages_min = 2;
    assert_eq!(plan(&problem)[0].len(), 2, "unless more stages are asked for");
}

#[test]
fn what_a_device_that_left_had_counts_for_nothing() {
    let mut problem = problem(&[1.0; 6], &[(3.0, 1.0), (3.0, 1.0), (6.0, 2.0)], Objective::Throughput);
    let before = Ranges::new(&problem).throughput(&Balanced::default().allocate(&problem).expect("it fits").replicas);
    assert!((before - (1.0 / 3.0 + 1.0 / 12.0)).abs() < 1e-12, "two stages of 3 ms, and the third alone: {before}");
    // The second leaves; the third, which is the second now, serves alone.
    problem.offers.remove(1);
    problem.devices.remove(1);
    problem.offers[1].device = 1;
    problem.offers[0].attributes = vec![("holds".into(), "0..3".into())];
    problem.current = vec![Replica { stages: vec![Stage { offer: 1, start: 0, end: 6 }] }];
    let proposal = Balanced::default().allocate(&problem).expect("it fits still");
    let now = Ranges::new(&problem).throughput(&proposal.replicas);
    assert!(now <= proposal.bound && proposal.bound < before, "{now} and {} of those who are there, {before} before", proposal.bound);
    // A plan that counts on the device in force, which is gone, is none.
    problem.current.push(Replica { stages: vec![Stage { offer: 0, start: 0, end: 3 }, Stage { offer: 2, start: 3, end: 6 }] });
    let again = Balanced::default().allocate(&problem).expect("it fits still");
    assert_eq!(again, proposal);
    assert_eq!(Ranges::new(&problem).check(&again.replicas), Ok(()));
}

#[test]
fn eight_stages_in_six_replicas_do_not_mean_that_every_path_is_looked_at() {
    // 48 unlike devices of which eight hold the model: there are more chains than anyone could count.
    let devices: Vec<(f64, f64)> = (0..48).map(|index| (2.0, 1.0 + f64::from(index) / 1_000.0)).collect();
    let problem = problem(&[1.0; 16], &devices, Objective::Throughput);
    let ranges = Ranges::new(&problem);
    let pool = Pool::variants(&ranges).swap_remove(0);
    let mut gauge = period::Gauge::new(&pool);
    let steps = 50_000;
    let swept = sweep::groupings(&mut gauge, 1, false);
    let filled = gauge.steps;
    let best = local_search::improve(&mut gauge, swept[0].clone(), steps);
    assert_eq!(best.groups.len(), 6);
    assert!(filled < 1_000_000 && gauge.steps - filled < 2 * steps, "{filled} steps to fill, {} to improve", gauge.steps - filled);
    let chains = plan(&problem);
    assert!(chains.len() == 6 && chains.iter().all(|chain| chain.len() == 8), "{chains:?}");
}
