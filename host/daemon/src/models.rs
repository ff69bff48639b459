//! Models that are loaded: inspected once, cut into shards on demand. What is in a model's folder is read by `repository`;
//! where its shards go is decided by the cluster.

mod measuring;
mod timing;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use host_core::{ids::ModelId, model::ModelProfile, problem::Placement, shard::BlockRange};
use host_engine::{Inspection, OnnxFile, Shard, TensorSpec, inspect, split};

use crate::{error::Error, manifest::Manifest, wiring::Wiring};

pub use measuring::{Measuring, auto_settings};
pub use timing::BlockTimer;

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    /// Name and version.
    pub id: ModelId,
    /// Its inputs, in declared order.
    pub inputs: Vec<TensorSpec>,
    /// Its outputs, in declared order.
    pub outputs: Vec<TensorSpec>,
    /// What its `model.yaml` says.
    pub manifest: Manifest,
    inspection: Inspection,
    profile: Arc<ModelProfile>,
    shards: Mutex<BTreeMap<BlockRange, Arc<Shard>>>,
    requests: AtomicU32,
}

impl Model {
    /// Reads and inspects an ONNX file, and computes the golden answers that every shard is checked against. Takes as long
    /// as a few runs of the model: not for an async thread.
    pub fn load(id: ModelId, file: &Path, manifest: Manifest) -> Result<Self, Error> {
        let inspection = inspect(&OnnxFile::open(file)?, id.clone())?.with_golden()?;
        let (inputs, outputs) = (inspection.inputs().to_vec(), inspection.outputs().to_vec());
        manifest.check(&id, &inputs, &outputs)?;
        let profile = inspection.profile().clone();
        Ok(Self { id, inputs, outputs, manifest, inspection, profile, shards: Mutex::default(), requests: AtomicU32::new(0) })
    }

    /// Its blocks and costs.
    pub fn profile(&self) -> Arc<ModelProfile> {
        self.profile.clone()
    }

    /// The names of the lengths that requests choose; the batch is called `batch`.
    pub fn open_lengths(&self) -> BTreeSet<String> {
        host_engine::open_lengths(&self.inputs).into_iter().collect()
    }

    /// Where it may go.
    pub fn placement(&self) -> Placement {
        self.manifest.placement()
    }

    /// The shard of a range, cut the first time that it is asked for, and its wiring.
    pub fn shard(&self, range: BlockRange) -> Result<(Arc<Shard>, Wiring), Error> {
        let known = self.lock().get(&range).cloned();
        let shard = match known {
            Some(shard) => shard,
            None => {
                let shard = Arc::new(self.inspection.shard(range)?);
                self.lock().insert(range, shard.clone());
                shard
            }
        };
        let wiring = Wiring::of(&shard, &self.inputs, &self.outputs)?;
        Ok((shard, wiring))
    }

    /// Writes the shards between these cuts to a folder, and names the files.
    pub fn write_shards(&self, cuts: &[u32], folder: &Path) -> Result<Vec<String>, Error> {
        let shards = split(&self.inspection, cuts)?;
        shards.iter().map(|shard| Ok(shard.write(folder)?.display().to_string())).collect()
    }

    /// Drops the shards that no plan names any more.
    pub fn keep_shards(&self, keep: impl Fn(BlockRange) -> bool) {
        self.lock().retain(|range, _| keep(*range));
    }

    /// Counts a request of this model; wraps at 2^31, as guests expect.
    pub fn next_ordinal(&self) -> u32 {
        self.requests.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff
    }

    /// Whether the leading dimension of inputs and outputs counts rows that may be computed one by one.
    pub fn is_batched(&self) -> bool {
        self.manifest.max_batch_size > 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<BlockRange, Arc<Shard>>> {
        // The map is whole between any two statements.
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
