//! What a guest may call: the log, and for adapters the engines. Everything here runs on the host's side of the sandbox, and
//! what it computes counts neither against the guest's time nor against its memory.

use std::sync::Arc;

use host_engine::{Dimension, Engines, LoadOptions, Tensor, TensorSpec};
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{
    bindings::{engine, log, types},
    convert,
};
use crate::{
    guest::{Guest, LoadedGraph, ShardFile},
    names::PluginKind,
};

/// Whether a guest of these kinds may import an interface of the contract.
pub(super) fn grants(interface: &str, kinds: &[PluginKind]) -> bool {
    match interface {
        "log" | "types" => true,
        "engine" => kinds.contains(&PluginKind::Adapter),
        _ => false,
    }
}

/// Binds everything that any guest may import. What a guest is not granted was refused before it came here.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    log::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    engine::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.log.write(level.into(), message);
        Ok(())
    }
}

impl types::Host for Guest {}

impl engine::Host for Guest {
    fn engines(&mut self) -> wasmtime::Result<Vec<engine::EngineInfo>> {
        Ok(self.handles.engines.info().iter().map(convert::engine_info).collect())
    }

    fn load(
        &mut self,
        name: String,
        shard: Resource<ShardFile>,
        options: Vec<types::Attribute>,
    ) -> wasmtime::Result<Result<Resource<LoadedGraph>, engine::EngineError>> {
        let shard = Arc::clone(self.handles.shards.get(&shard)?);
        let options = match load_options(&options) {
            Ok(options) => options,
            Err(message) => return Ok(Err(engine::EngineError { kind: engine::EngineErrorKind::Invalid, message })),
        };
        let engines: Arc<Engines> = Arc::clone(&self.handles.engines);
        match self.call.outside(|| engines.load(&name, &shard, &options)) {
            Ok(graph) => Ok(Ok(self.handles.hold_graph(graph)?)),
            Err(error) => Ok(Err(convert::engine_error(&error))),
        }
    }
}

/// `threads` is for every engine; the others are for the one that is named, which refuses what it does not know.
fn load_options(options: &[types::Attribute]) -> Result<LoadOptions, String> {
    let mut load = LoadOptions::default();
    for (name, value) in options {
        if name != "threads" {
            load.settings.insert(name.clone(), value.clone());
            continue;
        }
        load.threads = match value.parse() {
            Ok(threads) if threads > 0 => threads,
            _ => return Err(format!("option threads = {value} must be a number above 0")),
        };
    }
    Ok(load)
}

impl engine::HostTensor for Guest {
    fn new(&mut self, element_type: types::ElementType, shape: Vec<u32>, data: Vec<u8>) -> wasmtime::Result<Resource<Tensor>> {
        self.handles.make(data.len())?;
        let shape = shape.into_iter().map(|length| length as usize).collect();
        let tensor = Tensor::new(element_type.into(), shape, data.into()).map_err(|error| wasmtime::format_err!("{error}"))?;
        Ok(self.handles.hold_tensor(tensor)?)
    }

    fn element_type(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<types::ElementType> {
        Ok(self.handles.tensors.get(&tensor)?.element_type().into())
    }

    fn shape(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u32>> {
        let shape = self.handles.tensors.get(&tensor)?.shape();
        Ok(shape.iter().map(|&length| u32::try_from(length).unwrap_or(u32::MAX)).collect())
    }

    fn byte_length(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<f64> {
        Ok(self.handles.tensors.get(&tensor)?.data().len() as f64)
    }

    fn read(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u8>> {
        let data = self.handles.tensors.get(&tensor)?.data().to_vec();
        self.handles.copied_bytes += data.len() as u64;
        Ok(data)
    }

    fn drop(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<()> {
        // One that was forgotten after its call is gone already.
        self.handles.tensors.delete(tensor).map(drop).or(Ok(()))
    }
}

impl engine::HostShardFile for Guest {
    fn id(&mut self, shard: Resource<ShardFile>) -> wasmtime::Result<String> {
        Ok(self.handles.shards.get(&shard)?.id.to_string())
    }

    fn digest(&mut self, shard: Resource<ShardFile>) -> wasmtime::Result<String> {
        Ok(self.handles.shards.get(&shard)?.digest.to_string())
    }

    fn weight_bytes(&mut self, shard: Resource<ShardFile>) -> wasmtime::Result<f64> {
        Ok(self.handles.shards.get(&shard)?.weight_bytes.as_f64())
    }

    fn inputs(&mut self, shard: Resource<ShardFile>) -> wasmtime::Result<Vec<engine::TensorInfo>> {
        Ok(self.handles.shards.get(&shard)?.inputs.iter().map(tensor_info).collect())
    }

    fn outputs(&mut self, shard: Resource<ShardFile>) -> wasmtime::Result<Vec<engine::TensorInfo>> {
        Ok(self.handles.shards.get(&shard)?.outputs.iter().map(tensor_info).collect())
    }

    fn operators(&mut self, shard: Resource<ShardFile>) -> wasmtime::Result<Vec<String>> {
        Ok(self.handles.shards.get(&shard)?.operators.clone())
    }

    fn drop(&mut self, shard: Resource<ShardFile>) -> wasmtime::Result<()> {
        self.handles.shards.delete(shard).map(drop).map_err(Into::into)
    }
}

fn tensor_info(spec: &TensorSpec) -> engine::TensorInfo {
    let length = |dimension: &Dimension| dimension.fixed().and_then(|length| i32::try_from(length).ok()).unwrap_or(-1);
    engine::TensorInfo { name: spec.name.clone(), element_type: spec.element_type.into(), shape: spec.shape.iter().map(length).collect() }
}

impl engine::HostGraph for Guest {
    fn memory_bytes(&mut self, graph: Resource<LoadedGraph>) -> wasmtime::Result<f64> {
        Ok(self.handles.graphs.get(&graph)?.memory().as_f64())
    }

    fn run(&mut self, graph: Resource<LoadedGraph>, inputs: Vec<Resource<Tensor>>) -> wasmtime::Result<Result<Vec<Resource<Tensor>>, engine::EngineError>> {
        let handles = &mut self.handles;
        let inputs = inputs.into_iter().map(|input| handles.tensors.delete(input)).collect::<Result<Vec<_>, _>>()?;
        let graph = handles.graphs.get_mut(&graph)?;
        match self.call.outside(|| graph.run(inputs)) {
            Ok(outputs) => {
                let outputs = outputs.into_iter().map(|output| handles.hold_tensor(output)).collect::<Result<Vec<_>, _>>()?;
                Ok(Ok(outputs))
            }
            Err(error) => Ok(Err(convert::engine_error(&error))),
        }
    }

    fn drop(&mut self, graph: Resource<LoadedGraph>) -> wasmtime::Result<()> {
        self.handles.graphs.delete(graph).map(drop).map_err(Into::into)
    }
}
