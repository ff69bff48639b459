//! How what stages take is predicted, learned and explained.

use host_core::cost::refined::RefiningSettings;

/// Settings of predictions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Predictions {
    /// How measured stage times are taken.
    pub refining: RefiningSettings,
    /// Longest time for running the blocks of one model when it is loaded; 0 to predict by their operations alone.
    pub model_timing_ms_max: u64,
    /// Most problems that the allocation policy is asked about to find out what would help a plan.
    pub what_if_asks_max: u32,
    /// Nothing further is asked after that.
    pub what_if_ms_max: u64,
}

impl Default for Predictions {
    fn default() -> Self {
        Self { refining: RefiningSettings::default(), model_timing_ms_max: 10_000, what_if_asks_max: 12, what_if_ms_max: 5_000 }
    }
}
