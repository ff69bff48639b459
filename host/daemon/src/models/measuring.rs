//! How engine `auto` measures on this host, and what came out, as `host model show` prints it.

use std::{collections::BTreeSet, sync::Arc};

use host_core::{ids::DeviceId, plan::Plan, shard::BlockRange};
use host_engine::{AutoSettings, Engines, LoadOptions, Measured, Outcome};
use host_wire::admin::{EngineFigures, ModelQuery, ShardEngine};

use super::Model;
use crate::{config::Config, error::Error, machine};

/// The folder in the data directory that holds a small file for each engine and shard that were measured.
const FOLDER: &str = "engines";

/// As the config says; results are kept in the data directory, and count on this processor only.
pub fn auto_settings(config: &Config) -> AutoSettings {
    let cpu = machine::labels().remove("cpu").unwrap_or_default();
    AutoSettings { cpu, folder: Some(config.data.join(FOLDER)), ..config.engines.auto.clone() }
}

/// The engines of this process, and which devices compute with them.
#[derive(Clone, Debug)]
pub struct Measuring {
    engines: Arc<Engines>,
    own: BTreeSet<DeviceId>,
}

impl Measuring {
    /// Of these engines on these devices.
    pub fn new(engines: Arc<Engines>, own: impl IntoIterator<Item = DeviceId>) -> Self {
        Self { engines, own: own.into_iter().collect() }
    }

    /// The ranges of a model that a plan has on these devices.
    pub fn ranges(&self, plan: &Plan, model: &Model) -> BTreeSet<BlockRange> {
        let stages = plan.models.get(&model.id).into_iter().flatten().flat_map(|replica| &replica.stages);
        stages.filter(|stage| self.own.contains(&stage.offer.device)).map(|stage| stage.range).collect()
    }

    /// What is known of each engine on these ranges; where asked for, what is not known is measured first, which takes as long as
    /// loading them with every engine: not for an async thread then.
    pub fn table(&self, model: &Model, ranges: &BTreeSet<BlockRange>, query: &ModelQuery) -> Result<Vec<ShardEngine>, Error> {
        let options = LoadOptions { threads: query.threads.map_or(1, |threads| threads as usize), ..LoadOptions::default() };
        let mut rows = Vec::new();
        for range in ranges {
            let (shard, _) = model.shard(*range)?;
            if query.measure {
                self.engines.measure(&shard, &options)?;
            }
            rows.extend(self.engines.measured(&shard.digest).into_iter().map(|measured| row(range, measured)));
        }
        Ok(rows)
    }
}

fn row(range: &BlockRange, measured: Measured) -> ShardEngine {
    let Measured { engine, version, threads, outcome } = measured;
    let (figures, refusal) = match outcome {
        Outcome::Agrees(found) => {
            let figures = EngineFigures { run_ms: found.run.0, load_ms: found.load.0, memory_bytes: found.memory.0, difference: found.difference };
            (Some(figures), None)
        }
        Outcome::Refused { reason } => (None, Some(reason)),
    };
    ShardEngine { blocks: range.to_string(), engine, version, threads, figures, refusal }
}
