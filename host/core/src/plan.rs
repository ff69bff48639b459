//! Plans, and the proof that one fits. Only `Plan::check` makes a `CheckedPlan`, and only those deploy.

pub(crate) mod rules;

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
        let stages = self.models.iter().flat_map(|(model, replicas)| replicas.iter().flat_map(|replica| &replica.stages).map(move |stage| (model, stage)));
        stages.map(|(model, stage)| (stage.offer.clone(), ShardId { model: model.clone(), range: stage.range })).collect()
    }

    /// Proves the plan: every block once and in order in each replica, roles, known offers, and memory in every pool
    /// including cache and workspace. The error names the device and the missing bytes.
    pub fn check(self, capacity: &Capacity) -> Result<CheckedPlan, Error> {
        let mut placed = Vec::new();
        for (model, replicas) in &self.models {
            let profile = capacity.models.get(model).ok_or_else(|| Fault::UnknownModel { model: model.clone() })?;
            for replica in replicas {
                let stages = replica.stages.iter().map(|stage| (&stage.offer, stage.range));
                rules::check_chain(profile, stages.clone(), &capacity)?;
                placed.extend(stages.map(|(offer, range)| (offer, &**profile, range)));
            }
        }
        rules::check_memory(placed.into_iter(), &capacity)?;
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

impl<'a> rules::Offers for &'a Capacity {
    type Name = &'a OfferId;
    type Pool = (&'a DeviceId, u32);

    fn capacity(&self, name: &'a OfferId) -> Result<&OfferCapacity, Error> {
        self.offers.get(name).ok_or_else(|| Fault::UnknownOffer { offer: name.clone() }.into())
    }

    fn pool(&self, name: &'a OfferId, capacity: &OfferCapacity) -> (&'a DeviceId, u32) {
        (&name.device, capacity.pool)
    }

    fn id(&self, name: &'a OfferId) -> OfferId {
        name.clone()
    }
}

#[cfg(test)]
mod tests;
