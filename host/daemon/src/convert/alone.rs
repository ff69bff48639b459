//! Converting without a running host: the vendor's tool for one shard after the other, in a folder that is gone at the end. Nothing is kept.
//! Called by `host conformance`.

use std::{fs, path::Path};

use host_engine::{Artefact, Digest, Lengths, Shard};
use tokio_util::sync::CancellationToken;

use super::{
    fault::ConversionFault,
    target::Target,
    tool::{Files, Tool},
    work::{Call, Folder, file_error, taken},
};
use crate::{config::Conversion, error::Error};

/// What TensorRT is told here.
const NO_TOOL: &str = "conversion.tensorrt.command names no program, and devices make their own engines";

/// A converter of its own.
pub struct Alone {
    settings: Conversion,
    folder: Folder,
}

impl std::fmt::Debug for Alone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alone").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

impl Alone {
    /// Works in a folder of its own within this one.
    pub fn new(settings: Conversion, folder: &Path) -> Result<Self, Error> {
        Ok(Self { settings, folder: Folder::make(folder, std::process::id().into())? })
    }

    /// What the tool of a target makes of a shard, one artefact for each set of lengths. Waits for a disk and for the tool: not for a thread
    /// that others wait for.
    pub async fn convert(&self, target: &str, shard: &Shard, buckets: &[Lengths]) -> Result<Vec<Artefact>, Error> {
        let target = Target::parse(target)?;
        let no_tool = || ConversionFault::NoTool { tool: format!("a tool for {target}"), install: NO_TOOL.to_owned() };
        let tool = Tool::of(&target, &self.settings)?.ok_or_else(no_tool)?;
        let mut made = Vec::new();
        for bucket in buckets {
            let bound = shard.bound(bucket)?;
            let files = self.files(&target, &bound)?;
            let call = Call { tool: &tool, settings: &self.settings, shard, bound: &bound, files: &files };
            call.run(&CancellationToken::new(), |line| tracing::debug!("{line}")).await?;
            let data = taken(&files.output, &tool.name(), shard, self.settings.artefact_bytes_max)?;
            made.push(Artefact { target: target.to_string(), digest: Digest::of(&data), data, inputs: bound.inputs, outputs: bound.outputs });
        }
        Ok(made)
    }

    /// Writes what the tool reads, and removes what it made before.
    fn files(&self, target: &Target, bound: &Shard) -> Result<Files, Error> {
        let folder = self.folder.path().to_owned();
        let files = Files { model: folder.join("shard.onnx"), output: folder.join(format!("made.{}", target.extension())), answers: None, folder };
        // Not there the first time. What was made before may still be mapped, and goes on being so under no name.
        let _ = fs::remove_file(&files.output);
        fs::write(&files.model, &bound.file).map_err(|error| file_error("write", &files.model, error))?;
        Ok(files)
    }
}
