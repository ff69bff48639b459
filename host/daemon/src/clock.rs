//! The one place where the daemon reads a clock.

use std::time::{Duration, Instant, SystemTime};

use host_core::units::Millis;

/// A moment, for measuring how long something takes.
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day in milliseconds since 1970, for records that people read, and for what ends at a date: join tokens and
/// certificates. It may jump; nothing else is decided by it.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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
