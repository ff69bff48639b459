//! Lets a bounded number of requests run at once; the others wait in a bounded line until their deadline. Who may wait and
//! behind whom is decided by the queueing slot, what leaves the line by `host_core::line`; this only wakes those whose turn
//! it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_core::{
    ids::ModelId,
    line::{Line, Place},
    policy::{Arrival, ClassState},
    units::Millis,
};
use host_plugin::QueueingSlot;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    error::Error,
    metrics::{Metrics, Waits},
    stage_fault::StageFault,
    telemetry::traces::Trace,
};

/// Ordinals of arrivals wrap here.
const ORDINAL_MASK: u32 = 0x7fff_ffff;

/// How many may run and wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AdmissionLimits {
    /// Requests that run at once.
    pub running_max: u32,
    /// Requests that wait at once.
    pub waiting_max: u32,
    /// Classes of priority, at least one.
    pub classes: u32,
}

/// Who wants to run.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// What it asks for.
    pub model: &'a ModelId,
    /// Below `AdmissionLimits::classes`; 0 is served first by policies that tell classes apart.
    pub class: u32,
    /// On the host's clock.
    pub deadline: Millis,
    /// What serving it is expected to take.
    pub expected: Millis,
    /// Where its spans belong.
    pub trace: &'a Trace,
}

/// The gate that every request passes.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    clock: Clock,
    policy: Arc<QueueingSlot>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: u32,
    arrivals: u32,
    classes: Vec<ClassState>,
    line: Line<Waiting>,
}

/// One in the line.
#[derive(Debug)]
struct Waiting {
    class: u32,
    wake: oneshot::Sender<()>,
    _counted: Waits,
}

/// The right to run; given back when dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Admission);

/// Leaves the line when its owner stops waiting.
struct Waiter<'a> {
    admission: &'a Admission,
    place: Place,
}

impl Admission {
    /// Nobody runs and nobody waits.
    pub fn new(limits: AdmissionLimits, clock: Clock, policy: Arc<QueueingSlot>, metrics: Arc<Metrics>) -> Self {
        let classes = vec![ClassState::default(); limits.classes.max(1) as usize];
        let state = State { running: 0, arrivals: 0, classes, line: Line::new(limits.waiting_max) };
        Self { limits, clock, policy, metrics, state: Mutex::new(state) }
    }

    /// Waits for a turn, at most until the caller's deadline. Dropping the future gives the place up.
    pub async fn enter(&self, caller: Caller<'_>) -> Result<Turn<'_>, Error> {
        let arrived = self.clock.millis();
        let rank = self.rank(&caller, arrived)?;
        let waiting = self.arrive(&caller, rank)?;
        let turn = match waiting {
            None => Ok(Turn(self)),
            Some((woken, place)) => {
                let waiter = Waiter { admission: self, place };
                match tokio::time::timeout(self.clock.until(caller.deadline), woken).await {
                    Ok(Ok(())) => {
                        std::mem::forget(waiter);
                        Ok(Turn(self))
                    }
                    _ => Err(StageFault::Late { doing: "waiting for its turn" }.into()),
                }
            }
        };
        self.metrics.queue_wait(caller.model, self.clock.millis() - arrived);
        turn
    }

    /// Requests that wait now.
    pub fn depth(&self) -> u32 {
        self.lock().line.depth()
    }

    /// Requests that run now.
    pub fn running(&self) -> u32 {
        self.lock().running
    }

    /// Asks the queueing slot about one arrival. The line may move meanwhile; how many may wait is held by the line itself.
    fn rank(&self, caller: &Caller<'_>, now: Millis) -> Result<f64, Error> {
        let arrival = self.lock().arrival(caller, now, self.limits.waiting_max);
        let asked = self.policy.bearer().map(|_| caller.trace.span("admit"));
        let decided = self.policy.admit(&arrival);
        if let Some(span) = asked {
            span.decided(&decided);
        }
        let decision = decided?;
        if decision.by.generation.0 > 0 || decision.fallback.is_some() {
            self.metrics.plugin_call(&decision.by.plugin, "admit", decision.outcome(), decision.took);
        }
        decision.answer.map_err(|refusal| StageFault::Shed { refusal }.into())
    }

    fn arrive(&self, caller: &Caller<'_>, rank: f64) -> Result<Option<(oneshot::Receiver<()>, Place)>, Error> {
        let mut state = self.lock();
        let class = state.class(caller);
        state.classes[class].last_rank = rank;
        if state.running < self.limits.running_max {
            state.running += 1;
            self.metrics.requests_running(state.running);
            return Ok(None);
        }
        let (wake, woken) = oneshot::channel();
        let counted = self.metrics.waits(caller.model, caller.class);
        let waiting = Waiting { class: caller.class, wake, _counted: counted };
        let place = state.line.push(rank, caller.deadline, waiting).map_err(|(error, _)| Error::from(error))?;
        state.classes[class].depth += 1;
        Ok(Some((woken, place)))
    }

    /// Hands a turn to the next who still waits, or frees it.
    fn pass_on(&self) {
        let now = self.clock.millis();
        let mut state = self.lock();
        while let Some(next) = state.line.pop(now) {
            state.left(next.class);
            if next.wake.send(()).is_ok() {
                return;
            }
        }
        // Whoever is late is told by its own timer and leaves the line by itself.
        state.running -= 1;
        self.metrics.requests_running(state.running);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The counts are whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn class(&self, caller: &Caller<'_>) -> usize {
        (caller.class as usize).min(self.classes.len() - 1)
    }

    fn arrival(&mut self, caller: &Caller<'_>, now: Millis, depth_max: u32) -> Arrival {
        let ordinal = self.arrivals;
        self.arrivals = self.arrivals.wrapping_add(1) & ORDINAL_MASK;
        Arrival {
            ordinal,
            class: caller.class,
            now,
            deadline: Some(Millis((caller.deadline - now).0.max(0.0))),
            expected: caller.expected,
            classes: self.classes.clone(),
            depth_max,
        }
    }

    fn left(&mut self, class: u32) {
        if let Some(class) = self.classes.get_mut(class as usize) {
            class.depth = class.depth.saturating_sub(1);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if let Some(left) = state.line.leave(self.place) {
            state.left(left.class);
            return;
        }
        drop(state);
        // Not in the line any more: the turn was given in the very moment that its owner stopped waiting.
        self.admission.pass_on();
    }
}
