//! The central's certificate authority: a key that never leaves the data directory, and the certificate that devices know the
//! central by. Signs certificates of hosts and nothing else.

use std::{fmt, path::Path, time::Duration};

use host_core::ids::DeviceId;
use host_engine::Digest;
use host_wire::{der, join::Fingerprint};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber, date_time_ymd, string::Ia5String,
};
use rustls::pki_types::CertificateDer;

use super::{Certificate, Identity, PkiFault, Serial, SigningRequest, Subject, Validity, files};
use crate::error::Error;

const FOLDER: &str = "ca";
const KEY_FILE: &str = "key.pem";
const CERTIFICATE_FILE: &str = "certificate.pem";
/// Whoever loses the authority enrols every device anew, so it outlives the machines.
const LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// Digits of its key's digest in its name.
const NAME_DIGITS: usize = 16;
/// The last second that a certificate can name, 31 December 9999.
const TIME_MS_MAX: u64 = 253_402_300_799_000;

/// Signs certificates of hosts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    not_after_ms: u64,
}

impl Authority {
    /// Reads the authority of a data directory, and makes it the first time. Whoever calls holds the directory's lock.
    pub fn open(data: &Path, now_ms: u64) -> Result<Self, Error> {
        let folder = data.join(FOLDER);
        if !folder.exists() {
            files::fresh_folder(&folder, |folder| make(folder, now_ms))?;
        }
        load(&folder)
    }

    /// What a join token names it by.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs a device's certificate. Only the key is the request's; names and usages are this host's, and the certificate ends with
    /// the authority at the latest.
    pub fn sign(&self, request: &SigningRequest, device: &DeviceId, serial: Serial, validity: Validity) -> Result<Certificate, Error> {
        self.certify(request.key(), &Subject::device(device)?, serial, validity)
    }

    /// What the central shows to others. Made anew at each start and whenever it is to be renewed, and kept nowhere: devices know
    /// the authority, not this key.
    pub fn central_identity(&self, validity: Validity) -> Result<Identity, Error> {
        let key = KeyPair::generate().map_err(|error| made("a key", &error))?;
        let certificate = self.certify(&key, &Subject::Central, Serial::random()?, validity)?;
        Ok(Identity::new(&key, certificate, self.certificate.clone()))
    }

    fn certify(&self, key: &impl PublicKeyData, subject: &Subject, serial: Serial, validity: Validity) -> Result<Certificate, Error> {
        let name = Ia5String::try_from(subject.dns_name()).map_err(|error| made("a name", &error))?;
        let until = Validity { not_after_ms: validity.not_after_ms.min(self.not_after_ms), ..validity };
        let mut params = dated(serial, until);
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(subject.to_string()));
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(key, &self.issuer).map_err(|error| made("a certificate", &error))?;
        Certificate::read(signed.der())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

fn make(folder: &Path, now_ms: u64) -> Result<(), Error> {
    let key = KeyPair::generate().map_err(|error| made("a key", &error))?;
    let params = params(&key, Serial::random()?, Validity::from_now(now_ms, LIFE));
    let certificate = params.self_signed(&key).map_err(|error| made("a certificate", &error))?;
    files::write(&folder.join(KEY_FILE), &key.serialize_pem())?;
    files::write(&folder.join(CERTIFICATE_FILE), &files::to_pem(&[certificate.der()]))
}

fn load(folder: &Path) -> Result<Authority, Error> {
    let (key_file, certificate_file) = (folder.join(KEY_FILE), folder.join(CERTIFICATE_FILE));
    let key = read_key(&key_file)?;
    let expected = "the certificate of an authority";
    let [certificate] = files::certificates(&certificate_file, expected)?;
    let unlike = || Error::from(PkiFault::File { path: certificate_file.display().to_string(), expected });
    let read = der::certificate(&certificate).ok_or_else(unlike)?;
    if read.key_info != key.subject_public_key_info() {
        return Err(PkiFault::Apart { key: key_file.display().to_string(), certificate: certificate_file.display().to_string() }.into());
    }
    let serial = Serial::from_bytes(read.serial).ok_or_else(unlike)?;
    let validity = Validity { not_before_ms: read.not_before_ms, not_after_ms: read.not_after_ms };
    // The name follows from the key, so what is signed names the authority as its certificate does.
    let issuer = Issuer::new(params(&key, serial, validity), key);
    Ok(Authority { issuer, certificate, not_after_ms: validity.not_after_ms })
}

/// What an authority says of itself. Two never have the same name, so that a certificate of the wrong one is told from a forged one.
fn params(key: &KeyPair, serial: Serial, validity: Validity) -> CertificateParams {
    let digest = Digest::of(&key.subject_public_key_info()).to_string();
    let mut params = dated(serial, validity);
    params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(format!("shardhost authority {}", &digest[..NAME_DIGITS])));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A private key of this host from its file.
pub(super) fn read_key(path: &Path) -> Result<KeyPair, Error> {
    let unlike = |error: rcgen::Error| Error::from(PkiFault::File { path: path.display().to_string(), expected: "a private key" }).because(error);
    KeyPair::from_pem(&files::read(path)?).map_err(unlike)
}

pub(super) fn made(what: &'static str, error: &rcgen::Error) -> Error {
    PkiFault::Made { what, reason: error.to_string() }.into()
}

/// Number and dates, and nothing else.
fn dated(serial: Serial, validity: Validity) -> CertificateParams {
    let moment = |ms: u64| date_time_ymd(1970, 1, 1) + Duration::from_millis(ms.min(TIME_MS_MAX));
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial.bytes()));
    params.not_before = moment(validity.not_before_ms);
    params.not_after = moment(validity.not_after_ms);
    params
}
