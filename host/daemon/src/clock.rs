//! The one place where the daemon reads a clock.

use std::time::{Duration, Instant};

use host_core::units::Millis;

/// A moment, for measuring how long something takes.
pub fn now() -> Instant {
    Instant::now()
}

/// The host's own time: milliseconds since it started. It never jumps.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts at 0.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Now.
    pub fn millis(&self) -> Millis {
        Millis(self.started.elapsed().as_secs_f64() * 1e3)
    }

    /// Time that is left until a moment of this clock; none if it has passed.
    pub fn until(&self, moment: Millis) -> Duration {
        Duration::from_secs_f64(((moment.0 - self.millis().0) / 1e3).clamp(0.0, 1e9))
    }
}
