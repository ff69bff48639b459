//! What a central holds against a host that has a certificate, as the host learns it from a handshake. Trying again with the same
//! certificate changes nothing.

use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::handshake::tls_error;

/// Why a certificate no longer leads to the central.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The central does not let it count any more.
    Revoked,
    /// Its time is over, by the central's clock.
    Ended,
    /// The central has another authority than the one that signed it.
    OtherAuthority,
}

impl Verdict {
    /// Of an error in reading from the central, on a connection whose handshake this host has finished. Before that anybody on the
    /// way could have written an alert, so an error of the handshake itself proves nothing.
    pub fn of_alert(error: &io::Error) -> Option<Self> {
        match tls_error(error)? {
            TlsError::AlertReceived(AlertDescription::CertificateRevoked) => Some(Self::Revoked),
            TlsError::AlertReceived(AlertDescription::CertificateExpired) => Some(Self::Ended),
            TlsError::AlertReceived(AlertDescription::UnknownCA) => Some(Self::OtherAuthority),
            _ => None,
        }
    }

    /// Of an error in a handshake with whoever is where the central should be.
    pub fn of_proof(error: &io::Error) -> Option<Self> {
        let TlsError::InvalidCertificate(CertificateError::UnknownIssuer) = tls_error(error)? else { return None };
        Some(Self::OtherAuthority)
    }
}

/// Continues a sentence about the central.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "it has revoked the certificate of this device, as it does when somebody removes the device",
            Self::Ended => "the certificate of this device has ended",
            Self::OtherAuthority => "it has another authority than the one that signed the certificate of this device",
        })
    }
}
