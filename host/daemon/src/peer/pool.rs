//! The central's side of devices in other processes: the door that they come through, what they attend, fetch and answer. A host
//! that lets nobody join has none of it, and its devices are those of its own process.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use host_core::{cluster::Event, ids::OfferId, units::Bytes};
use host_wire::peer::{pb, pb::central_message::Says};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;

use crate::{
    clock::{self, Clock},
    config::Config,
    device::ComputeHandle,
    error::{Error, Fault},
    metrics::Metrics,
    passage::{Carrier, Job},
    peer::{
        Attending, Awaited, CentralParts, CentralService, Dialer, Door, DoorLimits, Enrolling, Files, GreetingLimits, LinkLimits, Links, Network, Post,
        Refusals, Remotes, Resumes, Shards, Surveyor, Ties, discovery, known_only, link, renew_central,
        rpc::{central_server::CentralServer, enrolment_server::EnrolmentServer, peer_server::PeerServer},
    },
    pki::{Authority, Badge, Callers, Revoked, Validity},
    serving::Served,
    stage_fault::StageFault,
    store::{Store, cache::Aside},
    telemetry::traces::Traces,
};

/// How long opening a connection to a device may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Connections that devices opened and that no link is made of yet.
const TURNED_MAX: usize = 256;
/// How often devices are told of passages that nobody waits for any more.
const GIVE_UP_EVERY: Duration = Duration::from_millis(25);
/// Largest message of one who has no certificate. A request for one has about 400 bytes.
const ENROLMENT_BYTES_MAX: usize = 16 << 10;

/// Everything about devices in other processes, before the door is open.
#[derive(Debug)]
pub struct Pool {
    /// What the control loop needs of it.
    pub remotes: Remotes,
    door: Option<(TcpListener, Opening)>,
}

#[derive(Debug)]
struct Opening {
    authority: Arc<Authority>,
    badge: Badge,
    revoked: Revoked,
    awaited: Arc<Awaited>,
    resumes: Resumes,
    links: Arc<Links>,
    post: Arc<Post>,
}

/// What the pool works with once the host runs.
#[derive(Debug)]
pub struct PoolParts<'a> {
    /// Settings.
    pub config: &'a Config,
    /// Where tokens and devices are kept.
    pub store: &'a Store,
    /// This host's clock.
    pub clock: &'a Clock,
    /// This run of the host, which passages are named by.
    pub run: u64,
    /// Compute threads of this process.
    pub computes: HashMap<OfferId, ComputeHandle>,
    /// The cluster.
    pub events: mpsc::WeakSender<Event>,
    /// Knows the shards that a device may have kept.
    pub shards: Arc<dyn Shards>,
    /// Where the spans of stages of this process are made.
    pub traces: Traces,
    /// Where what happens is counted.
    pub metrics: Arc<Metrics>,
}

/// Where nobody is.
#[derive(Debug)]
struct Nobody;

impl Carrier for Nobody {
    fn carry(&self, job: Job) {
        let Some(hop) = job.passage.hops.get(job.position) else { return job.go_on() };
        let gone = StageFault::DeviceGone { offer: hop.seat.offer().clone() };
        job.fail(gone.into());
    }
}

impl Pool {
    /// Of a host that listens for devices there, or that has none but its own.
    pub fn new(config: &Config, store: &Store, clock: &Clock, serving: &Arc<Served>, listener: Option<TcpListener>) -> Result<Self, Error> {
        let awaited = Arc::new(Awaited::new(Duration::from_millis(config.peers.holder_ms_max)));
        let attending = Arc::new(Attending::new(awaited.clone()));
        let (files, sources_max) = (Arc::new(Files::offering(Aside::start("give files")?)), config.peers.sources_max);
        let Some(listener) = listener else {
            return Ok(Self { remotes: Remotes { attending, files, sources_max, carrier: Arc::new(Nobody), ties: None }, door: None });
        };
        let now = clock::unix_ms();
        let authority = Arc::new(Authority::open(&config.data, now)?);
        let identity = authority.central_identity(Validity::from_now(now, Duration::from_millis(config.join.certificate_ms)))?;
        let revoked = Revoked::default();
        revoked.add(&store.revoked_certificates(now)?);
        let badge = Badge::new(&identity, Callers::KnownAndStrangers, revoked.clone())?;
        let dialer = Dialer::new(badge.clone(), CONNECT_MAX, Duration::from_millis(config.leases.lost_after_ms));
        let limits = LinkLimits { small_bytes_max: config.peers.small_bytes_max, message_bytes_max: config.peers.message_bytes_max };
        let links = Arc::new(Links::new(dialer, limits));
        let resumes = Resumes {
            awaited: awaited.clone(),
            serving: serving.clone(),
            each_max: config.requests.attempts_max,
            wait_max: Duration::from_millis(config.peers.resume_ms_max),
        };
        let post = Arc::new(Post::new(links.clone(), awaited.clone(), Arc::new(resumes.clone()), clock.clone()));
        let ties = Ties { links: links.clone(), revoked: revoked.clone() };
        let remotes = Remotes { attending, files, sources_max, carrier: post.clone(), ties: Some(ties) };
        Ok(Self { remotes, door: Some((listener, Opening { authority, badge, revoked, awaited, resumes, links, post })) })
    }

    /// Lets devices in until the token is cancelled. Says where; nowhere, if this host lets nobody in.
    pub fn open(self, parts: PoolParts<'_>, closing: &CancellationToken) -> Result<Option<SocketAddr>, Error> {
        let Some((listener, opening)) = self.door else { return Ok(None) };
        let config = parts.config;
        let limits = DoorLimits::of(&config.join);
        let refusals = Refusals::new(parts.metrics.clone());
        let fault = |error: std::io::Error| Error::from(Fault::Address { what: "the join port", address: "the listener".into() }).because(error);
        let (turned, opened) = mpsc::channel(TURNED_MAX);
        let door = Door::open(listener, Network::default(), opening.badge.clone(), limits, turned, refusals.clone(), closing.clone()).map_err(fault)?;
        tokio::spawn(link(opening.links.clone(), opened));
        let address = door.address;
        let life = Duration::from_millis(config.join.certificate_ms);
        if config.join.announce {
            discovery::announce(&config.join, opening.authority.fingerprint(), address, closing.clone())?;
        }
        tokio::spawn(renew_central(opening.badge, opening.authority.clone(), life, closing.clone()));
        let enrolling = Enrolling { authority: opening.authority, store: parts.store.clone(), life, refusals: refusals.clone() };
        let own = parts.computes.keys().map(|offer| offer.device.clone()).collect();
        let attending = self.remotes.attending.clone();
        let surveyor = Arc::new(Surveyor::new(&config.links, &config.leases, parts.run, attending, parts.clock.clone(), own));
        tokio::spawn(surveyor.clone().work(closing.clone()));
        let service = CentralService(Arc::new(CentralParts {
            run: parts.run,
            enrolling,
            revoked: opening.revoked,
            attending: self.remotes.attending.clone(),
            awaited: opening.awaited.clone(),
            resumes: opening.resumes,
            metrics: parts.metrics,
            surveyor,
            files: self.remotes.files.clone(),
            links: opening.links,
            post: opening.post,
            computes: parts.computes,
            events: parts.events,
            shards: parts.shards,
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            traces: parts.traces,
            heartbeat: Duration::from_millis(config.leases.heartbeat_ms),
            lease: Duration::from_millis(config.leases.lost_after_ms),
            greeting: GreetingLimits { wait_max: limits.handshake_max, memory_max: Bytes(config.join.device_memory_bytes_max) },
            refusals: refusals.clone(),
        }));
        let silence = Duration::from_millis(config.leases.lost_after_ms);
        let reception = Reception { message_bytes_max: config.peers.message_bytes_max, silence_max: silence, refusals };
        serve(service, door, reception, closing.clone());
        tokio::spawn(give_up(opening.awaited, self.remotes.attending, closing.clone()));
        Ok(Some(address))
    }
}

/// How callers are received.
struct Reception {
    message_bytes_max: usize,
    /// A connection on which nothing comes for so long is asked, and after as long again cut: a device that is gone without a word
    /// may come back over another.
    silence_max: Duration,
    refusals: Arc<Refusals>,
}

fn serve(service: CentralService, door: Door, reception: Reception, closing: CancellationToken) {
    let Reception { message_bytes_max, silence_max, refusals } = reception;
    let enrolment = EnrolmentServer::new(service.clone()).max_decoding_message_size(ENROLMENT_BYTES_MAX);
    let central = CentralServer::new(service.clone()).max_decoding_message_size(message_bytes_max);
    let peer = PeerServer::new(service).max_decoding_message_size(message_bytes_max).max_encoding_message_size(message_bytes_max);
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(silence_max))
        .http2_keepalive_timeout(Some(silence_max))
        .add_service(enrolment)
        .add_service(InterceptedService::new(central, known_only(refusals.clone())))
        .add_service(InterceptedService::new(peer, known_only(refusals)));
    tokio::spawn(async move {
        if let Err(error) = router.serve_with_incoming_shutdown(door, closing.cancelled_owned()).await {
            tracing::error!(%error, "the join port has closed");
        }
    });
}

/// Tells devices what nobody waits for any more.
async fn give_up(awaited: Arc<Awaited>, attending: Arc<Attending>, closing: CancellationToken) {
    let mut ticks = tokio::time::interval(GIVE_UP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = closing.cancelled() => return,
        }
        awaited.give_up_shaken();
        for (id, devices) in awaited.take_given_up() {
            for device in devices {
                attending.tell(&device, Says::Cancel(pb::Cancel { passages: vec![id.number] }));
            }
        }
    }
}
