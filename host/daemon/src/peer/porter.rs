//! Works at a door: accepts connections, has each prove within a time who is there, and shows it in or refuses it. Everything that
//! it keeps for those who have not proved themselves is bounded by the places of a lobby.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    dial::Lane,
    door::{Caller, Connection, DoorLimits, Turned},
    lobby::{Lobby, Place},
    refusals::Refusals,
    simulated::Network,
    socket::Socket,
    stay::Stay,
    unwelcome::Unwelcome,
};
use crate::pki::{Badge, Certificate, explain_handshake};

/// How long a door waits after the system had no connection for it, before it asks again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long one that was refused may take to read why. Longer than a round trip to anywhere.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Reads of what it still sends meanwhile, and bytes of each.
const LINGER_READS_MAX: usize = 64;
const LINGER_READ_BYTES: usize = 1024;

/// Works at a door.
pub(super) struct Porter {
    network: Network,
    badge: Badge,
    limits: DoorLimits,
    refusals: Arc<Refusals>,
    lobby: Lobby,
    open: Arc<Semaphore>,
    arrived: mpsc::Sender<io::Result<Connection>>,
    turned: mpsc::Sender<Turned>,
}

/// Why a handshake came to nothing, and over what this can still be said.
struct Refused {
    why: Unwelcome,
    reason: String,
    stream: Option<Socket>,
}

impl Porter {
    pub(super) fn new(
        network: Network,
        badge: Badge,
        limits: DoorLimits,
        refusals: Arc<Refusals>,
        arrived: mpsc::Sender<io::Result<Connection>>,
        turned: mpsc::Sender<Turned>,
    ) -> Self {
        // An honest handshake takes a small part of the time that it may take.
        let lobby = Lobby::new(limits.handshakes_max, limits.handshake_max / 4);
        let open = Arc::new(Semaphore::new(limits.connections_max));
        Self { network, badge, limits, refusals, lobby, open, arrived, turned }
    }

    /// Accepts until the token is cancelled.
    pub(super) async fn work(self, listener: TcpListener, closing: CancellationToken) {
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
            match porter.lobby.enter() {
                Some(place) => drop(tokio::spawn(porter.clone().receive(stream, address, place))),
                None => porter.refuse(address, Unwelcome::Crowded, "others have not proved yet who they are, and no more may wait"),
            }
        }
    }

    async fn receive(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: Place) {
        let ousted = place.ousted();
        let greeted = tokio::select! {
            greeted = self.greet(stream, &place) => greeted,
            () = ousted.cancelled() => Err(late(&place)),
            () = tokio::time::sleep(self.limits.handshake_max) => Err(late(&place)),
        };
        match greeted {
            Ok(None) => {}
            Ok(Some(stream)) => self.let_in(stream, address, place).await,
            Err(Refused { why, reason, stream }) => {
                self.refuse(address, why, &reason);
                if let Some(stream) = stream {
                    tokio::select! {
                        () = linger(stream) => {}
                        () = ousted.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Nothing of one that went away without a word: that is how people look whether a port is open.
    async fn greet(&self, stream: TcpStream, place: &Place) -> Result<Option<TlsStream<Socket>>, Refused> {
        if !matches!(stream.peek(&mut [0]).await, Ok(1..)) {
            return Ok(None);
        }
        place.speak();
        // A simulated network may be out.
        let Ok(stream) = self.network.take(stream) else { return Ok(None) };
        // The settings of now: they change when the certificate is renewed.
        match TlsAcceptor::from(self.badge.server()).accept(stream).into_fallible().await {
            Ok(stream) => Ok(Some(stream.into())),
            Err((error, stream)) => Err(Refused { why: Unwelcome::of_handshake(&error), reason: explain_handshake(&error), stream: Some(stream) }),
        }
    }

    async fn let_in(&self, stream: TlsStream<Socket>, address: SocketAddr, place: Place) {
        let certificate = match Certificate::of_peer(stream.get_ref().1.peer_certificates()) {
            Ok(certificate) => certificate,
            Err(error) => return self.refuse(address, Unwelcome::Certificate, &error.to_string()),
        };
        let is_known = certificate.is_some();
        let caller = Caller { certificate, address };
        if !is_known {
            // It stays in the lobby for as long as its connection is open.
            let stay = Stay::new(place, self.limits.stranger_max, address, self.refusals.clone());
            return self.show_in(address, Connection::of_stranger(stream, caller, stay)).await;
        }
        drop(place);
        match self.open.clone().try_acquire_owned() {
            Ok(open) => self.show_in(address, Connection::of_host(stream, caller, open)).await,
            Err(_) => self.refuse(address, Unwelcome::Crowded, &format!("{} hosts' connections are open, and no more may be", self.limits.connections_max)),
        }
    }

    async fn show_in(&self, address: SocketAddr, connection: Connection) {
        let lane = connection.protocol().and_then(Lane::of_protocol);
        let device = connection.caller().device().cloned();
        // Whoever serves may have stopped, then nobody takes what is sent.
        match (lane, device) {
            (None, _) => drop(self.arrived.send(Ok(connection)).await),
            (Some(lane), Some(device)) => drop(self.turned.send(Turned { device, lane, connection }).await),
            (Some(_), None) => {
                self.refuse(address, Unwelcome::NoCertificate, "only a device that has enrolled may be asked over the connection that it opens");
            }
        }
    }

    fn refuse(&self, address: SocketAddr, why: Unwelcome, reason: &str) {
        self.refusals.note(why, &address, reason);
    }
}

/// Of one whose time is over, or whose place somebody else has.
fn late(place: &Place) -> Refused {
    let (why, reason) = if place.has_spoken() {
        (Unwelcome::Slow, "it did not prove in time who it is")
    } else {
        (Unwelcome::Silent, "it said nothing, and its time was over or others came")
    };
    Refused { why, reason: reason.to_owned(), stream: None }
}

/// Lets the other end read why it was refused. Closing at once, with something unread, would take that back from it.
async fn linger(mut stream: Socket) {
    let listened = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut unread = [0; LINGER_READ_BYTES];
        for _ in 0..LINGER_READS_MAX {
            if !matches!(stream.read(&mut unread).await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_MAX, listened).await;
}
