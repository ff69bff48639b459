//! A door that other hosts come through. A porter has each prove who is there, and bounds how many are open and how many have not
//! said yet; what comes out of a door is connections whose other end is known. What they ask for is answered by services.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use host_core::ids::DeviceId;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, mpsc},
};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::{dial::Lane, porter::Porter, refusals::Refusals, simulated::Network, socket::Socket, stay::Stay};
use crate::{
    config,
    pki::{Badge, Certificate, Subject},
};

/// Bytes of one frame: activations go in few of them.
const FRAME_BYTES_MAX: u32 = 256 << 10;
/// What a sender may have under way in one message, and in all on a connection. Only hosts that have proved themselves get so much.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// A server for hosts that have proved themselves before they can ask it.
pub fn among_hosts() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// How many may come, and how long they may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoorLimits {
    /// Connections of hosts that have proved who they are, at once.
    pub connections_max: usize,
    /// Connections beside them: of those who have not yet, or who come to enrol.
    pub handshakes_max: usize,
    /// From the opening of a connection until it is known who is there.
    pub handshake_max: Duration,
    /// From then on, for one that has no certificate.
    pub stranger_max: Duration,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it has proved; none for one that comes to enrol.
    pub certificate: Option<Certificate>,
    /// Where it comes from.
    pub address: SocketAddr,
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
}

/// A connection whose other end is known.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<Socket>,
    other: Caller,
    /// What it takes of the door: one of the two.
    _open: Option<OwnedSemaphorePermit>,
    stay: Option<Stay>,
}

impl DoorLimits {
    /// As the config says.
    pub fn of(join: &config::Join) -> Self {
        Self {
            connections_max: join.connections_max,
            handshakes_max: join.handshakes_max,
            handshake_max: Duration::from_millis(join.handshake_ms_max),
            stranger_max: Duration::from_millis(join.enrol_ms_max),
        }
    }
}

impl Door {
    /// Accepts until the token is cancelled, and shows callers what is on the badge at that time. Connections over which this
    /// host asks go another way.
    pub fn open(
        listener: TcpListener,
        network: Network,
        badge: Badge,
        limits: DoorLimits,
        turned: mpsc::Sender<Turned>,
        refusals: Arc<Refusals>,
        closing: CancellationToken,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (arrived, accepted) = mpsc::channel(limits.connections_max.clamp(1, 1024));
        tokio::spawn(Porter::new(network, badge, limits, refusals, arrived, turned).work(listener, closing));
        Ok(Self { accepted, address })
    }
}

impl tokio_stream::Stream for Door {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_recv(context)
    }
}

impl Connection {
    /// Over which the handshake is done, with whom this host has called. It counts as open until it is dropped.
    pub fn new(stream: TlsStream<Socket>, address: SocketAddr, open: OwnedSemaphorePermit) -> Result<Self, String> {
        let certificate = Certificate::of_peer(stream.get_ref().1.peer_certificates()).map_err(|error| error.to_string())?;
        Ok(Self::of_host(stream, Caller { certificate, address }, open))
    }

    pub(super) fn of_host(stream: TlsStream<Socket>, other: Caller, open: OwnedSemaphorePermit) -> Self {
        Self { stream, other, _open: Some(open), stay: None }
    }

    pub(super) fn of_stranger(stream: TlsStream<Socket>, other: Caller, stay: Stay) -> Self {
        Self { stream, other, _open: None, stay: Some(stay) }
    }

    /// Who is at the other end.
    pub(super) fn caller(&self) -> &Caller {
        &self.other
    }

    /// What the two have agreed to speak.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }
}

impl Caller {
    /// The subject of its certificate, if it has one.
    pub fn subject(&self) -> Option<&Subject> {
        self.certificate.as_ref().map(Certificate::subject)
    }

    /// Which device it is, if it is one.
    pub fn device(&self) -> Option<&DeviceId> {
        match self.subject() {
            Some(Subject::Device(id)) => Some(id),
            Some(Subject::Central) | None => None,
        }
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
        if self.stay.as_mut().is_some_and(|stay| stay.poll_over(context)) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the stay of a stranger is over")));
        }
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

#[cfg(test)]
mod tests;
