//! What plans cost and whether they swing: each plan that is put in force, why, what was fetched for it and how little could
//! have been.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::PlanChange;
use crate::{
    cluster::{Cluster, Reason},
    ids::{ModelId, OfferId},
    plan::{CheckedPlan, Plan},
    shard::ShardId,
    units::{Bytes, Millis},
};

/// The history of plans.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub list: Vec<PlanChange>,
    before: Plan,
    /// Counts what happens to the pool.
    causes: u64,
    /// By model: the last change that gave it new stages, and the count of causes then.
    moved: BTreeMap<ModelId, (usize, u64)>,
}

impl Changes {
    /// Something happened that may be worth another plan.
    pub(super) fn cause(&mut self) {
        self.causes += 1;
    }

    /// A plan was put in force. The cluster already goes by it, and has not loaded anything for it yet.
    pub(super) fn note(&mut self, at: Millis, plan: &CheckedPlan, reason: &Reason, cluster: &Cluster) {
        let next = plan.plan();
        let (known, index) = (self.before.shards(), self.list.len());
        let is_new = |stage: &&(OfferId, ShardId)| !known.contains(*stage);
        let shards = next.shards();
        let fresh: Vec<&(OfferId, ShardId)> = shards.iter().filter(is_new).collect();
        let models: BTreeSet<&ModelId> = fresh.iter().map(|(_, shard)| &shard.model).collect();
        let mut is_uncaused = false;
        for model in &models {
            let last = self.moved.insert((*model).clone(), (index, self.causes));
            is_uncaused |= last.is_some_and(|(_, causes)| causes == self.causes) && !is_own_cause(reason);
        }
        let is_loss = matches!(reason, Reason::Lost(_) | Reason::Forgotten(_));
        let fetched_min = models.iter().map(|model| missing(cluster, next, model)).sum();
        self.list.push(PlanChange {
            at,
            plan: next.number,
            reason: reason.to_string(),
            is_loss,
            stages_new: u32::try_from(fresh.len()).unwrap_or(u32::MAX),
            is_uncaused,
            fetched: Bytes::ZERO,
            fetched_min,
            lost: if is_loss { lost(cluster, &self.before) } else { Bytes::ZERO },
        });
        self.before = next.clone();
    }

    /// Bytes were fetched for the last plan that moved this model.
    pub(super) fn fetched(&mut self, model: &ModelId, size: Bytes) {
        let change = self.moved.get(model).and_then(|(index, _)| self.list.get_mut(*index));
        if let Some(change) = change {
            change.fetched += size;
        }
    }
}

/// Whether the cluster itself says with this reason that something has happened.
fn is_own_cause(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Resumed(_)
            | Reason::Damped(_)
            | Reason::LinkLost(..)
            | Reason::LinkRegained(..)
            | Reason::LoadRefused(..)
            | Reason::Unheld(..)
            | Reason::Added(_)
            | Reason::Reviewed { .. }
    )
}

/// The bytes of the shards that a plan had on devices that are gone, as often as no device that is left has the same one to spare.
/// Whoever takes such a stage over, cut as it was, fetches its shard.
fn lost(cluster: &Cluster, before: &Plan) -> Bytes {
    let stages = before.shards();
    let mut missing: BTreeMap<&ShardId, u64> = BTreeMap::new();
    let is_alive = |offer: &OfferId| cluster.devices().get(&offer.device).is_some_and(|record| record.is_alive());
    for (_, shard) in stages.iter().filter(|(offer, _)| !is_alive(offer)) {
        *missing.entry(shard).or_default() += 1;
    }
    for (device, record) in cluster.devices().iter().filter(|(_, record)| record.is_alive()) {
        for (accelerator, shard) in record.shards.keys() {
            let held = (OfferId { device: device.clone(), accelerator: accelerator.clone() }, shard.clone());
            if let Some(count) = missing.get_mut(shard).filter(|_| !stages.contains(&held)) {
                *count = count.saturating_sub(1);
            }
        }
    }
    let size = |shard: &ShardId| cluster.models().get(&shard.model).map_or(Bytes::ZERO, |record| record.profile.weights(shard.range));
    missing.into_iter().map(|(shard, count)| size(shard).times(count)).sum()
}

/// The bytes of the blocks that a plan has more often than the devices that are alive hold them. No way to carry the plan out
/// fetches less, unless from a cache.
fn missing(cluster: &Cluster, plan: &Plan, model: &ModelId) -> Bytes {
    let Some(record) = cluster.models().get(model) else { return Bytes::ZERO };
    let blocks = record.profile.blocks();
    let mut copies = vec![0_i64; blocks.len()];
    let mut count = |shard: &ShardId, by: i64| {
        for block in shard.range.start()..shard.range.end().min(blocks.len() as u32) {
            copies[block as usize] += by;
        }
    };
    for (_, shard) in plan.shards().iter().filter(|(_, shard)| shard.model == *model) {
        count(shard, 1);
    }
    let alive = cluster.devices().values().filter(|record| record.is_alive());
    for (_, shard) in alive.flat_map(|record| record.shards.keys()).filter(|(_, shard)| shard.model == *model) {
        count(shard, -1);
    }
    copies.iter().zip(blocks).map(|(&copies, block)| block.weights.times(copies.max(0).unsigned_abs())).sum()
}
