//! The certificate of a host: whom it names, its number and its dates. Reading one proves nothing: that its chain leads to the
//! authority is proved by the TLS handshake, or by `check_signed_by`.

use std::{fmt, time::Duration};

use host_engine::Digest;
use host_wire::der;
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};

use super::{PkiFault, Subject, handshake, random};
use crate::error::Error;

/// Clocks differ: a certificate is good from so long before it was made, but no more than this part of its life.
const BACKDATED: Duration = Duration::from_secs(300);
const BACKDATED_PART: u32 = 10;
/// A host renews its certificate after this much of its life, so that a central that is away for a while costs nothing.
const RENEWED_AFTER: (u64, u64) = (2, 3);

/// When a certificate counts, in milliseconds since 1970; certificates themselves count seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// From then on.
    pub not_before_ms: u64,
    /// Until then.
    pub not_after_ms: u64,
}

impl Validity {
    /// From a little before now.
    pub fn from_now(now_ms: u64, life: Duration) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let backdated = BACKDATED.min(life / BACKDATED_PART);
        Self { not_before_ms: now_ms.saturating_sub(millis(backdated)), not_after_ms: now_ms.saturating_add(millis(life)) }
    }
}

/// A certificate's number: 128 bits of which 126 are random, so that it is always 16 bytes long and positive. Prints as 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Serial(u128);

impl Serial {
    const FIXED_BITS: u128 = 0b11 << 126;
    const FIXED: u128 = 0b01 << 126;

    /// One that nothing else has.
    pub fn random() -> Result<Self, Error> {
        let bits = u128::from_be_bytes(random::bytes()?);
        Ok(Self((bits & !Self::FIXED_BITS) | Self::FIXED))
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
        (bits & Self::FIXED_BITS == Self::FIXED).then_some(Self(bits))
    }

    /// Reads the number of a certificate.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bits = u128::from_be_bytes(bytes.try_into().ok()?);
        (bits & Self::FIXED_BITS == Self::FIXED).then_some(Self(bits))
    }

    /// As it stands in the certificate.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A certificate as this host's kind makes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    subject: Subject,
    serial: Serial,
    key: Digest,
    validity: Validity,
}

impl Certificate {
    /// Reads a certificate in DER. Refused unless common name and DNS name mean the same one, and there are no others.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let refused = |reason: String| Error::from(PkiFault::Certificate { reason });
        let read = der::certificate(bytes).ok_or_else(|| refused("it is not X.509 in DER".into()))?;
        let name = read.common_name().ok_or_else(|| refused("its subject is not a common name alone".into()))?;
        let subject = Subject::parse(name)?;
        if read.dns_name() != Some(&subject.dns_name()) {
            let found = read.dns_name().map_or_else(|| "none or several".to_owned(), |found| format!("`{found}`"));
            return Err(refused(format!("`{name}` must have the one DNS name `{}`, it has {found}", subject.dns_name())));
        }
        let serial = Serial::from_bytes(read.serial).ok_or_else(|| refused(format!("the number of `{name}` is not one that this host gives")))?;
        let validity = Validity { not_before_ms: read.not_before_ms, not_after_ms: read.not_after_ms };
        Ok(Self { der: CertificateDer::from(bytes.to_vec()), subject, serial, key: Digest::of(read.key_info), validity })
    }

    /// Who is at the other end of a connection whose handshake has ended: none for a caller without a certificate.
    pub fn of_peer(chain: Option<&[CertificateDer<'_>]>) -> Result<Option<Self>, Error> {
        chain.and_then(<[_]>::first).map(|leaf| Self::read(leaf)).transpose()
    }

    /// Whom it names.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Its number.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// SHA-256 of the public key in it.
    pub fn key_digest(&self) -> Digest {
        self.key
    }

    /// The certificate itself.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// When it ends, in milliseconds since 1970.
    pub fn expires_ms(&self) -> u64 {
        self.validity.not_after_ms
    }

    /// When it is time to ask for the next one, in milliseconds since 1970.
    pub fn renewal_ms(&self) -> u64 {
        let Validity { not_before_ms, not_after_ms } = self.validity;
        let (part, whole) = RENEWED_AFTER;
        not_before_ms + not_after_ms.saturating_sub(not_before_ms) / whole * part
    }

    /// Whether it is time to ask for the next one.
    pub fn needs_renewal(&self, now_ms: u64) -> bool {
        now_ms >= self.renewal_ms()
    }

    /// Proves that an authority signed it, whatever the time is now.
    pub(super) fn check_signed_by(&self, authority: &CertificateDer<'_>) -> Result<(), Error> {
        let refused = |error: rustls::Error| Error::from(PkiFault::NotSigned { subject: self.subject.to_string(), reason: error.to_string() });
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned()).map_err(refused)?;
        let read = ParsedCertificate::try_from(&self.der).map_err(refused)?;
        let when = UnixTime::since_unix_epoch(Duration::from_millis(self.validity.not_before_ms));
        let algorithms = handshake::provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&read, &roots, &[], when, algorithms).map_err(refused)
    }
}
