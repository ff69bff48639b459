//! How long the default policy takes for large pools, natively: a plan from nothing, and after one device came or went. One
//! JSON line each, milliseconds, the best of some runs.

use std::time::Instant;

use serde_json::json;
use shardhost_policy_tests::{
    churn::{joined, left},
    policies::BALANCED,
    pools::{Machine, Pool, Random},
};
use shardhost_sdk::{
    allocation::{Objective, Problem},
    problem::Ranges,
};

const RUNS: u32 = 5;

fn main() {
    for (devices, blocks, unlike) in [(1_000, 32, false), (1_000, 80, false), (1_000, 32, true), (1_000, 80, true), (10_000, 32, false), (10_000, 80, true)] {
        for objective in [Objective::Throughput, Objective::Balanced, Objective::Latency] {
            let pool = Pool::large(&mut Random::new(5), devices, blocks, unlike);
            let mut problem = pool.problem(objective);
            problem.within_site.bytes_per_ms = 110_000.0;
            problem.within_site.latency_ms = 0.3;
            problem.between_sites = shardhost_sdk::allocation::Speed { latency_ms: 20.0, bytes_per_ms: 11_000.0 };
            report(&problem, "from nothing", devices, blocks, unlike);
            if devices == 1_000 {
                problem.current = BALANCED.place(&problem).map(|proposal| proposal.replicas).unwrap_or_default();
                report(&problem, "again", devices, blocks, unlike);
                report(&joined(&problem, &Machine { block_ms: 0.4, most: blocks / 2 }), "one came", devices, blocks, unlike);
                let gone = problem.current.first().and_then(|replica| replica.stages.first()).map_or(0, |stage| stage.offer);
                report(&left(&problem, gone), "one went", devices, blocks, unlike);
            }
        }
    }
}

fn report(problem: &Problem, what: &str, devices: u32, blocks: u32, unlike: bool) {
    let (mut best_ms, mut replicas, mut of_bound) = (f64::INFINITY, 0, 0.0);
    for _ in 0..RUNS {
        let started = Instant::now();
        let placed = BALANCED.place(problem);
        best_ms = best_ms.min(started.elapsed().as_secs_f64() * 1e3);
        if let Ok(proposal) = placed {
            replicas = proposal.replicas.len();
            let ranges = Ranges::new(problem);
            of_bound = match problem.placement.objective {
                Objective::Latency => proposal.bound / ranges.latency_ms(&proposal.replicas[0]),
                _ => ranges.throughput(&proposal.replicas) / proposal.bound,
            };
        }
    }
    let objective = match problem.placement.objective {
        Objective::Latency => "latency",
        Objective::Throughput => "throughput",
        Objective::Balanced => "balanced",
    };
    println!(
        "{}",
        json!({ "benchmark": "scale", "what": what, "objective": objective, "devices": devices, "blocks": blocks, "unlike": unlike, "ms": best_ms, "replicas": replicas, "of_bound": of_bound })
    );
}
