//! The only clock of this crate: how long calls take, when strikes happen, and how much processor time a thread used.

use std::time::{Duration, Instant, SystemTime};

use host_core::units::Millis;

/// Counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn now(self) -> Millis {
        Millis(self.elapsed().as_secs_f64() * 1e3)
    }
}

/// What the times of files are held against.
pub(crate) fn system_time() -> SystemTime {
    SystemTime::now()
}

/// Times a call by the clock, and by the processor where the system counts that for each thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTimer {
    clock: Clock,
    processor: Option<Duration>,
}

impl CallTimer {
    pub(crate) fn start() -> Self {
        Self { clock: Clock::start(), processor: thread_time() }
    }

    /// What the call computed: on a machine with too much to do, a call takes longer than it computes, and that is not its
    /// fault.
    pub(crate) fn computed(self) -> Duration {
        match (self.processor, thread_time()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => self.clock.elapsed(),
        }
    }
}

/// Processor time of the calling thread, if the system counts it. A thread that waits for a processor uses none.
#[cfg(unix)]
pub(crate) fn thread_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec that lives through the call, and the call keeps no pointer to it.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    (status == 0).then(|| Duration::new(seconds, nanos))
}

#[cfg(not(unix))]
pub(crate) fn thread_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_uses_processor_time() {
        let before = thread_time();
        let clock = Clock::start();
        let mut sum = 0_u64;
        while thread_time() <= before && clock.elapsed() < Duration::from_secs(20) {
            sum = std::hint::black_box(sum + 1);
        }
        assert_eq!(thread_time() > before, before.is_some());
    }
}
