//! Plans of all policies on a thousand pools, as shares of the exact optimum; then throughput on larger pools, as a multiple
//! of the default policy's. One JSON line each.

use std::collections::BTreeMap;

use serde_json::json;
use shardhost_policy_tests::{
    policies::{BALANCED, policies},
    pools::{Pool, Random},
    quality::{measure, throughput},
};
use shardhost_sdk::{allocation::Objective, problem::Ranges};

const POOLS: u32 = 1_000;
const LARGE_POOLS: u32 = 10;

fn main() {
    for policy in policies() {
        let found = measure(&policy, 1, POOLS, (4, 10), false);
        println!(
            "{}",
            json!({
                "benchmark": "quality", "policy": policy.name, "pools": found.pools, "mean": found.mean, "least": found.least,
                "refused": found.refused, "wrong": found.wrong, "order_matters": found.order_matters,
            })
        );
    }
    for policy in policies() {
        let found = measure(&policy, 2, POOLS / 10, (4, 6), true);
        println!(
            "{}",
            json!({ "benchmark": "quality with links", "policy": policy.name, "pools": found.pools, "mean": found.mean, "least": found.least, "refused": found.refused })
        );
    }
    for devices in [24, 64, 128] {
        let mut random = Random::new(u64::from(devices));
        let mut sums: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
        let mut bound = 0.0;
        for number in 0..LARGE_POOLS {
            let pool = Pool::large(&mut random, devices, 36, number.is_multiple_of(2));
            let problem = pool.problem(Objective::Throughput);
            let best = BALANCED.place(&problem).ok().and_then(|proposal| throughput(&pool, &proposal.replicas).ok()).unwrap_or(0.0);
            bound += best / Ranges::new(&problem).throughput_bound();
            for policy in policies() {
                let found = policy.place(&problem).ok().and_then(|proposal| throughput(&pool, &proposal.replicas).ok());
                let sum = sums.entry(policy.name).or_default();
                *sum = (sum.0 + found.unwrap_or(0.0) / best, sum.1 + u32::from(found.is_none()));
            }
        }
        for (policy, (sum, failed)) in sums {
            let ratio = sum / f64::from(LARGE_POOLS);
            println!("{}", json!({ "benchmark": "throughput", "policy": policy, "devices": devices, "of_balanced": ratio, "failed": failed }));
        }
        println!("{}", json!({ "benchmark": "throughput", "policy": "balanced-allocation", "devices": devices, "of_bound": bound / f64::from(LARGE_POOLS) }));
    }
}
