//! Why a plan was made, for `host plan history`.

use std::{collections::BTreeSet, fmt};

use super::Cause;
use crate::{
    ids::{DeviceId, ModelId, OfferId},
    shard::ShardId,
};

/// What led to a plan.
#[derive(Clone, PartialEq, Debug)]
pub enum Reason {
    /// A device joined, or came back.
    Joined(DeviceId),
    /// A device takes work again that was cordoned, draining or damped.
    Resumed(DeviceId),
    /// A device gives its work away.
    Draining(DeviceId),
    /// A device came and went too often.
    Damped(DeviceId),
    /// Devices left or fell silent, all at once.
    Lost(BTreeSet<DeviceId>),
    /// Devices were removed, all at once.
    Forgotten(BTreeSet<DeviceId>),
    /// An offer that gets nothing new does not hold what was planned for it.
    Unheld(OfferId, ShardId),
    /// The first device cannot reach the second any more.
    LinkLost(DeviceId, DeviceId),
    /// The first device can reach the second again.
    LinkRegained(DeviceId, DeviceId),
    /// The central started anew, and its pool is not what it was.
    Restarted,
    /// A model is new.
    Added(ModelId),
    /// A model is served no more.
    Removed(ModelId),
    /// Shards of a model were converted.
    Converted(ModelId),
    /// A device could not load what was planned for it.
    LoadRefused(OfferId, ShardId),
    /// Another allocation policy is in service than made the plan.
    OtherPolicy,
    /// The allocation policy was asked to review the plan of a model, and wants another one.
    Reviewed {
        /// The model.
        model: ModelId,
        /// Why it was asked.
        cause: Cause,
        /// Why it wants another plan, in its own words.
        why: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined(device) => write!(f, "device {device} joined"),
            Self::Resumed(device) => write!(f, "device {device} takes work again"),
            Self::Draining(device) => write!(f, "device {device} drains"),
            Self::Damped(device) => write!(f, "device {device} comes and goes"),
            Self::Lost(devices) => write!(f, "lost {}", names(devices)),
            Self::Forgotten(devices) => write!(f, "removed {}", names(devices)),
            Self::Unheld(offer, shard) => write!(f, "{offer} gets nothing new and does not hold {shard}"),
            Self::LinkLost(source, target) => write!(f, "{source} cannot reach {target}"),
            Self::LinkRegained(source, target) => write!(f, "{source} reaches {target} again"),
            Self::Restarted => f.write_str("the central started anew and its pool has changed"),
            Self::Added(model) => write!(f, "model {model} was added"),
            Self::Removed(model) => write!(f, "model {model} was removed"),
            Self::Converted(model) => write!(f, "shards of {model} were converted"),
            Self::LoadRefused(offer, shard) => write!(f, "{offer} could not load {shard}"),
            Self::OtherPolicy => f.write_str("another allocation policy is in service"),
            Self::Reviewed { model, cause, why } => write!(f, "review of {model}, because {cause}: {why}"),
        }
    }
}

pub(super) fn names(devices: &BTreeSet<DeviceId>) -> String {
    devices.iter().map(DeviceId::as_str).collect::<Vec<_>>().join(", ")
}
