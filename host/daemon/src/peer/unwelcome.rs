//! Why somebody is not let in at a door, or not kept: a closed set of words, for what is counted and logged.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::{pki::tls_error, store::JoinRefusal};

/// Why somebody is not let in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unwelcome {
    /// As many are there already as may be.
    Crowded,
    /// It said nothing.
    Silent,
    /// It did not prove itself, or not enrol, in time.
    Slow,
    /// It speaks something else than TLS.
    NotTls,
    /// It went away in the middle of the handshake.
    Cut,
    /// The two have no way to speak TLS with each other.
    Handshake,
    /// One of the two has a certificate of an authority that the other does not know.
    OtherAuthority,
    /// Its certificate is not good yet, or not any more.
    CertificateEnded,
    /// Its certificate was revoked.
    CertificateRevoked,
    /// Its certificate is not one of a host.
    Certificate,
    /// It has no certificate and asks for what needs one.
    NoCertificate,
    /// No such token.
    TokenUnknown,
    /// A token with another secret.
    TokenSecret,
    /// A token whose time is over.
    TokenExpired,
    /// A token that as many devices have used as may.
    TokenUsedUp,
    /// A token that somebody took back.
    TokenRevoked,
    /// An id that another device has.
    IdTaken,
    /// A device that never enrolled, or was removed.
    NotEnrolled,
    /// A device that comes with another key than it enrolled with.
    OtherKey,
    /// A request for a certificate that cannot be read.
    Request,
    /// A device that opens its stream and does not say hello.
    NoHello,
    /// A hello that is not understood, or breaks a rule.
    Hello,
    /// A hello with more memory than is believed.
    Memory,
}

impl Unwelcome {
    /// Why a caller's handshake failed.
    pub fn of_handshake(error: &io::Error) -> Self {
        let Some(error) = tls_error(error) else { return Self::Cut };
        match error {
            TlsError::InvalidCertificate(fault) => Self::of_certificate(fault),
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            // The caller is the one who refuses.
            TlsError::AlertReceived(AlertDescription::UnknownCA | AlertDescription::CertificateUnknown) => Self::OtherAuthority,
            TlsError::InvalidMessage(_) => Self::NotTls,
            _ => Self::Handshake,
        }
    }

    fn of_certificate(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::Revoked => Self::CertificateRevoked,
            CertificateError::UnknownIssuer => Self::OtherAuthority,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::CertificateEnded,
            _ => Self::Certificate,
        }
    }

    /// As metrics and logs name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::NotTls => "not_tls",
            Self::Cut => "cut",
            Self::Handshake => "handshake",
            Self::OtherAuthority => "other_authority",
            Self::CertificateEnded => "certificate_ended",
            Self::CertificateRevoked => "certificate_revoked",
            Self::Certificate => "certificate",
            Self::NoCertificate => "no_certificate",
            Self::TokenUnknown => "token_unknown",
            Self::TokenSecret => "token_secret",
            Self::TokenExpired => "token_expired",
            Self::TokenUsedUp => "token_used_up",
            Self::TokenRevoked => "token_revoked",
            Self::IdTaken => "id_taken",
            Self::NotEnrolled => "not_enrolled",
            Self::OtherKey => "other_key",
            Self::Request => "request",
            Self::NoHello => "no_hello",
            Self::Hello => "hello",
            Self::Memory => "memory",
        }
    }
}

impl From<&JoinRefusal> for Unwelcome {
    fn from(refusal: &JoinRefusal) -> Self {
        match refusal {
            JoinRefusal::UnknownToken { .. } => Self::TokenUnknown,
            JoinRefusal::WrongSecret { .. } => Self::TokenSecret,
            JoinRefusal::TokenExpired { .. } => Self::TokenExpired,
            JoinRefusal::TokenUsedUp { .. } => Self::TokenUsedUp,
            JoinRefusal::TokenRevoked { .. } => Self::TokenRevoked,
            JoinRefusal::DeviceTaken { .. } => Self::IdTaken,
            JoinRefusal::NotEnrolled { .. } => Self::NotEnrolled,
            JoinRefusal::OtherKey { .. } => Self::OtherKey,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    fn of(error: TlsError) -> Unwelcome {
        Unwelcome::of_handshake(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn each_way_to_fail_a_handshake_has_its_word() {
        let cases = [
            (TlsError::InvalidMessage(InvalidMessage::InvalidContentType), Unwelcome::NotTls),
            (CertificateError::Revoked.into(), Unwelcome::CertificateRevoked),
            (CertificateError::Expired.into(), Unwelcome::CertificateEnded),
            (CertificateError::NotValidYet.into(), Unwelcome::CertificateEnded),
            (CertificateError::UnknownIssuer.into(), Unwelcome::OtherAuthority),
            (TlsError::AlertReceived(AlertDescription::UnknownCA), Unwelcome::OtherAuthority),
            (CertificateError::BadEncoding.into(), Unwelcome::Certificate),
            (TlsError::NoCertificatesPresented, Unwelcome::NoCertificate),
            (TlsError::NoApplicationProtocol, Unwelcome::Handshake),
        ];
        for (error, expected) in cases {
            assert_eq!(of(error.clone()), expected, "{error}");
        }
        assert_eq!(Unwelcome::of_handshake(&io::ErrorKind::UnexpectedEof.into()), Unwelcome::Cut);
    }
}
