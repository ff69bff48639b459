//! Generated models for measurements, and requests for them.

use std::{error::Error, fs, path::Path};

use bytes::Bytes;
use host_engine::{Kind, OnnxFile, generate};

/// The same seed gives the same weights in each run.
const SEED: u64 = 1;

/// A generated model as a file in memory.
pub fn generated(kind: &Kind) -> Result<Bytes, host_engine::Error> {
    generate(kind, SEED)?.to_bytes()
}

/// The same, ready to be looked into.
pub fn parsed(file: &Bytes) -> Result<OnnxFile, host_engine::Error> {
    OnnxFile::parse(file.clone(), None)
}

/// Puts a model into a models folder; `placement` is what its `model.yaml` says about where it may go.
pub fn write(folder: &Path, name: &str, file: &Bytes, placement: &str) -> Result<(), Box<dyn Error>> {
    let version = folder.join(name).join("1");
    fs::create_dir_all(&version)?;
    fs::write(version.join("model.onnx"), file)?;
    fs::write(folder.join(name).join("model.yaml"), format!("placement: {{ {placement} }}\n"))?;
    Ok(())
}
