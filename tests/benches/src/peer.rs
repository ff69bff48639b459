//! The protocol between hosts, spoken by a measurement: it enrols as a device does, and opens the kinds of connections that hosts
//! open to each other. Made from `peer.proto` alone, as a host of other people would be: the program has no library, and at the
//! other end is the program itself.

use std::{fmt::Debug, io, sync::Arc};

use host_engine::Digest;
use host_wire::{join::JoinToken, peer::pb};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::{Host, pool::Token, stream::Stream};
use rpc::enrolment_client::EnrolmentClient;

/// The services of `peer.proto`. Generated.
#[allow(clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, missing_debug_implementations, rustdoc::all, reason = "generated code")]
pub mod rpc {
    include!(concat!(env!("OUT_DIR"), "/shardhost.peer.v1.rs"));
}

/// What hosts speak over TLS.
pub(crate) const PROTOCOL: &[u8] = b"h2";
/// The name in a central's certificate.
const CENTRAL_NAME: &str = "central.shardhost";
/// Behind the digest of a device's id in the name in its certificate, and how many digits of that there are.
const DEVICE_SUFFIX: &str = "device.shardhost";
const DIGEST_DIGITS: usize = 32;
/// Windows of a connection for large messages, as the program has them: of one stream, and of all together.
const BULK_STREAM_WINDOW: u32 = 8 << 20;
const BULK_CONNECTION_WINDOW: u32 = 32 << 20;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Small messages.
    Latency,
    /// Large ones.
    Bulk,
}

/// What a device proves itself with.
#[derive(Debug)]
pub struct Identity {
    /// Its certificate and the authority's.
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    authority: CertificateDer<'static>,
}

/// How a host is reached.
#[derive(Clone, Debug)]
pub struct Way {
    address: String,
    /// Who must be there, and what is shown to it; none for a connection without TLS.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// The certificate of a central's authority, from its data directory.
pub fn authority(central: &Host) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_file(central.data().join("ca/certificate.pem")).map_err(told)
}

/// Gets a device its first certificate.
pub async fn enrol(authority: &CertificateDer<'static>, token: &Token, device: &str) -> Result<Identity, String> {
    let key = KeyPair::generate().map_err(told)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(device.to_owned()));
    let signing_request = params.serialize_request(&key).map_err(told)?.der().to_vec();
    let joins = JoinToken::parse(&token.text).map_err(told)?;
    let request = pb::EnrolRequest {
        token: joins.id.0.to_vec(),
        secret: joins.secret.0.to_vec(),
        signing_request,
        device: device.to_owned(),
        ..pb::EnrolRequest::default()
    };
    let way = Way { address: token.central.clone(), tls: Some((trusting(authority, None)?, name(CENTRAL_NAME.to_owned())?)) };
    let enrolled = EnrolmentClient::new(way.open(Lane::Latency).await?).enrol(request).await.map_err(told)?;
    let chain = enrolled.into_inner().chain.into_iter().map(CertificateDer::from).collect();
    Ok(Identity { chain, key: key.serialize_der().into(), authority: authority.clone() })
}

impl Identity {
    /// The way to the central.
    pub fn to_central(&self, address: &str) -> Result<Way, String> {
        self.way(address, CENTRAL_NAME.to_owned())
    }

    /// The way to a device.
    pub fn to_device(&self, address: &str, device: &str) -> Result<Way, String> {
        let digest = Digest::of(device.as_bytes()).to_string();
        self.way(address, format!("{}.{DEVICE_SUFFIX}", &digest[..DIGEST_DIGITS]))
    }

    fn way(&self, address: &str, server: String) -> Result<Way, String> {
        Ok(Way { address: address.to_owned(), tls: Some((trusting(&self.authority, Some(self))?, name(server)?)) })
    }
}

impl Way {
    /// Without TLS, to something that is no host.
    pub fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None }
    }

    /// With TLS, to something with this certificate for this name.
    pub fn to_stranger(address: &str, certificate: &CertificateDer<'static>, server: &str) -> Result<Self, String> {
        Ok(Self { address: address.to_owned(), tls: Some((trusting(certificate, None)?, name(server.to_owned())?)) })
    }

    /// Opens a connection, with what the program's connections of the kind have but their keep-alive.
    pub async fn open(&self, lane: Lane) -> Result<Channel, String> {
        let way = self.clone();
        let connector = service_fn(move |_: Uri| {
            let way = way.clone();
            async move { way.connect().await.map(TokioIo::new) }
        });
        // The URI is never looked up: the connector knows where to go.
        let endpoint = Endpoint::from(Uri::from_static("http://host.shardhost"));
        let endpoint = match lane {
            Lane::Latency => endpoint,
            Lane::Bulk => endpoint.initial_stream_window_size(BULK_STREAM_WINDOW).initial_connection_window_size(BULK_CONNECTION_WINDOW),
        };
        endpoint.connect_with_connector(connector).await.map_err(told)
    }

    async fn connect(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some((config, server)) => {
                let stream = TlsConnector::from(config.clone()).connect(server.clone(), stream).await?;
                Ok(Stream::Secure(Box::new(stream.into())))
            }
        }
    }
}

/// TLS settings of a client that trusts one authority.
fn trusting(authority: &CertificateDer<'static>, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(told)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(told)?.with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key().into()).map_err(told)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

fn name(server: String) -> Result<ServerName<'static>, String> {
    ServerName::try_from(server).map_err(told)
}

/// An error with all that caused it: what went wrong with a connection is only there.
pub(crate) fn told(error: impl Debug) -> String {
    format!("{error:?}")
}
