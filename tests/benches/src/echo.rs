//! A service that answers echoes as every host does, with TLS and without, in a process of its own: what TLS costs can only be
//! seen where the same code does without it.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use host_wire::peer::pb;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    version::TLS13,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    peer::{PROTOCOL, Way, rpc::peer_server, told},
    stream::Stream,
};

/// What a process is told that shall answer echoes; the folder with its certificate follows.
pub const SERVE: &str = "serve-echoes";
/// The name in its certificate.
const NAME: &str = "echo.shardhost";
const CERTIFICATE_FILE: &str = "certificate.der";
const KEY_FILE: &str = "key.der";
/// Largest message, as hosts have it.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Connections that may wait to be served.
const WAITING_MAX: usize = 16;

/// A process that answers echoes; killed when dropped.
#[derive(Debug)]
pub struct EchoProcess {
    child: Child,
    /// The way to it without TLS.
    pub plain: Way,
    /// And with it.
    pub secure: Way,
}

impl EchoProcess {
    /// Starts this program once more. What it needs is put into the folder.
    pub fn start(folder: &Path) -> Result<Self, String> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).map_err(told)?;
        let certificate = made.cert.der().clone();
        std::fs::write(folder.join(CERTIFICATE_FILE), &certificate).map_err(told)?;
        std::fs::write(folder.join(KEY_FILE), made.signing_key.serialize_der()).map_err(told)?;
        let program = std::env::current_exe().map_err(told)?;
        let mut child = Command::new(program).arg(SERVE).arg(folder).stdout(Stdio::piped()).spawn().map_err(told)?;
        let mut addresses = BufReader::new(child.stdout.take().ok_or("it has no standard output")?).lines();
        let mut address = || addresses.next().ok_or_else(|| "the process for echoes ended at once".to_owned())?.map_err(told);
        let (plain, secure) = (Way::plain(&address()?), Way::to_stranger(&address()?, &certificate, NAME)?);
        Ok(Self { child, plain, secure })
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers echoes until the process is killed; prints the two addresses, without TLS and with it.
pub async fn serve(folder: &Path) -> Result<(), String> {
    let certificate = CertificateDer::from(std::fs::read(folder.join(CERTIFICATE_FILE)).map_err(told)?);
    let key = PrivatePkcs8KeyDer::from(std::fs::read(folder.join(KEY_FILE)).map_err(told)?);
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(&[&TLS13]).map_err(told)?;
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate], key.into()).map_err(told)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let (accepted, incoming) = mpsc::channel(WAITING_MAX);
    for tls in [None, Some(TlsAcceptor::from(Arc::new(config)))] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(told)?;
        println!("{}", listener.local_addr().map_err(told)?);
        tokio::spawn(accept(listener, tls, accepted.clone()));
    }
    let service = peer_server::PeerServer::new(Echo).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    Server::builder().add_service(service).serve_with_incoming(ReceiverStream::new(incoming)).await.map_err(told)
}

/// A connection that fails before it is open is left out: whoever opened it hears of it.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, accepted: mpsc::Sender<std::io::Result<Stream>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let opened = match (stream.set_nodelay(true), &tls) {
            (Err(_), _) => continue,
            (Ok(()), None) => Stream::Plain(stream),
            (Ok(()), Some(tls)) => match tls.accept(stream).await {
                Ok(stream) => Stream::Secure(Box::new(stream.into())),
                Err(_) => continue,
            },
        };
        if accepted.send(Ok(opened)).await.is_err() {
            return;
        }
    }
}

/// Answers echoes and nothing else.
struct Echo;

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl peer_server::Peer for Echo {
    type FetchStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::Chunk, Status>> + Send>>;

    async fn push(&self, _request: Request<pb::Activation>) -> Answered<pb::Taken> {
        Err(Status::unimplemented("only echoes are answered here"))
    }

    async fn fetch(&self, _request: Request<pb::FetchRequest>) -> Answered<Self::FetchStream> {
        Err(Status::unimplemented("only echoes are answered here"))
    }

    async fn echo(&self, request: Request<pb::EchoRequest>) -> Answered<pb::EchoReply> {
        let length = usize::try_from(request.get_ref().bytes_back).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(pb::EchoReply { data: vec![0; length].into() }))
    }
}
