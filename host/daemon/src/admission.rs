//! Lets a bounded number of requests run at once; the others wait in a bounded line until their deadline. What leaves the
//! line is decided by `host_core::line`; this only wakes those whose turn it is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use host_core::{
    line::{Line, Place},
    units::Millis,
};
use tokio::sync::oneshot;

use crate::{clock::Clock, error::Error, stage_fault::StageFault};

/// How many may run and wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AdmissionLimits {
    /// Requests that run at once.
    pub running_max: u32,
    /// Requests that wait at once.
    pub waiting_max: u32,
}

/// The gate that every request passes.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: u32,
    arrivals: f64,
    line: Line<oneshot::Sender<()>>,
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
    pub fn new(limits: AdmissionLimits, clock: Clock) -> Self {
        Self { limits, clock, state: Mutex::new(State { running: 0, arrivals: 0.0, line: Line::new(limits.waiting_max) }) }
    }

    /// Waits for a turn, at most until `deadline` on the host's clock. Dropping the future gives the place up.
    pub async fn enter(&self, deadline: Millis) -> Result<Turn<'_>, Error> {
        let Some((woken, place)) = self.arrive(deadline)? else { return Ok(Turn(self)) };
        let waiter = Waiter { admission: self, place };
        let turn = tokio::time::timeout(self.clock.until(deadline), woken).await;
        match turn {
            Ok(Ok(())) => {
                std::mem::forget(waiter);
                Ok(Turn(self))
            }
            _ => Err(StageFault::Late { doing: "waiting for its turn" }.into()),
        }
    }

    /// Requests that wait now.
    pub fn depth(&self) -> u32 {
        self.lock().line.depth()
    }

    /// Requests that run now.
    pub fn running(&self) -> u32 {
        self.lock().running
    }

    fn arrive(&self, deadline: Millis) -> Result<Option<(oneshot::Receiver<()>, Place)>, Error> {
        let mut state = self.lock();
        if state.running < self.limits.running_max {
            state.running += 1;
            return Ok(None);
        }
        let (wake, woken) = oneshot::channel();
        let rank = state.arrivals;
        state.arrivals += 1.0;
        let place = state.line.push(rank, deadline, wake).map_err(|(error, _)| Error::from(error))?;
        Ok(Some((woken, place)))
    }

    /// Hands a turn to the next who still waits, or frees it.
    fn pass_on(&self) {
        let now = self.clock.millis();
        let mut state = self.lock();
        while let Some(wake) = state.line.pop(now) {
            if wake.send(()).is_ok() {
                return;
            }
        }
        // Whoever is late is told by its own timer and leaves the line by itself.
        state.running -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The counts are whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let left = self.admission.lock().line.leave(self.place);
        // Not in the line any more: the turn was given in the very moment that its owner stopped waiting.
        if left.is_none() {
            self.admission.pass_on();
        }
    }
}
