//! Connections that a device opens to its central, and over which the central asks: nobody has to reach a device, one way out is
//! enough. On the device this keeps one of each kind open; on the central it makes links of them.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    device_service::DeviceService,
    dial::{Dialer, Lane},
    door::{Connection, Turned, among_hosts},
    links::Links,
    rpc::peer_server::PeerServer,
    whereabouts::Whereabouts,
};
use crate::{clock, pki::Subject};

/// Pause before a connection that could not be opened is tried again; it doubles up to the other.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A connection that was open for less was refused after it was opened, which the central says no sooner.
const STEADY_AFTER: Duration = Duration::from_secs(1);

/// What a device needs to be asked by its central.
#[derive(Clone, Debug)]
pub struct Reachable {
    /// Opens connections.
    pub dialer: Dialer,
    /// The central.
    pub central: Whereabouts,
    /// What answers on them.
    pub service: PeerServer<DeviceService>,
    /// A connection on which nothing comes for so long is cut.
    pub silence_max: Duration,
}

impl Reachable {
    /// Keeps a connection of each kind open until the token is cancelled.
    pub fn keep_open(&self, closing: &CancellationToken) {
        for lane in [Lane::Latency, Lane::Bulk] {
            let (reachable, closing) = (self.clone(), closing.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = reachable.keep_lane(lane) => {}
                    () = closing.cancelled() => {}
                }
            });
        }
    }

    async fn keep_lane(&self, lane: Lane) {
        let open = Arc::new(Semaphore::new(1));
        let mut pause = RETRY_FIRST;
        let mut last = None;
        // The permit comes back when the connection is closed.
        while let Ok(permit) = open.clone().acquire_owned().await {
            match last.take() {
                Some(opened) if clock::now().duration_since(opened) < STEADY_AFTER => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
                Some(_) => pause = RETRY_FIRST,
                None => {}
            }
            let opened = self.dialer.turned(&self.central.address(), lane).await.map_err(|error| error.to_string()).and_then(|stream| {
                let address = stream.get_ref().0.peer_addr().map_err(|error| error.to_string())?;
                Connection::new(stream.into(), address, permit)
            });
            match opened {
                Ok(connection) => {
                    last = Some(clock::now());
                    self.serve(connection);
                }
                Err(reason) => {
                    tracing::debug!(?lane, reason, "the central cannot ask this device yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    fn serve(&self, connection: Connection) {
        let router = among_hosts()
            .http2_keepalive_interval(Some(self.silence_max / 2))
            .http2_keepalive_timeout(Some(self.silence_max / 2))
            .add_service(self.service.clone());
        let incoming = tokio_stream::once(Ok::<_, std::io::Error>(connection));
        tokio::spawn(async move {
            if let Err(error) = router.serve_with_incoming(incoming).await {
                tracing::debug!(%error, "the central asks no more over a connection");
            }
        });
    }
}

/// Makes links of the connections that devices open.
pub async fn link(links: Arc<Links>, mut turned: mpsc::Receiver<Turned>) {
    while let Some(Turned { device, lane, connection }) = turned.recv().await {
        match Subject::device(&device) {
            Ok(subject) => links.turned(subject, lane, connection),
            Err(error) => tracing::warn!(%error, "a device cannot be asked"),
        }
    }
}

/// Where a connection leads that nobody may open.
pub fn nowhere() -> mpsc::Sender<Turned> {
    mpsc::channel(1).0
}
