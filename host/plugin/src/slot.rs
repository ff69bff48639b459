//! The place where one plugin is plugged in: which generation serves, what it did wrong, and what to go back to. A swap is
//! one pointer; calls in flight finish on the generation that they began on.

mod spares;
mod tenant;
mod trials;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use host_core::{
    ids::Generation,
    policy::{Answer, PolicyFault, Refusal, StrikeKind},
    strikes::{StrikeOutcome, StrikePolicy},
    units::Millis,
};
use host_engine::Digest;

use crate::{
    clock::{CallTimer, Clock},
    error::{Error, Fault},
    events::{Bearer, EventSink, PluginEvent, SwapReason},
    keeper::{Keeper, Kept},
    limits::Limits,
    names::SlotName,
    package::Package,
    program::Caged,
    trial::{Entry, Trial, TrialEnd, TrialKind, TrialPolicy, TrialStatus, Turn},
    witness::Witness,
    world::{Warm, World},
};

pub(crate) use spares::Spare;
pub use spares::SparePolicy;
pub(crate) use tenant::{NoAnswer, Tenant, Version};

use spares::Spares;

/// What a policy decided, and which plugin it was.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision<T> {
    /// The decision, or the plugin's honest no.
    pub answer: Result<T, Refusal>,
    /// Who answered.
    pub by: Arc<Bearer>,
    /// How long the call took.
    pub took: Duration,
    /// Why the plugin in service did not answer; then the built-in one did.
    pub fallback: Option<PolicyFault>,
}

impl<T> Decision<T> {
    /// How the call ended, in a word for labels.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self { fallback: Some(_), .. } => "fell_back",
            Self { answer: Err(_), .. } => "refused",
            Self { .. } => "answered",
        }
    }
}

/// How often a plugin was called in its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallCounts {
    /// Calls, failed ones included.
    pub calls: u64,
    /// Honest refusals.
    pub refusals: u64,
    /// Calls that failed.
    pub faults: u64,
    /// Strikes by kind, in the order of `StrikeKind::ALL`.
    pub strikes: [u64; StrikeKind::ALL.len()],
    /// Time of all calls.
    pub busy: Duration,
    /// The most linear memory that any of its guests had, in bytes.
    pub memory_bytes: u64,
    /// Tensor bytes that went through guests' memory; an adapter should have none.
    pub copied_bytes: u64,
    /// Log lines that were dropped because there were too many.
    pub log_lines_dropped: u64,
    /// The most epochs (milliseconds of computing) that a call went on after its deadline before it was stopped.
    pub late_epochs_max: u32,
}

/// What is in a slot.
#[derive(Clone, PartialEq, Debug)]
pub struct SlotStatus {
    /// The slot.
    pub slot: SlotName,
    /// What serves; none in an empty slot.
    pub current: Option<Arc<Bearer>>,
    /// Whether that is a built-in plugin.
    pub builtin: bool,
    /// What the plugin says of itself.
    pub version: Option<String>,
    /// Generations that it can be rolled back to, the newest last.
    pub history: Vec<Arc<Bearer>>,
    /// Of what serves.
    pub counts: CallCounts,
    /// Requests that the built-in plugin answered because the one in service failed.
    pub fallbacks: u64,
    /// When a plugin that was rolled back is tried again, on this host's clock.
    pub retry_at: Option<Millis>,
    /// A plugin that is tried beside the one in service.
    pub trial: Option<TrialStatus>,
    /// How long the plugin that waits, or else the one that serves, had to wait when it was rolled back last. Grows each time.
    pub retry_wait: Option<Millis>,
}

/// What slots share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub clock: Clock,
    pub events: EventSink,
    pub keeper: Keeper,
    pub strikes: StrikePolicy,
    pub trials: TrialPolicy,
    pub history_max: usize,
    pub spares: SparePolicy,
    pub witness: Arc<Witness>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is whole between any two statements, so a panic elsewhere leaves it sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slot of one kind.
pub(crate) struct Slot<W: World> {
    pub name: SlotName,
    current: ArcSwapOption<Version<W>>,
    /// Answers when what serves fails. None for adapters of other kinds than the built-in ones, and for queueing.
    fallback: Option<Arc<Version<W>>>,
    trial: ArcSwapOption<Trial<W>>,
    book: Mutex<Book<W>>,
    fallbacks: AtomicU64,
    around: Surroundings,
}

struct Book<W: World> {
    last: Generation,
    history: VecDeque<(Arc<Bearer>, Arc<Tenant<W>>)>,
    retry: Option<(Millis, Arc<Tenant<W>>)>,
    spares: Spares<W>,
}

impl<W: World> Slot<W> {
    /// With a built-in plugin in it, or empty, and looked after by the keeper. `fallback` is for empty slots whose kind has a built-in
    /// plugin elsewhere.
    pub(crate) fn new(name: SlotName, builtin: Option<Arc<Tenant<W>>>, fallback: Option<Arc<Tenant<W>>>, around: Surroundings) -> Arc<Self> {
        let version = |generation: u64, tenant: Arc<Tenant<W>>| Version::new(&name, Generation(generation), tenant, Vec::new());
        // A built-in in service is its own fallback, with other instances; as such it answers as generation 0.
        let fallback = builtin.clone().or(fallback).map(|tenant| version(0, tenant));
        let current = builtin.map(|tenant| version(1, tenant));
        let book = Book { last: Generation(u64::from(current.is_some())), history: VecDeque::new(), retry: None, spares: Spares::default() };
        let slot = Self {
            current: ArcSwapOption::new(current),
            fallback,
            trial: ArcSwapOption::empty(),
            book: Mutex::new(book),
            fallbacks: AtomicU64::new(0),
            name,
            around,
        };
        let slot = Arc::new(slot);
        let kept: Arc<dyn Kept> = Arc::clone(&slot) as Arc<dyn Kept>;
        slot.around.keeper.keep(Arc::downgrade(&kept));
        slot
    }

    /// What serves now.
    pub(crate) fn current(&self) -> Option<Arc<Version<W>>> {
        self.current.load_full()
    }

    /// Whether the built-in plugin serves and nothing is on trial beside it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.current.load().as_ref().is_some_and(|version| version.tenant.builtin) && self.trial.load().is_none()
    }

    pub(crate) fn around(&self) -> &Surroundings {
        &self.around
    }

    /// What a plugin that serves here, is on trial, or answers in its place, was configured with.
    pub(crate) fn config_of(&self, bearer: &Bearer) -> Option<String> {
        let on_trial = self.trial.load_full().map(|trial| Arc::clone(&trial.beside));
        let mut known = self.current().into_iter().chain(on_trial).chain(self.fallback.clone());
        known.find(|version| version.bearer.generation == bearer.generation).map(|version| version.tenant.program.config.clone())
    }

    /// Asks what serves, and the built-in one if that fails. Where a trial is under way, the plugin beside it is asked the
    /// same; `cost` says in milliseconds what an answer costs, where that can be computed.
    pub(crate) fn decide<T: PartialEq>(
        &self,
        function: &'static str,
        mut call: impl FnMut(&mut Warm<W>) -> Answer<T>,
        cost: impl Fn(&T) -> Option<f64>,
    ) -> Result<Decision<T>, Error> {
        let version = self.current().ok_or_else(|| Fault::Unbound { slot: self.name.clone() })?;
        let trial = self.trial.load();
        let Some(trial) = trial.as_ref() else { return self.answer(&version, function, &mut call) };
        match trial.turn() {
            Turn::None => self.answer(&version, function, &mut call),
            Turn::Decides => match self.attempt(&trial.beside, function, &mut call) {
                Ok((answer, took)) => {
                    if let Ok((other, _)) = self.attempt(&version, function, &mut call) {
                        self.compare(trial, (&answer, &other), cost);
                    }
                    Ok(Decision { answer, by: Arc::clone(&trial.beside.bearer), took, fallback: None })
                }
                Err(no_answer) => {
                    let fault = match no_answer {
                        NoAnswer::Full(fault) => fault,
                        NoAnswer::Failed(fault) => {
                            self.strike(&trial.beside, function, &fault);
                            fault
                        }
                    };
                    Ok(Decision { fallback: Some(fault), ..self.answer(&version, function, &mut call)? })
                }
            },
            Turn::Watches => {
                let decision = self.answer(&version, function, &mut call)?;
                if decision.fallback.is_some() {
                    return Ok(decision);
                }
                match (self.attempt(&trial.beside, function, &mut call), trial.kind) {
                    (Ok((before, _)), TrialKind::Probation) => self.compare(trial, (&decision.answer, &before), cost),
                    (Ok((shadow, _)), _) => self.compare(trial, (&shadow, &decision.answer), cost),
                    // The one before is not on trial.
                    (Err(_), TrialKind::Probation) | (Err(NoAnswer::Full(_)), _) => {}
                    (Err(NoAnswer::Failed(fault)), _) => self.strike(&trial.beside, function, &fault),
                }
                Ok(decision)
            }
        }
    }

    fn answer<T>(&self, version: &Version<W>, function: &'static str, call: &mut impl FnMut(&mut Warm<W>) -> Answer<T>) -> Result<Decision<T>, Error> {
        let fault = match self.attempt(version, function, call) {
            Ok((answer, took)) => return Ok(Decision { answer, by: Arc::clone(&version.bearer), took, fallback: None }),
            Err(NoAnswer::Full(fault)) => fault,
            Err(NoAnswer::Failed(fault)) => {
                self.strike(version, function, &fault);
                fault
            }
        };
        let Some(fallback) = self.fallback.as_ref().filter(|_| !version.tenant.program.fails_closed()) else {
            return Err(self.in_service(version, function, fault));
        };
        match self.attempt(fallback, function, call) {
            Ok((answer, took)) => {
                self.fallbacks.fetch_add(1, Ordering::Relaxed);
                self.around.events.send(PluginEvent::FellBack { slot: self.name.clone(), function, fault: fault.clone() });
                Ok(Decision { answer, by: Arc::clone(&fallback.bearer), took, fallback: Some(fault) })
            }
            Err(NoAnswer::Full(second) | NoAnswer::Failed(second)) => {
                self.strike(fallback, function, &second);
                Err(self.in_service(fallback, function, second))
            }
        }
    }

    pub(crate) fn in_service(&self, version: &Version<W>, function: &'static str, fault: PolicyFault) -> Error {
        Fault::InService { slot: self.name.clone(), plugin: version.bearer.plugin.to_string(), function, fault }.into()
    }

    fn attempt<T>(
        &self,
        version: &Version<W>,
        function: &'static str,
        call: &mut impl FnMut(&mut Warm<W>) -> Answer<T>,
    ) -> Result<(Result<T, Refusal>, Duration), NoAnswer> {
        let mut warm = version.take()?;
        let clock = Clock::start();
        let timer = version.tenant.budget.as_ref().map(|_| CallTimer::start());
        let answer = call(&mut warm);
        let took = clock.elapsed();
        let computed = timer.map(CallTimer::computed);
        self.note(version, &mut warm, &answer, took);
        version.give_back(warm, &self.around.keeper);
        if let Some(computed) = computed.filter(|&computed| answer.is_ok() && version.tenant.is_over_budget(computed)) {
            let message = format!("{function} takes far longer than it rehearsed, now {} µs", computed.as_micros());
            self.strike(version, function, &PolicyFault { kind: StrikeKind::OverBudget, message });
        }
        answer.map(|answer| (answer, took)).map_err(NoAnswer::Failed)
    }

    /// Counts a call and passes on what the guest logged and printed.
    pub(crate) fn note<T>(&self, version: &Version<W>, warm: &mut Warm<W>, answer: &Answer<T>, took: Duration) {
        let guest = warm.guest_mut();
        let mut counts = lock(&version.tenant.counts);
        counts.calls += 1;
        counts.busy += took;
        counts.refusals += u64::from(matches!(answer, Ok(Err(_))));
        counts.faults += u64::from(answer.is_err());
        counts.memory_bytes = counts.memory_bytes.max(guest.memory.bytes as u64);
        counts.late_epochs_max = counts.late_epochs_max.max(guest.call.late().unwrap_or_default());
        let (lines, dropped) = guest.log.take(|lines| lock(&version.tenant.log_volume).take(self.around.clock.now(), lines));
        counts.log_lines_dropped += dropped;
        drop(counts);
        for (level, line) in lines {
            self.around.events.send(PluginEvent::Log { slot: self.name.clone(), plugin: Arc::clone(&version.bearer.plugin), level, line });
        }
    }

    /// Counts a failure, and rolls back after too many. A built-in stays: there is nothing better to go back to.
    pub(crate) fn strike(&self, version: &Version<W>, function: &'static str, fault: &PolicyFault) {
        let tenant = &version.tenant;
        let outcome = lock(&tenant.strikes).record(self.around.clock.now(), fault.kind);
        if let Some(index) = StrikeKind::ALL.iter().position(|kind| *kind == fault.kind) {
            lock(&tenant.counts).strikes[index] += 1;
        }
        let left = match outcome {
            _ if tenant.builtin => None,
            StrikeOutcome::Counted { left } => Some(left),
            StrikeOutcome::RollBack => Some(0),
        };
        let bearer = Bearer::clone(&version.bearer);
        self.around.events.send(PluginEvent::Strike { bearer, function, fault: fault.clone(), left });
        if left == Some(0) {
            self.roll_back_struck(version);
        }
    }

    fn roll_back_struck(&self, version: &Version<W>) {
        let clock = Clock::start();
        let mut book = lock(&self.book);
        let on_trial = self.trial.load_full().filter(|trial| trial.kind != TrialKind::Probation && trial.beside.bearer.generation == version.bearer.generation);
        if let Some(trial) = on_trial {
            return self.end_trial(&mut book, Some(&trial), TrialEnd::Strikes);
        }
        let serves = self.current().is_some_and(|current| current.bearer.generation == version.bearer.generation);
        if !serves {
            return;
        }
        let struck = &version.tenant;
        book.retry = lock(&struck.strikes).retry_at().map(|at| (at, Arc::clone(struck)));
        // What was rolled back for strikes itself is no place to go back to.
        book.history.retain(|(_, tenant)| tenant.builtin || lock(&tenant.strikes).retry_at().is_none());
        let before = book.history.pop_back().map(|(_, tenant)| tenant);
        let Some(tenant) = before.or_else(|| self.fallback.as_ref().map(|fallback| Arc::clone(&fallback.tenant))) else {
            // Nothing else is there: for adapters a plugin that fails now and then is better than none.
            book.retry = None;
            return;
        };
        self.swap(&mut book, tenant, Vec::new(), SwapReason::Strikes, clock);
    }

    /// Puts a tenant in service, with the instances that were kept of it beside these. The one before is remembered, unless its
    /// failures brought it down.
    fn swap(&self, book: &mut Book<W>, tenant: Arc<Tenant<W>>, mut idle: Vec<Warm<W>>, reason: SwapReason, clock: Clock) -> Arc<Bearer> {
        book.last = book.last.next();
        self.end_trial(book, None, TrialEnd::Stopped);
        if let Some(spare) = book.spares.take(|program| std::ptr::eq(program, &*tenant.program)) {
            idle.extend(spare.idle);
        }
        let version = Version::new(&self.name, book.last, tenant, idle);
        let bearer = Arc::clone(&version.bearer);
        if let Some(before) = self.current.swap(Some(version)) {
            let probation = reason == SwapReason::Installed && W::DECIDES && self.around.trials.probation_questions > 0;
            if probation {
                self.trial.store(Some(Arc::new(Trial::new(TrialKind::Probation, Arc::clone(&before)))));
            } else {
                self.set_aside(book, &before, reason.remembers());
            }
            if reason.remembers() {
                book.history.push_back((Arc::clone(&before.bearer), Arc::clone(&before.tenant)));
            }
            while book.history.len() > self.around.history_max {
                book.history.pop_front();
            }
            self.around.keeper.drop_later(before);
        }
        self.around.events.send(PluginEvent::Swapped { now: Bearer::clone(&bearer), reason, took: clock.elapsed() });
        bearer
    }

    /// Ends the service of a version. What was sound and has passed a rehearsal is kept for a while, with its instances.
    fn set_aside(&self, book: &mut Book<W>, version: &Version<W>, is_sound: bool) {
        let (idle, tenant) = (version.retire(), &version.tenant);
        let Some(pass) = tenant.pass.filter(|_| is_sound && W::DECIDES) else {
            self.around.keeper.drop_later(idle);
            return;
        };
        let spare = Spare { program: Arc::clone(&tenant.program), pass, idle, since: self.around.clock.now() };
        self.around.keeper.drop_later(book.spares.add(spare, &self.around.spares));
    }

    /// What is kept of a plugin that served here until a short while ago with the same limits and configuration. It is handed out.
    pub(crate) fn spare(&self, package: &Package, limits: &Limits, config: &str) -> Option<Spare<W>> {
        lock(&self.book).spares.take(|program| program.is_of(package, limits, config))
    }

    /// Takes every trace of a plugin out of the slot. Where it serves, what the slot had at first serves again: the built-in
    /// plugin, or nothing. Says what serves now, if that changed.
    pub(crate) fn forget(&self, digest: Digest, reason: SwapReason) -> Option<Option<Arc<Bearer>>> {
        let clock = Clock::start();
        let mut book = lock(&self.book);
        self.around.keeper.drop_later(book.spares.forget(digest));
        book.history.retain(|(bearer, _)| bearer.digest != digest);
        if book.retry.as_ref().is_some_and(|(_, tenant)| tenant.program.package.digest == digest) {
            book.retry = None;
        }
        let on_trial = self.trial.load_full().is_some_and(|trial| trial.beside.bearer.digest == digest);
        if on_trial {
            self.end_trial(&mut book, None, TrialEnd::Stopped);
        }
        let serves = self.current().is_some_and(|current| current.bearer.digest == digest && !current.tenant.builtin);
        if !serves {
            return None;
        }
        let first = self.fallback.as_ref().map(|fallback| Arc::clone(&fallback.tenant));
        let now = first.map(|tenant| self.swap(&mut book, tenant, Vec::new(), reason, clock));
        if now.is_none() {
            self.end_trial(&mut book, None, TrialEnd::Stopped);
            book.last = book.last.next();
            if let Some(before) = self.current.swap(None) {
                self.around.keeper.drop_later(before.retire());
                self.around.events.send(PluginEvent::Emptied { slot: self.name.clone(), generation: book.last, reason });
                self.around.keeper.drop_later(before);
            }
        }
        book.history.retain(|(bearer, _)| bearer.digest != digest);
        // On probation it was beside another of its name, or another one beside it.
        self.around.keeper.drop_later(book.spares.forget(digest));
        Some(now)
    }

    /// Lets a prepared plugin into the slot.
    pub(crate) fn enter(&self, tenant: Arc<Tenant<W>>, idle: Vec<Warm<W>>, entry: Entry) -> Result<Arc<Bearer>, Error> {
        let reason = match entry {
            Entry::Canary { share } => return self.try_beside(TrialKind::Canary { share }, tenant, idle),
            Entry::Shadow => return self.try_beside(TrialKind::Shadow, tenant, idle),
            Entry::Probation => SwapReason::Installed,
            Entry::Settled => SwapReason::Chosen,
        };
        let clock = Clock::start();
        let mut book = lock(&self.book);
        book.retry = None;
        Ok(self.swap(&mut book, tenant, idle, reason, clock))
    }

    /// Puts a plugin that was in service before the host was started again back under its old number, if that is higher than
    /// those which the slot has held since.
    pub(crate) fn restore(&self, tenant: Arc<Tenant<W>>, idle: Vec<Warm<W>>, generation: Generation) -> Arc<Bearer> {
        let clock = Clock::start();
        let mut book = lock(&self.book);
        // A swap counts up by one; the number never goes down.
        book.last = Generation(generation.0.saturating_sub(1).max(book.last.0));
        self.swap(&mut book, tenant, idle, SwapReason::Restored, clock)
    }

    /// Counts on from a number that the slot had before the host was started again.
    pub(crate) fn count_from(&self, generation: Generation) {
        let mut book = lock(&self.book);
        book.last = Generation(generation.0.max(book.last.0));
    }

    /// Goes back to a generation that is remembered, or to the one before.
    pub(crate) fn roll_back(&self, to: Option<Generation>) -> Result<Arc<Bearer>, Error> {
        let clock = Clock::start();
        let (generation, tenant, is_warm) = {
            let book = lock(&self.book);
            let found = match to {
                None => book.history.back(),
                Some(generation) => book.history.iter().find(|(bearer, _)| bearer.generation == generation),
            };
            let (bearer, tenant) = found.ok_or_else(|| self.unknown(&book, to))?;
            (bearer.generation, Arc::clone(tenant), book.spares.has(&tenant.program))
        };
        // Starting takes milliseconds, and nobody waits for the book so long.
        let idle = if is_warm { Vec::new() } else { vec![tenant.program.start()?] };
        let mut book = lock(&self.book);
        let position = book.history.iter().position(|(bearer, _)| bearer.generation == generation);
        if position.and_then(|position| book.history.remove(position)).is_none() {
            return Err(self.unknown(&book, Some(generation)));
        }
        book.retry = None;
        lock(&tenant.strikes).retried();
        Ok(self.swap(&mut book, tenant, idle, SwapReason::RolledBack, clock))
    }

    fn unknown(&self, book: &Book<W>, generation: Option<Generation>) -> Error {
        let known = book.history.iter().map(|(bearer, _)| bearer.generation).collect();
        Fault::UnknownGeneration { slot: self.name.clone(), generation: generation.unwrap_or_default(), known }.into()
    }

    pub(crate) fn status(&self) -> SlotStatus {
        let book = lock(&self.book);
        let current = self.current();
        let tenant = current.as_ref().map(|version| &version.tenant);
        SlotStatus {
            slot: self.name.clone(),
            builtin: tenant.is_some_and(|tenant| tenant.builtin),
            version: tenant.and_then(|tenant| tenant.program.package.manifest.version.clone()),
            history: book.history.iter().map(|(bearer, _)| Arc::clone(bearer)).collect(),
            counts: tenant.map(|tenant| tenant.counts()).unwrap_or_default(),
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
            retry_at: book.retry.as_ref().map(|(at, _)| *at),
            trial: self.trial.load().as_ref().map(|trial| trial.status()),
            retry_wait: book.retry.as_ref().map(|(_, tenant)| tenant).or(tenant).and_then(|tenant| lock(&tenant.strikes).retry_wait()),
            current: current.map(|version| Arc::clone(&version.bearer)),
        }
    }

    /// Digests of all that the slot remembers.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let book = lock(&self.book);
        let remembered = book.history.iter().map(|(bearer, _)| bearer.digest);
        remembered.chain(self.current().map(|version| version.bearer.digest)).collect()
    }
}

impl<W: World> Kept for Slot<W> {
    /// Drops what was kept for long enough, and tries a rolled back plugin again once its time has come; if it does not even
    /// start, later again.
    fn look_after(&self) {
        let now = self.around.clock.now();
        let (expired, due) = {
            let mut book = lock(&self.book);
            let due = book.retry.as_ref().filter(|(at, _)| *at <= now).map(|(_, tenant)| Arc::clone(tenant));
            (book.spares.expire(now, &self.around.spares), due)
        };
        drop(expired);
        if let Some(tenant) = due {
            self.retry(&tenant);
        }
    }
}

impl<W: World> Slot<W> {
    /// Tries a plugin again. It starts while nobody waits for the book; what happened to the slot meanwhile has the last word.
    fn retry(&self, tenant: &Arc<Tenant<W>>) {
        let clock = Clock::start();
        let started = tenant.program.start();
        let mut book = lock(&self.book);
        if book.retry.take_if(|(_, waits)| Arc::ptr_eq(waits, tenant)).is_none() {
            return;
        }
        match started {
            Ok(warm) => {
                lock(&tenant.strikes).retried();
                self.swap(&mut book, Arc::clone(tenant), vec![warm], SwapReason::Retried, clock);
            }
            Err(error) => {
                let plugin = Arc::clone(&tenant.program.package.name);
                self.around.events.send(PluginEvent::RetryFailed { slot: self.name.clone(), plugin, reason: error.to_string() });
                book.retry = Some((self.around.clock.now() + self.around.strikes.retry_max, Arc::clone(tenant)));
            }
        }
    }
}
