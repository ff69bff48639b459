//! A device inside this process: for each of its offers one compute thread, which runs stages one after another, and one
//! loader, so that loading never delays requests in flight. Activations go from compute thread to compute thread; the last
//! one answers the pipeline.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use host_core::{
    cost::run_times::RunTimes,
    ids::OfferId,
    profile::{Debt, Pace},
    shard::ShardId,
    units::Millis,
};
use host_engine::Shard;
use host_plugin::{AdapterInstance, AdapterSlot};
use tokio::sync::oneshot;

use crate::{
    clock::{self, Clock},
    error::Error,
    metrics::Metrics,
    passage::Job,
    stage_fault::StageFault,
    wiring::Wiring,
};

/// What a compute thread is asked to do.
#[derive(Debug)]
enum Command {
    Run(Job),
    Seat { shard: ShardId, seat: Box<Seat>, done: oneshot::Sender<Result<(), Error>> },
    Clear { shard: ShardId, done: oneshot::Sender<()> },
}

/// What a loader is asked to do.
#[derive(Debug)]
enum Loading {
    Load { shard: Arc<Shard>, wiring: Wiring, done: oneshot::Sender<Result<(), Error>> },
    Unload { shard: ShardId, done: oneshot::Sender<()> },
}

/// A shard in use.
#[derive(Debug)]
struct Seat {
    instance: AdapterInstance,
    wiring: Wiring,
}

/// Reaches one compute thread.
#[derive(Clone, Debug)]
pub struct ComputeHandle {
    /// The offer that it computes for.
    pub offer: OfferId,
    depth_max: usize,
    commands: SyncSender<Command>,
}

impl ComputeHandle {
    /// Hands a job over without ever waiting; a full queue answers the job with Busy.
    pub fn submit(&self, job: Job) {
        let (job, error) = match self.commands.try_send(Command::Run(job)) {
            Ok(()) => return,
            Err(TrySendError::Full(Command::Run(job))) => (job, StageFault::QueueFull { offer: self.offer.clone(), depth_max: self.depth_max }),
            Err(TrySendError::Disconnected(Command::Run(job))) => (job, StageFault::DeviceGone { offer: self.offer.clone() }),
            // Only a job was sent, so only a job can come back.
            Err(_) => return,
        };
        job.fail(error.into());
    }
}

/// What a compute thread is made of.
#[derive(Debug)]
pub struct ComputeSettings {
    /// The offer that it computes for.
    pub offer: OfferId,
    /// The adapter that drives it, and which of its offers this is.
    pub adapter: Arc<AdapterSlot>,
    /// Index of the offer among those that the adapter's `probe` named.
    pub adapter_offer: u32,
    /// How many times slower than this machine the device pretends to be.
    pub pace: Pace,
    /// What the pace goes by.
    pub clock: Clock,
    /// Jobs that may wait at once.
    pub queue_depth_max: usize,
    /// Where stage times are counted.
    pub metrics: Arc<Metrics>,
}

/// One offer of a device in this process.
#[derive(Debug)]
pub struct Compute {
    handle: ComputeHandle,
    loading: SyncSender<Loading>,
    meter: Arc<Meter>,
}

/// Counts what a compute thread does, for pressures and for refining predictions.
#[derive(Debug, Default)]
struct Meter {
    busy_ns: AtomicU64,
    runs: std::sync::Mutex<HashMap<ShardId, RunTimes>>,
}

/// Loads that may wait at once; further ones are waited for.
const LOADS_MAX: usize = 256;

impl Compute {
    /// Starts the two threads of an offer.
    pub fn start(settings: ComputeSettings) -> Result<Self, Error> {
        let (commands, received) = sync_channel(settings.queue_depth_max);
        let (loading, to_load) = sync_channel(LOADS_MAX);
        let handle = ComputeHandle { offer: settings.offer.clone(), depth_max: settings.queue_depth_max, commands };
        let meter = Arc::new(Meter::default());
        let settings = Arc::new(settings);
        let spawn = |name: String, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name).spawn(body).map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))
        };
        // Both threads end by themselves once nobody can ask them any more.
        spawn(format!("run {}", settings.offer), {
            let (settings, meter) = (settings.clone(), meter.clone());
            Box::new(move || compute(&settings, &meter, &received))
        })?;
        spawn(format!("load {}", settings.offer), {
            let commands = handle.commands.clone();
            Box::new(move || load(&settings, &commands, &to_load))
        })?;
        Ok(Self { handle, loading, meter })
    }

    /// Reaches the compute thread.
    pub fn handle(&self) -> &ComputeHandle {
        &self.handle
    }

    /// Makes a shard ready to run.
    pub async fn load(&self, shard: Arc<Shard>, wiring: Wiring) -> Result<(), Error> {
        let (done, loaded) = oneshot::channel();
        self.ask(Loading::Load { shard, wiring, done })?;
        loaded.await.map_err(|_| Error::from(StageFault::DeviceGone { offer: self.handle.offer.clone() }))?
    }

    /// Drops a shard once the jobs that came before are done.
    pub async fn unload(&self, shard: ShardId) -> Result<(), Error> {
        let (done, unloaded) = oneshot::channel();
        self.ask(Loading::Unload { shard, done })?;
        unloaded.await.map_err(|_| StageFault::DeviceGone { offer: self.handle.offer.clone() }.into())
    }

    /// Time that it computed since it started.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.meter.busy_ns.load(Ordering::Relaxed))
    }

    /// What a run of each shard took since the last call, typically, and how many there were.
    pub fn take_runs(&self) -> Vec<(ShardId, Millis, u32)> {
        let runs = std::mem::take(&mut *self.meter.lock());
        runs.into_iter().filter_map(|(shard, times)| Some((shard, times.typical()?, times.runs()))).collect()
    }

    fn ask(&self, loading: Loading) -> Result<(), Error> {
        self.loading.try_send(loading).map_err(|_| StageFault::QueueFull { offer: self.handle.offer.clone(), depth_max: LOADS_MAX }.into())
    }
}

impl Meter {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ShardId, RunTimes>> {
        // Times are whole between any two statements.
        self.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn busy(&self, took: Duration) {
        self.busy_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn ran(&self, shard: &ShardId, run: Millis) {
        let mut runs = self.lock();
        match runs.get_mut(shard) {
            Some(times) => times.note(run),
            None => runs.entry(shard.clone()).or_default().note(run),
        }
    }
}

fn compute(settings: &ComputeSettings, meter: &Meter, commands: &Receiver<Command>) {
    let mut seats: HashMap<ShardId, Seat> = HashMap::new();
    let mut debt = Debt::default();
    while let Ok(command) = commands.recv() {
        match command {
            Command::Run(job) => run(settings, meter, &mut seats, &mut debt, job),
            Command::Seat { shard, seat, done } => {
                seats.insert(shard, *seat);
                let _ = done.send(Ok(()));
            }
            Command::Clear { shard, done } => {
                seats.remove(&shard);
                let _ = done.send(());
            }
        }
    }
}

fn run(settings: &ComputeSettings, meter: &Meter, seats: &mut HashMap<ShardId, Seat>, debt: &mut Debt, mut job: Job) {
    if job.is_given_up() {
        return;
    }
    let passage = job.passage.clone();
    let Some(hop) = passage.hops.get(job.position) else { return };
    let Some(seat) = seats.get_mut(&hop.shard) else {
        return job.fail(StageFault::ShardGone { shard: hop.shard.clone(), offer: settings.offer.clone() }.into());
    };
    let span = passage.trace.span("stage");
    let started = clock::now();
    let ran = seat.wiring.gather(&passage.inputs, &mut job.progress).and_then(|inputs| seat.instance.run(&passage.call, inputs).map_err(Error::from));
    let ran = ran.and_then(|outputs| seat.wiring.scatter(outputs, &mut job.progress));
    let computed = millis(started.elapsed());
    let slowdown = settings.pace.at(settings.clock.millis());
    slow_down(debt, computed, slowdown);
    let took = started.elapsed();
    span.stage(&hop.shard, settings.offer.device.as_str(), seat.instance.bearer().map(AsRef::as_ref), &ran);
    meter.busy(took);
    if ran.is_ok() {
        // What a simulated device takes is not what one run waited: short waits are saved up, long ones made good later.
        meter.ran(&hop.shard, Millis(computed.0 * slowdown));
    }
    settings.metrics.stage(&hop.shard.model, hop.position, took);
    match ran {
        Ok(()) => job.stage_done(),
        Err(error) => job.fail(error),
    }
}

/// Waits for as long as the device that is simulated would have gone on computing.
fn slow_down(debt: &mut Debt, computed: Millis, slowdown: f64) {
    if let Some(wait) = debt.owe(computed, slowdown) {
        let asleep = clock::now();
        std::thread::sleep(Duration::from_secs_f64(wait.0 / 1e3));
        debt.pay(millis(asleep.elapsed()));
    }
}

fn millis(time: Duration) -> Millis {
    Millis(time.as_secs_f64() * 1e3)
}

fn load(settings: &ComputeSettings, commands: &SyncSender<Command>, to_load: &Receiver<Loading>) {
    while let Ok(loading) = to_load.recv() {
        let sent = match loading {
            Loading::Load { shard, wiring, done } => match settings.adapter.open(shard.clone(), settings.adapter_offer) {
                Ok(instance) => commands.send(Command::Seat { shard: shard.id.clone(), seat: Box::new(Seat { instance, wiring }), done }),
                Err(error) => {
                    let _ = done.send(Err(error.into()));
                    Ok(())
                }
            },
            Loading::Unload { shard, done } => commands.send(Command::Clear { shard, done }),
        };
        if sent.is_err() {
            return;
        }
    }
}
