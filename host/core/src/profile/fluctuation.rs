//! How a device's speed varies: smoothly, and always in the same way for the same seed.

use std::ops::RangeInclusive;

use crate::{noise, units::Millis};

/// A speed that wanders around its nominal value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fluctuation {
    /// Share of the nominal speed by which it is faster or slower at most.
    pub ratio: f64,
    /// Between two moments at which the speed is drawn anew; in between it changes gradually.
    pub period: Millis,
    /// Which of the many ways to wander.
    pub seed: u64,
}

impl Fluctuation {
    /// Always the nominal speed.
    pub const NONE: Self = Self { ratio: 0.0, period: Millis(1_000.0), seed: 0 };
    /// Ratios that make sense: a device that stands still would never finish.
    pub const RATIO: RangeInclusive<f64> = 0.0..=0.9;
    /// Periods that make sense, in milliseconds: shorter than any run up to a day.
    pub const PERIOD_MS: RangeInclusive<f64> = 1.0..=86_400_000.0;

    /// The speed at a moment, in units of the nominal speed: between 1 - ratio and 1 + ratio.
    pub fn speed(&self, now: Millis) -> f64 {
        let position = (now.0 / self.period.0).max(0.0);
        let (index, part) = (position.floor() as u64, position.fract());
        let (from, to) = (self.drawn(index), self.drawn(index.saturating_add(1)));
        // A cubic whose slope is 0 at both ends, so that periods join without a kink.
        let smooth = part * part * (3.0 - 2.0 * part);
        (1.0 + self.ratio * (from + (to - from) * smooth)).clamp(1.0 - self.ratio, 1.0 + self.ratio)
    }

    /// The same in a world where everything takes `ratio` times as long.
    #[must_use]
    pub fn dilated(self, ratio: f64) -> Self {
        Self { period: Millis(self.period.0 * ratio), ..self }
    }

    /// In -1..1.
    fn drawn(&self, index: u64) -> f64 {
        2.0 * noise::uniform(self.seed, index) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_speed_stays_within_the_ratio_and_is_the_same_for_the_same_seed(ratio in Fluctuation::RATIO, period in Fluctuation::PERIOD_MS, seed: u64, now in -10.0..1e12_f64) {
            let fluctuation = Fluctuation { ratio, period: Millis(period), seed };
            let speed = fluctuation.speed(Millis(now));
            prop_assert!((1.0 - ratio..=1.0 + ratio).contains(&speed), "{speed}");
            prop_assert_eq!(speed.to_bits(), Fluctuation { ratio, period: Millis(period), seed }.speed(Millis(now)).to_bits());
        }

        #[test]
        fn the_speed_never_jumps(ratio in Fluctuation::RATIO, period in 10.0..1e6_f64, seed: u64, now in 0.0..1e7_f64, share in 0.0..1.0_f64) {
            let fluctuation = Fluctuation { ratio, period: Millis(period), seed };
            let step = share * period / 10.0;
            let moved = (fluctuation.speed(Millis(now + step)) - fluctuation.speed(Millis(now))).abs();
            // The cubic is steepest in the middle of a period: 1.5 times as steep as a straight line over twice the ratio.
            prop_assert!(moved <= 3.0 * ratio * step / period + 1e-6, "{moved}");
        }
    }

    #[test]
    fn it_wanders_through_most_of_its_range_and_other_seeds_go_other_ways() {
        let speeds = |seed| -> Vec<f64> {
            let fluctuation = Fluctuation { ratio: 0.5, period: Millis(10.0), seed };
            (0..1_000).map(|step| fluctuation.speed(Millis(f64::from(step) * 3.0))).collect()
        };
        let one = speeds(1);
        let (slowest, fastest) = (one.iter().copied().fold(f64::MAX, f64::min), one.iter().copied().fold(0.0, f64::max));
        assert!(slowest < 0.6 && fastest > 1.4, "{slowest} to {fastest}");
        assert_ne!(one, speeds(2));
    }
}
