//! ONNX files: opened over a mapping so that weights are read where they lie, checked once, and written again.
//! Weights beside the file are brought in when it is opened; afterwards a file is whole in itself.

pub(crate) mod build;
mod check;
pub(crate) mod constant;
mod external;
pub(crate) mod graph;
mod mapping;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
pub use mapping::map as map_file;
use prost::Message as _;

use crate::{
    error::{Error, Fault},
    onnx_pb::{GraphProto, ModelProto},
};

/// Largest file that protobuf can hold; weights beyond it lie in files of their own.
pub const FILE_BYTES_MAX: u64 = (1 << 31) - 1;

/// A checked ONNX model; a clone shares it.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    model: Arc<ModelProto>,
}

impl OnnxFile {
    /// Opens a file; weights that lie beside it may only lie in its folder or below.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let data = mapping::map(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        Self::parse(data, Some(folder)).map_err(|error| error.of(path.display()))
    }

    /// Reads a file from memory; without a folder, weights beside it are an error.
    pub fn parse(data: Bytes, folder: Option<PathBuf>) -> Result<Self, Error> {
        let mut model = ModelProto::decode(data).map_err(|error| Fault::NotOnnx { reason: error.to_string() })?;
        check::versions(&model)?;
        external::bring_in(&mut model, folder.as_deref())?;
        Self::from_model(model)
    }

    /// Checks a model that was built or changed in memory.
    pub(crate) fn from_model(model: ModelProto) -> Result<Self, Error> {
        check::versions(&model)?;
        let file = Self { model: Arc::new(model) };
        check::graph(file.graph())?;
        Ok(file)
    }

    /// The file's bytes; the same model gives the same bytes. Refused beyond 2 GiB.
    pub fn to_bytes(&self) -> Result<Bytes, Error> {
        encode(&self.model)
    }

    /// Names of the operators that it uses, each once, sorted, with their domain unless it is the default one.
    pub fn operators(&self) -> Vec<String> {
        graph::operators(self.graph())
    }

    pub(crate) fn model(&self) -> &ModelProto {
        &self.model
    }

    /// The graph; `from_model` has refused files without one.
    pub(crate) fn graph(&self) -> &GraphProto {
        static EMPTY: std::sync::OnceLock<GraphProto> = std::sync::OnceLock::new();
        self.model.graph.as_ref().unwrap_or_else(|| EMPTY.get_or_init(GraphProto::default))
    }
}

pub(crate) fn encode(model: &ModelProto) -> Result<Bytes, Error> {
    let size = model.encoded_len() as u64;
    if size > FILE_BYTES_MAX {
        return Err(Fault::TooLarge { what: "size of the file in bytes", found: size, max: FILE_BYTES_MAX }.into());
    }
    Ok(model.encode_to_vec().into())
}
