//! Gives offers the whole model where they would hardly answer more by sharing it.
//!
//! Offers that differ in nothing but speed answer as much each for itself as in a chain, so that rounding of predictions decides,
//! and a part of a model takes more than its share: each run has costs of its own, which nothing tells before the part was
//! measured. A chain must therefore be predicted to answer clearly more than its offers do alone.

use shardhost_sdk::allocation::{Objective, Replica, Stage};

use crate::{cut::cost_of, pool::Pool, score::TIE_RATIO};

/// The plan without chains that answer less than `gain_ratio_min` more than their offers with the whole model each. Plans for
/// other objectives than throughput stay as they are: latency counts there, and hops with it.
pub fn uncut(pool: &Pool<'_, '_>, plan: Vec<Replica>, gain_ratio_min: f64) -> Vec<Replica> {
    let limits = pool.limits();
    if limits.objective != Objective::Throughput || limits.stages_min > 1 {
        return plan;
    }
    let mut places = (limits.replicas_max as usize).saturating_sub(plan.len());
    let mut undone = Vec::new();
    for replica in &plan {
        let whole = whole(pool, replica);
        let rate: f64 = whole.iter().map(|replica| cost_of(pool, &replica.stages).rate()).sum();
        let pays = cost_of(pool, &replica.stages).rate() > rate * (1.0 + gain_ratio_min) * (1.0 - TIE_RATIO);
        if pays || whole.is_empty() || whole.len() > places + 1 {
            undone.push(replica.clone());
        } else {
            places = places + 1 - whole.len();
            undone.extend(whole);
        }
    }
    // Offers may share memory, and stages what they need of it.
    if pool.ranges().check(&undone).is_ok() { undone } else { plan }
}

/// The whole model on each offer of a chain that takes it.
fn whole(pool: &Pool<'_, '_>, replica: &Replica) -> Vec<Replica> {
    let blocks = pool.blocks();
    let takes = replica.stages.iter().filter(|stage| pool.fits(stage.offer, 0, blocks));
    takes.map(|stage| Replica { stages: vec![Stage { offer: stage.offer, start: 0, end: blocks }] }).collect()
}
