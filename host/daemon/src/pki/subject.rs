//! Whom a certificate names. People read the common name; TLS compares the DNS name, which is made from it: a device id may hold
//! characters that DNS has not, and its case counts.

use std::fmt;

use host_core::ids::DeviceId;
use host_engine::Digest;
use rustls::pki_types::ServerName;

use super::PkiFault;
use crate::error::Error;

/// The id that no device may have.
pub const CENTRAL: &str = "central";
/// The DNS name of the central. No device's name can be equal to it.
const CENTRAL_NAME: &str = "central.shardhost";
/// Behind the digest of a device's id.
const DEVICE_SUFFIX: &str = ".device.shardhost";
/// Hexadecimal digits of that digest: 128 bits. A DNS label has at most 63 characters.
const DIGEST_DIGITS: usize = 32;

/// Whom a certificate names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Subject {
    /// The central.
    Central,
    /// A device that enrolled.
    Device(DeviceId),
}

impl Subject {
    /// A device, unless its id is the central's.
    pub fn device(id: &DeviceId) -> Result<Self, Error> {
        if id.as_str().eq_ignore_ascii_case(CENTRAL) {
            return Err(PkiFault::Reserved { id: id.clone() }.into());
        }
        Ok(Self::Device(id.clone()))
    }

    /// Whom a common name means; text from outside.
    pub(super) fn parse(common_name: &str) -> Result<Self, Error> {
        if common_name == CENTRAL { Ok(Self::Central) } else { Self::device(&DeviceId::parse(common_name)?) }
    }

    /// The DNS name in its certificate.
    pub fn dns_name(&self) -> String {
        match self {
            Self::Central => CENTRAL_NAME.to_owned(),
            Self::Device(id) => {
                let digest = Digest::of(id.as_str().as_bytes()).to_string();
                format!("{}{DEVICE_SUFFIX}", &digest[..DIGEST_DIGITS])
            }
        }
    }

    /// What a client expects of a server that is this one.
    pub fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.dns_name()).expect("hexadecimal digits, letters and dots are a DNS name")
    }
}

/// The common name.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Central => f.write_str(CENTRAL),
            Self::Device(id) => id.fmt(f),
        }
    }
}
