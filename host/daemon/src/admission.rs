//! Lets a bounded number of requests run at once; the others wait in a bounded line until their deadline. Who may wait and
//! behind whom is decided by the queueing slot, whose turn it is by `host_core::turns`; this only wakes those whose turn it is, and
//! tells the others when to come again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_core::{
    ids::ModelId,
    line::Place,
    turns::{TurnLimits, Turns},
    units::Millis,
};
use host_plugin::QueueingSlot;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    error::Error,
    metrics::{Metrics, Shed, Waits},
    stage_fault::StageFault,
    telemetry::traces::Trace,
};

/// What is said to who is turned away before it is known how fast the line moves, and at least.
const RETRY_AFTER_MIN: Millis = Millis(1e3);

/// How many may run and wait, and what those are told who may not.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdmissionLimits {
    /// Who runs and who waits.
    pub turns: TurnLimits,
    /// The longest time after which clients that are turned away are told to come again.
    pub retry_after_max: Millis,
}

/// Who wants to run.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// What it asks for.
    pub model: &'a ModelId,
    /// Below `TurnLimits::classes`; 0 is served first by policies that tell classes apart.
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
    turns: Mutex<Turns<Waiting>>,
}

/// One in the line.
#[derive(Debug)]
struct Waiting {
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
        Self { limits, clock, policy, metrics, turns: Mutex::new(Turns::new(limits.turns)) }
    }

    /// Waits for a turn, at most until the caller's deadline. Dropping the future gives the place up.
    pub async fn enter(&self, caller: Caller<'_>) -> Result<Turn<'_>, Error> {
        let arrived = self.clock.millis();
        let rank = self.rank(&caller, arrived)?;
        if let Some((woken, place)) = self.arrive(&caller, rank)? {
            let waiter = Waiter { admission: self, place };
            if !matches!(tokio::time::timeout(self.clock.until(caller.deadline), woken).await, Ok(Ok(()))) {
                return Err(self.turned_away(&caller, Shed::Late, StageFault::Late { doing: "waiting for its turn" }.into()));
            }
            std::mem::forget(waiter);
        }
        self.metrics.queue_wait(caller.model, caller.class, self.clock.millis() - arrived);
        Ok(Turn(self))
    }

    /// Requests that wait now.
    pub fn depth(&self) -> u32 {
        self.lock().depth()
    }

    /// Requests that run now.
    pub fn running(&self) -> u32 {
        self.lock().running()
    }

    /// Asks the queueing slot about one arrival. The line may move meanwhile; how many may wait is held by the line itself.
    fn rank(&self, caller: &Caller<'_>, now: Millis) -> Result<f64, Error> {
        let arrival = self.lock().arrival(caller.class, now, caller.deadline, caller.expected);
        let asked = self.policy.bearer().map(|_| caller.trace.span("admit"));
        let decided = self.policy.admit(&arrival);
        if let Some(span) = asked {
            span.decided(&decided);
        }
        let decision = decided?;
        if decision.by.generation.0 > 0 || decision.fallback.is_some() {
            self.metrics.plugin_call(&decision.by.plugin, "admit", decision.outcome(), decision.took);
        }
        decision.answer.map_err(|refusal| self.turned_away(caller, Shed::Refused, StageFault::Shed { refusal }.into()))
    }

    fn arrive(&self, caller: &Caller<'_>, rank: f64) -> Result<Option<(oneshot::Receiver<()>, Place)>, Error> {
        let mut turns = self.lock();
        if turns.begin(caller.class, rank) {
            self.metrics.requests_running(turns.running());
            return Ok(None);
        }
        let (wake, woken) = oneshot::channel();
        let counted = self.metrics.waits(caller.model, caller.class);
        match turns.wait(caller.class, rank, caller.deadline, Waiting { wake, _counted: counted }) {
            Ok(place) => Ok(Some((woken, place))),
            Err((full, _)) => {
                drop(turns);
                Err(self.turned_away(caller, Shed::Full, full.into()))
            }
        }
    }

    /// Counts one that gets no turn, and says when it should come again: when those who wait now have had theirs.
    fn turned_away(&self, caller: &Caller<'_>, why: Shed, error: Error) -> Error {
        self.metrics.shed(caller.model, caller.class, why);
        let drained = self.lock().drained_in().unwrap_or(RETRY_AFTER_MIN);
        error.with_retry_after(Millis(drained.0.min(self.limits.retry_after_max.0).max(RETRY_AFTER_MIN.0)))
    }

    /// Hands a turn to the next who still waits, or frees it.
    fn pass_on(&self) {
        let now = self.clock.millis();
        let mut turns = self.lock();
        while let Some(next) = turns.pass_on(now) {
            if next.wake.send(()).is_ok() {
                return;
            }
        }
        // Whoever is late is told by its own timer and leaves the line by itself.
        self.metrics.requests_running(turns.running());
    }

    fn lock(&self) -> MutexGuard<'_, Turns<Waiting>> {
        // The counts are whole between any two statements.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let left = self.admission.lock().leave(self.place);
        if left.is_none() {
            // Not in the line any more: the turn was given in the very moment that its owner stopped waiting.
            self.admission.pass_on();
        }
    }
}
