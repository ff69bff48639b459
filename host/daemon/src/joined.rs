//! A host that has joined a central as a device: it enrols once, attends for as long as it runs, loads what it is told to,
//! computes what its peers hand it, and comes back by itself when its connection was cut.

mod loading;
mod service;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use host_core::{
    device::{Device, Pressures},
    ids::{AcceleratorName, DeviceId},
    link::{EchoSizes, Endpoint},
    units::{Bytes, Millis},
};
use host_wire::peer::{Heartbeat, Hello, Revocations, Run, ShardAt, pb, pb::central_message::Says, pb::device_message};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{self, Clock},
    config::{CentralAddress, Config},
    device::Compute,
    error::{Error, Fault},
    machine::Machine,
    metrics::Metrics,
    peer::{
        Awaited, CentralResumes, Desk, DeskParts, DeviceService, Dialer, Door, DoorLimits, EchoLimits, Fetcher, Files, Lane, LinkLimits, Links, Network,
        Patience, Post, Reachable, Refusals, RoundTrips, Standing, Whereabouts, among_hosts, discovery, enrol, measure, nowhere,
        rpc::{central_client::CentralClient, peer_server::PeerServer},
    },
    pki::{Badge, Callers, IdentityFolder, Revoked, Serial, Subject},
    pulse,
    recorder::Recorder,
    shelf::Shelf,
    stage_fault::StageFault,
    start::{Started, engines, start_devices},
    store::{
        Store,
        cache::{Aside, BlobCache},
    },
    telemetry::traces::Traces,
};

/// Messages to the central that may wait.
const MESSAGES_MAX: usize = 1024;
/// Pause before the second try to reach the central; it grows to the other.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long opening a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A device in its own process. A cheap handle.
#[derive(Clone, Debug)]
pub struct Joined(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    device: Device,
    computes: HashMap<AcceleratorName, Arc<Compute>>,
    desk: Arc<Desk>,
    links: Arc<Links>,
    /// Brings the files of shards.
    fetcher: Fetcher,
    address: String,
    process: u64,
    held: loading::Held,
    round_trips: RoundTrips,
    config: Arc<Config>,
    clock: Clock,
    standing: Arc<Standing>,
    /// Certificates that count no more, as the central says.
    revoked: Revoked,
    /// Opens the connections over which the central asks this device, once it is welcome: another device that has this one's id
    /// must not lose its own to it. None from then on.
    reachable: std::sync::Mutex<Option<(Reachable, CancellationToken)>>,
    attends: AtomicBool,
    /// Keeps plugins, and with them the adapters.
    shelf: Shelf,
}

/// Why an attendance ended.
enum Ended {
    /// The central cannot be reached, or the stream was cut; it is worth coming back.
    Cut(String),
    /// The central said that this device may not stay.
    SentAway(String),
    /// This process is stopping.
    Stopping,
    /// Another process attends with this device's id, if it is not this device's own connection of before.
    Taken(String),
}

impl Joined {
    /// Enrols if this is the first time, and makes everything ready. The error says why this host cannot be a device of that
    /// central.
    pub async fn start(config: Arc<Config>, store: Store, metrics: Arc<Metrics>, traces: Traces, closing: CancellationToken) -> Result<Self, Error> {
        let folder = Arc::new(IdentityFolder::open(&config.data)?);
        let central = discovery::central(&config.join, &folder).await?;
        let network = Network::of(config.local_devices.first().and_then(|device| config.profile_of(device)));
        let identity = enrol::identity(&config, &folder, &network, &central).await?;
        let Subject::Device(id) = identity.certificate().subject().clone() else {
            return Err(Fault::Enrol { central, reason: "its certificate names no device".into() }.into());
        };
        let silence = Duration::from_millis(config.leases.lost_after_ms);
        let revoked = Revoked::default();
        let badge = Badge::new(&identity, Callers::Known, revoked.clone())?;
        let dialer = Dialer::new(badge.clone(), CONNECT_MAX, silence).over(network.clone());
        let limits = LinkLimits { small_bytes_max: config.peers.small_bytes_max, message_bytes_max: config.peers.message_bytes_max };
        let links = Arc::new(Links::new(dialer.clone(), limits));
        links.set(Subject::Central, &central);
        let clock = Clock::start();
        let wait_max = Duration::from_millis(config.peers.resume_ms_max);
        let resumes = Arc::new(CentralResumes { links: links.clone(), wait_max });
        // Nobody waits here: whoever does, does so on the central.
        let awaited = Arc::new(Awaited::new(wait_max));
        let post = Arc::new(Post::new(links.clone(), awaited, resumes, clock.clone()));
        let (shelf, started) = devices(&config, &store, &metrics, &id).await?;
        let computes: HashMap<AcceleratorName, Arc<Compute>> =
            started.local.computes.iter().map(|compute| (compute.handle().offer.accelerator.clone(), compute.clone())).collect();
        let handles = computes.iter().map(|(accelerator, compute)| (accelerator.clone(), compute.handle().clone())).collect();
        let held_bytes_max = config.peers.held_bytes_max;
        let (whereabouts, device) = (Whereabouts::new(central.clone()), id.clone());
        let standing = Standing {
            config: config.clone(),
            folder,
            network: network.clone(),
            central: whereabouts.clone(),
            device,
            badge: badge.clone(),
            dialer: dialer.clone(),
            links: links.clone(),
        };
        let standing = Arc::new(standing);
        let desk = Desk::new(DeskParts { id, computes: handles, post, links: links.clone(), clock: clock.clone(), traces, held_bytes_max });
        let fetcher = fetcher(&config, &links, metrics.clone()).await?;
        let files = Arc::new(Files::cached(fetcher.cache.clone(), Aside::start("give files")?));
        let service = PeerServer::new(DeviceService { desk: desk.clone(), files, revoked: revoked.clone() })
            .max_decoding_message_size(config.peers.message_bytes_max)
            .max_encoding_message_size(config.peers.message_bytes_max);
        let address = open_door(&config, &network, badge, Refusals::new(metrics), &central, service.clone(), &closing).await?;
        let reachable = Reachable { dialer, central: whereabouts, service, silence_max: silence };
        let reachable = std::sync::Mutex::new(Some((reachable, closing.clone())));
        tokio::spawn(standing.clone().keep_up(closing));
        let (process, held, round_trips) = (pulse::process_number(), loading::Held::default(), RoundTrips::default());
        let (device, attends) = (started.device, AtomicBool::new(false));
        Ok(Self(Arc::new(Parts {
            device,
            computes,
            desk,
            links,
            fetcher,
            address,
            process,
            held,
            round_trips,
            config,
            clock,
            standing,
            revoked,
            reachable,
            attends,
            shelf,
        })))
    }

    /// Who this device is.
    pub fn id(&self) -> &DeviceId {
        &self.0.device.id
    }

    /// Where its peers reach it.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Its plugins.
    pub fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    /// Where its central is.
    pub fn central(&self) -> String {
        self.0.standing.central.address()
    }

    /// Whether its central is there.
    pub fn attends(&self) -> bool {
        self.0.attends.load(Ordering::Acquire)
    }

    /// Since it started.
    pub fn uptime(&self) -> Millis {
        self.0.clock.millis()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.0.config.data
    }

    /// Attends until it is told to stop, or the central sends it away; then the error says why.
    pub async fn attend(&self, closing: CancellationToken) -> Result<(), Error> {
        let (mut pause, mut taken_since) = (RETRY_FIRST, None);
        let mut silent_since = clock::now();
        loop {
            let began = clock::now();
            let ended = self.attend_once(&closing).await;
            if self.0.attends.swap(false, Ordering::AcqRel) {
                silent_since = clock::now();
            }
            let sent_away = |reason| Err(Error::from(Fault::SentAway { device: self.id().clone(), reason }));
            match ended {
                Ended::Stopping => return Ok(()),
                Ended::SentAway(reason) => return sent_away(reason),
                Ended::Taken(reason) if *taken_since.get_or_insert(began) + self.taken_max() < clock::now() => return sent_away(reason),
                Ended::Taken(reason) => tracing::warn!(reason, "the central still has this device, or another one with its id"),
                Ended::Cut(reason) => {
                    taken_since = None;
                    tokio::select! {
                        reviewed = self.0.standing.review() => reviewed?,
                        () = closing.cancelled() => return Ok(()),
                    }
                    tracing::warn!(reason, "the central is not there; what is loaded stays loaded");
                    if silent_since.elapsed() >= self.search_after() {
                        tokio::select! {
                            () = self.look_for_central() => silent_since = clock::now(),
                            () = closing.cancelled() => return Ok(()),
                        }
                    }
                }
            }
            if began.elapsed() > RETRY_MAX {
                pause = RETRY_FIRST;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = closing.cancelled() => return Ok(()),
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// How long the central may not answer until it is looked for again.
    fn search_after(&self) -> Duration {
        Duration::from_millis(self.0.config.join.search_after_ms)
    }

    /// A central that this device has found by itself may be somewhere else by now.
    async fn look_for_central(&self) {
        let (standing, join) = (&self.0.standing, &self.0.config.join);
        if join.central != Some(CentralAddress::Auto) {
            return;
        }
        match discovery::central(join, &standing.folder).await {
            Ok(address) if standing.central.moved(&address) => {
                tracing::info!(address, "the central has moved");
                self.0.links.set(Subject::Central, &address);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the central announces itself nowhere"),
        }
    }

    /// How long the central may take to notice that this device's connection of before is gone.
    fn taken_max(&self) -> Duration {
        Duration::from_millis(self.0.config.join.id_taken_ms_max)
    }

    async fn attend_once(&self, closing: &CancellationToken) -> Ended {
        let (say, said) = mpsc::channel(MESSAGES_MAX);
        let hello = self.hello();
        // The stream has just been made and holds many more.
        let _ = say.try_send(message(device_message::Says::Hello(hello.into())));
        let channel = match self.0.links.lane(&Subject::Central, Lane::Latency) {
            Ok(channel) => channel,
            Err(fault) => return Ended::Cut(fault.reason().to_owned()),
        };
        let attended = tokio::time::timeout(CONNECT_MAX * 2, CentralClient::new(channel).attend(ReceiverStream::new(said))).await;
        let mut says = match attended {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) if matches!(status.code(), tonic::Code::PermissionDenied | tonic::Code::Unauthenticated | tonic::Code::InvalidArgument) => {
                return Ended::SentAway(status.message().to_owned());
            }
            Ok(Err(status)) if status.code() == tonic::Code::AlreadyExists => return Ended::Taken(status.message().to_owned()),
            Ok(Err(status)) => return Ended::Cut(status.message().to_owned()),
            Err(_) => return Ended::Cut("it does not answer".to_owned()),
        };
        let mut work = JoinSet::new();
        loop {
            let next = tokio::select! {
                next = says.next() => next,
                Some(_) = work.join_next(), if !work.is_empty() => continue,
                () = closing.cancelled() => {
                    let leaving = pb::Leaving { reason: "it was told to stop".to_owned() };
                    // If this does not arrive, its lease ends.
                    let _ = say.send(message(device_message::Says::Leaving(leaving))).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    return Ended::Stopping;
                }
            };
            match next {
                Some(Ok(pb::CentralMessage { says: Some(Says::Goodbye(goodbye)) })) if goodbye.for_good => return Ended::SentAway(goodbye.reason),
                Some(Ok(pb::CentralMessage { says: Some(said) })) => self.follow(said, &say, &mut work),
                Some(Ok(_)) => tracing::warn!("the central said something that this release does not know"),
                Some(Err(status)) => return Ended::Cut(status.message().to_owned()),
                None => return Ended::Cut("the stream ended".to_owned()),
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            device: self.0.device.clone(),
            held: self.0.held.shards(),
            address: Some(self.0.address.clone()),
            process: self.0.process,
            release: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Does what the central says. What takes long runs beside.
    fn follow(&self, said: Says, say: &mpsc::Sender<pb::DeviceMessage>, work: &mut JoinSet<()>) {
        let (joined, say) = (self.clone(), say.clone());
        match said {
            Says::Welcome(welcome) => {
                self.0.desk.attend(welcome.central);
                self.0.attends.store(true, Ordering::Release);
                self.open_ways();
                tracing::info!(lease_ms = welcome.lease_ms, "the central is there");
                work.spawn(async move { joined.beat(Duration::from_millis(welcome.heartbeat_ms.max(1)), say).await });
            }
            Says::Load(load) => {
                work.spawn(async move {
                    let says = joined.load(load, &say).await;
                    let _ = say.send(message(says)).await;
                });
            }
            Says::Unload(at) => {
                work.spawn(async move {
                    joined.unload(&at).await;
                    let _ = say.send(message(device_message::Says::Unloaded(at))).await;
                });
            }
            Says::Cancel(cancel) => self.0.desk.give_up(&cancel.passages),
            Says::Peers(peers) => self.meet(peers),
            Says::Revoked(revoked) => self.refuse(revoked),
            Says::HeartbeatSeen(seen) => self.0.round_trips.seen(seen.number, self.0.clock.millis()),
            Says::MeasureLink(asked) => {
                work.spawn(async move {
                    if let Some(says) = joined.measure(asked).await {
                        let _ = say.send(message(says)).await;
                    }
                });
            }
            Says::Goodbye(goodbye) => tracing::warn!(reason = goodbye.reason, "the central says goodbye"),
        }
    }

    /// Lets the central ask this device from now on; the second time it does already.
    fn open_ways(&self) {
        // It is there or not, between any two statements.
        let first = self.0.reachable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some((reachable, closing)) = first {
            reachable.keep_open(&closing);
        }
    }

    /// Lets nobody in any more who shows one of these. Links to a device that is removed are cut when peers are named without it.
    fn refuse(&self, revoked: pb::Revoked) {
        match Revocations::try_from(revoked) {
            Ok(Revocations(serials)) => {
                // A number that no authority of ours gives is on no certificate that could come here.
                let serials: Vec<Serial> = serials.iter().filter_map(|serial| Serial::from_bytes(serial)).collect();
                self.0.revoked.replace(&serials);
            }
            Err(error) => tracing::warn!(%error, "the central says what cannot be read of revoked certificates"),
        }
    }

    fn meet(&self, peers: pb::Peers) {
        let mut known: Vec<Subject> = Vec::new();
        for peer in peers.peers {
            let subject = DeviceId::parse(&peer.device).ok().and_then(|id| Subject::device(&id).ok());
            let Some(subject) = subject.filter(|_| !peer.address.is_empty()) else { continue };
            self.0.links.set(subject.clone(), &peer.address);
            known.push(subject);
        }
        for subject in self.0.links.subjects() {
            if subject != Subject::Central && !known.contains(&subject) {
                self.0.links.cut(&subject);
            }
        }
    }

    /// Measures one of this device's links; nothing, if what was asked for is no name.
    async fn measure(&self, asked: pb::MeasureLink) -> Option<device_message::Says> {
        let target = Endpoint::try_from(asked).inspect_err(|error| tracing::warn!(%error, "the central asks for a link that cannot be")).ok()?;
        let settings = &self.0.config.links;
        // An echo must fit into a message, with what that has besides.
        let bytes_max = settings.bytes_max.min(self.0.config.peers.message_bytes_max / 2);
        let sizes = EchoSizes { wanted: Millis(settings.echo_ms as f64), bytes_max: Bytes(bytes_max as u64) };
        let limits = EchoLimits { sizes, answer_max: Duration::from_millis(settings.answer_ms_max) };
        Some(device_message::Says::LinkMeasured(measure(&self.0.links, target, &limits).await.into()))
    }

    /// Beats until the stream is closed.
    async fn beat(&self, interval: Duration, say: mpsc::Sender<pb::DeviceMessage>) {
        let mut machine = Machine::new();
        let mut load = pulse::Load::of(self.0.computes.values());
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut number = 0;
        self.0.round_trips.reset();
        loop {
            ticks.tick().await;
            number += 1;
            let latency = self.0.round_trips.last();
            let pressures = Pressures { latency, ..load.pressures(&mut machine, self.0.computes.values()) };
            let runs = self.0.computes.iter().flat_map(|(accelerator, compute)| {
                let at = move |(shard, run, runs)| Run { at: ShardAt { accelerator: accelerator.clone(), shard }, run, runs };
                compute.take_runs().into_iter().map(at)
            });
            let beat = Heartbeat { number, pressures, runs: runs.collect() };
            self.0.round_trips.sent(number, self.0.clock.millis());
            if say.send(message(device_message::Says::Heartbeat(beat.into()))).await.is_err() {
                return;
            }
        }
    }
}

fn message(says: device_message::Says) -> pb::DeviceMessage {
    pb::DeviceMessage { says: Some(says) }
}

/// Starts plugins and this device's compute threads.
async fn devices(config: &Arc<Config>, store: &Store, metrics: &Arc<Metrics>, id: &DeviceId) -> Result<(Shelf, Started), Error> {
    let (store, metrics) = (store.clone(), metrics.clone());
    let mut own = Config::clone(config);
    own.local_devices.truncate(1);
    for device in &mut own.local_devices {
        device.id = id.to_string();
    }
    let decisions = Recorder::start(&config.recording)?.sink();
    let started = tokio::task::spawn_blocking(move || {
        let engines = engines::start(&own, &metrics)?;
        let shelf = Shelf::start(&own, store, metrics.clone(), engines.clone(), decisions)?;
        let started = start_devices(&own, shelf.plugins(), &engines, &metrics)?;
        Ok::<_, Error>((shelf, started))
    });
    let (shelf, started) = started.await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))??;
    let first = started.into_iter().next().ok_or_else(|| Error::from(StageFault::NothingSent { what: "a local device" }))?;
    Ok((shelf, first))
}

/// Brings files into the cache of the data directory.
async fn fetcher(config: &Config, links: &Arc<Links>, metrics: Arc<Metrics>) -> Result<Fetcher, Error> {
    let aside = Aside::start("take files")?;
    let (folder, limits) = (config.data.join("cache"), config.cache);
    let cache = aside.run(move || BlobCache::open(&folder, &limits)).await?;
    Ok(Fetcher { origin: links.clone(), cache, aside, metrics, patience: Patience::default() })
}

/// Opens the door for peers, on the address by which the central is reached.
async fn open_door(
    config: &Config,
    network: &Network,
    badge: Badge,
    refusals: Arc<Refusals>,
    central: &str,
    service: PeerServer<DeviceService>,
    closing: &CancellationToken,
) -> Result<String, Error> {
    let fault = |error: std::io::Error| Error::from(Fault::Address { what: "the door for peers", address: central.to_owned() }).because(error);
    let way = tokio::net::TcpStream::connect(central).await.map_err(fault)?.local_addr().map_err(fault)?.ip();
    let listener = TcpListener::bind((way, config.peers.port)).await.map_err(fault)?;
    let limits = DoorLimits::of(&config.join);
    let door = Door::open(listener, network.clone(), badge, limits, nowhere(), refusals, closing.clone()).map_err(fault)?;
    let address = config.join.advertise.as_ref().map_or_else(|| door.address.to_string(), ToString::to_string);
    let served = among_hosts().add_service(service).serve_with_incoming_shutdown(door, closing.clone().cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "the door for peers has closed");
        }
    });
    Ok(address)
}
