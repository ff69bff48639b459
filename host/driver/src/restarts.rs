//! Decides when a process that died may be started again. Pure: times are handed in.

use std::time::Duration;

use crate::settings::RestartLimits;

/// The deaths in a row, and what follows from them.
#[derive(Clone, Debug)]
pub(crate) struct Restarts {
    limits: RestartLimits,
    deaths: u32,
}

impl Restarts {
    pub(crate) fn new(limits: RestartLimits) -> Self {
        Self { limits, deaths: 0 }
    }

    /// A process died after it had lived so long. Says how long the next start waits: longer with each death in a row, up to the most,
    /// and never for ever.
    pub(crate) fn died(&mut self, lived: Duration) -> Duration {
        if lived >= Duration::from_millis(self.limits.calm_ms) {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        self.wait()
    }

    /// The wait after the deaths so far.
    fn wait(&self) -> Duration {
        let Some(beyond) = self.deaths.checked_sub(self.limits.at_once_max).filter(|beyond| *beyond > 0) else { return Duration::ZERO };
        let longest = self.limits.most_ms as f64;
        // The exponent may make this infinite, which the longest wait bounds.
        let wait = self.limits.first_ms as f64 * self.limits.factor.powf(f64::from(beyond - 1));
        Duration::from_secs_f64(wait.clamp(0.0, longest) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RestartLimits = RestartLimits { at_once_max: 2, first_ms: 100, factor: 2.0, most_ms: 1_000, calm_ms: 5_000 };

    #[test]
    fn waits_grow_up_to_the_most_and_never_end() {
        let mut restarts = Restarts::new(LIMITS);
        let waits: Vec<u128> = (0..9).map(|_| restarts.died(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [0, 0, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
        for _ in 0..10_000 {
            restarts.died(Duration::ZERO);
        }
        assert_eq!(restarts.died(Duration::ZERO).as_millis(), 1_000);
    }

    #[test]
    fn a_process_that_lived_long_makes_earlier_deaths_forgotten() {
        let mut restarts = Restarts::new(LIMITS);
        for _ in 0..20 {
            restarts.died(Duration::from_millis(10));
        }
        assert_eq!(restarts.died(Duration::from_secs(5)), Duration::ZERO);
    }
}
