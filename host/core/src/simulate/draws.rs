//! Random numbers of a simulation: one stream for each purpose, so that what one part draws moves no other.

use crate::noise;

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// When requests of a traffic come.
    Arrivals,
    /// What they are like: exclusive or not, of which sequence.
    Requests,
    /// What routing policies are given.
    Routing,
    /// How long runs on a device take.
    Runs,
    /// When a device fails and is repaired.
    Failures,
    /// How wrong the calibration of a device is.
    Calibration,
}

/// A stream.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Draws {
    seed: u64,
    index: u64,
}

impl Draws {
    /// The stream of one of many that are alike.
    pub(super) fn new(seed: u64, purpose: Purpose, which: usize) -> Self {
        Self { seed: noise::bits(noise::bits(seed, purpose as u64), which as u64), index: 0 }
    }

    /// In 0..1, without 1.
    pub(super) fn uniform(&mut self) -> f64 {
        self.index += 1;
        noise::uniform(self.seed, self.index - 1)
    }

    /// Exponential with this mean.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_have_the_mean_and_the_variance_of_their_kind() {
        let mut draws = Draws::new(7, Purpose::Arrivals, 3);
        let times: Vec<f64> = (0..100_000).map(|_| draws.exponential(5.0)).collect();
        let mean = times.iter().sum::<f64>() / 1e5;
        let variance = times.iter().map(|time| (time - mean) * (time - mean)).sum::<f64>() / 1e5;
        assert!((mean - 5.0).abs() < 0.1 && (variance - 25.0).abs() < 1.0, "{mean}, {variance}");
        assert!(times.iter().all(|time| time.is_finite() && *time >= 0.0));
    }

    #[test]
    fn streams_of_other_purposes_and_places_differ() {
        let first = |purpose, which| Draws::new(7, purpose, which).uniform();
        assert_eq!(first(Purpose::Runs, 1), first(Purpose::Runs, 1));
        assert_ne!(first(Purpose::Runs, 1), first(Purpose::Runs, 2));
        assert_ne!(first(Purpose::Runs, 1), first(Purpose::Failures, 1));
    }
}
