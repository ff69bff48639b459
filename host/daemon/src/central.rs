//! The central: owns the control loop, the pipeline and the plugins, and answers what people and clients ask of them. A cheap
//! handle; what it starts ends with `drain`.

mod routing_choice;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use host_core::{
    cluster::{Cluster, ClusterSettings, Event, FlapSettings, ReviewSettings},
    ids::{ModelId, PlanNumber},
    link::Links,
    plan::Plan,
    turns::TurnLimits,
    units::{Bytes, Millis},
    what_if::Enough,
};
use host_engine::Engines;
use host_wire::{
    admin,
    schedule::{self, Strategy},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::DeviceOrders,
    admission::{Admission, AdmissionLimits},
    clock::Clock,
    config::Config,
    control::{Asked, Control, ControlParts},
    convert::{self, Conversions},
    error::{Error, Fault},
    metrics::Metrics,
    models::{BlockTimer, Measuring, Model},
    peer::{Attending, Pool, PoolParts, Remotes},
    pipeline::{Pipeline, PipelineLimits, Randomness, Reserving},
    pulse,
    recorder::Recorder,
    repository::{self, Found},
    request::{Answer, Request},
    serving::Served,
    shelf::Shelf,
    stage_fault::StageFault,
    start::{Started, engines, hop, start_devices},
    status::{self, Advice},
    store::Store,
    telemetry::traces::Traces,
};

/// Events that may wait for the control loop; whoever sends more waits.
const EVENTS_MAX: usize = 1024;
/// The same for what people ask, which comes one after another.
const ASKED_MAX: usize = 1;

/// Answers everything that is asked of this host.
#[derive(Clone, Debug)]
pub struct Central(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    clock: Clock,
    control: Arc<Control>,
    pipeline: Pipeline,
    shelf: Shelf,
    recorder: Recorder,
    orders: DeviceOrders,
    conversions: Conversions,
    attending: Arc<Attending>,
    measuring: Measuring,
    skipped: Vec<admin::Skipped>,
    started: AtomicBool,
    draining: AtomicBool,
    events: Mutex<Option<mpsc::Sender<Event>>>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    /// Cancelled once devices are no longer served.
    closing: CancellationToken,
    /// Where devices join, if they may.
    joined_at: std::sync::OnceLock<Option<SocketAddr>>,
}

impl Central {
    /// Starts plugins, devices and models, and returns when each model serves or was refused.
    /// Devices in other processes may join through the listener, if there is one.
    pub async fn start(config: Arc<Config>, store: Store, metrics: Arc<Metrics>, traces: Traces, joining: Option<TcpListener>) -> Result<Self, Error> {
        let clock = Clock::start();
        let run = pulse::process_number();
        let serving = Arc::new(Served::default());
        let pool = Pool::new(&config, &store, &clock, &serving, joining)?;
        let engines = blocking({
            let (config, metrics) = (config.clone(), metrics.clone());
            move || engines::start(&config, &metrics)
        })
        .await?;
        let found = repository::scan(&config.models)?;
        let skipped = found.skipped.iter().map(|(folder, reason)| admin::Skipped { folder: folder.clone(), reason: reason.clone() }).collect();
        let recorder = Recorder::start(&config.recording)?;
        let shelf = blocking({
            let (config, store, metrics, engines) = (config.clone(), store.clone(), metrics.clone(), engines.clone());
            let decisions = recorder.sink();
            move || Shelf::start(&config, store, metrics, engines, decisions)
        });
        let (shelf, models) = tokio::join!(shelf, load_models(found.models, engines.clone(), &config));
        let shelf = shelf?;
        let models = routing_choice::check(&config.routing, models?, &shelf.plugins().routing_names())?;
        let devices = blocking({
            let (config, plugins, metrics, engines) = (config.clone(), shelf.plugins().clone(), metrics.clone(), engines.clone());
            move || start_devices(&config, &plugins, &engines, &metrics)
        })
        .await?;
        let last = last_plan(&store, &models)?;
        let converted = convert::known(&store, &models).await?;
        let links = hop::links_between(&devices.iter().map(|started| started.device.id.clone()).collect::<Vec<_>>());
        let computes = devices.iter().flat_map(|device| &device.local.computes);
        let handles = computes.map(|compute| (compute.handle().offer.clone(), compute.handle().clone())).collect();
        let remotes = pool.remotes.clone();
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        let parts = Parts {
            config: config.clone(),
            clock: clock.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
            traces: traces.clone(),
            serving,
            shelf,
            recorder,
            measuring: Measuring::new(engines, devices.iter().map(|started| started.device.id.clone())),
            skipped,
            last,
            links,
            devices: &devices,
            remotes,
            asks,
            run,
        };
        let central = Self::assemble(parts);
        let events = central.run(devices, models, converted, asked).await;
        let shards = central.0.control.clone();
        let parts = PoolParts { config: &config, store: &store, clock: &clock, run, computes: handles, events, shards, traces, metrics };
        central.0.joined_at.set(pool.open(parts, &central.0.closing)?).ok();
        central.0.control.settled().await;
        central.0.started.store(true, Ordering::Release);
        Ok(central)
    }

    fn assemble(parts: Parts<'_>) -> Self {
        let settings = cluster_settings(&parts.config);
        let serving = parts.serving;
        let plugins = parts.shelf.plugins().clone();
        let control = Arc::new(Control::new(ControlParts {
            cluster: Cluster::with_plan(settings, parts.last, BTreeSet::new()).with_links(parts.links),
            serving: serving.clone(),
            computes: parts.devices.iter().flat_map(|device| device.local.computes.clone()).collect(),
            remotes: parts.remotes.clone(),
            plugins: plugins.clone(),
            store: parts.store.clone(),
            metrics: parts.metrics.clone(),
            traces: parts.traces,
        }));
        let limits = AdmissionLimits {
            turns: TurnLimits {
                running_max: parts.config.requests.running_max,
                waiting_max: parts.config.requests.queue_depth_max,
                classes: parts.config.requests.priority_levels,
            },
            retry_after_max: Millis(parts.config.requests.retry_after_ms_max as f64),
        };
        let pipeline = Pipeline {
            limits: PipelineLimits {
                attempts_max: parts.config.requests.attempts_max,
                replica_wait_max: Duration::from_millis(parts.config.requests.replica_wait_ms_max),
                attempt_ratio_max: parts.config.requests.attempt_ratio_max,
                attempt_min: Millis(parts.config.requests.attempt_ms_min as f64),
                exclusive_ms_max: parts.config.requests.exclusive_ms_max,
            },
            clock: parts.clock.clone(),
            admission: Admission::new(limits, parts.clock.clone(), plugins.queueing().clone(), parts.metrics.clone()),
            plugins,
            serving,
            reserving: Reserving::new(parts.clock.clone(), parts.metrics.clone()),
            randomness: Randomness::from_system(),
            requests: AtomicU32::new(0),
            run: parts.run,
            passages: AtomicU64::new(0),
            metrics: parts.metrics.clone(),
        };
        let own = parts.devices.iter().map(|started| started.device.id.clone()).collect();
        let attending = parts.remotes.attending.clone();
        let conversions = Conversions::new(parts.config.clone(), control.clone(), pipeline.plugins.clone(), parts.store.clone(), parts.asks.clone());
        let orders = DeviceOrders::new(control.clone(), parts.asks, parts.store, parts.remotes, own);
        Self(Arc::new(Inner {
            config: parts.config,
            clock: parts.clock,
            control,
            pipeline,
            shelf: parts.shelf,
            recorder: parts.recorder,
            orders,
            conversions,
            attending,
            measuring: parts.measuring,
            skipped: parts.skipped,
            started: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            events: Mutex::new(None),
            tasks: tokio::sync::Mutex::default(),
            closing: CancellationToken::new(),
            joined_at: std::sync::OnceLock::new(),
        }))
    }

    async fn run(&self, devices: Vec<Started>, models: Vec<Arc<Model>>, converted: Vec<Event>, asked: mpsc::Receiver<Asked>) -> mpsc::WeakSender<Event> {
        let inner = &self.0;
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let mut tasks = inner.tasks.lock().await;
        tasks.spawn(inner.control.clone().run(received, asked, events.downgrade()));
        let now = inner.clock.millis();
        // The first plans know already what was converted.
        let (mut joining, mut locals) = (converted, Vec::new());
        for started in devices {
            joining.push(Event::Joined { device: started.device, held: Vec::new(), now });
            locals.push(started.local);
        }
        for model in &models {
            inner.control.add_model(model.clone());
            joining.push(Event::ModelAdded { profile: model.profile(), placement: model.placement() });
        }
        // The first plans are made by what the config put into the slot.
        inner.shelf.settle_allocation();
        if inner.control.serves_other_policy() {
            // It is asked once the devices of the plan are back.
            joining.push(Event::ReplanAsked);
        }
        for event in joining {
            // The loop was started above and ends only when this sender is dropped.
            let _ = events.send(event).await;
        }
        let interval = Duration::from_millis(inner.config.leases.heartbeat_ms);
        tasks.spawn(replan(inner.shelf.clone(), events.downgrade()));
        tasks.spawn(pulse::beat(locals, interval, inner.clock.clone(), inner.pipeline.serving.demand().clone(), events.downgrade()));
        let weak = events.downgrade();
        *inner.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(events);
        weak
    }

    /// Whether requests are taken: started, not draining, and every model that was placed serves.
    pub fn ready(&self) -> bool {
        self.0.started.load(Ordering::Acquire) && !self.is_draining()
    }

    /// Whether the host is stopping.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Every loaded model, sorted by name and version.
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.0.control.loaded_models()
    }

    /// A model by name; without a version, its highest.
    pub fn model(&self, name: &str, version: Option<u32>) -> Result<Arc<Model>, Error> {
        let named: Vec<Arc<Model>> = self.models().into_iter().filter(|model| model.id.name.as_str() == name).collect();
        let loaded = named.iter().map(|model| model.id.version).collect();
        let Some(latest) = named.last().cloned() else { return Err(Fault::UnknownModel { name: name.to_owned() }.into()) };
        let Some(version) = version else { return Ok(latest) };
        let exact = named.into_iter().find(|model| model.id.version == version);
        exact.ok_or_else(|| Fault::UnknownVersion { name: name.to_owned(), version: version.to_string(), loaded }.into())
    }

    /// Whether a replica of the model is ready.
    pub fn model_ready(&self, model: &Model) -> bool {
        !self.is_draining() && self.0.pipeline.serves(&model.id)
    }

    /// What engines do with the shards of a model that this host's own devices hold.
    pub fn shard_engines(&self, model: &Model, query: &admin::ModelQuery) -> Result<Vec<admin::ShardEngine>, Error> {
        let measuring = &self.0.measuring;
        let ranges = self.0.control.look(|cluster| measuring.ranges(cluster.plan().plan(), model));
        measuring.table(model, &ranges, query)
    }

    /// Answers one request.
    pub async fn infer(&self, request: Request) -> Result<Answer, Error> {
        if self.is_draining() {
            return Err(Fault::Draining.into());
        }
        self.0.pipeline.infer(request).await
    }

    /// When a request that arrives now must be answered: what its client asked for, at most what the config allows.
    pub fn deadline(&self, timeout: Option<Millis>) -> Millis {
        let most = self.0.config.requests.timeout_ms as f64;
        self.0.clock.millis() + Millis(timeout.map_or(most, |timeout| timeout.0.clamp(0.0, most)))
    }

    /// The class that a request waits in: the priority that its client names, 1 the most urgent, or the one that the config
    /// gives to those who name none.
    pub fn class(&self, priority: Option<i64>) -> Result<u32, Error> {
        let requests = &self.0.config.requests;
        let priority = priority.unwrap_or(requests.priority_default.into());
        let levels = requests.priority_levels;
        let wrong = || Fault::Query { what: "parameter `priority`", reason: format!("it is {priority}, this host has 1 to {levels}, and 0 for its default") };
        let priority = u32::try_from(priority).ok().filter(|priority| (1..=levels).contains(priority));
        priority.map(|priority| priority - 1).ok_or_else(|| wrong().into())
    }

    /// The slot beside `routing` that chooses the way of a request, by what its client asks for, the config and the model; none for
    /// `routing` itself.
    pub fn routing(&self, model: &Model, asked: Option<&str>) -> Result<Option<String>, Error> {
        let bound = || self.0.pipeline.plugins.routing_names();
        routing_choice::choose(&self.0.config.routing, model.id.name.as_str(), model.manifest.routing.as_deref(), asked, bound)
    }

    /// What `host status` prints.
    pub fn status(&self) -> admin::Status {
        let inner = &self.0;
        let state = if self.is_draining() {
            "draining"
        } else if self.ready() {
            "ready"
        } else {
            "starting"
        };
        let models = self.models().iter().map(|model| self.model_state(model)).collect();
        admin::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state: state.to_owned(),
            uptime_ms: inner.clock.millis().0 as u64,
            http: None,
            join: inner.joined_at.get().copied().flatten().map(|address| address.to_string()),
            central: None,
            peers: None,
            data: inner.config.data.display().to_string(),
            plan: inner.control.look(|cluster| cluster.plan().plan().number.0),
            models,
            skipped: inner.skipped.clone(),
            devices: inner.control.look(|cluster| cluster.devices().keys().map(ToString::to_string).collect()),
            census: Some(self.census()),
            slots: inner.shelf.slots(),
            reservations: inner.pipeline.reserved(),
            loads: inner.control.loads(),
            blobs: None,
        }
    }

    fn model_state(&self, model: &Model) -> admin::ModelState {
        let ready = self.model_ready(model);
        let refusal = || self.0.control.look(|cluster| cluster.models().get(&model.id).and_then(|record| record.refusal.clone()));
        let reason = if ready { String::new() } else { refusal().map_or_else(|| "its shards are being loaded".to_owned(), |refusal| refusal.reason) };
        admin::ModelState { name: model.id.name.to_string(), version: model.id.version, ready, reason }
    }

    /// Every device with its offers, pressures and shards.
    pub fn devices(&self) -> Vec<admin::Device> {
        let (now, loads) = (self.0.clock.millis(), self.0.control.loads());
        let mut devices = self.0.control.look(|cluster| status::devices(cluster, &self.0.attending, now));
        for device in &mut devices {
            device.loads = loads.iter().filter(|load| load.device == device.id).cloned().collect();
        }
        devices
    }

    /// Does what a person asks of a device.
    pub fn order(&self, who: &str, device: &str, order: &admin::DeviceOrder) -> Result<admin::Ordered, Error> {
        self.0.orders.carry_out(who, device, order)
    }

    /// The pool in figures.
    pub fn census(&self) -> admin::Census {
        let now = self.0.clock.millis();
        let census = self.0.control.look(|cluster| cluster.census(now));
        let admission = &self.0.pipeline.admission;
        admin::Census { requests_running: admission.running(), requests_waiting: admission.depth(), ..admin::Census::from(&census) }
    }

    /// The plan in force.
    pub fn plan(&self) -> admin::Plan {
        self.0.control.look(|cluster| cluster.plan().plan().into())
    }

    /// Why a model is where it is.
    pub fn explain(&self, name: &str) -> Result<admin::Explanation, Error> {
        let model = self.model(name, None)?;
        let (explained, advice) = self.0.control.look(|cluster| {
            let is_refused = cluster.models().get(&model.id).is_some_and(|record| record.refusal.is_some());
            (status::explain(cluster, &model.id), is_refused.then(|| Advice::of(cluster, &model.id)).flatten())
        });
        let mut explanation = explained.ok_or_else(|| Error::from(StageFault::NoReplica { model: model.id.clone() }))?;
        explanation.refused = advice.and_then(|advice| advice.refused());
        if let Some(slot) = self.0.shelf.slots().into_iter().find(|slot| slot.slot == "allocation") {
            (explanation.policy, explanation.generation) = (slot.plugin, slot.generation);
        }
        Ok(explanation)
    }

    /// The same, with what would make the plan better by what the allocation policy says. Asks it several times.
    pub fn advise(&self, name: &str) -> Result<admin::Explanation, Error> {
        let mut explanation = self.explain(name)?;
        let model = self.model(name, None)?;
        let Some(advice) = self.0.control.look(|cluster| Advice::of(cluster, &model.id)) else { return Ok(explanation) };
        let settings = &self.0.config.predictions;
        let until = self.0.clock.millis() + Millis(settings.what_if_ms_max as f64);
        let policy = self.0.shelf.plugins().allocation();
        explanation.helps = advice.helps(settings.what_if_asks_max, |problem| {
            if self.0.clock.until(until).is_zero() {
                return Err(Enough);
            }
            let decision = policy.suppose(problem).map_err(|error| {
                tracing::warn!(%error, "the allocation policy could not be asked what would help");
                Enough
            })?;
            // A refusal is an answer: that would not help.
            Ok(decision.answer.ok().map(|allocated| allocated.proposal.replicas))
        });
        Ok(explanation)
    }

    /// Which device a request of a sequence, or of none, would go to first, by a strategy. Without a model, by the first that is loaded.
    pub fn schedule(&self, strategy: &Strategy, model: Option<&str>, sequence_key: u32) -> Result<schedule::Answer, Error> {
        let policies = self.0.pipeline.plugins.routing_names();
        if let Strategy::Policy(name) = strategy {
            let words = [Strategy::Load, Strategy::RoundRobin].map(|strategy| strategy.word().to_owned());
            routing_choice::known("strategy", name, &[words.as_slice(), policies.as_slice()].concat())?;
        }
        let first = || self.models().first().map(|model| model.id.name.to_string());
        let name = model.map(str::to_owned).or_else(first).ok_or_else(|| Error::from(Fault::UnknownModel { name: String::new() }))?;
        let chosen = self.model(&name, None)?;
        let (hops, _) = self.0.pipeline.route(&chosen, Some(strategy.policy()), Bytes::ZERO, sequence_key)?;
        let device = hops.first().map(|hop| hop.seat.offer().device.to_string()).unwrap_or_default();
        Ok(schedule::Answer { device, address: String::new(), strategy: strategy.word().to_owned(), model: Some(name) })
    }

    /// What converts shards.
    pub fn conversions(&self) -> &Conversions {
        &self.0.conversions
    }

    /// The host's plugins.
    pub fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    /// The model's ranges, cut at these blocks and written as files to a folder.
    pub async fn split(&self, name: &str, cuts: Vec<u32>, folder: std::path::PathBuf) -> Result<Vec<String>, Error> {
        let model = self.model(name, None)?;
        blocking(move || model.write_shards(&cuts, &folder)).await
    }

    /// Takes no new requests, waits for those that run, and ends everything that was started.
    pub async fn drain(&self) {
        let inner = &self.0;
        inner.draining.store(true, Ordering::Release);
        let limit = Duration::from_millis(inner.config.drain_ms_max);
        if tokio::time::timeout(limit, inner.pipeline.idle()).await.is_err() {
            tracing::warn!(drain_ms_max = inner.config.drain_ms_max, "requests were still running when the time for draining was over");
        }
        inner.closing.cancel();
        inner.conversions.close().await;
        drop(inner.events.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Wakes the task that waits for another policy, so that it finds the loop gone.
        inner.shelf.allocation_swapped().notify_one();
        let mut tasks = inner.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
        let recorder = inner.recorder.clone();
        // Only a panic of the thread makes this fail, and that has been reported.
        let _ = tokio::task::spawn_blocking(move || recorder.finish()).await;
    }
}

/// Has every model placed again when another allocation policy serves. Ends with the control loop.
async fn replan(shelf: Shelf, events: mpsc::WeakSender<Event>) {
    loop {
        shelf.allocation_swapped().notified().await;
        let Some(events) = events.upgrade() else { return };
        if events.send(Event::ReplanAsked).await.is_err() {
            return;
        }
    }
}

/// What a central is put together from.
struct Parts<'a> {
    config: Arc<Config>,
    clock: Clock,
    store: Store,
    metrics: Arc<Metrics>,
    traces: Traces,
    shelf: Shelf,
    recorder: Recorder,
    measuring: Measuring,
    skipped: Vec<admin::Skipped>,
    last: Plan,
    links: Links,
    devices: &'a [Started],
    remotes: Remotes,
    asks: mpsc::Sender<Asked>,
    run: u64,
    serving: Arc<Served>,
}

/// The plan that was in force when the host stopped, as far as its models are still there.
fn last_plan(store: &Store, models: &[Arc<Model>]) -> Result<Plan, Error> {
    let Some(record) = store.plans(1)?.pop() else { return Ok(Plan::default()) };
    let number = PlanNumber(record.plan.number);
    let mut plan = Plan::try_from(record.plan).unwrap_or_else(|error| {
        tracing::warn!(plan = number.0, %error, "the plan of before cannot be read; everything is placed anew");
        Plan { number, ..Plan::default() }
    });
    plan.models.retain(|id, _| models.iter().any(|model| model.id == *id));
    Ok(plan)
}

/// Loads models side by side. One that cannot be loaded is named and skipped; it does not keep the others from serving. Each is timed
/// when all are loaded, one after another, so that none is disturbed by the others.
async fn load_models(found: Vec<Found>, engines: Arc<Engines>, config: &Config) -> Result<Vec<Arc<Model>>, Error> {
    let mut loading = JoinSet::new();
    for entry in found {
        loading.spawn_blocking(move || {
            let id: ModelId = entry.id.clone();
            Model::load(entry.id, &entry.file, entry.manifest).inspect_err(|error| tracing::error!(model = %id, %error, "the model could not be loaded"))
        });
    }
    let mut models: Vec<Model> = loading.join_all().await.into_iter().flatten().collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    let budget = Millis(config.predictions.model_timing_ms_max as f64);
    if models.is_empty() || budget == Millis::ZERO {
        return Ok(models.into_iter().map(Arc::new).collect());
    }
    blocking(move || {
        let timer = BlockTimer::new(engines.calibrating()?, budget)?;
        Ok(models.into_iter().map(|model| Arc::new(model.timed(&timer))).collect())
    })
    .await
}

fn cluster_settings(config: &Config) -> ClusterSettings {
    let leases = &config.leases;
    let flaps = FlapSettings {
        flaps_max: leases.flaps_max,
        window: Millis(leases.flap_window_ms as f64),
        damp: Millis(leases.damp_ms as f64),
        damp_max: Millis(leases.damp_ms_max as f64),
    };
    let (lease, tick) = (Millis(leases.lost_after_ms as f64), Millis(leases.heartbeat_ms as f64));
    let (refining, reviews) = (config.predictions.refining, ReviewSettings::from(&config.review));
    let unconverted_max = config.conversion.unconverted_ranges_max;
    ClusterSettings { lease, tick, flaps, refining, reviews, unconverted_max, ..ClusterSettings::default() }
}

/// Runs what computes or waits for a disk on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?
}
