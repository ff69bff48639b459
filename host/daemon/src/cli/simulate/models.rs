//! The models of a fleet: described by a few figures, or taken from a models folder.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use host_core::{
    ids::{ModelId, ModelName},
    model::{BLOCKS_MAX, Block, ModelProfile},
    problem::Placement,
    simulate::FleetModel,
    units::Bytes,
};
use host_engine::{OnnxFile, inspect};

use super::fleet::{beside, model_name, placement};
use crate::{
    config::Section,
    error::{Error, Fault},
    repository,
};

const GFLOP: std::ops::RangeInclusive<f64> = 0.0..=1e9;
/// Up to a PiB.
const SIZE: std::ops::RangeInclusive<u64> = 0..=1 << 50;

/// A model as a fleet names it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum ModelSource {
    /// Equal blocks.
    Uniform { id: ModelId, blocks: Vec<Block>, input: Bytes, sequences: u32, tokens: u32, placement: Placement },
    /// A folder with `VERSION/model.onnx`, and what its `model.yaml` says, or else what the fleet says.
    Folder { folder: PathBuf, placement: Option<Placement> },
}

/// Reads one entry of `models`.
pub(super) fn described(section: &mut Section<'_>) -> ModelSource {
    let stated = section.inner("placement", placement);
    if let Some(folder) = section.text("folder") {
        return ModelSource::Folder { folder: PathBuf::from(folder), placement: stated };
    }
    let name = model_name(section, "name").or_else(|| ModelName::parse("model").ok());
    let version = section.whole("version", 1..=u64::from(u32::MAX)).map_or(1, |version| u32::try_from(version).unwrap_or(1));
    let count = section.whole("blocks", 1..=BLOCKS_MAX as u64).unwrap_or(1);
    let gflop = section.needed("gflop", GFLOP);
    let mut size = |key| section.whole(key, SIZE).unwrap_or(0);
    let (weights, activations, workspace) = (size("weight_bytes"), size("activation_bytes"), size("workspace_bytes"));
    let (border, input, kv_per_token) = (size("border_bytes"), size("input_bytes"), size("kv_bytes_per_token"));
    let output = section.whole("output_bytes", SIZE).unwrap_or(border);
    let mut number = |key| section.whole(key, 0..=1 << 20).map(|number| u32::try_from(number).unwrap_or(0));
    let (sequences, tokens) = (number("sequences").unwrap_or(1), number("tokens").unwrap_or(0));
    // What does not divide evenly goes to the later blocks.
    let up_to = |whole: u64, index: u64| u64::try_from(u128::from(whole) * u128::from(index) / u128::from(count)).unwrap_or(u64::MAX);
    let share = |whole: u64, index: u64| Bytes(up_to(whole, index + 1) - up_to(whole, index));
    let block = |index: u64| Block {
        name: format!("block-{index}"),
        flops: gflop * 1e9 / count as f64,
        weights: share(weights, index),
        activations: share(activations, index),
        border: Bytes(if index + 1 == count { output } else { border }),
        kv_per_token: share(kv_per_token, index),
        workspace: Bytes(workspace),
    };
    let blocks = (0..count).map(block).collect();
    // `model` is a name.
    let name = name.expect("the name that stands for none is one");
    ModelSource::Uniform { id: ModelId { name, version }, blocks, input: Bytes(input), sequences, tokens, placement: stated.unwrap_or_default() }
}

impl ModelSource {
    /// The model as planning sees it. One in a folder is inspected, which takes a moment; it is not run.
    pub(super) fn load(&self, fleet: &Path) -> Result<Vec<FleetModel>, Error> {
        match self {
            Self::Uniform { id, blocks, input, sequences, tokens, placement } => {
                let profile = ModelProfile::new(id.clone(), blocks.clone(), Vec::new(), *input)?.with_sequences(*sequences, *tokens);
                Ok(vec![FleetModel { profile: Arc::new(profile), placement: *placement }])
            }
            Self::Folder { folder, placement } => {
                let folder = beside(fleet, folder);
                let found =
                    repository::versions(&folder).map_err(|reason| Error::from(Fault::Config { faults: vec![format!("{}: {reason}", folder.display())] }))?;
                let load = |found: repository::Found| -> Result<FleetModel, Error> {
                    let profile = inspect(&OnnxFile::open(&found.file)?, found.id)?.profile().clone();
                    Ok(FleetModel { profile, placement: placement.unwrap_or_else(|| found.manifest.placement()) })
                };
                found.into_iter().map(load).collect()
            }
        }
    }
}
