//! Opens connections to other hosts. What comes back is lazy: it connects when it is first used and again when it was cut.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::{door::Connection, simulated::Network, socket::Socket};
use crate::pki::{Subject, TURNED_PROTOCOLS, explain_handshake, is_revoked, turned};

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

/// Opens connections on which this host proves who it is.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: Arc<ClientConfig>,
    connect_max: Duration,
    silence_max: Duration,
    network: Network,
}

impl Dialer {
    /// With TLS settings of `pki`. A connection on which something is expected and nothing comes for `silence_max` is cut.
    pub fn new(tls: Arc<ClientConfig>, connect_max: Duration, silence_max: Duration) -> Self {
        Self { tls, connect_max, silence_max, network: Network::default() }
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
            async move { dialer.open(&dialer.tls, &address, &subject).await.map(TokioIo::new) }
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
        self.open(&turned(&self.tls, lane.turned_protocol()), address, &Subject::Central).await
    }

    /// Whether a host takes this one's certificate for revoked. One that cannot be reached says nothing.
    pub async fn is_revoked_at(&self, address: &str, subject: &Subject) -> bool {
        let asking = async { self.open(&self.tls, address, subject).await?.read_u8().await };
        // A server of HTTP/2 speaks first, unless it refuses.
        matches!(tokio::time::timeout(self.connect_max, asking).await, Ok(Err(error)) if is_revoked(&error))
    }

    async fn open(&self, tls: &Arc<ClientConfig>, address: &str, subject: &Subject) -> io::Result<TlsStream<Socket>> {
        let opening = async {
            let stream = self.network.connect(address).await?;
            TlsConnector::from(tls.clone()).connect(subject.server_name(), stream).await.map_err(|error| io::Error::other(explain_handshake(&error)))
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("it did not open a connection within {} ms", self.connect_max.as_millis()));
        tokio::time::timeout(self.connect_max, opening).await.map_err(|_| late())?
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
