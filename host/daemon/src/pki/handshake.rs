//! The TLS settings of connections between hosts, and what is proved in a handshake. No session is ever resumed: a resumed one
//! skips the proof of the certificate, and a device that was removed would come back in with it.

use std::{error::Error as StdError, fmt, io, sync::Arc};

use host_wire::join::Fingerprint;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, OtherError, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};

use super::{Certificate, Identity, PkiFault, Revoked, Subject};
use crate::error::Error;

/// What hosts speak over TLS: HTTP/2, for gRPC.
const PROTOCOL: &[u8] = b"h2";

/// What they speak on a connection that a device opens for its central to ask over: the same with the roles turned around. One
/// is for what is small, one for what is large.
pub const TURNED_PROTOCOLS: [&[u8]; 2] = [b"shardhost-turned-small", b"shardhost-turned-large"];

/// Who may open a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callers {
    /// Hosts with a certificate.
    Known,
    /// Also those without one, which come to enrol. What a stranger may ask for is up to whoever answers.
    KnownAndStrangers,
}

/// For a host that others connect to. Whoever shows a certificate must have it from the same authority, and it must not be
/// revoked.
pub(super) fn server_config(identity: &Identity, callers: Callers, revoked: &Revoked) -> Result<Arc<ServerConfig>, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(identity.authority())?, provider());
    let verifier = match callers {
        Callers::Known => verifier,
        Callers::KnownAndStrangers => verifier.allow_unauthenticated(),
    };
    let inner = verifier.build().map_err(|error| tls(&error))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).map_err(|error| tls(&error))?;
    let builder = builder.with_client_cert_verifier(Arc::new(CallerVerifier { inner, revoked: revoked.clone() }));
    let mut config = builder.with_single_cert(identity.chain(), identity.key()).map_err(|error| tls(&error))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    if callers == Callers::KnownAndStrangers {
        // Only a central is called by devices that it could not reach otherwise.
        config.alpn_protocols.extend(TURNED_PROTOCOLS.map(<[u8]>::to_vec));
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For a host that connects to another. The server must have a certificate of the same authority for the name that the connection
/// is opened with: `Subject::server_name` of whoever should be there, wherever that is.
pub(super) fn client_config(identity: &Identity) -> Result<Arc<ClientConfig>, Error> {
    let builder = client_builder()?.with_root_certificates(roots(identity.authority())?);
    let config = builder.with_client_auth_cert(identity.chain(), identity.key()).map_err(|error| tls(&error))?;
    Ok(Arc::new(finished(config)))
}

/// The same for a connection on which the server will ask.
pub fn turned(config: &ClientConfig, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// For a device that has no certificate yet. The server must be the central of the authority with this fingerprint, whatever name
/// the connection is opened with.
pub fn enrolment_client_config(fingerprint: Fingerprint) -> Result<Arc<ClientConfig>, Error> {
    let verifier = Arc::new(FingerprintVerifier { fingerprint, provider: provider() });
    let builder = client_builder()?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(finished(builder.with_no_client_auth())))
}

/// Why a handshake failed, in words, however deep they lie in what TLS and its callers make of them.
pub fn explain_handshake(error: &(dyn StdError + 'static)) -> String {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(TlsError::InvalidCertificate(CertificateError::Other(OtherError(words)))) = cause.downcast_ref() {
            return words.to_string();
        }
        // What an I/O error wraps is not its source.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| cause.source());
    }
    error.to_string()
}

/// What TLS says of an error on a connection; none for one of the network below it.
pub fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Passed explicitly everywhere: what a process has for a default depends on who came first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn client_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).map_err(|error| tls(&error))
}

fn finished(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(|error| tls(&error))?;
    Ok(Arc::new(roots))
}

fn tls(error: &dyn fmt::Display) -> Error {
    PkiFault::Tls { reason: error.to_string() }.into()
}

/// Proves a caller's chain, and that its certificate was not revoked.
#[derive(Debug)]
struct CallerVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    revoked: Revoked,
}

impl ClientCertVerifier for CallerVerifier {
    fn verify_client_cert(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<ClientCertVerified, TlsError> {
        let verified = self.inner.verify_client_cert(leaf, others, now)?;
        let certificate = Certificate::read(leaf).map_err(refused)?;
        if self.revoked.contains(certificate.serial()) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(verified)
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_tls12_signature(&self, message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(&self, message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Proves that the server is the central of the authority that a token names.
#[derive(Debug)]
struct FingerprintVerifier {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for FingerprintVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let authority = others.iter().find(|other| Fingerprint::of(other) == self.fingerprint).ok_or_else(|| {
            let found = others.last().map_or(Fingerprint::of(leaf), |last| Fingerprint::of(last));
            refused(PkiFault::OtherAuthority { expected: self.fingerprint, found }.into())
        })?;
        let roots = roots(&authority.clone().into_owned()).map_err(refused)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone()).build().map_err(|error| refused(tls(&error)))?;
        verifier.verify_server_cert(leaf, others, &Subject::Central.server_name(), stapled, now)
    }

    fn verify_tls12_signature(&self, message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(&self, message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Our words in an error of the handshake.
fn refused(error: Error) -> TlsError {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}
