//! What can be wrong with blobs, kept or fetched. Part of the daemon's one error.

use std::fmt;

use host_core::{error::ErrorKind, units::Bytes};
use host_engine::Digest;

/// Each thing that can be wrong with a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BlobFault {
    /// Bytes that the store should have and has not.
    Missing { digest: String, problem: &'static str },
    /// A blob for which there is no room.
    CacheFull { digest: Digest, size: Bytes, bytes_max: Bytes, held: Bytes },
    /// Bytes that are not those of their digest.
    Mismatch { expected: Digest, found: Digest },
    /// A blob of another length than it should have.
    Length { digest: Digest, expected: Bytes, found: Bytes },
    /// A blob that its source gives another length.
    Size { digest: Digest, announced: Bytes, found: Bytes },
    /// A blob that nobody gave.
    NoSource { digest: Digest, reason: String },
}

impl BlobFault {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::Internal,
            // It will never fit.
            Self::CacheFull { size, bytes_max, .. } if size > bytes_max => ErrorKind::Invalid,
            Self::CacheFull { .. } => ErrorKind::Busy,
            // Somebody else may have the right ones.
            Self::Mismatch { .. } | Self::Length { .. } | Self::Size { .. } | Self::NoSource { .. } => ErrorKind::Unavailable,
        }
    }
}

impl fmt::Display for BlobFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { digest, problem } => write!(f, "blob sha256:{digest} {problem}"),
            Self::CacheFull { digest, size, bytes_max, held } => {
                write!(f, "blob sha256:{digest} has {size}, the cache holds at most {bytes_max}, of which {held} are in use; raise cache.bytes_max")
            }
            Self::Mismatch { expected, found } => write!(f, "what was fetched as blob sha256:{expected} has digest sha256:{found}"),
            Self::Length { digest, expected, found } => write!(f, "blob sha256:{digest} has {} bytes, {} were fetched", expected.0, found.0),
            Self::Size { digest, announced, found } => {
                write!(f, "blob sha256:{digest} was announced with {} bytes, who sends it says {}", announced.0, found.0)
            }
            Self::NoSource { digest, reason } => write!(f, "blob sha256:{digest} could not be fetched from anyone: {reason}"),
        }
    }
}
