//! How good plans are: throughput by this crate's own arithmetic, as a share of the optimum.

use std::collections::BTreeMap;

use shardhost_sdk::allocation::{Objective, Problem, Replica};

use crate::{
    optimum,
    policies::Policy,
    pools::{Pool, Random},
};

/// The least throughput share that counts as the whole: rounding.
const TIE_RATIO: f64 = 1e-9;

/// What a policy did with some pools.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Quality {
    /// Pools that have a plan.
    pub pools: u32,
    /// Mean share of the optimum, refused and wrong plans counted as 0.
    pub mean: f64,
    /// Least share of the optimum among pools that were placed.
    pub least: f64,
    /// Pools that have a plan and were refused.
    pub refused: u32,
    /// Plans that break a rule.
    pub wrong: u32,
    /// Pools whose plan is another one if the devices joined in another order.
    pub order_matters: u32,
}

/// Requests per millisecond of a plan, or the rule that it breaks. Each device may have one stage.
pub fn throughput(pool: &Pool, replicas: &[Replica]) -> Result<f64, String> {
    let mut used: BTreeMap<u32, u32> = BTreeMap::new();
    let mut sum = 0.0;
    for replica in replicas {
        let (mut next, mut period_ms) = (0, 0.0_f64);
        let mut last = None;
        for stage in &replica.stages {
            let machine = pool.machines.get(stage.offer as usize).ok_or_else(|| format!("there is no device {}", stage.offer))?;
            if stage.start != next || stage.end <= stage.start {
                return Err(format!("[{}..{}) does not go on at {next}", stage.start, stage.end));
            }
            if stage.end - stage.start > machine.most || used.insert(stage.offer, stage.start).is_some() {
                return Err(format!("device {} does not hold [{}..{})", stage.offer, stage.start, stage.end));
            }
            let hop_ms = last.map_or(0.0, |last| pool.link_ms(last, stage.offer));
            period_ms = period_ms.max(hop_ms).max(machine.block_ms * f64::from(stage.end - stage.start));
            (next, last) = (stage.end, Some(stage.offer));
        }
        if next != pool.blocks {
            return Err(format!("a chain ends at {next} of {}", pool.blocks));
        }
        sum += 1.0 / period_ms;
    }
    if sum > 0.0 { Ok(sum) } else { Err("there is no replica".into()) }
}

/// A policy on pools of `least` to `most` devices made from a seed, every fourth with links if they are wanted.
pub fn measure(policy: &Policy, seed: u64, count: u32, devices: (u32, u32), links: bool) -> Quality {
    let mut random = Random::new(seed);
    let mut quality = Quality { least: 1.0, ..Quality::default() };
    let mut sum = 0.0;
    for number in 0..count {
        let devices = random.between(devices.0, devices.1);
        let mut pool = Pool::random(&mut random, devices);
        if links && number.is_multiple_of(4) {
            pool = pool.with_links(&mut random);
        }
        let Some(best) = optimum::throughput(&pool) else { continue };
        quality.pools += 1;
        let problem = pool.problem(Objective::Throughput);
        let Ok(proposal) = policy.place(&problem) else {
            quality.refused += 1;
            continue;
        };
        let turned = turned(&problem);
        let same = policy.place(&turned).is_ok_and(|other| other.replicas == proposal.replicas);
        quality.order_matters += u32::from(!same);
        match throughput(&pool, &proposal.replicas) {
            Ok(found) => {
                let share = if found >= best * (1.0 - TIE_RATIO) { 1.0 } else { found / best };
                sum += share;
                quality.least = quality.least.min(share);
            }
            Err(_) => quality.wrong += 1,
        }
    }
    quality.mean = sum / f64::from(quality.pools.max(1));
    quality
}

/// The same problem, whose devices joined in the opposite order.
pub fn turned(problem: &Problem) -> Problem {
    let mut turned = problem.clone();
    let last = turned.offers.iter().map(|offer| offer.joined).max().unwrap_or(0);
    turned.offers.iter_mut().for_each(|offer| offer.joined = last - offer.joined);
    turned
}
