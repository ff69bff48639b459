//! What can be wrong with keys, certificates and those who come with them. Part of the daemon's one error.

use std::fmt;

use host_core::{error::ErrorKind, ids::DeviceId};
use host_wire::join::Fingerprint;

/// Each thing that can be wrong, with the values that disagree.
#[derive(Clone, PartialEq, Debug)]
pub enum PkiFault {
    /// A file that holds something else than it should.
    File { path: String, expected: &'static str },
    /// A key and a certificate that are not of each other.
    Apart { key: String, certificate: String },
    /// A certificate that is not what this host makes.
    Certificate { reason: String },
    /// A certificate of another authority than was expected.
    OtherAuthority { expected: Fingerprint, found: Fingerprint },
    /// A certificate that the authority beside it did not sign.
    NotSigned { subject: String, reason: String },
    /// A certificate for another key than the device has.
    OtherKey { subject: String },
    /// A signing request that is refused.
    Request { reason: &'static str },
    /// The same, because it is too large.
    RequestTooLarge { bytes: usize, bytes_max: usize },
    /// An id that no device may have.
    Reserved { id: DeviceId },
    /// Nothing could be signed or made.
    Made { what: &'static str, reason: String },
    /// TLS that could not be set up.
    Tls { reason: String },
    /// The system gives no random bytes.
    Random,
    /// A host that lets no devices join.
    NoJoinPort,
}

impl PkiFault {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } | Self::Apart { .. } | Self::Made { .. } | Self::Tls { .. } | Self::Random => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }
}

impl fmt::Display for PkiFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, expected } => write!(f, "`{path}` does not hold {expected}"),
            Self::Apart { key, certificate } => write!(f, "the certificate in `{certificate}` is not for the key in `{key}`; restore the two together"),
            Self::Certificate { reason } => write!(f, "the certificate is not one of a host: {reason}"),
            Self::OtherAuthority { expected, found } => write!(f, "the authority's certificate has fingerprint {found}, {expected} was expected"),
            Self::NotSigned { subject, reason } => write!(f, "the certificate of `{subject}` is not signed by the authority beside it: {reason}"),
            Self::OtherKey { subject } => write!(f, "the certificate of `{subject}` is for another key than this device has"),
            Self::Request { reason } => write!(f, "the signing request is refused: {reason}"),
            Self::RequestTooLarge { bytes, bytes_max } => write!(f, "the signing request has {bytes} bytes, at most {bytes_max} are accepted"),
            Self::Reserved { id } => write!(f, "device id `{id}` is the central's, choose another"),
            Self::Made { what, reason } => write!(f, "cannot make {what}: {reason}"),
            Self::Tls { reason } => write!(f, "TLS cannot be set up: {reason}"),
            Self::Random => f.write_str("the system gives no random bytes"),
            Self::NoJoinPort => f.write_str("this host lets no devices join; start it with --join-listen"),
        }
    }
}
