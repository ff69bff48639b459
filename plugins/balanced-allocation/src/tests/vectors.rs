//! Pools whose optimum is known exactly.

use serde_json::Value;
use shardhost_sdk::allocation::{Link, Objective, Problem, Speed, Stage};

use super::support::{FREE, problem};
use crate::*;

const OPTIMA: &str = include_str!("optima.json");

fn optima(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(OPTIMA).expect("sound JSON");
    all[kind].as_array().expect("a list").clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Devices in the file are `[name, milliseconds for a block, blocks that fit]`.
fn posed(vector: &Value, objective: Objective) -> Problem {
    let blocks = number(&vector["blocks"]) as usize;
    let devices: Vec<(f64, f64)> = vector["devices"].as_array().expect("a list").iter().map(|device| (number(&device[2]), number(&device[1]))).collect();
    let mut problem = problem(&vec![1.0; blocks], &devices, objective);
    for (source, row) in (0..).zip(vector["link_ms"].as_array().into_iter().flatten()) {
        for (target, ms) in (0..).zip(row.as_array().expect("a list")) {
            problem.links.push(Link { source, target, speed: Speed { latency_ms: number(ms), ..FREE } });
        }
    }
    problem
}

fn stages(chain: &Value) -> Vec<Stage> {
    let stage = |stage: &Value| Stage {
        offer: u32::from(stage[0].as_str().expect("a name").as_bytes()[0] - b'a'),
        start: number(&stage[1]) as u32,
        end: number(&stage[2]) as u32,
    };
    chain.as_array().expect("a list").iter().map(stage).collect()
}

#[test]
fn the_most_throughput_of_each_pool_is_found() {
    for vector in optima("throughput") {
        let problem = posed(&vector, Objective::Throughput);
        let ranges = Ranges::new(&problem);
        let proposal = Balanced::default().allocate(&problem).expect("it fits");
        assert!((ranges.throughput(&proposal.replicas) - number(&vector["per_ms"])).abs() < 1e-12, "{}: {proposal:?}", vector["name"]);
        assert!(proposal.bound >= number(&vector["per_ms"]));
        assert_eq!(proposal.attributes[0], ("search".into(), "exact".into()));
    }
}

#[test]
fn the_chain_of_least_latency_over_unlike_links_is_found_and_proved() {
    for vector in optima("chains") {
        let problem = posed(&vector, Objective::Latency);
        let ranges = Ranges::new(&problem);
        let known = Replica { stages: stages(&vector["latency_chain"]) };
        assert_eq!(ranges.latency_ms(&known), number(&vector["latency_ms"]), "{}: the file is right", vector["name"]);
        let proposal = Balanced::default().allocate(&problem).expect("it fits");
        assert_eq!(ranges.latency_ms(&proposal.replicas[0]), number(&vector["latency_ms"]), "{}: {proposal:?}", vector["name"]);
        assert!((proposal.bound - number(&vector["latency_ms"])).abs() < 1e-9, "{}", vector["name"]);
    }
}

#[test]
fn the_chain_of_least_bottleneck_over_unlike_links_is_found() {
    for vector in optima("chains") {
        let mut problem = posed(&vector, Objective::Throughput);
        problem.placement.replicas_max = 1;
        let ranges = Ranges::new(&problem);
        let rate = 1.0 / number(&vector["period_ms"]);
        assert_eq!(ranges.throughput(&[Replica { stages: stages(&vector["period_chain"]) }]), rate, "{}: the file is right", vector["name"]);
        let proposal = Balanced::default().allocate(&problem).expect("it fits");
        assert_eq!(ranges.throughput(&proposal.replicas), rate, "{}: {proposal:?}", vector["name"]);
    }
}

/// What large pools are searched with, on pools small enough to know better.
#[test]
fn filling_and_improving_comes_to_the_known_optima_too() {
    for vector in optima("throughput") {
        let problem = posed(&vector, Objective::Throughput);
        let ranges = Ranges::new(&problem);
        let pool = Pool::variants(&ranges).swap_remove(0);
        assert!(pool.even().is_some());
        let mut gauge = period::Gauge::new(&pool);
        let swept = sweep::groupings(&mut gauge, 4, false);
        let best = swept.into_iter().map(|grouping| local_search::improve(&mut gauge, grouping, 1_000_000).throughput).fold(0.0, f64::max);
        assert!(best > 0.97 * number(&vector["per_ms"]), "{}: {best}", vector["name"]);
    }
}

/// The same for chains: the search for one of least latency, without the program over all sets.
#[test]
fn the_best_first_search_proves_the_known_chains_too() {
    for vector in optima("chains") {
        let problem = posed(&vector, Objective::Latency);
        let ranges = Ranges::new(&problem);
        let pool = Pool::variants(&ranges).swap_remove(0);
        let found = latency::fastest(&pool).expect("it fits");
        assert_eq!(ranges.latency_ms(&found.replica), number(&vector["latency_ms"]), "{}", vector["name"]);
        assert!((found.bound_ms - number(&vector["latency_ms"])).abs() < 1e-6, "{}: {}", vector["name"], found.bound_ms);
    }
}
