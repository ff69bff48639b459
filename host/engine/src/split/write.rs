//! Shards as files in a folder. A file appears whole or not at all: it is written under another name and renamed.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use prost::Message as _;

use super::Shard;
use crate::{
    error::{Error, Fault},
    onnx_pb::{ModelProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation},
};

/// Shards with more weights than this get them in a file of their own, `NAME.data`, which loads without reading it whole.
pub const WEIGHTS_INSIDE_BYTES_MAX: u64 = 1 << 30;
/// Smaller weights stay inside the ONNX file: engines want shapes and axes there.
const WEIGHT_OUTSIDE_BYTES_MIN: usize = 1024;
/// Where weights begin in a file of their own; mapped pages are of this size.
const ALIGNMENT_BYTES: usize = 4096;

impl Shard {
    /// `NAME@VERSION-START-END.onnx`: a name that every file system takes.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.onnx", self.id.model, self.id.range.start(), self.id.range.end())
    }

    /// Writes the shard into a folder that exists, over an older one. On an error nothing new is left there.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        self.write_with(folder, WEIGHTS_INSIDE_BYTES_MAX)
    }

    /// The same with another limit for weights inside the file, in bytes.
    pub fn write_with(&self, folder: &Path, weights_inside_bytes_max: u64) -> Result<PathBuf, Error> {
        let path = folder.join(self.file_name());
        if self.weight_bytes.0 <= weights_inside_bytes_max {
            replace(&path, &[&self.file])?;
            return Ok(path);
        }
        let mut model = ModelProto::decode(self.file.clone()).map_err(|error| Fault::NotOnnx { reason: error.to_string() })?;
        let data_path = path.with_extension("onnx.data");
        let location = data_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let chunks = take_out(&mut model, &location);
        let slices: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_ref()).collect();
        replace(&data_path, &slices)?;
        replace(&path, &[&model.encode_to_vec()]).inspect_err(|_| drop(fs::remove_file(&data_path)))?;
        Ok(path)
    }
}

/// Replaces the bytes of large weights by their place in the data file; gives the bytes in order, with padding.
fn take_out(model: &mut ModelProto, location: &str) -> Vec<bytes::Bytes> {
    let mut chunks = Vec::new();
    let mut offset = 0;
    let large = |tensor: &&mut TensorProto| tensor.raw_data().len() >= WEIGHT_OUTSIDE_BYTES_MIN;
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer).filter(large) {
        let Some(data) = tensor.raw_data.take() else { continue };
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![entry("location", location.to_owned()), entry("offset", offset.to_string()), entry("length", data.len().to_string())];
        let padding = data.len().next_multiple_of(ALIGNMENT_BYTES) - data.len();
        offset += data.len() + padding;
        chunks.extend([data, vec![0; padding].into()]);
    }
    chunks
}

/// Writes beside the path and renames; what was begun is removed when it fails.
fn replace(path: &Path, chunks: &[&[u8]]) -> Result<(), Error> {
    let beside = path.with_extension(format!("{}.partial", std::process::id()));
    let write = || {
        let mut file = fs::File::create(&beside)?;
        chunks.iter().try_for_each(|chunk| file.write_all(chunk))?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        // The first error is the one to tell; a file that cannot be removed was most likely never made.
        drop(fs::remove_file(&beside));
        Error::from(Fault::File { path: path.display().to_string(), doing: "write" }).because(error)
    })
}
