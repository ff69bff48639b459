//! What happens to the cluster, and what it has done about it.

use std::{collections::BTreeMap, sync::Arc};

use super::{Cause, Converted, Reason};
use crate::{
    device::{Device, Pressures},
    error::Error,
    ids::{AcceleratorName, DeviceId, ModelId, OfferId, Ticket},
    link::{Endpoint, Reach},
    model::ModelProfile,
    plan::CheckedPlan,
    policy::{Observation, Refusal, Verdict},
    problem::{Placement, Problem, Proposal},
    shard::ShardId,
    topology::Topology,
    units::Millis,
};

/// Something that happened. Whoever feeds events lets a connection of a device speak from its `Joined` until `Away` or `Left`
/// is said of it, or until it is lost or removed: what an ended connection still says is dropped.
#[derive(Clone, Debug)]
pub enum Event {
    /// A device says what it has, and which shards of before it still holds ready. One that is away or lost comes back to
    /// its place, so whoever feeds this has proved that it is the same device, and that what it holds is what is meant by
    /// those names. One that is connected already is refused: if the old connection is dead, say `Away` of it first.
    Joined { device: Device, held: Vec<(AcceleratorName, ShardId)>, now: Millis },
    /// A device is alive, and how hard it works.
    Heartbeat { device: DeviceId, pressures: Pressures, now: Millis },
    /// The connection of a device was cut. Its lease runs on: it may come back with `Joined`.
    Away { device: DeviceId },
    /// A device left on its own account.
    Left { device: DeviceId },
    /// A device should keep what it serves and get nothing new.
    CordonAsked { device: DeviceId },
    /// That is over.
    UncordonAsked { device: DeviceId },
    /// A device should give its work away.
    DrainAsked { device: DeviceId },
    /// That is over; it gets work again. A device that was to be removed stays.
    UndrainAsked { device: DeviceId },
    /// A device should give away what work others can do, and be forgotten.
    RemoveAsked { device: DeviceId },
    /// People call a device by these labels beside its own, and by no others that they gave it before.
    Labelled { device: DeviceId, labels: BTreeMap<String, String> },
    /// The way from one end of a link to the other was measured.
    LinkMeasured { source: Endpoint, target: Endpoint, reach: Reach },
    /// Time went by.
    Tick { now: Millis },
    /// A model should be served.
    ModelAdded { profile: Arc<ModelProfile>, placement: Placement },
    /// So much of a model was converted for accelerators that run nothing else; all of it, each time.
    Converted { model: ModelId, converted: Converted },
    /// A model should be served no more.
    ModelRemoved { model: ModelId },
    /// The allocation policy answered.
    Solved { ticket: Ticket, outcome: Result<Proposal, Refusal> },
    /// A shard is ready on an offer.
    Loaded { offer: OfferId, shard: ShardId },
    /// An offer could not take a shard after all. A load that a cut connection ended is none: whether it came through is
    /// known when the device comes back.
    LoadFailed { offer: OfferId, shard: ShardId, reason: String },
    /// A shard is gone from an offer.
    Unloaded { offer: OfferId, shard: ShardId },
    /// So many requests came for a model since this was said last.
    Requested { model: ModelId, requests: u32, now: Millis },
    /// The allocation policy said whether a plan should be made again.
    Reviewed { ticket: Ticket, verdict: Verdict },
    /// A stage ran so many times since this was said last, and typically took so long.
    Measured { offer: OfferId, shard: ShardId, run: Millis, runs: u32 },
    /// Every model should be placed again: another allocation policy is in service than made the plan.
    ReplanAsked,
}

impl Event {
    /// Whether it only brings numbers up to date, so that there is nothing to do about it before the next tick.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Self::Heartbeat { .. } | Self::Measured { .. } | Self::Requested { .. } | Self::Labelled { .. })
    }
}

/// Something to do. No effect but `Removed` names a device that is lost or removed, and only devices that are connected are
/// told to load and unload.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask the allocation policy, and answer with `Solved` and the same ticket.
    Solve { ticket: Ticket, problem: Arc<Problem> },
    /// Ask the allocation policy whether a plan should be made again, for this cause, and answer with `Reviewed` and the same
    /// ticket. If nobody can be asked, the plan is good enough.
    Review { ticket: Ticket, cause: Cause, observation: Arc<Observation> },
    /// Load a shard, then say `Loaded` or `LoadFailed`. If the device goes away first, say neither.
    Load { offer: OfferId, shard: ShardId },
    /// Finish what is under way on a shard, drop it, then say `Unloaded`. If the device goes away first, do not say it.
    Unload { offer: OfferId, shard: ShardId },
    /// Route by this topology from now on.
    Serve { topology: Arc<Topology> },
    /// Keep this plan where it survives a restart.
    Record { plan: CheckedPlan, reason: Reason },
    /// Nothing is left on a device that was asked to give its work away: it may be switched off.
    Drained { device: DeviceId },
    /// A device is forgotten: close its connection, if there is one. What joins under its id from now on is a stranger.
    Removed { device: DeviceId },
    /// Tell whoever watches that a model could not be placed.
    Refused { model: ModelId, refusal: Refusal },
    /// Tell the device, or whoever asked, that the event was not accepted.
    Rejected { error: Error },
}
