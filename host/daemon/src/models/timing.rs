//! Has the blocks of models run once on the central when they are loaded, so that plans reckon from the first one on with what their
//! operators cost on the engine. Every device with that engine, however fast, is reckoned with by its own calibration.

use std::sync::Arc;

use host_core::{cost::CostModel, units::Millis};
use host_engine::{Engine, calibrate};

use super::Model;
use crate::error::Error;

/// Times models against a calibration made at the same time on the same machine, so that what both were disturbed by cancels out.
#[derive(Debug)]
pub struct BlockTimer {
    engine: Arc<dyn Engine>,
    reference: CostModel,
    budget: Millis,
}

impl BlockTimer {
    /// Calibrates, which takes some tenths of a second: not for an async thread. `budget` is for each model.
    pub fn new(engine: Arc<dyn Engine>, budget: Millis) -> Result<Self, Error> {
        let reference = calibrate(engine.as_ref())?;
        Ok(Self { engine, reference, budget })
    }
}

impl Model {
    /// The model with the work that its blocks do by their times; as it was where they cannot be had. Takes as long as some runs of the
    /// model, and as cutting it: not for an async thread.
    #[must_use]
    pub fn timed(self, timer: &BlockTimer) -> Self {
        match self.inspection.time_blocks(timer.engine.as_ref(), timer.budget) {
            Ok(Some(times)) => Self { profile: Arc::new(self.inspection.timed_profile(&timer.reference, &times)), ..self },
            Ok(None) => {
                tracing::debug!(model = %self.id, "its blocks are not timed; they are predicted by their operations");
                self
            }
            Err(error) => {
                tracing::warn!(model = %self.id, %error, "its blocks could not be timed; they are predicted by their operations");
                self
            }
        }
    }
}
