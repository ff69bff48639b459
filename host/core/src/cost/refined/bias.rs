//! How a cost model is off for one model on one offer, from a few stages that were measured there: a run takes a multiple of what
//! is predicted, and something besides, whatever its shard. The multiple is what the operators of the model cost on the engine; the
//! rest is what each run costs anew, such as weights that have left the processor's caches since the last one. Without it two
//! cuts of a model could refute each other for ever, each predicted by what the other one took.
//!
//! The fit is ridge regression of relative errors with the ridge on the surcharge alone (Hoerl and Kennard 1970): stages that are
//! about as long as each other, or one of them, say nothing of a surcharge, and noise between them must not be taken for one.

use crate::units::Millis;

/// How much is measured wrong, over how much of the mean time a surcharge is before one is seen, both squared: a tenth and a quarter.
const RIDGE: f64 = 0.16;

/// What is known of one stage.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sample {
    pub predicted: Millis,
    pub measured: Millis,
    /// Of 1.
    pub weight: f64,
}

/// How far off the costs of an offer are for one model.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bias {
    /// How many times as long as predicted it computes.
    pub factor: f64,
    /// What each run takes besides; never negative.
    pub surcharge: Millis,
}

/// What the factor is multiplied with, of a relative error.
fn slope(sample: &Sample) -> f64 {
    sample.predicted.0 / sample.measured.0
}

/// What the surcharge is multiplied with.
fn offset(sample: &Sample) -> f64 {
    1.0 / sample.measured.0
}

impl Bias {
    /// None of it.
    pub const NONE: Self = Self { factor: 1.0, surcharge: Millis::ZERO };

    /// The bias that explains the samples best, with a factor of at most `most` and at least one over it. None of samples without
    /// weight.
    pub(super) fn of(samples: &[Sample], most: f64) -> Option<Self> {
        let sum = |value: fn(&Sample) -> f64| samples.iter().map(|sample| sample.weight * value(sample)).sum::<f64>();
        // By the time of all runs, so that a short stage does not count as much as a long one.
        let (weight, measured, predicted) = (sum(|_| 1.0), sum(|sample| sample.measured.0), sum(|sample| sample.predicted.0));
        let factor = Some(measured / predicted).filter(|factor| factor.is_finite() && predicted > 0.0)?;
        let alone = Self { factor: factor.clamp(1.0 / most, most), surcharge: Millis::ZERO };
        // Of (factor x predicted + surcharge) / measured - 1, squared and weighted, the sum is least where its derivatives are zero.
        let (s, o) = (sum(slope), sum(offset));
        let (ss, so) = (sum(|sample| slope(sample).powi(2)), sum(|sample| slope(sample) * offset(sample)));
        let oo = sum(|sample| offset(sample).powi(2)) + RIDGE * (weight / measured).powi(2);
        let determinant = ss * oo - so * so;
        let (factor, surcharge) = ((s * oo - so * o) / determinant, (ss * o - so * s) / determinant);
        let is_sound = surcharge.is_finite() && surcharge > 0.0 && (1.0 / most..=most).contains(&factor);
        Some(if is_sound { Self { factor, surcharge: Millis(surcharge) } } else { alone })
    }
}

#[cfg(test)]
mod tests;
