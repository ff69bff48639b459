//! The central's side of devices in other processes: the door that they come through, what they attend, fetch and answer. A host
//! that lets nobody join has none of it, and its devices are those of its own process.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use host_core::{cluster::Event, ids::OfferId};
use host_wire::peer::{pb, pb::central_message::Says};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{self, Clock},
    config::Config,
    device::ComputeHandle,
    error::{Error, Fault},
    metrics::Metrics,
    passage::{Carrier, Job},
    peer::{
        Attending, Awaited, CentralParts, CentralService, Dialer, Door, DoorLimits, Enrolling, Files, LinkLimits, Links, Network, Post, Remotes, Resumes,
        Shards, Surveyor, Ties, link,
        rpc::{central_server::CentralServer, enrolment_server::EnrolmentServer, peer_server::PeerServer},
    },
    pki::{Authority, Callers, Identity, Revoked, client_config, server_config},
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
    identity: Identity,
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
        let identity = authority.central_identity(now)?;
        let revoked = Revoked::default();
        revoked.add(&store.revoked_certificates(now)?);
        let dialer = Dialer::new(client_config(&identity)?, CONNECT_MAX, Duration::from_millis(config.leases.lost_after_ms));
        let limits = LinkLimits { small_bytes_max: config.peers.small_bytes_max, message_bytes_max: config.peers.message_bytes_max };
        let links = Arc::new(Links::new(dialer, limits));
        let resumes = Resumes {
            awaited: awaited.clone(),
            serving: serving.clone(),
            each_max: config.requests.attempts_max,
            wait_max: Duration::from_millis(config.peers.resume_ms_max),
        };
        let post = Arc::new(Post::new(links.clone(), awaited.clone(), Arc::new(resumes.clone()), clock.clone()));
        let ties = Ties { awaited: awaited.clone(), links: links.clone(), revoked: revoked.clone() };
        let remotes = Remotes { attending, files, sources_max, carrier: post.clone(), ties: Some(ties) };
        Ok(Self { remotes, door: Some((listener, Opening { authority, identity, revoked, awaited, resumes, links, post })) })
    }

    /// Lets devices in until the token is cancelled. Says where; nowhere, if this host lets nobody in.
    pub fn open(self, parts: PoolParts<'_>, closing: &CancellationToken) -> Result<Option<SocketAddr>, Error> {
        let Some((listener, opening)) = self.door else { return Ok(None) };
        let config = parts.config;
        let limits = DoorLimits {
            connections_max: config.join.connections_max,
            handshakes_max: config.join.handshakes_max,
            handshake_max: Duration::from_millis(config.join.handshake_ms_max),
        };
        let tls = server_config(&opening.identity, Callers::KnownAndStrangers, &opening.revoked)?;
        let fault = |error: std::io::Error| Error::from(Fault::Address { what: "the join port", address: "the listener".into() }).because(error);
        let (turned, opened) = mpsc::channel(TURNED_MAX);
        let door = Door::open(listener, Network::default(), tls, limits, turned, closing.clone()).map_err(fault)?;
        tokio::spawn(link(opening.links.clone(), opened));
        let address = door.address;
        let enrolling = Enrolling { authority: opening.authority, store: parts.store.clone(), life: Duration::from_millis(config.join.certificate_ms) };
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
            hello_max: limits.handshake_max,
        }));
        serve(service, door, config.peers.message_bytes_max, closing.clone());
        tokio::spawn(give_up(opening.awaited, self.remotes.attending, closing.clone()));
        Ok(Some(address))
    }
}

fn serve(service: CentralService, door: Door, message_bytes_max: usize, closing: CancellationToken) {
    let central = CentralServer::new(service.clone()).max_decoding_message_size(message_bytes_max);
    let peer = PeerServer::new(service.clone()).max_decoding_message_size(message_bytes_max).max_encoding_message_size(message_bytes_max);
    let router = tonic::transport::Server::builder().add_service(EnrolmentServer::new(service)).add_service(central).add_service(peer);
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
