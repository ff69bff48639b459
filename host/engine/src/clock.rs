//! The only clock of this crate: calibration times runs with it.

use std::time::Instant;

use host_core::units::Millis;

/// Started when made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Millis {
        Millis(self.0.elapsed().as_secs_f64() * 1e3)
    }
}
