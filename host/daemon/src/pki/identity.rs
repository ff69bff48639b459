//! What a host proves itself with: its key, its certificate and the authority's. The central's is made for one run; a device's
//! lies in its data directory.

use std::path::{Path, PathBuf};

use host_core::ids::DeviceId;
use host_engine::Digest;
use host_wire::join::Fingerprint;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{
    Certificate, PkiFault, Subject,
    authority::{made, read_key},
    files,
};
use crate::error::Error;

const FOLDER: &str = "identity";
const KEY_FILE: &str = "key.pem";
/// The device's certificate and then the authority's, in one file: so they always belong together.
const CERTIFICATE_FILE: &str = "certificate.pem";

/// What a host proves itself with.
#[derive(Debug)]
pub struct Identity {
    key: PrivatePkcs8KeyDer<'static>,
    certificate: Certificate,
    authority: CertificateDer<'static>,
}

impl Identity {
    pub(super) fn new(key: &KeyPair, certificate: Certificate, authority: CertificateDer<'static>) -> Self {
        Self { key: key.serialize_der().into(), certificate, authority }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate of the authority that signed it, and that it holds others to.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// What is sent in a handshake. The authority's certificate goes along: a device that enrols knows it by its fingerprint only.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone(), self.authority.clone()]
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key().into()
    }
}

/// A device's key, and the certificate that it got for it.
#[derive(Debug)]
pub struct IdentityFolder {
    folder: PathBuf,
    key: KeyPair,
}

impl IdentityFolder {
    /// Reads the key of a data directory, and makes it the first time. Whoever calls holds the directory's lock.
    pub fn open(data: &Path) -> Result<Self, Error> {
        let folder = data.join(FOLDER);
        files::folder(&folder)?;
        let path = folder.join(KEY_FILE);
        if !path.exists() {
            let key = KeyPair::generate().map_err(|error| made("a key", &error))?;
            files::write(&path, &key.serialize_pem())?;
        }
        let key = read_key(&path)?;
        Ok(Self { folder, key })
    }

    /// SHA-256 of its public key, as certificates hold it.
    pub fn key_digest(&self) -> Digest {
        Digest::of(&self.key.subject_public_key_info())
    }

    /// The request for a certificate (PKCS#10 in DER), signed with its key. Says who asks for people who look at it; the central
    /// does not.
    pub fn signing_request(&self, device: &DeviceId) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(device.to_string()));
        let request = params.serialize_request(&self.key).map_err(|error| made("a signing request", &error))?;
        Ok(request.der().to_vec())
    }

    /// The identity that was kept; none before the device has enrolled. It may have ended.
    pub fn load(&self) -> Result<Option<Identity>, Error> {
        let path = self.folder.join(CERTIFICATE_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let [certificate, authority] = files::certificates(&path, "the certificates of a device and of its authority")?;
        let certificate = Certificate::read(&certificate)?;
        certificate.check_signed_by(&authority)?;
        if certificate.key_digest() != self.key_digest() {
            let key = self.folder.join(KEY_FILE).display().to_string();
            return Err(PkiFault::Apart { key, certificate: path.display().to_string() }.into());
        }
        Ok(Some(Identity::new(&self.key, certificate, authority)))
    }

    /// Keeps what the central answered, in the place of what was kept before, once it has proved everything in it: an authority
    /// with this fingerprint, its signature, this device's key and this id.
    pub fn keep(&self, device: &DeviceId, certificate: &[u8], authority: &[u8], fingerprint: Fingerprint) -> Result<Identity, Error> {
        let found = Fingerprint::of(authority);
        if found != fingerprint {
            return Err(PkiFault::OtherAuthority { expected: fingerprint, found }.into());
        }
        let (certificate, authority) = (Certificate::read(certificate)?, CertificateDer::from(authority.to_vec()));
        certificate.check_signed_by(&authority)?;
        let subject = certificate.subject().to_string();
        if certificate.key_digest() != self.key_digest() {
            return Err(PkiFault::OtherKey { subject }.into());
        }
        if *certificate.subject() != Subject::device(device)? {
            return Err(PkiFault::Certificate { reason: format!("it names `{subject}`, this device is `{device}`") }.into());
        }
        files::write(&self.folder.join(CERTIFICATE_FILE), &files::to_pem(&[certificate.der(), &authority]))?;
        Ok(Identity::new(&self.key, certificate, authority))
    }
}
