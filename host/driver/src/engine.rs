//! The parent's side of one engine: its process, when that may be started, and the graphs that are loaded in it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use host_engine::{Engine, EngineInfo, Error, Fault, Graph, LoadOptions, Shard};

use crate::{
    clock::Moment,
    connection::{Connection, Failure, Loaded},
    events::{Death, DriverEvent, DriverState},
    graph::{Home, Model},
    message::Order,
    process::{self, End, Process},
    restarts::Restarts,
    settings::DriverSettings,
    system,
};

/// How often somebody looks whether the process before has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// An engine whose graphs live in a process of their own.
#[derive(Clone, Debug)]
pub struct DriverEngine(Arc<Driver>);

impl DriverEngine {
    /// Starts nothing yet.
    pub fn new(settings: DriverSettings) -> Self {
        let restarts = Restarts::new(settings.limits.restarts);
        let state = State { current: Weak::new(), thread: None, restarts, last: None, not_before: None, starts: 0, deaths: Default::default() };
        Self(Arc::new(Driver {
            info: Mutex::new(settings.info.clone()),
            settings: Arc::new(settings),
            state: Mutex::new(state),
            graphs: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }))
    }

    /// Opens the engine once, so that `info` says what it is or why it cannot be used, and lets the process end again.
    pub fn probe(&self) -> EngineInfo {
        // Why it cannot be opened is in what it says of itself then.
        let opened = self.0.process();
        drop(opened);
        self.info()
    }

    /// How its process is.
    pub fn state(&self) -> DriverState {
        let state = self.0.state();
        let current = state.current.upgrade().filter(|process| !process.0.is_dead());
        DriverState {
            pid: current.as_ref().map(|process| process.0.pid),
            memory_bytes: current.as_ref().map_or(0, |process| process.0.private_bytes()),
            starts: state.starts,
            deaths: state.deaths.clone(),
            calls: self.0.calls.load(Ordering::Relaxed),
            retries: self.0.retries.load(Ordering::Relaxed),
        }
    }
}

impl Engine for DriverEngine {
    fn info(&self) -> EngineInfo {
        self.0.info().clone()
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        let graph = Model::load(Arc::clone(&self.0), shard, options).map_err(|error| error.of(&shard.id))?;
        Ok(Box::new(graph))
    }
}

/// What all graphs of an engine share.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) settings: Arc<DriverSettings>,
    info: Mutex<EngineInfo>,
    state: Mutex<State>,
    graphs: AtomicU64,
    calls: AtomicU64,
    retries: AtomicU64,
}

/// The process now, and what became of those before.
#[derive(Debug)]
struct State {
    current: Weak<Process>,
    thread: Option<JoinHandle<End>>,
    restarts: Restarts,
    last: Option<Death>,
    not_before: Option<Moment>,
    starts: u64,
    deaths: std::collections::BTreeMap<&'static str, u64>,
}

impl State {
    /// Notes how the process before has ended. It has a while for that; the error is that it takes longer.
    fn settle(&mut self, end_wait: Duration) -> Result<(), Death> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let until = Moment::now().after(end_wait);
        while !thread.is_finished() {
            if until.left().is_zero() {
                self.thread = Some(thread);
                return Err(Death::NotStarted { reason: "the process before has not ended yet".to_owned() });
            }
            thread::sleep(LOOK_AGAIN);
        }
        let panicked = |_| End { lived: Duration::ZERO, death: Some(Death::NotStarted { reason: "its thread has panicked".to_owned() }) };
        let End { lived, death } = thread.join().unwrap_or_else(panicked);
        if let Some(death) = death {
            *self.deaths.entry(death.word()).or_default() += 1;
            self.not_before = Some(Moment::now().after(self.restarts.died(lived)));
            self.last = Some(death);
        }
        Ok(())
    }

    /// How long the next start has to wait, and for what.
    fn wait(&self) -> Option<(Death, Duration)> {
        let wait = self.not_before?.left();
        let death = self.last.clone().filter(|_| !wait.is_zero())?;
        Some((death, wait))
    }
}

impl Driver {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each statement leaves it whole, so a panic elsewhere leaves it sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn info(&self) -> MutexGuard<'_, EngineInfo> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The process that there is, or a new one. While a new one has to wait, the failure says so at once.
    pub(crate) fn process(&self) -> Result<Arc<Process>, Failure> {
        let mut state = self.state();
        if let Some(process) = state.current.upgrade().filter(|process| !process.0.is_dead()) {
            return Ok(process);
        }
        state.settle(self.end_wait()).map_err(Failure::Lost)?;
        if let Some((death, wait)) = state.wait() {
            return Err(Failure::NotNow { death, wait });
        }
        state.starts += 1;
        let (started, thread) = process::start(&self.settings);
        state.thread = thread;
        match started {
            Ok(started) => {
                *self.info() = started.info;
                let process = Arc::new(started.process);
                state.current = Arc::downgrade(&process);
                Ok(process)
            }
            Err(death) => {
                // It has ended, or never began; the wait before the next try is known after this.
                drop(state.settle(self.end_wait()));
                self.note_unusable(&death);
                let wait = state.wait().map_or(Duration::ZERO, |(_, wait)| wait);
                let next_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.settings.log.tell(DriverEvent::NotOpened { engine: self.settings.engine.clone(), death: death.clone(), next_ms });
                Err(Failure::Lost(death))
            }
        }
    }

    /// One that is killed is gone soon; one that the system cannot kill must not hold up whoever asks.
    fn end_wait(&self) -> Duration {
        Duration::from_millis(self.settings.limits.end_ms_max) + Duration::from_millis(500)
    }

    /// Until it opens, the engine says of itself why it cannot be used.
    fn note_unusable(&self, death: &Death) {
        let mut info = self.info();
        info.attributes.retain(|(name, _)| name != EngineInfo::UNUSABLE);
        info.attributes.push((EngineInfo::UNUSABLE.to_owned(), death.to_string()));
    }

    /// Has a shard loaded in the process that there is, or in a new one.
    pub(crate) fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<(Home, Connection, Loaded), Failure> {
        let process = self.process()?;
        let chunks: Vec<&[u8]> = std::iter::once(&shard.file).chain(shard.artefacts.iter().map(|artefact| &artefact.data)).map(|data| &data[..]).collect();
        let memory = system::fixed_memory(&chunks).map_err(|error| Failure::Unasked(error.to_string()))?;
        let graph = self.graphs.fetch_add(1, Ordering::Relaxed);
        let mut connection = Connection::open(Arc::clone(&process.0), graph, Some(&memory), &self.settings.limits)?;
        let loaded = connection.load(Order::of(shard, options))?;
        Ok((Home { process, graph }, connection, loaded))
    }

    /// Does something, and once more if the process dies over it and another one may be started soon.
    pub(crate) fn retried<T>(&self, doing: &'static str, mut once: impl FnMut() -> Result<T, Failure>) -> Result<T, Error> {
        let death = match once() {
            Ok(done) => return Ok(done),
            Err(Failure::Lost(death)) if !matches!(death, Death::Refused { .. } | Death::Version { .. }) => death,
            Err(failure) => return Err(self.error(failure, doing)),
        };
        let mut state = self.state();
        // A process that does not end keeps the next one from being started; that is what the second try then says.
        let settled = if state.current.upgrade().is_some_and(|process| !process.0.is_dead()) { Ok(()) } else { state.settle(self.end_wait()) };
        let wait = state.wait().map_or(Duration::ZERO, |(_, wait)| wait);
        drop(state);
        if settled.is_err() || wait > Duration::from_millis(self.settings.limits.retry_wait_ms_max) {
            return Err(self.error(Failure::NotNow { death, wait }, doing));
        }
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.settings.log.tell(DriverEvent::Retried { engine: self.settings.engine.clone(), doing, death });
        thread::sleep(wait);
        once().map_err(|failure| self.error(failure, doing))
    }

    fn error(&self, failure: Failure, doing: &'static str) -> Error {
        let engine = self.settings.engine.clone();
        match failure {
            Failure::Lost(death) => Fault::Driver { engine, reason: death.to_string() }.into(),
            Failure::NotNow { death, wait } => Fault::Driver { engine, reason: format!("{death}; it is started again in {} ms", wait.as_millis()) }.into(),
            Failure::Refused(refusal) => refusal.into_error(&engine, doing),
            Failure::Unasked(reason) => Fault::Engine { engine, doing, reason }.into(),
        }
    }

    /// Somebody needs the process no more. If that was the last one, it ends, at once or after a while.
    pub(crate) fn let_go(&self, process: Arc<Process>) {
        let linger = Duration::from_millis(self.settings.limits.linger_ms);
        if linger.is_zero() || Arc::strong_count(&process) > 1 {
            return;
        }
        // Without the thread it ends now.
        drop(thread::Builder::new().name("linger".to_owned()).spawn(move || {
            thread::sleep(linger);
            drop(process);
        }));
    }
}
