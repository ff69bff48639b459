//! Plans, and the proof that one fits. Only `Plan::check` makes a `CheckedPlan`, and only those deploy.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    device::{Device, Offer, Roles},
    error::{Error, Fault},
    ids::{DeviceId, ModelId, OfferId, PlanNumber},
    model::ModelProfile,
    shard::{BlockRange, ShardId},
    units::Bytes,
};

/// Blocks of a model on an offer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stage {
    /// Where.
    pub offer: OfferId,
    /// Which blocks.
    pub range: BlockRange,
}

/// One complete chain of stages that can answer a request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Replica {
    /// In the order in which a request goes through them.
    pub stages: Vec<Stage>,
}

impl Replica {
    /// Whether one of its stages is on this device.
    pub fn uses(&self, device: &DeviceId) -> bool {
        self.stages.iter().any(|stage| stage.offer.device == *device)
    }

    /// Whether activations go from the first of these devices straight to the second.
    pub fn sends(&self, source: &DeviceId, target: &DeviceId) -> bool {
        self.stages.windows(2).any(|pair| pair[0].offer.device == *source && pair[1].offer.device == *target)
    }
}

/// The intended replicas of all models. Nothing in it is believed until `check` has proved it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Counts plans.
    pub number: PlanNumber,
    /// A model without replicas is one that does not fit at present.
    pub models: BTreeMap<ModelId, Vec<Replica>>,
}

impl Plan {
    /// Every distinct shard with the offer that holds it. Replicas that share a stage share its shard.
    pub fn shards(&self) -> BTreeSet<(OfferId, ShardId)> {
        self.placed().into_iter().map(|(offer, model, range)| (offer.clone(), ShardId { model: model.clone(), range })).collect()
    }

    /// The same by reference.
    fn placed(&self) -> BTreeSet<(&OfferId, &ModelId, BlockRange)> {
        let stages = self.models.iter().flat_map(|(model, replicas)| replicas.iter().flat_map(|replica| &replica.stages).map(move |stage| (model, stage)));
        stages.map(|(model, stage)| (&stage.offer, model, stage.range)).collect()
    }

    /// Proves the plan: every block once and in order in each replica, roles, known offers, and memory in every pool
    /// including cache and workspace. The error names the device and the missing bytes.
    pub fn check(self, capacity: &Capacity) -> Result<CheckedPlan, Error> {
        for (model, replicas) in &self.models {
            let profile = capacity.models.get(model).ok_or_else(|| Fault::UnknownModel { model: model.clone() })?;
            for replica in replicas {
                check_order(profile, replica)?;
                check_places(model, replica, capacity)?;
            }
        }
        check_memory(&self, capacity)?;
        Ok(CheckedPlan(self))
    }
}

/// A plan that was proved to fit. It is as immutable as the proof.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckedPlan(Plan);

impl CheckedPlan {
    /// The plan that holds nothing fits everywhere.
    pub(crate) fn of_nothing(number: PlanNumber) -> Self {
        Self(Plan { number, ..Plan::default() })
    }

    /// The same under another number, which the proof does not depend on.
    pub(crate) fn numbered(self, number: PlanNumber) -> Self {
        Self(Plan { number, ..self.0 })
    }

    /// The plan behind the proof.
    pub fn plan(&self) -> &Plan {
        &self.0
    }

    /// The plan without its proof.
    pub(crate) fn into_plan(self) -> Plan {
        self.0
    }
}

/// What one offer can hold, as far as proving goes.
#[derive(Clone, PartialEq, Debug)]
pub struct OfferCapacity {
    /// Offers of one device with the same pool share `memory`.
    pub pool: u32,
    /// What the pool can hold.
    pub memory: Bytes,
    /// Bytes in memory for one byte of weights.
    pub weight_factor: f64,
    /// Bytes that each shard takes besides.
    pub fixed: Bytes,
    /// Places in a chain that it takes.
    pub roles: Roles,
}

impl OfferCapacity {
    /// Bytes that a shard takes on this offer: weights, cache, workspace and the fixed part.
    pub fn need(&self, model: &ModelProfile, range: BlockRange) -> Bytes {
        model.weights(range).scaled(self.weight_factor) + model.cache(range) + model.workspace(range) + self.fixed
    }
}

impl From<&Offer> for OfferCapacity {
    fn from(offer: &Offer) -> Self {
        Self { pool: offer.memory_pool, memory: offer.memory, weight_factor: offer.weight_factor, fixed: offer.fixed, roles: offer.roles }
    }
}

/// What a plan is proved against: the offers that there are and the models to serve.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Capacity {
    /// By offer.
    pub offers: BTreeMap<OfferId, OfferCapacity>,
    /// By name and version.
    pub models: BTreeMap<ModelId, std::sync::Arc<ModelProfile>>,
}

impl Capacity {
    /// Adds the offers of a device.
    pub fn add_device(&mut self, device: &Device) {
        self.offers.extend(device.offers.iter().map(|offer| (device.offer_id(offer), offer.into())));
    }
}

fn check_order(model: &ModelProfile, replica: &Replica) -> Result<(), Error> {
    let blocks = model.whole().end();
    let mut next = 0;
    for stage in &replica.stages {
        if stage.range.start() != next {
            return Err(Fault::Gap { model: model.id().clone(), expected: next, found: stage.range.start() }.into());
        }
        next = stage.range.end();
    }
    if next == blocks { Ok(()) } else { Err(Fault::Length { model: model.id().clone(), blocks, covered: next }.into()) }
}

fn check_places(model: &ModelId, replica: &Replica, capacity: &Capacity) -> Result<(), Error> {
    for (index, stage) in replica.stages.iter().enumerate() {
        let offer = capacity.offers.get(&stage.offer).ok_or_else(|| Fault::UnknownOffer { offer: stage.offer.clone() })?;
        if let Some(role) = offer.roles.missing_at(index, replica.stages.len()) {
            let shard = ShardId { model: model.clone(), range: stage.range };
            return Err(Fault::Role { shard, offer: stage.offer.clone(), role }.into());
        }
    }
    Ok(())
}

fn check_memory(plan: &Plan, capacity: &Capacity) -> Result<(), Error> {
    let mut used: BTreeMap<(&DeviceId, u32), Bytes> = BTreeMap::new();
    for (id, model, range) in plan.placed() {
        let (Some(offer), Some(model)) = (capacity.offers.get(id), capacity.models.get(model)) else {
            return Err(Fault::UnknownOffer { offer: id.clone() }.into());
        };
        let pool = used.entry((&id.device, offer.pool)).or_default();
        *pool += offer.need(model, range);
        if *pool > offer.memory {
            return Err(Fault::Memory { offer: id.clone(), range, need: *pool, have: offer.memory }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
