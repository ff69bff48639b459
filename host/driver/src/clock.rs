//! The one file of this crate that reads a clock: a steady one, which stands still while the machine sleeps.

use std::time::{Duration, Instant};

/// A moment.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub(crate) struct Moment(Instant);

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// Time since then; none for a moment that is still to come.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// This much later.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0 + wait)
    }

    /// How long until then; nothing for a moment that is over.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
