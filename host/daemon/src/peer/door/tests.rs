//! A door with real connections on loopback.

use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, client};
use tokio_stream::StreamExt as _;

use super::*;
use crate::{
    clock,
    metrics::Metrics,
    pki::{Authority, Callers, Identity, IdentityFolder, Revoked, Serial, SigningRequest, Validity, enrolment_client_config},
};

/// Long enough for anything that must not end by itself.
const LONG: Duration = Duration::from_secs(3_600);

/// A central's door, and who may sign for those who come.
struct Scene {
    authority: Authority,
    door: Door,
    metrics: Arc<Metrics>,
    closing: CancellationToken,
}

impl Scene {
    async fn open(limits: DoorLimits) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let authority = Authority::open(data.path(), clock::unix_ms()).expect("made");
        let central = authority.central_identity(Validity::from_now(clock::unix_ms(), LONG)).expect("signed");
        let badge = Badge::new(&central, Callers::KnownAndStrangers, Revoked::default()).expect("sound settings");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (metrics, closing) = (Arc::new(Metrics::new()), CancellationToken::new());
        let refusals = Refusals::new(metrics.clone());
        let door = Door::open(listener, Network::default(), badge, limits, mpsc::channel(1).0, refusals, closing.clone()).expect("open");
        Self { authority, door, metrics, closing }
    }

    fn device(&self, name: &str) -> Identity {
        let data = tempfile::tempdir().expect("a folder");
        let (folder, id) = (IdentityFolder::open(data.path()).expect("made"), DeviceId::parse(name).expect("a name"));
        let request = SigningRequest::read(&folder.signing_request(&id).expect("made")).expect("sound");
        let validity = Validity::from_now(clock::unix_ms(), LONG);
        let certificate = self.authority.sign(&request, &id, Serial::random().expect("random"), validity).expect("signed");
        folder.keep(&id, certificate.der(), self.authority.certificate(), self.authority.fingerprint()).expect("kept")
    }

    async fn connect(&self, tls: Arc<rustls::ClientConfig>) -> client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.door.address).await.expect("it listens");
        TlsConnector::from(tls).connect(Subject::Central.server_name(), stream).await.expect("the central proves itself")
    }

    async fn device_connects(&self, name: &str) -> client::TlsStream<TcpStream> {
        let badge = Badge::new(&self.device(name), Callers::Known, Revoked::default()).expect("sound settings");
        self.connect(badge.client()).await
    }

    async fn arrives(&mut self) -> Connection {
        self.door.next().await.expect("the door is open").expect("let in")
    }

    /// Whether one was refused for this reason.
    fn refused(&self, reason: &str) -> bool {
        self.metrics.text().lines().any(|line| line == format!("host_join_refused_total{{reason=\"{reason}\"}} 1"))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

fn limits() -> DoorLimits {
    DoorLimits { connections_max: 8, handshakes_max: 8, handshake_max: LONG, stranger_max: LONG }
}

#[tokio::test]
async fn whoever_comes_is_shown_in_with_what_it_has_proved() {
    let mut scene = Scene::open(limits()).await;
    let _device = scene.device_connects("pi").await;
    assert_eq!(scene.arrives().await.caller().device().map(DeviceId::as_str), Some("pi"));
    let _stranger = scene.connect(enrolment_client_config(scene.authority.fingerprint()).expect("sound settings")).await;
    assert!(scene.arrives().await.caller().certificate.is_none());
}

#[tokio::test]
async fn a_stranger_that_does_not_enrol_is_shown_out_and_a_device_stays() {
    let mut scene = Scene::open(DoorLimits { stranger_max: Duration::from_millis(20), ..limits() }).await;
    let _stranger = scene.connect(enrolment_client_config(scene.authority.fingerprint()).expect("sound settings")).await;
    let mut connection = scene.arrives().await;
    let error = connection.read(&mut [0]).await.expect_err("its stay is over");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(scene.refused("slow"), "{}", scene.metrics.text());
    let device = scene.device_connects("pi").await;
    let mut connection = scene.arrives().await;
    // It ends only because the device goes.
    drop(device);
    assert!(connection.read(&mut [0]).await.is_err_and(|error| error.kind() != io::ErrorKind::TimedOut));
    assert!(scene.refused("slow"), "only the first one was");
}

#[tokio::test]
async fn a_host_more_than_may_be_there_is_turned_away_until_one_goes() {
    let mut scene = Scene::open(DoorLimits { connections_max: 1, ..limits() }).await;
    let _first = scene.device_connects("one").await;
    let connection = scene.arrives().await;
    let mut second = scene.device_connects("two").await;
    assert!(second.read(&mut [0]).await.is_err());
    assert!(scene.refused("crowded"), "{}", scene.metrics.text());
    drop(connection);
    let _third = scene.device_connects("three").await;
    assert_eq!(scene.arrives().await.caller().device().map(DeviceId::as_str), Some("three"));
}
