//! What can go wrong between a request's admission and its answer: no way to go, a stage that is gone or full, a shard that
//! does not fit its model. Part of the daemon's one error.

use std::fmt;

use host_core::{
    error::ErrorKind,
    ids::{DeviceId, ModelId, OfferId},
    policy::Refusal,
    shard::ShardId,
    units::Millis,
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
    /// A request that had its devices to itself for as long as it may.
    ReservationOver { devices: Vec<DeviceId>, ms_max: u64 },
    /// Stages that take far longer than they were expected to.
    NotAnswered { devices: Vec<DeviceId>, within: Millis },
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
    /// Words of another host about a passage that make no sense.
    Unreadable { device: DeviceId, reason: String },
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
    /// An output that stages gave and the model does not have.
    UnknownOutput { model: ModelId, position: usize, count: usize },
    /// An output that is not what the model declares.
    WrongOutput { model: ModelId, output: String, what: &'static str, expected: String, found: String },
    /// A thread that could not be started, or that failed.
    Thread { reason: String },
}

impl StageFault {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Elsewhere { kind, .. } => *kind,
            Self::UnknownDatatype { .. } | Self::Golden { .. } | Self::OtherShard { .. } => ErrorKind::Invalid,
            Self::QueueFull { .. } | Self::Late { .. } | Self::ReservationOver { .. } | Self::Shed { .. } => ErrorKind::Busy,
            Self::NoReplica { .. }
            | Self::RouteRefused { .. }
            | Self::NotAnswered { .. }
            | Self::DeviceGone { .. }
            | Self::DeviceLost { .. }
            | Self::Unreachable { .. }
            | Self::ShardGone { .. } => ErrorKind::Unavailable,
            Self::UnknownTensor { .. }
            | Self::NothingSent { .. }
            | Self::OutputCount { .. }
            | Self::NoOutput { .. }
            | Self::UnknownOutput { .. }
            | Self::WrongOutput { .. }
            | Self::Unreadable { .. }
            | Self::Thread { .. } => ErrorKind::Internal,
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
            Self::ReservationOver { devices, ms_max } => {
                write!(f, "the request has had {} to itself for {ms_max} ms, requests.exclusive_ms_max allows no more", listed(devices))
            }
            Self::NotAnswered { devices, within } => write!(f, "{} did not answer within {within}", listed(devices)),
            Self::QueueFull { offer, depth_max } => write!(f, "{offer} is busy: {depth_max} jobs are waiting"),
            Self::DeviceGone { offer } => write!(f, "{offer} has stopped"),
            Self::DeviceLost { device } => write!(f, "device {device} was lost while it worked on the request"),
            Self::Unreachable { offer, reason } => write!(f, "{offer} cannot be reached: {reason}"),
            Self::Elsewhere { offer, reason, .. } => write!(f, "{offer}: {reason}"),
            Self::Unreadable { device, reason } => write!(f, "what device {device} says of a passage cannot be read: {reason}"),
            Self::UnknownDatatype { datatype } => write!(f, "no engine computes with {datatype}"),
            Self::Golden { reason } => write!(f, "the golden answers cannot be read: {reason}"),
            Self::OtherShard { expected, found } => write!(f, "the file is shard {found}, {expected} was announced"),
            Self::ShardGone { shard, offer } => write!(f, "{offer} holds shard {shard} no more"),
            Self::UnknownTensor { shard, tensor } => write!(f, "shard {shard} has `{tensor}`, which is neither a border nor an input or output of its model"),
            Self::NothingSent { what } => write!(f, "a stage lacks {what}"),
            Self::OutputCount { expected, found } => write!(f, "a stage gave {found} outputs, its shard declares {expected}"),
            Self::NoOutput { model, output } => write!(f, "no stage of {model} gave its output `{output}`"),
            Self::UnknownOutput { model, position, count } => write!(f, "the stages of {model} gave output {position}, it has {count}"),
            Self::WrongOutput { model, output, what, expected, found } => {
                write!(f, "model {model}: {what} of output `{output}` must be {expected}, the stages gave {found}")
            }
            Self::Thread { reason } => write!(f, "a thread failed: {reason}"),
        }
    }
}

fn listed(devices: &[DeviceId]) -> String {
    devices.iter().map(DeviceId::as_str).collect::<Vec<_>>().join(", ")
}
