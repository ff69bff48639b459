//! Why a plan was made, for `host plan history`.

use std::{collections::BTreeSet, fmt};

use crate::{
    ids::{DeviceId, ModelId, OfferId},
    shard::ShardId,
};

/// What led to a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A device joined, or came back.
    Joined(DeviceId),
    /// A device gives its work away.
    Draining(DeviceId),
    /// Devices left or fell silent, all at once.
    Lost(BTreeSet<DeviceId>),
    /// A model is new.
    Added(ModelId),
    /// A model is served no more.
    Removed(ModelId),
    /// A device could not load what was planned for it.
    LoadRefused(OfferId, ShardId),
    /// Another policy is in service, or a person asked.
    Asked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined(device) => write!(f, "device {device} joined"),
            Self::Draining(device) => write!(f, "device {device} drains"),
            Self::Lost(devices) => write!(f, "lost {}", devices.iter().map(DeviceId::as_str).collect::<Vec<_>>().join(", ")),
            Self::Added(model) => write!(f, "model {model} was added"),
            Self::Removed(model) => write!(f, "model {model} was removed"),
            Self::LoadRefused(offer, shard) => write!(f, "{offer} could not load {shard}"),
            Self::Asked => f.write_str("asked to plan again"),
        }
    }
}
