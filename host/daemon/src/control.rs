//! Performs what the cluster decides and feeds events back. One loop owns the order of events; everything slow (policies,
//! cutting, loading) runs beside it and comes back as an event.

mod asking;
mod recording;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host_core::{
    cluster::{Cluster, Effect, Event},
    device::Pressures,
    ids::{DeviceId, ModelId, OfferId},
    shard::ShardId,
    topology::{PressureTable, Topology},
    units::Bytes,
};
use host_engine::{Digest, Shard};
use host_plugin::PluginHost;
use host_wire::{admin, peer::Source};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    convert,
    device::Compute,
    error::Error,
    metrics::Metrics,
    models::Model,
    passage::Seat,
    peer::{Remotes, Shards},
    serving::Served,
    stage_fault::StageFault,
    status,
    store::Store,
    telemetry::traces::Traces,
};

/// Pressures that differ by less are the same to a routing policy.
const PRESSURE_STEP: f64 = 0.02;

/// What the control loop works on; shared with whoever asks what is.
#[derive(Debug)]
pub struct Control {
    cluster: Mutex<Cluster>,
    serving: Arc<Served>,
    computes: HashMap<OfferId, Arc<Compute>>,
    remotes: Remotes,
    /// Inputs of the model that each shard reads, by position.
    reads: Mutex<BTreeMap<ShardId, Arc<[usize]>>>,
    models: Mutex<BTreeMap<ModelId, Arc<Model>>>,
    plugins: Arc<PluginHost>,
    store: Store,
    metrics: Arc<Metrics>,
    traces: Traces,
    policies: Mutex<recording::Policies>,
    settled: watch::Sender<bool>,
}

/// What a control loop is made of.
pub struct ControlParts {
    /// The pool before its first event.
    pub cluster: Cluster,
    /// Where requests look.
    pub serving: Arc<Served>,
    /// The compute threads of this process.
    pub computes: Vec<Arc<Compute>>,
    /// Devices in other processes.
    pub remotes: Remotes,
    /// Who is asked about allocations.
    pub plugins: Arc<PluginHost>,
    /// Where plans are kept.
    pub store: Store,
    /// Where what happens is counted.
    pub metrics: Arc<Metrics>,
    /// Where spans are made of allocations.
    pub traces: Traces,
}

/// An event whose sender wants to hear what came of it.
#[derive(Debug)]
pub struct Asked {
    /// What is asked of the cluster.
    pub event: Event,
    /// Whether the cluster accepted it. What follows from it may still be on its way.
    pub answer: oneshot::Sender<Result<(), host_core::error::Error>>,
}

impl Control {
    /// Nothing has happened yet.
    pub fn new(parts: ControlParts) -> Self {
        Self {
            cluster: Mutex::new(parts.cluster),
            serving: parts.serving,
            remotes: parts.remotes,
            reads: Mutex::default(),
            computes: parts.computes.into_iter().map(|compute| (compute.handle().offer.clone(), compute)).collect(),
            models: Mutex::default(),
            plugins: parts.plugins,
            store: parts.store,
            metrics: parts.metrics,
            traces: parts.traces,
            policies: Mutex::default(),
            settled: watch::Sender::new(false),
        }
    }

    /// Takes events until every sender is gone, then waits for what is under way.
    pub async fn run(self: Arc<Self>, mut events: mpsc::Receiver<Event>, mut asked: mpsc::Receiver<Asked>, back: mpsc::WeakSender<Event>) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => {
                        if let Err(error) = self.take(event, &back, &mut under_way) {
                            tracing::warn!(%error, "an event was not accepted");
                        }
                    }
                    None => break,
                },
                Some(Asked { event, answer }) = asked.recv() => {
                    // Whoever asked may have gone.
                    let _ = answer.send(self.take(event, &back, &mut under_way));
                }
                Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Waits until every model is placed and loaded, or refused.
    pub async fn settled(&self) {
        // The sender lives as long as `self`.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Looks at the cluster. The closure must be quick: events wait meanwhile.
    pub fn look<T>(&self, at: impl FnOnce(&Cluster) -> T) -> T {
        at(&self.lock())
    }

    /// Makes a model known; the event that adds it comes after.
    pub fn add_model(&self, model: Arc<Model>) {
        self.models().insert(model.id.clone(), model);
    }

    /// Every model that is loaded.
    pub fn loaded_models(&self) -> Vec<Arc<Model>> {
        self.models().values().cloned().collect()
    }

    fn take(self: &Arc<Self>, event: Event, back: &mpsc::WeakSender<Event>, under_way: &mut JoinSet<()>) -> Result<(), host_core::error::Error> {
        tracing::debug!(?event, "event");
        let (pulse, solved) = (matches!(event, Event::Tick { .. }), matches!(event, Event::Solved { .. }));
        let effects = self.lock().apply(event);
        let mut accepted = Ok(());
        for effect in effects {
            match effect {
                Effect::Rejected { error } => accepted = Err(error),
                effect => self.perform(effect, back, under_way),
            }
        }
        if pulse {
            self.press();
            let lost: BTreeSet<DeviceId> =
                self.look(|cluster| cluster.devices().values().filter(|record| !record.is_alive()).map(|record| record.device.id.clone()).collect());
            self.remotes.attending.end_lost(|id| lost.contains(id));
        }
        if solved && !self.look(Cluster::is_planning) {
            self.endorse();
        }
        let hopeful = self.look(|cluster| cluster.models().keys().filter(|model| cluster.is_hopeful(model)).cloned().collect());
        self.serving.hope(hopeful);
        let known = self.models().len();
        let settled = self.look(|cluster| cluster.models().len() == known && !cluster.is_planning() && !cluster.is_moving());
        self.settled.send_if_modified(|now| std::mem::replace(now, settled) != settled);
        accepted
    }

    fn perform(self: &Arc<Self>, effect: Effect, back: &mpsc::WeakSender<Event>, under_way: &mut JoinSet<()>) {
        let control = self.clone();
        let report = Report(back.clone());
        match effect {
            Effect::Solve { ticket, problem } => {
                under_way.spawn(async move { report.send(control.solve(ticket, problem).await).await });
            }
            Effect::Review { ticket, cause, observation } => {
                under_way.spawn(async move { report.send(control.review(ticket, cause, observation).await).await });
            }
            Effect::Load { offer, shard } => {
                under_way.spawn(async move { report.send_if_any(control.load(offer, shard).await).await });
            }
            Effect::Unload { offer, shard } => {
                under_way.spawn(async move { report.send_if_any(control.unload(offer, shard).await).await });
            }
            Effect::Serve { topology } => self.serve(topology),
            Effect::Record { plan, reason } => self.record(&plan, &reason),
            Effect::Drained { device } => tracing::info!(%device, "the device is drained, nothing is left on it"),
            Effect::Removed { device } => {
                tracing::info!(%device, "the device is removed");
                self.remotes.send_away(&device);
                under_way.spawn_blocking(move || control.revoke(&device));
            }
            Effect::Refused { model, refusal } => tracing::warn!(%model, reason = %refusal, "the model could not be placed"),
            // Whoever brought the event hears of it.
            Effect::Rejected { .. } => {}
        }
    }

    fn revoke(&self, device: &DeviceId) {
        if let Err(error) = self.remotes.revoke(device, &self.store) {
            tracing::error!(%device, %error, "the certificates of a removed device could not be revoked; it is kept out until the host restarts, and removed again then");
        }
    }

    /// Nothing, if the device went away meanwhile: whether it has loaded the shard is known when it comes back.
    async fn load(&self, offer: OfferId, shard: ShardId) -> Option<Event> {
        match self.try_load(&offer, &shard).await {
            Ok(()) => Some(Event::Loaded { offer, shard }),
            Err(error) if matches!(error.stage_fault(), Some(StageFault::DeviceGone { .. })) => None,
            Err(error) => {
                tracing::warn!(%offer, %shard, %error, "a shard could not be loaded");
                Some(Event::LoadFailed { offer, shard, reason: error.to_string() })
            }
        }
    }

    async fn try_load(&self, offer: &OfferId, shard: &ShardId) -> Result<(), Error> {
        let model = self.models().get(&shard.model).cloned().ok_or_else(|| StageFault::NoReplica { model: shard.model.clone() })?;
        let range = shard.range;
        let cutting = tokio::task::spawn_blocking(move || model.shard(range));
        let (file, wiring) = cutting.await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))??;
        lock(&self.reads).insert(shard.clone(), wiring.reads());
        let file = self.with_artefacts(offer, file).await?;
        let gone = || Error::from(StageFault::DeviceGone { offer: offer.clone() });
        match self.computes.get(offer) {
            Some(compute) => compute.load(file, wiring).await,
            None => {
                let device = self.remotes.attending.get(&offer.device).ok_or_else(gone)?;
                // The shard is served by no plan before the one in force now, and by this one at the earliest.
                let plan = self.look(|cluster| cluster.plan().plan().number);
                device.load(&offer.accelerator, &file, &wiring, &self.remotes.files, self.sources(&offer.device, &file), plan).await
            }
        }
    }

    /// The shard, with what it was converted to if the offer runs nothing else.
    async fn with_artefacts(&self, offer: &OfferId, shard: Arc<Shard>) -> Result<Arc<Shard>, Error> {
        let Some(target) = self.look(|cluster| cluster.target_of(offer).map(str::to_owned)) else { return Ok(shard) };
        let store = self.store.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let artefacts = convert::artefacts(&store, &shard, &target)?;
            Ok(Arc::new(Shard { artefacts, ..shard.as_ref().clone() }))
        });
        reading.await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?
    }

    /// The devices that another one may fetch a shard's file from, nearest first.
    fn sources(&self, target: &DeviceId, shard: &Shard) -> Vec<Source> {
        let mut sources = self.remotes.attending.holders(shard.digest);
        sources.retain(|source| source.device != *target);
        let size = Bytes(shard.file.len() as u64);
        self.look(|cluster| sources.sort_by(|one, other| way(cluster, one, target, size).total_cmp(&way(cluster, other, target, size))));
        sources.truncate(self.remotes.sources_max);
        sources
    }

    /// What devices in other processes fetch now.
    pub fn loads(&self) -> Vec<admin::ShardLoad> {
        self.remotes.attending.loads().into_iter().map(|(device, load)| status::load(&device, &load)).collect()
    }

    /// Nothing, if the device went away meanwhile.
    async fn unload(&self, offer: OfferId, shard: ShardId) -> Option<Event> {
        let unloaded = match (self.computes.get(&offer), self.remotes.attending.get(&offer.device)) {
            (Some(compute), _) => compute.unload(shard.clone()).await,
            (None, Some(device)) => device.unload(&offer.accelerator, &shard).await,
            (None, None) => return None,
        };
        match unloaded {
            Ok(()) => Some(Event::Unloaded { offer, shard }),
            Err(error) => {
                tracing::debug!(%offer, %shard, %error, "a device went away while it unloaded a shard");
                None
            }
        }
    }

    fn serve(&self, topology: Arc<Topology>) {
        self.metrics.models_loaded(topology.models.len());
        let seat = |offer: &OfferId| match self.computes.get(offer) {
            Some(compute) => Some(Seat::Here(compute.handle().clone())),
            None => self.remotes.seat(offer),
        };
        let reads = lock(&self.reads);
        let next = self.serving.load().next(topology, seat, |shard| reads.get(shard).cloned().unwrap_or_default());
        self.serving.store(next);
    }

    /// Tells routing how hard the devices work, if that changed by more than it jitters.
    fn press(&self) {
        let serving = self.serving.load_full();
        let snapshot = serving.snapshot();
        let pressures: Vec<(u32, Pressures)> = self.look(|cluster| {
            let of = |id: &DeviceId| cluster.devices().get(id).map(|record| record.pressures);
            (0..).zip(&snapshot.topology.devices).filter_map(|(index, device)| Some((index, of(&device.id)?))).collect()
        });
        let known = &snapshot.pressures.devices;
        let moved = |(new, old): (&(u32, Pressures), &(u32, Pressures))| new.0 != old.0 || new.1.differs(&old.1, PRESSURE_STEP);
        if pressures.len() != known.len() || pressures.iter().zip(known).any(moved) {
            let table = PressureTable { number: snapshot.pressures.number + 1, devices: pressures };
            self.serving.store(serving.with_pressures(Arc::new(table)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        // `apply` does not panic between changes that belong together; it holds no guest code.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<ModelId, Arc<Model>>> {
        lock(&self.models)
    }
}

/// Shards whose files a device may ask for: those of the plan, and those that a device holds or is about to.
fn shards_in_use(cluster: &Cluster) -> BTreeSet<ShardId> {
    let planned = cluster.plan().plan().shards().into_iter().map(|(_, shard)| shard);
    let held = cluster.devices().values().flat_map(|record| record.shards.keys().map(|(_, shard)| shard.clone()));
    planned.chain(held).collect()
}

/// How many milliseconds a file takes from a source to a device, as far as is known.
fn way(cluster: &Cluster, source: &Source, target: &DeviceId, size: Bytes) -> f64 {
    let (from, to) = (cluster.devices().get(&source.device), cluster.devices().get(target));
    let (Some(from), Some(to)) = (from, to) else { return f64::INFINITY };
    cluster.topology().links.between((&source.device, &from.device.site), (target, &to.device.site)).time(size).0
}

fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps are whole between any two statements.
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shards for Control {
    fn digest(&self, shard: &ShardId) -> Option<Digest> {
        let model = self.models().get(&shard.model).cloned()?;
        let (file, wiring) = model.shard(shard.range).ok()?;
        lock(&self.reads).insert(shard.clone(), wiring.reads());
        Some(file.digest)
    }
}

/// Brings an outcome back to the loop, unless the host is stopping.
struct Report(mpsc::WeakSender<Event>);

impl Report {
    async fn send_if_any(self, event: Option<Event>) {
        if let Some(event) = event {
            self.send(event).await;
        }
    }

    async fn send(self, event: Event) {
        if let Some(events) = self.0.upgrade() {
            // The loop only ends once every sender is gone, so it is still there.
            let _ = events.send(event).await;
        }
    }
}
