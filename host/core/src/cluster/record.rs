//! What the cluster knows of each device and each model.

use std::{collections::BTreeMap, sync::Arc};

use super::flaps::Flaps;
use crate::{
    cost::refined::StageTimes,
    device::{Device, DeviceState, Offer, Pressures},
    ids::{AcceleratorName, DeviceId, ModelId, OfferId},
    model::ModelProfile,
    plan::{OfferCapacity, Replica},
    policy::Refusal,
    problem::{Exclusion, Placement},
    shard::{BlockRange, ShardId},
    units::{Bytes, Millis},
};

/// Where a shard on a device is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShardState {
    /// On its way.
    Loading,
    /// It can run.
    Ready,
    /// It finishes what it has.
    Unloading,
}

/// A shard that a device holds, or is about to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldShard {
    /// Where it is in its life.
    pub state: ShardState,
    /// The memory that is counted for it.
    pub need: Bytes,
}

/// Whether a device can be spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// It is connected.
    Here,
    /// Its connection is cut, its lease runs.
    Away,
    /// Its lease is over, or it left.
    Lost,
}

/// What people asked of a device. It outlives the connection and the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// It does what it can.
    Full,
    /// It keeps what it serves and gets nothing new.
    Cordoned,
    /// It gives its work away.
    Draining,
    /// It gives its work away to be forgotten.
    Leaving,
}

impl Duty {
    /// What it is once somebody asks the device to do less. One that does even less already goes on so.
    #[must_use]
    pub fn cordoned(self) -> Self {
        if self == Self::Full { Self::Cordoned } else { self }
    }

    /// What it is once somebody asks the device to give its work away. One that is about to be removed does so already.
    #[must_use]
    pub fn drained(self) -> Self {
        if self == Self::Leaving { self } else { Self::Draining }
    }

    /// All of it again, if the device is cordoned.
    pub fn uncordoned(self) -> Option<Self> {
        (self == Self::Cordoned).then_some(Self::Full)
    }

    /// All of it again, if the device gives its work away.
    pub fn undrained(self) -> Option<Self> {
        matches!(self, Self::Draining | Self::Leaving).then_some(Self::Full)
    }
}

/// What the cluster knows of a device.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceRecord {
    /// What it said of itself.
    pub device: Device,
    /// What people call it by, beside the labels that it has itself.
    pub given_labels: BTreeMap<String, String>,
    /// Ordinal of its first join.
    pub joined: u32,
    /// When it last gave a sign of life, on the time that leases run on.
    pub seen: Millis,
    /// How hard it works.
    pub pressures: Pressures,
    /// What it holds; of a device that is away, what it held.
    pub shards: BTreeMap<(AcceleratorName, ShardId), HeldShard>,
    pub(super) presence: Presence,
    pub(super) duty: Duty,
    pub(super) flaps: Flaps,
    /// Whether it was said that nothing is left on it.
    pub(super) drained: bool,
}

impl DeviceRecord {
    pub(super) fn new(device: Device, joined: u32, seen: Millis) -> Self {
        Self {
            device,
            given_labels: BTreeMap::new(),
            joined,
            seen,
            pressures: Pressures::default(),
            shards: BTreeMap::new(),
            presence: Presence::Here,
            duty: Duty::Full,
            flaps: Flaps::default(),
            drained: false,
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> DeviceState {
        match (self.presence, self.duty) {
            (Presence::Lost, _) => DeviceState::Lost,
            (Presence::Away, _) => DeviceState::Away,
            (Presence::Here, Duty::Draining | Duty::Leaving) => DeviceState::Draining,
            (Presence::Here, Duty::Cordoned) => DeviceState::Cordoned,
            (Presence::Here, Duty::Full) if self.flaps.is_damped() => DeviceState::Damped,
            (Presence::Here, Duty::Full) => DeviceState::Ready,
        }
    }

    /// What people asked of it.
    pub fn duty(&self) -> Duty {
        self.duty
    }

    /// What it is called by. A label that people gave it wins over the same one of its own.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.device.labels.iter().chain(&self.given_labels).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Whether it was asked to give its work away, and nothing is left on it.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Whether its lease runs.
    pub fn is_alive(&self) -> bool {
        self.presence != Presence::Lost
    }

    pub(super) fn is_here(&self) -> bool {
        self.presence == Presence::Here
    }

    /// Whether new work may be given to it.
    pub(super) fn takes_work(&self) -> bool {
        self.state() == DeviceState::Ready
    }

    pub(super) fn offer(&self, accelerator: &AcceleratorName) -> Option<&Offer> {
        self.device.offers.iter().find(|offer| offer.accelerator == *accelerator)
    }

    /// The state of a shard that it holds, or is about to.
    pub(super) fn shard(&self, offer: &OfferId, shard: &ShardId) -> Option<ShardState> {
        self.shards.get(&(offer.accelerator.clone(), shard.clone())).map(|held| held.state)
    }

    /// The ranges of a model that an accelerator holds, or is about to, and may keep.
    pub(super) fn loaded(&self, accelerator: &AcceleratorName, model: &ModelId) -> impl Iterator<Item = BlockRange> {
        let stays = move |(at, shard): &(AcceleratorName, ShardId), state| at == accelerator && shard.model == *model && state != ShardState::Unloading;
        self.shards.iter().filter(move |(key, held)| stays(key, held.state)).map(|((_, shard), _)| shard.range)
    }

    /// Memory of one pool that is taken by shards in any state.
    pub(super) fn held_in_pool(&self, pool: u32) -> Bytes {
        let in_pool = |accelerator: &AcceleratorName| self.offer(accelerator).is_some_and(|offer| offer.memory_pool == pool);
        self.shards.iter().filter(|((accelerator, _), _)| in_pool(accelerator)).map(|(_, held)| held.need).sum()
    }
}

/// What the cluster knows of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelRecord {
    /// Its blocks and costs.
    pub profile: Arc<ModelProfile>,
    /// Where it may go.
    pub placement: Placement,
    /// Why it could not be placed, or not better, when it was last tried.
    pub refusal: Option<Refusal>,
    /// What was proposed with the plan in force: the bound that no plan beats, 0 if none was proved.
    pub bound: f64,
    /// Loads that were refused.
    pub exclusions: Vec<Exclusion>,
    /// Replicas of earlier plans that serve until one of the plan in force is ready.
    pub(super) outgoing: Vec<Replica>,
    /// What its stages took.
    pub(super) measured: StageTimes,
    /// What its stages were expected to take when they became part of the plan.
    pub(super) foreseen: BTreeMap<(OfferId, ShardId), Millis>,
}

impl ModelRecord {
    pub(super) fn excludes(&self, offer: &OfferId, shard: &ShardId) -> bool {
        self.exclusions.iter().any(|exclusion| exclusion.offer == *offer && exclusion.shard == *shard)
    }
}

/// Whether each shard of a replica is ready on a device whose lease runs.
pub(super) fn is_loaded(devices: &BTreeMap<DeviceId, DeviceRecord>, model: &ModelId, replica: &Replica) -> bool {
    replica.stages.iter().all(|stage| {
        let shard = ShardId { model: model.clone(), range: stage.range };
        devices.get(&stage.offer.device).is_some_and(|record| record.is_alive() && record.shard(&stage.offer, &shard) == Some(ShardState::Ready))
    })
}

/// Whether requests can go through a replica now: it is loaded, and each of its devices is connected.
pub(super) fn is_routable(devices: &BTreeMap<DeviceId, DeviceRecord>, model: &ModelId, replica: &Replica) -> bool {
    is_loaded(devices, model, replica) && replica.stages.iter().all(|stage| devices.get(&stage.offer.device).is_some_and(DeviceRecord::is_here))
}

/// Memory that a shard takes on an accelerator of a device. One whose size is not known, because its model is not, counts
/// as all that the accelerator has: nothing is loaded beside it until it is gone or known.
pub(super) fn need(models: &BTreeMap<ModelId, ModelRecord>, device: &Device, accelerator: &AcceleratorName, shard: &ShardId) -> Bytes {
    let Some(offer) = device.offers.iter().find(|offer| offer.accelerator == *accelerator) else { return Bytes::ZERO };
    let profile = models.get(&shard.model).map(|model| &model.profile).filter(|profile| shard.range.end() <= profile.whole().end());
    profile.map_or(offer.memory, |profile| OfferCapacity::from(offer).need(profile, shard.range))
}
