//! Devices that attend this central: for each the stream on which it is told what to do and says what is. What it says becomes
//! events of the cluster.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use host_core::{
    cluster::Event,
    ids::{AcceleratorName, DeviceId, OfferId, PlanNumber},
    shard::ShardId,
    units::Bytes,
};
use host_engine::{Artefact, Digest, Shard};
use host_wire::peer::{ArtefactFile, File, HeldShard, Hello, Load, LoadProgress, ShardAt, Source, pb, pb::central_message::Says};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{awaited::Awaited, dismissal::Ties, files::Files, golden};
use crate::{error::Error, passage::Seat, stage_fault::StageFault, wiring::Wiring};

/// Messages that may wait for a device; one that takes them more slowly is cut off.
const MESSAGES_MAX: usize = 1024;

/// Every device that attends.
#[derive(Debug)]
pub struct Attending {
    devices: Mutex<BTreeMap<DeviceId, Arc<Attendance>>>,
    /// Devices that are removed, as long as it is not sure that none of their certificates counts any more.
    dismissed: Mutex<BTreeSet<DeviceId>>,
    sessions: AtomicU64,
    awaited: Arc<Awaited>,
}

/// One device, for as long as its stream is open.
#[derive(Debug)]
pub struct Attendance {
    /// Who it is.
    pub id: DeviceId,
    session: u64,
    process: u64,
    /// Where its peers reach it, if they do.
    pub address: Option<String>,
    /// The release that it runs.
    pub release: String,
    /// Cancelled when it is sent away.
    over: CancellationToken,
    tell: mpsc::Sender<Result<pb::CentralMessage, Status>>,
    /// Whether the cluster had lost it when it was last looked at.
    seen_lost: AtomicBool,
    loading: Mutex<HashMap<ShardAt, Loading>>,
    unloading: Mutex<HashMap<ShardAt, oneshot::Sender<()>>>,
    /// Files of the shards that it says are ready: its peers can fetch them from it.
    held: Mutex<HashMap<ShardAt, Digest>>,
}

/// A shard that it was told to load.
#[derive(Debug)]
struct Loading {
    done: oneshot::Sender<Result<(), String>>,
    file: Digest,
    progress: LoadProgress,
}

/// A device that was taken in.
#[derive(Debug)]
pub struct Admitted {
    /// For as long as its stream is open.
    pub attendance: Arc<Attendance>,
    /// What it is told.
    pub told: Told,
    /// The attendance that this one replaces; whoever hears that one does not know yet that it is over.
    pub before: Option<Arc<Attendance>>,
}

/// Knows what shards are.
pub trait Shards: std::fmt::Debug + Send + Sync {
    /// The digest of a shard's file, if it is one of a model that is loaded. May have to cut it: not for an async thread.
    fn digest(&self, shard: &ShardId) -> Option<Digest>;
}

/// The end of a stream that the transport reads from.
pub type Told = mpsc::Receiver<Result<pb::CentralMessage, Status>>;

impl Attending {
    /// Nobody attends yet. Whoever waits for passages hears of devices that are gone.
    pub fn new(awaited: Arc<Awaited>) -> Self {
        Self { devices: Mutex::default(), dismissed: Mutex::default(), sessions: AtomicU64::new(0), awaited }
    }

    /// Takes a device in; says also which attendance of it this one replaces. A device that is there already is refused, unless
    /// it is the same process that has come back.
    pub fn admit(&self, hello: &Hello) -> Result<Admitted, String> {
        let id = &hello.device.id;
        let mut devices = self.lock();
        if lock(&self.dismissed).contains(id) {
            return Err(format!("device {id} is being removed"));
        }
        if let Some(present) = devices.get(id).filter(|present| present.process != hello.process && !present.tell.is_closed()) {
            return Err(format!("device {id} is here already, as process {:08x}; this one is {:08x}", present.process, hello.process));
        }
        let (tell, told) = mpsc::channel(MESSAGES_MAX);
        let attendance = Arc::new(Attendance {
            id: id.clone(),
            session: self.sessions.fetch_add(1, Ordering::Relaxed),
            process: hello.process,
            address: hello.address.clone(),
            seen_lost: AtomicBool::new(false),
            release: hello.release.clone(),
            over: CancellationToken::new(),
            tell,
            loading: Mutex::default(),
            unloading: Mutex::default(),
            held: Mutex::default(),
        });
        let before = devices.insert(id.clone(), attendance.clone());
        Ok(Admitted { attendance, told, before })
    }

    /// Ends the streams of devices that the cluster has lost although they are open: their processes were suspended, or their
    /// network swallows what they say. One that lives attends again.
    pub fn end_lost(&self, is_lost: impl Fn(&DeviceId) -> bool) {
        let mut devices = self.lock();
        // One that has just come back is lost until the cluster hears of it, so it takes two looks.
        let again = |device: &Attendance| device.seen_lost.swap(is_lost(&device.id), Ordering::Relaxed) && is_lost(&device.id);
        let lost: Vec<DeviceId> = devices.values().filter(|device| again(device)).map(|device| device.id.clone()).collect();
        for attendance in lost.iter().filter_map(|id| devices.remove(id)) {
            tracing::info!(device = %attendance.id, "a device was silent for longer than its lease");
            // One that takes nothing any more is cut off by its transport.
            let _ = attendance.tell.try_send(Err(Status::aborted("the lease was over; attend again")));
            self.gone(&attendance);
        }
    }

    /// Whoever waits for the device waits no longer.
    pub fn gone(&self, attendance: &Attendance) {
        attendance.give_up();
        self.awaited.device_gone(&attendance.id);
    }

    /// A stream has ended. False if the device has a newer one.
    pub fn leave(&self, attendance: &Attendance) -> bool {
        let mut devices = self.lock();
        let is_last = devices.get(&attendance.id).is_some_and(|present| present.session == attendance.session);
        if is_last {
            devices.remove(&attendance.id);
        }
        is_last
    }

    /// Sends a device away for good, if it attends, and takes it in no more until it is readmitted.
    pub fn dismiss(&self, device: &DeviceId, reason: &str) {
        lock(&self.dismissed).insert(device.clone());
        let Some(attendance) = self.lock().remove(device) else { return };
        attendance.tell(Says::Goodbye(pb::Goodbye { reason: reason.to_owned(), for_good: true }));
        self.gone(&attendance);
        attendance.over.cancel();
    }

    /// A device that was sent away may come again, if it gets through the handshake.
    pub fn readmit(&self, device: &DeviceId) {
        lock(&self.dismissed).remove(device);
    }

    /// The device of an offer, if it attends.
    pub fn get(&self, device: &DeviceId) -> Option<Arc<Attendance>> {
        self.lock().get(device).cloned()
    }

    /// Tells a device something, if it attends.
    pub fn tell(&self, device: &DeviceId, says: Says) {
        if let Some(attendance) = self.get(device) {
            attendance.tell(says);
        }
    }

    /// Tells every device something.
    pub fn tell_all(&self, says: &Says) {
        self.lock().values().for_each(|attendance| attendance.tell(says.clone()));
    }

    /// The devices that hold a file and that a peer can reach.
    pub fn holders(&self, file: Digest) -> Vec<Source> {
        let holds = |attendance: &&Arc<Attendance>| lock(&attendance.held).values().any(|held| *held == file);
        let source = |attendance: &Arc<Attendance>| Some(Source { device: attendance.id.clone(), address: attendance.address.clone()? });
        self.lock().values().filter(holds).filter_map(source).collect()
    }

    /// How far each device is with the shards that it loads, in the order of devices and shards.
    pub fn loads(&self) -> Vec<(DeviceId, LoadProgress)> {
        let of = |attendance: &Arc<Attendance>| {
            let mut loads: Vec<LoadProgress> = lock(&attendance.loading).values().map(|loading| loading.progress.clone()).collect();
            loads.sort_by(|one, other| one.at.cmp(&other.at));
            loads.into_iter().map(|load| (attendance.id.clone(), load)).collect::<Vec<_>>()
        };
        self.lock().values().flat_map(of).collect()
    }

    /// Tells every device where each of them is; those of this process are reached over it.
    pub fn introduce(&self) {
        let devices = self.lock();
        let peer = |device: &Arc<Attendance>| Some(pb::PeerAddress { device: device.id.to_string(), address: device.address.clone()? });
        let peers: Vec<pb::PeerAddress> = devices.values().filter_map(peer).collect();
        for attendance in devices.values() {
            attendance.tell(Says::Peers(pb::Peers { peers: peers.clone() }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Arc<Attendance>>> {
        // The map is whole between any two statements.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attendance {
    /// Tells it something. A device that does not listen any more is cut off by its lease.
    pub fn tell(&self, says: Says) {
        if self.tell.try_send(Ok(pb::CentralMessage { says: Some(says) })).is_err() {
            tracing::debug!(device = %self.id, "a device was not told something: it is gone, or too slow");
        }
    }

    /// Has a shard loaded, whose file the device fetches from one of the sources or from this host. Answered when the device says
    /// that it can run, or why not; never, if its stream ends before. `plan` is the one in force.
    pub async fn load(
        &self,
        accelerator: &AcceleratorName,
        shard: &Arc<Shard>,
        wiring: &Wiring,
        files: &Files,
        sources: Vec<Source>,
        plan: PlanNumber,
    ) -> Result<(), Error> {
        let at = ShardAt { accelerator: accelerator.clone(), shard: shard.id.clone() };
        let (done, loaded) = oneshot::channel();
        let progress = LoadProgress { at: at.clone(), bytes: Bytes::ZERO, bytes_total: Bytes(shard.file.len() as u64) };
        lock(&self.loading).insert(at.clone(), Loading { done, file: shard.digest, progress });
        let offered = match offer_golden(shard, files).await {
            Ok(golden) => offer_artefacts(shard, files).map(|artefacts| (golden, artefacts)),
            Err(error) => Err(error),
        };
        let (golden, artefacts) = match offered {
            Ok(offered) => offered,
            Err(error) => {
                lock(&self.loading).remove(&at);
                return Err(error);
            }
        };
        let file = files.offer(&shard.id, shard.file.clone(), shard.digest);
        let load = Load { at, file, golden, feeds: wiring.feeds(), yields: wiring.yields(), sources, plan, artefacts };
        self.tell(Says::Load(load.into()));
        let offer = || OfferId { device: self.id.clone(), accelerator: accelerator.clone() };
        match loaded.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(StageFault::Elsewhere { offer: offer(), kind: host_core::error::ErrorKind::Unavailable, reason }.into()),
            Err(_) => Err(StageFault::DeviceGone { offer: offer() }.into()),
        }
    }

    /// Has a shard dropped.
    pub async fn unload(&self, accelerator: &AcceleratorName, shard: &ShardId) -> Result<(), Error> {
        let at = ShardAt { accelerator: accelerator.clone(), shard: shard.clone() };
        let (done, unloaded) = oneshot::channel();
        lock(&self.held).remove(&at);
        lock(&self.unloading).insert(at.clone(), done);
        self.tell(Says::Unload(at.into()));
        let gone = |_| StageFault::DeviceGone { offer: OfferId { device: self.id.clone(), accelerator: accelerator.clone() } }.into();
        unloaded.await.map_err(gone)
    }

    /// The device has said how loading a shard went.
    pub fn loaded(&self, at: &ShardAt, outcome: Result<(), String>) {
        let Some(loading) = lock(&self.loading).remove(at) else { return };
        if outcome.is_ok() {
            lock(&self.held).insert(at.clone(), loading.file);
        }
        let _ = loading.done.send(outcome);
    }

    /// The device has said how far it is with a shard. What it was not told to load is not noted.
    pub fn progress(&self, progress: LoadProgress) {
        if let Some(loading) = lock(&self.loading).get_mut(&progress.at) {
            loading.progress = progress;
        }
    }

    /// The device has kept these shards from before.
    pub fn holds(&self, held: &[HeldShard]) {
        lock(&self.held).extend(held.iter().map(|held| (held.at.clone(), Digest(held.digest))));
    }

    /// The device has dropped a shard.
    pub fn unloaded(&self, at: &ShardAt) {
        if let Some(done) = lock(&self.unloading).remove(at) {
            let _ = done.send(());
        }
    }

    /// Whether it was sent away.
    pub fn is_dismissed(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until it is sent away.
    pub async fn dismissed(&self) {
        self.over.cancelled().await;
    }

    /// Whoever waits for this device waits no longer.
    fn give_up(&self) {
        lock(&self.loading).clear();
        lock(&self.unloading).clear();
    }
}

/// Lets devices fetch the golden answers of a shard, if it has any.
async fn offer_golden(shard: &Arc<Shard>, files: &Files) -> Result<Option<File>, Error> {
    let shared = shard.clone();
    let packed = files.aside().run(move || {
        let file = shared.golden.as_ref().map(golden::to_file);
        Ok(file.map(|file| (Digest::of(&file), file)))
    });
    Ok(packed.await?.map(|(digest, file)| files.offer(&shard.id, file, digest)))
}

/// Lets devices fetch what a shard was converted to.
fn offer_artefacts(shard: &Arc<Shard>, files: &Files) -> Result<Vec<ArtefactFile>, Error> {
    let offered = |artefact: &Artefact| {
        let description = Artefact::description(&artefact.inputs, &artefact.outputs)?.to_vec();
        let file = files.offer(&shard.id, artefact.data.clone(), artefact.digest);
        Ok(ArtefactFile { target: artefact.target.clone(), file, description })
    };
    shard.artefacts.iter().map(offered).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps are whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the control loop needs of devices in other processes.
#[derive(Clone, Debug)]
pub struct Remotes {
    /// Those that attend.
    pub attending: Arc<Attending>,
    /// What they fetch.
    pub files: Arc<Files>,
    /// How many of those that hold a file are named to a device that is to fetch it.
    pub sources_max: usize,
    /// The way to them.
    pub carrier: Arc<dyn crate::passage::Carrier>,
    /// What else ties them to this host; nothing, if it lets nobody in.
    pub ties: Option<Ties>,
}

impl Remotes {
    /// The seat of an offer on another host.
    pub fn seat(&self, offer: &OfferId) -> Option<Seat> {
        self.attending.get(&offer.device)?;
        Some(Seat::There(offer.clone(), self.carrier.clone()))
    }
}

/// Where events of the cluster go.
pub type Events = mpsc::WeakSender<Event>;

#[cfg(test)]
mod tests;
