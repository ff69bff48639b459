//! Opens connections to other hosts. What comes back is lazy: it connects when it is first used and again when it was cut.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::{door::Connection, simulated::Network, socket::Socket};
use crate::pki::{Badge, Subject, TURNED_PROTOCOLS, Verdict, explain_handshake, turned};

/// Window of one stream on a connection for large messages; a transfer is bounded by it and the round trip: 8 MiB in 50 ms.
const BULK_STREAM_WINDOW: u32 = 8 << 20;
/// Window of all streams of such a connection together.
const BULK_CONNECTION_WINDOW: u32 = 32 << 20;

/// What a connection is for. Small messages never wait behind large ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Control and small activations.
    Latency,
    /// Files and large activations.
    Bulk,
}

impl Lane {
    /// What a device speaks on a connection of this kind that it opens for its central to ask over.
    pub fn turned_protocol(self) -> &'static [u8] {
        TURNED_PROTOCOLS[usize::from(self == Self::Bulk)]
    }

    /// Which kind of connection speaks this, of those that are turned around.
    pub fn of_protocol(protocol: &[u8]) -> Option<Self> {
        [Self::Latency, Self::Bulk].into_iter().find(|lane| lane.turned_protocol() == protocol)
    }
}

/// Opens connections on which this host proves who it is. Clones share what the central has said against it.
#[derive(Clone, Debug)]
pub struct Dialer {
    shows: Shows,
    verdict: Said,
    connect_max: Duration,
    silence_max: Duration,
    network: Network,
}

/// What this host shows to those whom it calls.
#[derive(Clone, Debug)]
enum Shows {
    /// What is on its badge when it calls.
    Badge(Badge),
    /// Nothing: it has no certificate yet.
    Nothing(Arc<ClientConfig>),
}

/// What the central has said last.
type Said = Arc<Mutex<Option<Verdict>>>;

/// A connection that this host has opened.
#[derive(Debug)]
struct Dialled {
    stream: TlsStream<Socket>,
    /// Where it is to be kept if the other end says that this host's certificate does not count; none, if that is not the central.
    verdict: Option<Said>,
}

impl Dialer {
    /// For a host that shows its badge. A connection on which something is expected and nothing comes for `silence_max` is cut.
    pub fn new(badge: Badge, connect_max: Duration, silence_max: Duration) -> Self {
        Self { shows: Shows::Badge(badge), verdict: Said::default(), connect_max, silence_max, network: Network::default() }
    }

    /// For a host that has no certificate yet, with TLS settings of `pki`.
    pub fn stranger(tls: Arc<ClientConfig>, connect_max: Duration, silence_max: Duration) -> Self {
        Self { shows: Shows::Nothing(tls), verdict: Said::default(), connect_max, silence_max, network: Network::default() }
    }

    /// What the central has said against this host's certificate since this was asked last.
    pub fn take_verdict(&self) -> Option<Verdict> {
        // One value, which is always whole.
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The same over another network than the real one.
    #[must_use]
    pub fn over(self, network: Network) -> Self {
        Self { network, ..self }
    }

    /// A connection to a host at an address, which must be who it is taken for.
    pub fn channel(&self, address: &str, subject: &Subject, lane: Lane) -> Channel {
        let (dialer, address, subject) = (self.clone(), address.to_owned(), subject.clone());
        let connector = service_fn(move |_: Uri| {
            let (dialer, address, subject) = (dialer.clone(), address.clone(), subject.clone());
            async move { dialer.dial(&address, &subject).await.map(TokioIo::new) }
        });
        self.endpoint(lane).connect_with_connector_lazy(connector)
    }

    /// The central's side of a connection that a device opened for it. It cannot be opened again from here.
    pub fn turned_channel(&self, connection: Connection, lane: Lane) -> Channel {
        let connection = Arc::new(Mutex::new(Some(connection)));
        let connector = service_fn(move |_: Uri| {
            let opened = connection.lock().unwrap_or_else(PoisonError::into_inner).take();
            let opened = opened.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "it has closed its connection and not opened another one"));
            std::future::ready(opened.map(TokioIo::new))
        });
        self.endpoint(lane).connect_with_connector_lazy(connector)
    }

    /// Opens a connection over which the central asks this host.
    pub async fn turned(&self, address: &str, lane: Lane) -> io::Result<TlsStream<Socket>> {
        self.open(turned(&self.tls(), lane.turned_protocol()), address, &Subject::Central).await
    }

    async fn dial(&self, address: &str, subject: &Subject) -> io::Result<Dialled> {
        let stream = self.open(self.tls(), address, subject).await?;
        let verdict = (*subject == Subject::Central).then(|| self.verdict.clone());
        Ok(Dialled { stream, verdict })
    }

    async fn open(&self, tls: Arc<ClientConfig>, address: &str, subject: &Subject) -> io::Result<TlsStream<Socket>> {
        let opening = async {
            let stream = self.network.connect(address).await?;
            TlsConnector::from(tls).connect(subject.server_name(), stream).await.map_err(|error| {
                if *subject == Subject::Central {
                    keep(&self.verdict, Verdict::of_proof(&error));
                }
                io::Error::other(explain_handshake(&error))
            })
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("it did not open a connection within {} ms", self.connect_max.as_millis()));
        tokio::time::timeout(self.connect_max, opening).await.map_err(|_| late())?
    }

    /// The settings of now: they change when the certificate is renewed.
    fn tls(&self) -> Arc<ClientConfig> {
        match &self.shows {
            Shows::Badge(badge) => badge.client(),
            Shows::Nothing(tls) => tls.clone(),
        }
    }

    fn endpoint(&self, lane: Lane) -> Endpoint {
        // The URI is never looked up: `connector` knows where to go.
        let endpoint = Endpoint::from(Uri::from_static("http://host.shardhost"))
            .http2_keep_alive_interval(self.silence_max / 2)
            .keep_alive_timeout(self.silence_max / 2)
            .keep_alive_while_idle(lane == Lane::Latency);
        match lane {
            Lane::Latency => endpoint,
            Lane::Bulk => endpoint.initial_stream_window_size(BULK_STREAM_WINDOW).initial_connection_window_size(BULK_CONNECTION_WINDOW),
        }
    }
}

fn keep(said: &Said, verdict: Option<Verdict>) {
    if verdict.is_some() {
        // One value, which is always whole.
        *said.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }
}

impl AsyncRead for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let (Poll::Ready(Err(error)), Some(said)) = (&read, &self.verdict) {
            keep(said, Verdict::of_alert(error));
        }
        read
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
