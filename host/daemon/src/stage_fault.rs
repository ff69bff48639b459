//! What can go wrong between a request's admission and its answer: no way to go, a stage that is gone or full, a shard that
//! does not fit its model. Part of the daemon's one error.

use std::fmt;

use host_core::{
    error::ErrorKind,
    ids::{DeviceId, ModelId, OfferId},
    policy::Refusal,
    shard::ShardId,
};

/// Each thing that can be wrong on the way through the stages.
#[derive(Clone, PartialEq, Debug)]
pub enum StageFault {
    /// No replica of the model is ready.
    NoReplica { model: ModelId },
    /// A routing policy that honestly knows no way.
    RouteRefused { model: ModelId, refusal: Refusal },
    /// A queueing policy that lets nobody more wait.
    Shed { refusal: Refusal },
    /// A time that has passed.
    Late { doing: &'static str },
    /// A compute thread with too many jobs.
    QueueFull { offer: OfferId, depth_max: usize },
    /// A compute thread that ended.
    DeviceGone { offer: OfferId },
    /// A device that was lost while it worked.
    DeviceLost { device: DeviceId },
    /// A stage on another host that could not be reached.
    Unreachable { offer: OfferId, reason: String },
    /// A stage on another host that failed, or did not take what it was sent.
    Elsewhere { offer: OfferId, kind: ErrorKind, reason: String },
    /// Elements that no engine computes with.
    UnknownDatatype { datatype: String },
    /// Golden answers that cannot be read.
    Golden { reason: String },
    /// A file that is another shard than was announced.
    OtherShard { expected: ShardId, found: ShardId },
    /// A shard that was dropped between routing and running.
    ShardGone { shard: ShardId, offer: OfferId },
    /// A shard with an input or output that neither its neighbours nor the model know.
    UnknownTensor { shard: ShardId, tensor: String },
    /// A stage that ran without what it needs.
    NothingSent { what: &'static str },
    /// A stage that gave another number of tensors than its shard declares.
    OutputCount { expected: usize, found: usize },
    /// An output of the model that no stage gave.
    NoOutput { model: ModelId, output: String },
    /// A thread that could not be started, or that failed.
    Thread { reason: String },
}

impl StageFault {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Elsewhere { kind, .. } => *kind,
            Self::UnknownDatatype { .. } | Self::Golden { .. } | Self::OtherShard { .. } => ErrorKind::Invalid,
            Self::QueueFull { .. } | Self::Late { .. } | Self::Shed { .. } => ErrorKind::Busy,
            Self::NoReplica { .. }
            | Self::RouteRefused { .. }
            | Self::DeviceGone { .. }
            | Self::DeviceLost { .. }
            | Self::Unreachable { .. }
            | Self::ShardGone { .. } => ErrorKind::Unavailable,
            Self::UnknownTensor { .. } | Self::NothingSent { .. } | Self::OutputCount { .. } | Self::NoOutput { .. } | Self::Thread { .. } => {
                ErrorKind::Internal
            }
        }
    }
}

impl fmt::Display for StageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReplica { model } => write!(f, "model {model} is not ready: no replica of it is loaded"),
            Self::RouteRefused { model, refusal } => write!(f, "no way through {model}: {refusal}"),
            Self::Shed { refusal } => write!(f, "the host is busy: {refusal}"),
            Self::Late { doing } => write!(f, "the request ran out of time {doing}"),
            Self::QueueFull { offer, depth_max } => write!(f, "{offer} is busy: {depth_max} jobs are waiting"),
            Self::DeviceGone { offer } => write!(f, "{offer} has stopped"),
            Self::DeviceLost { device } => write!(f, "device {device} was lost while it worked on the request"),
            Self::Unreachable { offer, reason } => write!(f, "{offer} cannot be reached: {reason}"),
            Self::Elsewhere { offer, reason, .. } => write!(f, "{offer}: {reason}"),
            Self::UnknownDatatype { datatype } => write!(f, "no engine computes with {datatype}"),
            Self::Golden { reason } => write!(f, "the golden answers cannot be read: {reason}"),
            Self::OtherShard { expected, found } => write!(f, "the file is shard {found}, {expected} was announced"),
            Self::ShardGone { shard, offer } => write!(f, "{offer} holds shard {shard} no more"),
            Self::UnknownTensor { shard, tensor } => write!(f, "shard {shard} has `{tensor}`, which is neither a border nor an input or output of its model"),
            Self::NothingSent { what } => write!(f, "a stage lacks {what}"),
            Self::OutputCount { expected, found } => write!(f, "a stage gave {found} outputs, its shard declares {expected}"),
            Self::NoOutput { model, output } => write!(f, "no stage of {model} gave its output `{output}`"),
            Self::Thread { reason } => write!(f, "a thread failed: {reason}"),
        }
    }
}
