//! A host that has joined a central as a device: it enrols once, attends for as long as it runs, loads what it is told to,
//! computes what its peers hand it, and comes back by itself when its connection was cut.

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
    device::Device,
    ids::{AcceleratorName, DeviceId},
    units::Millis,
};
use host_engine::{Digest, Engines, Golden, Shard};
use host_wire::peer::{Heartbeat, HeldShard, Hello, Load, Run, ShardAt, pb, pb::central_message::Says, pb::device_message};
use prost::Message as _;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{self, Clock},
    config::Config,
    device::Compute,
    error::{Error, Fault},
    machine::Machine,
    metrics::Metrics,
    peer::{
        Awaited, Desk, DeskParts, DeviceService, Dialer, Door, DoorLimits, Files, Lane, LinkFault, LinkLimits, Links, Post, Reachable, Refusals, Standing,
        discovery, enrol, fetch, from_wire, nowhere,
        rpc::{central_client::CentralClient, peer_server::PeerServer},
    },
    pki::{Badge, Callers, IdentityFolder, Revoked, Subject},
    pulse,
    recorder::Recorder,
    shelf::Shelf,
    stage_fault::StageFault,
    start::{Started, start_devices},
    store::Store,
    telemetry::traces::Traces,
    wiring::Wiring,
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
    /// What this device can give to its peers.
    files: Arc<Files>,
    address: String,
    process: u64,
    /// Shards that are ready.
    held: std::sync::Mutex<Vec<HeldShard>>,
    config: Arc<Config>,
    clock: Clock,
    standing: Arc<Standing>,
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
        let identity = enrol::identity(&config, &folder, &central).await?;
        let Subject::Device(id) = identity.certificate().subject().clone() else {
            return Err(Fault::Enrol { central, reason: "its certificate names no device".into() }.into());
        };
        let silence = Duration::from_millis(config.leases.lost_after_ms);
        let badge = Badge::new(&identity, Callers::Known, Revoked::default())?;
        let dialer = Dialer::new(badge.clone(), CONNECT_MAX, silence);
        let limits = LinkLimits { small_bytes_max: config.peers.small_bytes_max, message_bytes_max: config.peers.message_bytes_max };
        let links = Arc::new(Links::new(dialer.clone(), limits));
        links.set(Subject::Central, &central);
        let clock = Clock::start();
        let post = Arc::new(Post::new(links.clone(), Arc::new(Awaited::default()), clock.clone()));
        let (shelf, started) = devices(&config, &store, &metrics, &id).await?;
        let computes: HashMap<AcceleratorName, Arc<Compute>> =
            started.local.computes.iter().map(|compute| (compute.handle().offer.accelerator.clone(), compute.clone())).collect();
        let handles = computes.iter().map(|(accelerator, compute)| (accelerator.clone(), compute.handle().clone())).collect();
        let held_bytes_max = config.peers.held_bytes_max;
        let (central_at, device) = (central.clone(), id.clone());
        let standing = Standing { config: config.clone(), folder, central, device, badge: badge.clone(), dialer: dialer.clone(), links: links.clone() };
        let standing = Arc::new(standing);
        let desk = Desk::new(DeskParts { id, computes: handles, post, links: links.clone(), clock: clock.clone(), traces, held_bytes_max });
        let files = Arc::new(Files::default());
        let service = PeerServer::new(DeviceService { desk: desk.clone(), files: files.clone() })
            .max_decoding_message_size(config.peers.message_bytes_max)
            .max_encoding_message_size(config.peers.message_bytes_max);
        let address = open_door(&config, badge, Refusals::new(metrics), &central_at, service.clone(), &closing).await?;
        let reachable = Reachable { dialer, central: central_at, service, silence_max: silence };
        let reachable = std::sync::Mutex::new(Some((reachable, closing.clone())));
        tokio::spawn(standing.clone().keep_up(closing));
        let held = std::sync::Mutex::default();
        let process = pulse::process_number();
        let (device, attends) = (started.device, AtomicBool::new(false));
        Ok(Self(Arc::new(Parts { device, computes, desk, links, files, address, process, held, config, clock, standing, reachable, attends, shelf })))
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

    /// Its central.
    pub fn central(&self) -> &str {
        &self.0.standing.central
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
        loop {
            let began = clock::now();
            let ended = self.attend_once(&closing).await;
            self.0.attends.store(false, Ordering::Release);
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
            Err(fault) => return Ended::Cut(told(fault)),
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
        let held = self.held().clone();
        Hello {
            device: self.0.device.clone(),
            held,
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
                    let says = joined.load(load).await;
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
            Says::HeartbeatSeen(_) | Says::MeasureLink(_) => {}
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

    async fn load(&self, wire: pb::Load) -> device_message::Says {
        let at = wire.shard.clone();
        let loaded = self.try_load(wire).await;
        match loaded {
            Ok(()) => device_message::Says::Loaded(at.unwrap_or_default()),
            Err(reason) => {
                tracing::warn!(reason, "a shard could not be loaded");
                device_message::Says::LoadFailed(pb::LoadFailed { shard: at, reason })
            }
        }
    }

    async fn try_load(&self, wire: pb::Load) -> Result<(), String> {
        let load = Load::try_from(wire).map_err(|error| error.to_string())?;
        let unknown = || format!("this device has no accelerator {}", load.at.accelerator);
        let compute = self.0.computes.get(&load.at.accelerator).ok_or_else(unknown)?;
        let is_held = |held: &HeldShard| held.at == load.at && held.digest == load.file.digest;
        if self.held().iter().any(is_held) {
            return Ok(());
        }
        let links = &self.0.links;
        let file = fetch(links, &Subject::Central, load.file, |_| ()).await.map_err(told)?;
        let golden = match load.golden {
            Some(golden) => Some(fetch(links, &Subject::Central, golden, |_| ()).await.map_err(told)?),
            None => None,
        };
        let wiring = Wiring::given(&load.feeds, &load.yields);
        let expected = load.at.shard.clone();
        let offered = file.clone();
        let read = tokio::task::spawn_blocking(move || Ok::<_, Error>(Shard::read(file, golden.map(read_golden).transpose()?)?)).await;
        let shard = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if shard.id != expected {
            return Err(format!("the file is shard {}, {expected} was announced", shard.id));
        }
        compute.load(Arc::new(shard), wiring).await.map_err(|error| error.to_string())?;
        self.0.files.offer(offered, Digest(load.file.digest));
        self.held().push(HeldShard { at: load.at, digest: load.file.digest });
        Ok(())
    }

    async fn unload(&self, at: &pb::ShardAt) {
        let Ok(at) = ShardAt::try_from(at.clone()) else { return };
        self.held().retain(|held| held.at != at);
        if let Some(compute) = self.0.computes.get(&at.accelerator)
            && let Err(error) = compute.unload(at.shard).await
        {
            tracing::warn!(%error, "a shard could not be unloaded");
        }
    }

    /// Beats until the stream is closed.
    async fn beat(&self, interval: Duration, say: mpsc::Sender<pb::DeviceMessage>) {
        let mut machine = Machine::new();
        let mut load = pulse::Load::of(self.0.computes.values());
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            ticks.tick().await;
            number += 1;
            let pressures = load.pressures(&mut machine, self.0.computes.values());
            let runs = self.0.computes.iter().flat_map(|(accelerator, compute)| {
                let at = move |(shard, run)| Run { at: ShardAt { accelerator: accelerator.clone(), shard }, run };
                compute.take_runs().into_iter().map(at)
            });
            let beat = Heartbeat { number, pressures, runs: runs.collect() };
            if say.send(message(device_message::Says::Heartbeat(beat.into()))).await.is_err() {
                return;
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<HeldShard>> {
        // The list is whole between any two statements.
        self.0.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn message(says: device_message::Says) -> pb::DeviceMessage {
    pb::DeviceMessage { says: Some(says) }
}

fn told(fault: LinkFault) -> String {
    match fault {
        LinkFault::Refused(_, reason) | LinkFault::Unreachable(reason) => reason,
    }
}

fn read_golden(bytes: bytes::Bytes) -> Result<Golden, Error> {
    let wrong = |reason: String| Error::from(StageFault::Golden { reason });
    let golden = pb::Golden::decode(bytes).map_err(|error| wrong(error.to_string()))?;
    let tensors = |tensors: Vec<pb::Tensor>| {
        let read = |tensor| from_wire(host_wire::peer::tensor(tensor).map_err(|error| wrong(error.to_string()))?);
        tensors.into_iter().map(read).collect::<Result<Vec<_>, Error>>()
    };
    Ok(Golden { inputs: tensors(golden.inputs)?, outputs: tensors(golden.outputs)?, tolerance: golden.tolerance })
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
        let engines = Arc::new(Engines::default());
        let shelf = Shelf::start(&own, store, metrics.clone(), engines.clone(), decisions)?;
        let started = start_devices(&own, shelf.plugins(), &engines, &metrics)?;
        Ok::<_, Error>((shelf, started))
    });
    let (shelf, started) = started.await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))??;
    let first = started.into_iter().next().ok_or_else(|| Error::from(StageFault::NothingSent { what: "a local device" }))?;
    Ok((shelf, first))
}

/// Opens the door for peers, on the address by which the central is reached.
async fn open_door(
    config: &Config,
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
    let door = Door::open(listener, badge, limits, nowhere(), refusals, closing.clone()).map_err(fault)?;
    let address = config.join.advertise.as_ref().map_or_else(|| door.address.to_string(), ToString::to_string);
    let served = tonic::transport::Server::builder().add_service(service).serve_with_incoming_shutdown(door, closing.clone().cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "the door for peers has closed");
        }
    });
    Ok(address)
}
