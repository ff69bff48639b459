//! A door that other hosts come through: accepts connections, has each prove within a time who is there, and bounds how many
//! are open and how many have not said yet. What they ask for is answered by services.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use host_core::ids::DeviceId;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::{dial::Lane, simulated::Network, socket::Socket};
use crate::pki::{Certificate, Subject, explain_handshake};

/// How long a door waits after the system had no connection for it, before it asks again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How many may come, and how long they may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoorLimits {
    /// Connections that are open at once.
    pub connections_max: usize,
    /// Those of them of which it is not known who is there.
    pub handshakes_max: usize,
    /// From the opening of a connection until it is known.
    pub handshake_max: Duration,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it has proved; none for one that comes to enrol.
    pub certificate: Option<Certificate>,
    /// Where it comes from.
    pub address: SocketAddr,
}

/// Counts what came to a door.
#[derive(Debug, Default)]
pub struct DoorCounts {
    /// Handshakes that failed or took too long.
    pub refused: AtomicU64,
    /// Connections beyond the maximum.
    pub turned_away: AtomicU64,
}

/// A connection that a device has opened so that this host can ask it.
#[derive(Debug)]
pub struct Turned {
    /// Which device.
    pub device: DeviceId,
    /// What it is for.
    pub lane: Lane,
    /// What there is to ask over.
    pub connection: Connection,
}

/// A door that is open.
#[derive(Debug)]
pub struct Door {
    accepted: mpsc::Receiver<io::Result<Connection>>,
    /// Where it is.
    pub address: SocketAddr,
    /// What came to it.
    pub counts: Arc<DoorCounts>,
}

/// A connection whose other end is known.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<Socket>,
    other: Caller,
    _open: OwnedSemaphorePermit,
}

impl Door {
    /// Accepts until the token is cancelled. Connections over which this host asks go another way.
    pub fn open(
        listener: TcpListener,
        network: Network,
        tls: Arc<ServerConfig>,
        limits: DoorLimits,
        turned: mpsc::Sender<Turned>,
        closing: CancellationToken,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (arrived, accepted) = mpsc::channel(limits.connections_max.clamp(1, 1024));
        let counts = Arc::new(DoorCounts::default());
        tokio::spawn(Porter { network, tls: TlsAcceptor::from(tls), limits, counts: counts.clone(), arrived, turned }.accept(listener, closing));
        Ok(Self { accepted, address, counts })
    }
}

impl tokio_stream::Stream for Door {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_recv(context)
    }
}

/// Works at a door.
struct Porter {
    network: Network,
    tls: TlsAcceptor,
    limits: DoorLimits,
    counts: Arc<DoorCounts>,
    arrived: mpsc::Sender<io::Result<Connection>>,
    turned: mpsc::Sender<Turned>,
}

impl Porter {
    async fn accept(self, listener: TcpListener, closing: CancellationToken) {
        let open = Arc::new(Semaphore::new(self.limits.connections_max));
        let unknown = Arc::new(Semaphore::new(self.limits.handshakes_max));
        let porter = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = closing.cancelled() => return,
            };
            let Ok((stream, address)) = accepted else {
                // Out of descriptors, or a connection that was gone at once.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (Ok(open), Ok(unknown)) = (open.clone().try_acquire_owned(), unknown.clone().try_acquire_owned()) else {
                porter.counts.turned_away.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let porter = porter.clone();
            tokio::spawn(async move {
                let greeted = tokio::time::timeout(porter.limits.handshake_max, porter.greet(stream, address, open)).await;
                drop(unknown);
                match greeted {
                    // Whoever serves may have stopped.
                    Ok(Ok(connection)) => porter.show_in(address, connection).await,
                    Ok(Err(reason)) => porter.refuse(address, &reason),
                    Err(_) => porter.refuse(address, "it did not say who it is in time"),
                }
            });
        }
    }

    async fn greet(&self, stream: TcpStream, address: SocketAddr, open: OwnedSemaphorePermit) -> Result<Connection, String> {
        let stream = self.network.take(stream).map_err(|error| error.to_string())?;
        let stream = self.tls.accept(stream).await.map_err(|error| explain_handshake(&error))?;
        Connection::new(stream.into(), address, open)
    }

    async fn show_in(&self, address: SocketAddr, connection: Connection) {
        let Some(lane) = connection.stream.get_ref().1.alpn_protocol().and_then(Lane::of_protocol) else {
            return drop(self.arrived.send(Ok(connection)).await);
        };
        match connection.other.subject() {
            Some(Subject::Device(device)) => drop(self.turned.send(Turned { device: device.clone(), lane, connection }).await),
            _ => self.refuse(address, "only a device that has enrolled may be asked over the connection that it opens"),
        }
    }

    fn refuse(&self, address: SocketAddr, reason: &str) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%address, reason, "a connection was refused");
    }
}

impl Connection {
    /// Over which the handshake is done. It counts as open until it is dropped.
    pub fn new(stream: TlsStream<Socket>, address: SocketAddr, open: OwnedSemaphorePermit) -> Result<Self, String> {
        let certificate = Certificate::of_peer(stream.get_ref().1.peer_certificates()).map_err(|error| error.to_string())?;
        Ok(Self { stream, other: Caller { certificate, address }, _open: open })
    }
}

impl Caller {
    /// The subject of its certificate, if it has one.
    pub fn subject(&self) -> Option<&Subject> {
        self.certificate.as_ref().map(Certificate::subject)
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.other.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
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
