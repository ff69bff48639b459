//! Weights that lie beside a model: found inside its folder only, mapped once per file, and brought into their tensors without a copy.

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;

use super::mapping;
use crate::{
    error::{Error, Fault},
    onnx_pb::{GraphProto, ModelProto, TensorProto, tensor_proto::DataLocation},
};

/// Most graphs inside graphs that are followed; deeper ones come from broken files.
const DEPTH_MAX: usize = 32;

/// Gives every tensor of a model its bytes.
pub(super) fn bring_in(model: &mut ModelProto, folder: Option<&Path>) -> Result<(), Error> {
    let mut files = Files { folder, mapped: HashMap::new() };
    let Some(graph) = &mut model.graph else { return Ok(()) };
    graph_tensors(graph, 0, &mut |tensor| files.bring_in(tensor))?;
    model.functions.iter_mut().flat_map(|function| &mut function.node).try_for_each(|node| node_tensors(node, 0, &mut |tensor| files.bring_in(tensor)))
}

fn graph_tensors(graph: &mut GraphProto, depth: usize, visit: &mut dyn FnMut(&mut TensorProto) -> Result<(), Error>) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Fault::TooLarge { what: "depth of graphs in graphs", found: depth as u64, max: DEPTH_MAX as u64 }.into());
    }
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    graph.node.iter_mut().try_for_each(|node| node_tensors(node, depth, visit))
}

fn node_tensors(node: &mut crate::onnx_pb::NodeProto, depth: usize, visit: &mut dyn FnMut(&mut TensorProto) -> Result<(), Error>) -> Result<(), Error> {
    for attribute in &mut node.attribute {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
        attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(|graph| graph_tensors(graph, depth + 1, visit))?;
    }
    Ok(())
}

struct Files<'a> {
    folder: Option<&'a Path>,
    mapped: HashMap<PathBuf, Bytes>,
}

impl Files<'_> {
    fn bring_in(&mut self, tensor: &mut TensorProto) -> Result<(), Error> {
        if tensor.data_location() != DataLocation::External {
            return Ok(());
        }
        let field = |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value().to_owned());
        let location = field("location").unwrap_or_default();
        let fault = |reason: String| Error::from(Fault::External { tensor: tensor.name().to_owned(), location: location.clone(), reason });
        let number = |key: &str| match field(key) {
            Some(text) => text.parse::<usize>().map(Some).map_err(|_| fault(format!("{key} `{text}` is not a number of bytes"))),
            None => Ok(None),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let path = self.resolve(&location).map_err(&fault)?;
        let data = match self.mapped.get(&path) {
            Some(data) => data.clone(),
            None => mapping::map(&path).map_err(|error| fault("the file cannot be read".into()).because(error))?,
        };
        let length = length.unwrap_or(data.len().saturating_sub(offset));
        let end = offset.checked_add(length).filter(|&end| end <= data.len());
        let Some(end) = end else {
            return Err(fault(format!("bytes {offset} to {offset}+{length} are needed, the file has {}", data.len())));
        };
        let slice = data.slice(offset..end);
        self.mapped.insert(path, data);
        tensor.raw_data = Some(slice);
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    }

    /// A path inside the folder, links followed; the error is a reason.
    fn resolve(&self, location: &str) -> Result<PathBuf, String> {
        let folder = self.folder.ok_or("a model from memory has no folder to look in")?;
        let relative = Path::new(location);
        if location.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err("the location must be a path inside the model's folder".into());
        }
        let folder = folder.canonicalize().map_err(|error| format!("the model's folder cannot be read: {error}"))?;
        let path = folder.join(relative).canonicalize().map_err(|error| format!("the file is missing: {error}"))?;
        if !path.starts_with(&folder) {
            return Err("the file lies outside the model's folder".into());
        }
        Ok(path)
    }
}
