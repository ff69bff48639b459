//! What can be wrong with a conversion, or with what one made. Part of the daemon's one error.

use std::fmt;

use host_core::{error::ErrorKind, ids::ModelId, shard::ShardId, units::Bytes};
use host_engine::Digest;

/// Each thing that can be wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConversionFault {
    /// Words that name no target, range or bucket.
    Words { what: &'static str, text: String, expected: String },
    /// One conversion runs already.
    Busy { number: u64, model: String, target: String },
    /// A conversion that nobody knows any more.
    Unknown { number: u64 },
    /// A tool that is not here.
    NoTool { tool: String, install: String },
    /// A tool without a simulator.
    NoSimulator { target: String },
    /// A model that is in no plan, so that nobody knows which ranges are wanted.
    NoPlan { model: ModelId },
    /// A tool that did not succeed, with the last that it said.
    Failed { tool: String, shard: ShardId, how: String, said: String },
    /// A tool that said that it succeeded and wrote nothing.
    NothingWritten { tool: String, shard: ShardId },
    /// A tool that wrote more than is taken.
    TooLarge { tool: String, shard: ShardId, bytes: Bytes, bytes_max: Bytes },
    /// An artefact that the whole store has no room for.
    StoreTooSmall { bytes: Bytes, bytes_max: Bytes },
    /// An artefact whose bytes are not there or not those of its digest.
    Damaged { shard: ShardId, target: String, digest: Digest },
    /// A shard that was not converted.
    Missing { shard: ShardId, target: String },
    /// A person who wants it no more, or a host that stops.
    Cancelled,
}

impl ConversionFault {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Missing { .. } | Self::Cancelled | Self::NoPlan { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }
}

impl fmt::Display for ConversionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words { what, text, expected } => write!(f, "{what} `{text}` is not understood: {expected}"),
            Self::Busy { number, model, target } => write!(f, "conversion {number} of {model} for {target} runs already; one runs at a time"),
            Self::Unknown { number } => write!(f, "conversion {number} is not known any more"),
            Self::NoTool { tool, install } => write!(f, "{tool} is not on this machine: {install}"),
            Self::NoSimulator { target } => write!(f, "what is made for {target} cannot be checked here: its tool has no simulator"),
            Self::NoPlan { model } => write!(f, "{model} is in no plan, so nobody knows what to convert; name ranges, such as --ranges 0..3,3..7"),
            Self::Failed { tool, shard, how, said } if said.is_empty() => write!(f, "{tool} could not convert {shard}: {how}, without a word"),
            Self::Failed { tool, shard, how, said } => write!(f, "{tool} could not convert {shard}: {how}: {said}"),
            Self::NothingWritten { tool, shard } => write!(f, "{tool} has written nothing for {shard}, though it ended well"),
            Self::TooLarge { tool, shard, bytes, bytes_max } => {
                write!(f, "{tool} has written {bytes} for {shard}, at most {bytes_max} are taken; raise conversion.artefact_bytes_max")
            }
            Self::StoreTooSmall { bytes, bytes_max } => {
                write!(f, "an artefact has {bytes}, the store keeps {bytes_max} of all; raise store.artefact_bytes_max")
            }
            Self::Damaged { shard, target, digest } => {
                write!(f, "artefact sha256:{digest} of {shard} for {target} is damaged; `host model convert` makes it anew")
            }
            Self::Missing { shard, target } => write!(f, "no artefact of {shard} for {target}; `host model convert` makes one"),
            Self::Cancelled => f.write_str("the conversion was cancelled"),
        }
    }
}
