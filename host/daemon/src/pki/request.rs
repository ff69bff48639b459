//! A device's request for a certificate (PKCS#10), read from outside. Only its key counts, and that whoever sent it has the key;
//! the names and usages that it asks for are never looked at.

use host_engine::Digest;
use host_wire::der;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::{SignatureVerificationAlgorithm, alg_id};

use super::{PkiFault, handshake};
use crate::error::Error;

/// Largest request. One of a device has about 250 bytes.
const REQUEST_BYTES_MAX: usize = 4_096;

/// A request whose sender has proved that it has the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SigningRequest(DeviceKey);

/// A public key for ECDSA on P-256.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DeviceKey(Vec<u8>);

impl SigningRequest {
    /// Reads a request in DER and proves its signature.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(PkiFault::RequestTooLarge { bytes: bytes.len(), bytes_max: REQUEST_BYTES_MAX }.into());
        }
        let refused = |reason| Error::from(PkiFault::Request { reason });
        let read = der::request(bytes).ok_or_else(|| refused("it is no PKCS#10 request in DER"))?;
        if read.key_algorithm != alg_id::ECDSA_P256.as_ref() || read.algorithm != alg_id::ECDSA_SHA256.as_ref() {
            return Err(refused("it is not one of ECDSA on P-256 with SHA-256"));
        }
        let proof = algorithm().ok_or_else(|| refused("this host has no ECDSA on P-256 to prove it with"))?;
        proof.verify_signature(read.key, read.signed, read.signature).map_err(|_| refused("its signature is not by the key in it"))?;
        Ok(Self(DeviceKey(read.key.to_vec())))
    }

    /// SHA-256 of the public key, as certificates hold it.
    pub fn key_digest(&self) -> Digest {
        Digest::of(&self.0.subject_public_key_info())
    }

    pub(super) fn key(&self) -> &DeviceKey {
        &self.0
    }
}

impl PublicKeyData for DeviceKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn algorithm() -> Option<&'static dyn SignatureVerificationAlgorithm> {
    let wanted = |known: &&dyn SignatureVerificationAlgorithm| {
        known.public_key_alg_id().as_ref() == alg_id::ECDSA_P256.as_ref() && known.signature_alg_id().as_ref() == alg_id::ECDSA_SHA256.as_ref()
    };
    handshake::provider().signature_verification_algorithms.all.iter().copied().find(wanted)
}
