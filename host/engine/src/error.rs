//! What can go wrong with models, shards and engines, in words. One error for the crate; `kind` says what the caller should do.

use std::{error::Error as StdError, fmt};

pub use host_core::error::ErrorKind;
use host_core::{model::ModelProfile, shard::ShardId};

/// An error of this crate: what is wrong, whose it is and what caused it.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    fault: Fault,
    who: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Each thing that can be wrong, with the values that disagree.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// Bytes that are no ONNX file, or only the start of one.
    NotOnnx { reason: String },
    /// A version of the format or of an operator set that is not known.
    Version { what: String, found: i64, min: i64, max: i64 },
    /// A graph that breaks a rule of the format.
    Graph { reason: String },
    /// A graph that is sound but cannot be cut or inspected.
    Unsupported { reason: String },
    /// A cut where none is allowed.
    IllegalCut { cut: u32, legal: Vec<u32> },
    /// A range beyond the last block.
    Range { range: String, blocks: u32 },
    /// Weights beside the model that are not there, too short or outside its folder.
    External { tensor: String, location: String, reason: String },
    /// A tensor whose bytes do not fit its shape.
    TensorBytes { tensor: String, shape: Vec<usize>, expected: u64, found: u64 },
    /// An input or output that is not what was declared.
    Mismatch { what: &'static str, name: String, expected: String, found: String },
    /// A value that is needed and not known.
    Missing { what: &'static str, name: String },
    /// Something larger than its limit.
    TooLarge { what: &'static str, found: u64, max: u64 },
    /// A shard whose answers differ from the golden ones.
    Probe { output: String, difference: f64, tolerance: f64 },
    /// An engine that is not registered.
    UnknownEngine { name: String, known: Vec<String> },
    /// An engine that refused a graph, failed in a run or panicked.
    Engine { engine: String, doing: &'static str, reason: String },
    /// A file that could not be read or written.
    File { path: String, doing: &'static str },
}

impl Error {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self.0.fault {
            Fault::UnknownEngine { .. } => ErrorKind::Unavailable,
            Fault::Engine { .. } | Fault::File { .. } => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    /// The values behind it.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// The model, shard or file that it is about, when known.
    pub fn who(&self) -> Option<&str> {
        self.0.who.as_deref()
    }

    /// Says whose error it is; the first word stands.
    #[must_use]
    pub fn of(mut self, who: impl fmt::Display) -> Self {
        self.0.who.get_or_insert_with(|| who.to_string());
        self
    }

    /// Adds what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn graph(reason: impl Into<String>) -> Self {
        Fault::Graph { reason: reason.into() }.into()
    }

    /// A graph that is sound, and that an engine or the cutting cannot take; `reason` names what it is.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Fault::Unsupported { reason: reason.into() }.into()
    }

    /// A range that a profile does not have.
    pub(crate) fn range(shard: &ShardId, profile: &ModelProfile) -> Self {
        Self::from(Fault::Range { range: shard.range.to_string(), blocks: profile.whole().end() }).of(&shard.model)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self(Box::new(Inner { fault, who: None, source: None }))
    }
}

impl From<host_core::error::Error> for Error {
    fn from(error: host_core::error::Error) -> Self {
        Self::graph(error.to_string())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(who) = &self.0.who {
            write!(f, "{who}: ")?;
        }
        self.0.fault.fmt(f)?;
        self.0.source.as_ref().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnnx { reason } => write!(f, "not a whole ONNX file: {reason}"),
            Self::Version { what, found, min, max } => write!(f, "{what} {found} is not known, it must be {min} to {max}"),
            Self::Graph { reason } | Self::Unsupported { reason } => f.write_str(reason),
            Self::IllegalCut { cut, legal } if legal.is_empty() => write!(f, "cut {cut} is not legal, the model has one block and cannot be cut"),
            Self::IllegalCut { cut, legal } => write!(f, "cut {cut} is not legal, the legal ones are {}", numbers(legal)),
            Self::Range { range, blocks } => write!(f, "range {range} does not exist, there are {blocks} blocks"),
            Self::External { tensor, location, reason } => write!(f, "weights of `{tensor}` in `{location}`: {reason}"),
            Self::TensorBytes { tensor, shape, expected, found } => write!(f, "tensor `{tensor}` of shape {shape:?} takes {expected} bytes, it has {found}"),
            Self::Mismatch { what, name, expected, found } => write!(f, "{what} of `{name}`: expected {expected}, found {found}"),
            Self::Missing { what, name } => write!(f, "{what} `{name}` is missing"),
            Self::TooLarge { what, found, max } => write!(f, "{what} is {found}, at most {max} are allowed"),
            Self::Probe { output, difference, tolerance } => {
                write!(f, "output `{output}` differs from the golden one by {difference:.3e}, the tolerance is {tolerance:.3e}")
            }
            Self::UnknownEngine { name, known } => write!(f, "engine `{name}` is not here, there are {}", known.join(", ")),
            Self::Engine { engine, doing, reason } => write!(f, "engine {engine} failed to {doing}: {reason}"),
            Self::File { path, doing } => write!(f, "cannot {doing} `{path}`"),
        }
    }
}

/// Consecutive numbers become `1 to 5`.
fn numbers(list: &[u32]) -> String {
    match (list.first(), list.last()) {
        (Some(first), Some(last)) if list.len() > 2 && (last - first) as usize + 1 == list.len() => format!("{first} to {last}"),
        _ => list.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_illegal_cut_is_named_with_the_legal_ones() {
        let error = Error::from(Fault::IllegalCut { cut: 9, legal: vec![1, 2, 3] }).of("digits@1");
        assert_eq!(error.to_string(), "digits@1: cut 9 is not legal, the legal ones are 1 to 3");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
