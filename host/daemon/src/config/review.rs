//! When the allocation policy is asked whether plans are still good.

use host_core::{cluster::ReviewSettings, units::Millis};

/// Times and thresholds of reviews.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Review {
    /// From one review of a model that is used to the next, if nothing else gives cause.
    pub interval_ms: u64,
    /// From a review to one for another cause; twice as long after each further one that found the plan good enough, up to
    /// `interval_ms`.
    pub cause_ms_min: u64,
    /// From a plan of a model to its next review; twice as long after each further plan that a review led to. A stage that drifts
    /// from what the plan was made with waits for `cause_ms_min` alone, unless a review led to the plan.
    pub pause_ms_min: u64,
    /// The longest such pause.
    pub pause_ms_max: u64,
    /// Share by which a measured stage is slower or faster than what was reckoned with, to be a cause.
    pub drift_ratio: f64,
    /// Measurements of a stage since the plan came in force before they count.
    pub runs_min: u32,
    /// Share of time by which the busiest device of a plan is busier than the mean of them, to be a cause.
    pub rebalance_threshold: f64,
    /// How far back the means of arrivals and pressures reach.
    pub memory_ms: u64,
}

impl Default for Review {
    fn default() -> Self {
        let core = ReviewSettings::DEFAULT;
        // The defaults of the core are whole milliseconds.
        let whole = |time: Millis| time.0 as u64;
        Self {
            interval_ms: whole(core.interval),
            cause_ms_min: whole(core.cause_min),
            pause_ms_min: whole(core.pause_min),
            pause_ms_max: whole(core.pause_max),
            drift_ratio: core.drift_ratio,
            runs_min: core.runs_min,
            rebalance_threshold: core.rebalance_threshold,
            memory_ms: whole(core.memory),
        }
    }
}

impl From<&Review> for ReviewSettings {
    fn from(review: &Review) -> Self {
        let millis = |ms: u64| Millis(ms as f64);
        Self {
            interval: millis(review.interval_ms),
            cause_min: millis(review.cause_ms_min),
            pause_min: millis(review.pause_ms_min),
            pause_max: millis(review.pause_ms_max),
            drift_ratio: review.drift_ratio,
            runs_min: review.runs_min,
            rebalance_threshold: review.rebalance_threshold,
            memory: millis(review.memory_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sets_is_as_the_core_has_it() {
        assert_eq!(ReviewSettings::from(&Review::default()), ReviewSettings::DEFAULT);
    }
}
