//! Devices that attend this central: for each the stream on which it is told what to do and says what is. What it says becomes
//! events of the cluster.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use host_core::{
    cluster::Event,
    ids::{AcceleratorName, DeviceId, OfferId},
    shard::ShardId,
};
use host_engine::{Digest, Shard};
use host_wire::peer::{Hello, Load, ShardAt, pb, pb::central_message::Says};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{dismissal::Ties, files::Files, parcel};
use crate::{error::Error, passage::Seat, stage_fault::StageFault, wiring::Wiring};

/// Messages that may wait for a device; one that takes them more slowly is cut off.
const MESSAGES_MAX: usize = 1024;

/// Every device that attends.
#[derive(Debug, Default)]
pub struct Attending {
    devices: Mutex<BTreeMap<DeviceId, Arc<Attendance>>>,
    /// Devices that are removed, as long as it is not sure that none of their certificates counts any more.
    dismissed: Mutex<BTreeSet<DeviceId>>,
    sessions: AtomicU64,
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
    loading: Mutex<HashMap<ShardAt, oneshot::Sender<Result<(), String>>>>,
    unloading: Mutex<HashMap<ShardAt, oneshot::Sender<()>>>,
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
            release: hello.release.clone(),
            over: CancellationToken::new(),
            tell,
            loading: Mutex::default(),
            unloading: Mutex::default(),
        });
        let before = devices.insert(id.clone(), attendance.clone());
        Ok(Admitted { attendance, told, before })
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
        attendance.give_up();
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

    /// Has a shard loaded. Answered when the device says that it can run, or why not; never, if its stream ends before.
    pub async fn load(&self, accelerator: &AcceleratorName, shard: &Shard, wiring: &Wiring, files: &Files) -> Result<(), Error> {
        let at = ShardAt { accelerator: accelerator.clone(), shard: shard.id.clone() };
        let (done, loaded) = oneshot::channel();
        lock(&self.loading).insert(at.clone(), done);
        let golden = shard.golden.as_ref().map(|golden| {
            let tensors = |tensors: &[host_engine::Tensor]| tensors.iter().map(|tensor| parcel::to_wire(tensor).into()).collect();
            let message = pb::Golden { inputs: tensors(&golden.inputs), outputs: tensors(&golden.outputs), tolerance: golden.tolerance };
            let bytes = bytes::Bytes::from(message.encode_to_vec());
            let digest = Digest::of(&bytes);
            files.offer(bytes, digest)
        });
        let file = files.offer(shard.file.clone(), shard.digest);
        let load = Load { at, file, golden, feeds: wiring.feeds(), yields: wiring.yields() };
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
        lock(&self.unloading).insert(at.clone(), done);
        self.tell(Says::Unload(at.into()));
        let gone = |_| StageFault::DeviceGone { offer: OfferId { device: self.id.clone(), accelerator: accelerator.clone() } }.into();
        unloaded.await.map_err(gone)
    }

    /// The device has said how loading a shard went.
    pub fn loaded(&self, at: &ShardAt, outcome: Result<(), String>) {
        if let Some(done) = lock(&self.loading).remove(at) {
            let _ = done.send(outcome);
        }
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
    pub fn give_up(&self) {
        lock(&self.loading).clear();
        lock(&self.unloading).clear();
    }
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
