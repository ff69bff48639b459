//! What adapters may import beside the contract: operations on tensors, and what shapes a graph takes. Bytes stay in the host. What an
//! operation computes counts neither against the guest's time nor against its memory; what it makes is limited in bytes for each call.

use host_engine::{Dimension, ElementType, Tensor, TensorSpec};
use semver::Version;
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{
    bindings::{engine, operations, types},
    convert,
    imports::tensor_info,
};
use crate::{
    contract::compatible,
    guest::{Guest, LoadedGraph, ShardFile},
    names::PluginKind,
};

/// The version of the package that this host offers.
const VERSION: Version = Version::new(0, 1, 0);

/// Whether a guest of these kinds may import an interface of the package.
pub(super) fn grants(interface: &str, version: &str, kinds: &[PluginKind]) -> bool {
    let known = Version::parse(version).is_ok_and(|version| compatible(&VERSION, &version));
    known && interface == "operations" && kinds.contains(&PluginKind::Adapter)
}

/// Binds what adapters may import. What a guest is not granted was refused before it came here.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    operations::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

type Answer = wasmtime::Result<Result<Resource<Tensor>, engine::EngineError>>;

impl Guest {
    /// Makes a tensor of another, which takes as many bytes as this type and shape, or none if it would share them.
    fn operate(
        &mut self,
        tensor: &Resource<Tensor>,
        made: impl FnOnce(&Tensor) -> (ElementType, Vec<usize>),
        operation: impl FnOnce(&Tensor) -> Result<Tensor, host_engine::Error>,
    ) -> Answer {
        // A clone shares the bytes.
        let tensor = self.handles.tensors.get(tensor)?.clone();
        let (element_type, shape) = made(&tensor);
        let bytes = match Tensor::bytes_for(element_type, &shape) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(convert::engine_error(&error))),
        };
        if let Err(message) = self.handles.operate(bytes) {
            return Ok(Err(engine::EngineError { kind: engine::EngineErrorKind::Exhausted, message }));
        }
        match self.call.outside(|| operation(&tensor)) {
            Ok(tensor) => Ok(Ok(self.handles.hold_tensor(tensor)?)),
            Err(error) => Ok(Err(convert::engine_error(&error))),
        }
    }
}

impl operations::Host for Guest {
    fn cast(&mut self, tensor: Resource<Tensor>, to: types::ElementType) -> Answer {
        let to = ElementType::from(to);
        self.operate(&tensor, |tensor| (to, tensor.shape().to_vec()), |tensor| tensor.cast(to))
    }

    fn transpose(&mut self, tensor: Resource<Tensor>, axes: Vec<u32>) -> Answer {
        self.operate(&tensor, |tensor| (tensor.element_type(), tensor.shape().to_vec()), |tensor| tensor.transpose(&lengths(axes)))
    }

    fn pad(&mut self, tensor: Resource<Tensor>, shape: Vec<u32>, start: Vec<u32>, value: f64) -> Answer {
        let (shape, start) = (lengths(shape), lengths(start));
        let made = shape.clone();
        self.operate(&tensor, |tensor| (tensor.element_type(), made), |tensor| tensor.pad(&shape, &start, value))
    }

    fn crop(&mut self, tensor: Resource<Tensor>, shape: Vec<u32>, start: Vec<u32>) -> Answer {
        let (shape, start) = (lengths(shape), lengths(start));
        let made = shape.clone();
        // A shape that does not lie in the tensor is refused before anything is made of it.
        self.operate(&tensor, |tensor| (tensor.element_type(), made), |tensor| tensor.crop(&shape, &start))
    }

    fn buckets(&mut self, graph: Resource<LoadedGraph>) -> wasmtime::Result<Vec<Vec<engine::TensorInfo>>> {
        let buckets = self.handles.graphs.get(&graph)?.buckets();
        Ok(buckets.iter().map(|specs| specs.iter().map(tensor_info).collect()).collect())
    }

    fn dimensions(&mut self, shard: Resource<ShardFile>) -> wasmtime::Result<operations::DimensionNames> {
        let shard = self.handles.shards.get(&shard)?;
        let named = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.shape.iter().map(Dimension::to_string).collect()).collect();
        Ok(operations::DimensionNames { inputs: named(&shard.inputs), outputs: named(&shard.outputs) })
    }
}

fn lengths(lengths: Vec<u32>) -> Vec<usize> {
    lengths.into_iter().map(|length| length as usize).collect()
}
