//! A device that was removed and goes on running reaches nobody: not the central, and not its peers, neither over connections that
//! are open nor over new ones.

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{fs, io, sync::Arc, time::Duration};

use host_engine::Digest;
use host_wire::peer::pb;
use hyper_util::rt::TokioIo;
use pooled::wait_until;
use running::Host;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// What a device shows: everything that a copy of its data directory has.
struct Copied {
    tls: Arc<ClientConfig>,
}

impl Copied {
    fn of(device: &Host) -> Self {
        let folder = device.data().join("identity");
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(folder.join("certificate.pem")).expect("readable").collect::<Result<_, _>>().expect("sound");
        let key = PrivateKeyDer::from_pem_slice(&fs::read(folder.join("key.pem")).expect("readable")).expect("sound");
        let mut roots = RootCertStore::empty();
        roots.add(chain.last().expect("the authority's is the last").clone()).expect("sound");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(&[&TLS13]).expect("versions");
        let mut tls = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).expect("they fit together");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { tls: Arc::new(tls) }
    }

    /// A connection to a device of this id.
    async fn connect(&self, address: &str, id: &str) -> Result<Channel, tonic::transport::Error> {
        let name = format!("{}.device.shardhost", &Digest::of(id.as_bytes()).to_string()[..32]);
        let (tls, address) = (self.tls.clone(), address.to_owned());
        let connector = service_fn(move |_: Uri| {
            let (tls, address, name) = (tls.clone(), address.clone(), name.clone());
            async move {
                let name = ServerName::try_from(name).map_err(io::Error::other)?;
                let stream = TlsConnector::from(tls).connect(name, TcpStream::connect(address).await?).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        Endpoint::from(Uri::from_static("http://host.shardhost")).connect_with_connector(connector).await
    }
}

/// Asks for nothing but an answer.
async fn echo(channel: &Channel) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/shardhost.peer.v1.Peer/Echo");
    let codec = ProstCodec::<pb::EchoRequest, pb::EchoReply>::default();
    let request = Request::new(pb::EchoRequest { data: bytes::Bytes::from_static(b"x"), bytes_back: 1 });
    let answered = tokio::time::timeout(Duration::from_secs(20), client.unary(request, path, codec)).await;
    answered.map_err(|_| Status::deadline_exceeded("nothing came"))?.map(drop)
}

/// Where a device's peers reach it.
fn door(device: &Host) -> String {
    device.json(&["status"])["peers"].as_str().expect("it has a door").to_owned()
}

fn is_known(central: &Host, id: &str) -> bool {
    central.json(&["device", "list"]).as_array().expect("a list").iter().any(|device| device["id"] == id)
}

#[test]
fn a_device_that_was_removed_is_refused_by_its_peers_over_open_and_new_connections() {
    let central = Host::start(&["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", "no-models"]);
    let [a, b] = ["a", "b"].map(|id| Host::join(&central, id, &[]));
    let (copied, runtime) = (Copied::of(&a), Runtime::new().expect("a runtime"));
    let open = runtime.block_on(copied.connect(&door(&b), "b")).expect("a is a peer of b");
    runtime.block_on(echo(&open)).expect("b answers a");

    // It does not hear that it is removed.
    a.kill();
    central.ok(&["device", "remove", "a"]);
    wait_until("a is forgotten", || !is_known(&central, "a"));
    let refused = || runtime.block_on(echo(&open)).err();
    wait_until("b hears of it", || refused().is_some());
    let status = refused().expect("it stays so");
    assert!(status.code() == Code::PermissionDenied && status.message().contains("the certificate was revoked"), "{status:?}");

    // The handshake itself ends well for the one who calls; what the other end made of it comes after.
    let again = || runtime.block_on(async { echo(&copied.connect(&door(&b), "b").await.map_err(|error| Status::unavailable(format!("{error:?}")))?).await });
    let status = again().expect_err("it is refused at the door");
    assert_ne!(status.code(), Code::PermissionDenied, "it does not even get as far as to ask: {status:?}");

    // Who comes later is told too.
    let c = Host::join(&central, "c", &[]);
    wait_until("c refuses a", || {
        runtime.block_on(async {
            match copied.connect(&door(&c), "c").await {
                Ok(channel) => echo(&channel).await.is_err(),
                Err(_) => true,
            }
        })
    });
    let own = Copied::of(&c);
    runtime.block_on(async { echo(&own.connect(&door(&b), "b").await.expect("c is a peer of b")).await }).expect("b answers c");
}
