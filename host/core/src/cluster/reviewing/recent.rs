//! Exponentially weighted means of what happens to a model: how often requests come for it, and how evenly its devices work.

use crate::units::Millis;

/// The longest time that a request is expected in: a day. One that is further off is as good as none.
const ARRIVAL_MAX: Millis = Millis(86_400_000.0);

/// The weight of what was seen in the last `passed` milliseconds against a mean that remembers for `memory`. The rational form
/// of 1 - exp(-passed / memory): close to it for short times, and the same to the last bit on every machine.
fn weight(passed: Millis, memory: Millis) -> f64 {
    passed.0 / (memory.0 + passed.0)
}

/// How often requests come.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Arrivals {
    rate_per_ms: f64,
    /// Requests since the rate was computed last.
    since: f64,
    at: Option<Millis>,
}

impl Arrivals {
    /// So many requests came since this was said last.
    pub(super) fn note(&mut self, requests: u32, now: Millis, memory: Millis) {
        self.since += f64::from(requests);
        let passed = now - *self.at.get_or_insert(now);
        if passed.0 > 0.0 {
            self.rate_per_ms += weight(passed, memory) * (self.since / passed.0 - self.rate_per_ms);
            (self.since, self.at) = (0.0, Some(now));
        }
    }

    /// The expected time until the next request, a day at most.
    pub(super) fn expected(&self) -> Millis {
        Millis((1.0 / self.rate_per_ms).min(ARRIVAL_MAX.0))
    }
}

/// How busy the busiest of some devices is, and how busy they are in the mean: shares of time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Load {
    pub(super) most: f64,
    pub(super) mean: f64,
    at: Option<Millis>,
}

impl Load {
    /// How it is now.
    pub(super) fn note(&mut self, (most, mean): (f64, f64), now: Millis, memory: Millis) {
        // The first one counts as it is.
        let weight = self.at.map_or(1.0, |at| weight(now - at, memory));
        self.most += weight * (most - self.most);
        self.mean += weight * (mean - self.mean);
        self.at = Some(now);
    }

    /// By how much the busiest is busier than the mean.
    pub(super) fn imbalance(&self) -> f64 {
        self.most - self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Millis = Millis(30_000.0);

    /// The expected time after so many requests in each half of a second, one count after another, for a minute each.
    fn after(counts: &[u32]) -> f64 {
        let mut arrivals = Arrivals::default();
        let steps = counts.iter().flat_map(|&count| std::iter::repeat_n(count, 120));
        for (step, count) in (0_u32..).zip(steps) {
            arrivals.note(count, Millis(f64::from(step) * 500.0), MEMORY);
        }
        arrivals.expected().0
    }

    #[test]
    fn the_time_until_the_next_request_follows_their_rate() {
        assert_eq!(after(&[0]), ARRIVAL_MAX.0);
        let steady = after(&[5, 5, 5, 5, 5]);
        assert!((steady - 100.0).abs() < 1.0, "{steady}");
        let (slower, over) = (after(&[5, 5, 5, 5, 5, 1]), after(&[5, 5, 5, 5, 5, 0]));
        assert!(slower > 250.0 && slower < 500.0, "{slower}");
        assert!(over > 500.0 && over < 3_000.0, "{over}");
    }

    #[test]
    fn requests_of_one_moment_are_counted_when_time_has_passed() {
        let mut arrivals = Arrivals::default();
        for (requests, now) in [(0, 0.0), (3, 0.0), (7, 1_000.0)] {
            arrivals.note(requests, Millis(now), Millis(1_000.0));
        }
        // Ten in a second, weighed by a half against none before.
        assert_eq!(arrivals.expected(), Millis(200.0));
    }

    #[test]
    fn a_load_counts_at_once_and_is_then_smoothed() {
        let mut load = Load::default();
        load.note((0.9, 0.5), Millis(7.0), Millis(1_000.0));
        assert!((load.imbalance() - 0.4).abs() < 1e-12);
        load.note((0.5, 0.5), Millis(1_007.0), Millis(1_000.0));
        assert!((load.imbalance() - 0.2).abs() < 1e-12);
    }
}
