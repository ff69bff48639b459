//! What can be wrong with what is handed to this crate, in words.

use std::fmt;

use crate::{
    device::DeviceState,
    ids::{DeviceId, ModelId, NAME_BYTES_MAX, OfferId},
    link::Endpoint,
    shard::{BlockRange, ShardId},
    units::Bytes,
};

/// What the caller should do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// What was handed in is wrong and stays wrong.
    Invalid,
    /// There is too much to do; later it may work.
    Busy,
    /// Something that is needed is not there now.
    Unavailable,
    /// A plugin broke its contract.
    Plugin,
    /// A fault of the host itself.
    Internal,
}

/// An error of this crate.
#[derive(Clone, PartialEq, Debug)]
pub struct Error(Box<Fault>);

/// Each thing that can be wrong, with the values that disagree.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// A name with characters that it may not have.
    Name { kind: &'static str, text: String },
    /// A model with no blocks, or absurdly many.
    BlockCount { model: ModelId, count: usize, max: usize },
    /// A block whose work is not a number.
    BlockFlops { model: ModelId, block: usize, flops: f64 },
    /// A shared weight that names a block beyond the last.
    SharedWeightBlock { model: ModelId, block: u32, count: usize },
    /// A range that holds nothing.
    EmptyRange { start: u32, end: u32 },
    /// A device whose numbers make no sense.
    Offer { offer: OfferId, field: &'static str, value: f64 },
    /// A plan or path that does not go through every block once and in order.
    Gap { model: ModelId, expected: u32, found: u32 },
    /// A plan or path that stops before the last block, or goes on after it.
    Length { model: ModelId, blocks: u32, covered: u32 },
    /// An index that names nothing.
    Index { what: &'static str, index: u32, count: usize },
    /// A number of stages or replicas outside what the model's placement allows.
    Count { model: ModelId, what: &'static str, count: usize, min: u32, max: u32 },
    /// A number that is not finite or negative.
    Number { what: &'static str, value: f64 },
    /// A plan for a model that is not loaded.
    UnknownModel { model: ModelId },
    /// A plan for an offer that no live device makes.
    UnknownOffer { offer: OfferId },
    /// An event about a device that is not known.
    UnknownDevice { device: DeviceId },
    /// A device that joins although one with its id is alive.
    LiveDevice { device: DeviceId },
    /// A device that speaks although its connection is cut.
    AwayDevice { device: DeviceId },
    /// Something that should be undone and was never asked of a device.
    NotAsked { device: DeviceId, state: DeviceState, undone: &'static str },
    /// A link whose measured numbers make no sense.
    Link { source: Endpoint, target: Endpoint, field: &'static str, value: f64, needed: &'static str },
    /// A stage in a place of the chain that its offer does not take.
    Role { shard: ShardId, offer: OfferId, role: &'static str },
    /// A stage that was refused before.
    Excluded { shard: ShardId, offer: OfferId, reason: String },
    /// Stages that need more than a device has.
    Memory { offer: OfferId, range: BlockRange, need: Bytes, have: Bytes },
    /// A line that is full.
    QueueFull { depth_max: u32 },
    /// Something that cannot be simulated.
    Scenario { what: String, value: String, needed: String },
}

impl Error {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match *self.0 {
            Fault::QueueFull { .. } => ErrorKind::Busy,
            Fault::UnknownOffer { .. } | Fault::UnknownModel { .. } | Fault::UnknownDevice { .. } | Fault::AwayDevice { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        }
    }

    /// The values behind it.
    pub fn fault(&self) -> &Fault {
        &self.0
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self(Box::new(fault))
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Fault::Name { kind, text } => {
                write!(f, "{kind} name `{text}` may hold letters, digits, `-`, `_` and `.`, at most {NAME_BYTES_MAX}, the first a letter or digit")
            }
            Fault::BlockCount { model, count, max } => write!(f, "model {model} has {count} blocks, it must have 1 to {max}"),
            Fault::BlockFlops { model, block, flops } => {
                write!(f, "model {model}: block {block} has {flops} floating point operations, it must be a finite number")
            }
            Fault::SharedWeightBlock { model, block, count } => write!(f, "model {model}: a shared weight names block {block}, but there are {count} blocks"),
            Fault::EmptyRange { start, end } => write!(f, "range [{start}..{end}) holds no block"),
            Fault::Offer { offer, field, value } => write!(f, "offer {offer}: {field} is {value}, it must be a finite number above 0"),
            Fault::Gap { model, expected, found } => write!(f, "{model}: block {expected} should come next, but the stage starts at block {found}"),
            Fault::Length { model, blocks, covered } => write!(f, "{model} has {blocks} blocks, but the stages cover {covered}"),
            Fault::Index { what, index, count } => write!(f, "{what} {index} does not exist, there are {count}"),
            Fault::Count { model, what, count, min, max } => write!(f, "{model}: {count} {what}, its placement allows {min} to {max}"),
            Fault::Number { what, value } => write!(f, "{what} is {value}, it must be a finite number, 0 or more"),
            Fault::UnknownModel { model } => write!(f, "model {model} is not loaded"),
            Fault::UnknownOffer { offer } => write!(f, "offer {offer} is made by no live device"),
            Fault::UnknownDevice { device } => write!(f, "device {device} is not known"),
            Fault::LiveDevice { device } => write!(f, "device {device} is alive, a second one with its id cannot join"),
            Fault::AwayDevice { device } => write!(f, "device {device} is away: its connection is cut"),
            Fault::NotAsked { device, state, undone } => write!(f, "device {device} is {state}, it cannot be {undone}"),
            Fault::Link { source, target, field, value, needed } => write!(f, "link from {source} to {target}: {field} is {value}, it must be {needed}"),
            Fault::Role { shard, offer, role } => write!(f, "shard {shard} would be the {role} of its chain, but {offer} does not take that role"),
            Fault::Excluded { shard, offer, reason } => write!(f, "shard {shard} was refused by {offer} before: {reason}"),
            Fault::Memory { offer, range, need, have } => {
                let short = *need - *have;
                write!(f, "device {} is short of {short} on {offer}: blocks {range} bring its need to {need}, it has {have}", offer.device)
            }
            Fault::Scenario { what, value, needed } => write!(f, "{what} is {value}, it must be {needed}"),
            Fault::QueueFull { depth_max } => write!(f, "the queue is full: {depth_max} requests are waiting"),
        }
    }
}
