//! What an adapter may do with tensors without their bytes, and what it can learn of shards and graphs beside the contract. An adapter
//! that calls any of this needs a host that offers `shardhost:tensors`; one that does not runs on any host.

use super::{
    Engine, HostEngine,
    bindings::{shardhost::tensors::operations, shardhost::tensors::operations::DimensionNames},
};
use crate::adapter::{ElementType, EngineError, Graph, ShardFile, Tensor, TensorInfo};

/// An input or output of a shard: its info, and what its dimensions are called.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Type of its elements.
    pub element_type: ElementType,
    /// Each axis: a number, a symbol such as `sequence_length`, or a sum such as `past_sequence_length + 1`.
    pub dimensions: Vec<String>,
}

/// What a shard says of itself.
#[derive(Clone, Debug)]
pub struct ShardInfo {
    /// `model@version[start..end)`.
    pub id: String,
    /// Bytes of weights in it.
    pub weight_bytes: f64,
    /// In declared order; `run` takes tensors in the same order.
    pub inputs: Vec<Port>,
    /// In declared order.
    pub outputs: Vec<Port>,
    /// Operator types in it, each once, sorted.
    pub operators: Vec<String>,
}

/// Engines whose tensors can be changed where they are. [`HostEngine`] is the real thing; a test outside the sandbox brings a double.
pub trait Operations: Engine {
    /// What a tensor's elements are.
    fn element_type(&self, tensor: &Self::Tensor) -> ElementType;

    /// A tensor's shape.
    fn shape(&self, tensor: &Self::Tensor) -> Vec<u32>;

    /// The same values as another element type: floats rounded, integers saturated.
    fn cast(&self, tensor: &Self::Tensor, to: ElementType) -> Result<Self::Tensor, EngineError>;

    /// The axes in another order: axis `n` of the answer is axis `axes[n]` of the tensor.
    fn transpose(&self, tensor: &Self::Tensor, axes: &[u32]) -> Result<Self::Tensor, EngineError>;

    /// A tensor of this shape that is `value` but for the given one, which begins there at `start`.
    fn pad(&self, tensor: &Self::Tensor, shape: &[u32], start: &[u32], value: f64) -> Result<Self::Tensor, EngineError>;

    /// What lies in the tensor from `start` on, with this shape.
    fn crop(&self, tensor: &Self::Tensor, shape: &[u32], start: &[u32]) -> Result<Self::Tensor, EngineError>;

    /// The inputs of each set of shapes that a graph was made for, in the order in which `run` takes them.
    fn buckets(&self, graph: &Self::Graph) -> Vec<Vec<TensorInfo>>;

    /// What a shard says of itself.
    fn describe(&self, shard: &Self::ShardFile) -> ShardInfo;
}

impl Operations for HostEngine {
    fn element_type(&self, tensor: &Tensor) -> ElementType {
        tensor.element_type()
    }

    fn shape(&self, tensor: &Tensor) -> Vec<u32> {
        tensor.shape()
    }

    fn cast(&self, tensor: &Tensor, to: ElementType) -> Result<Tensor, EngineError> {
        operations::cast(tensor, to)
    }

    fn transpose(&self, tensor: &Tensor, axes: &[u32]) -> Result<Tensor, EngineError> {
        operations::transpose(tensor, axes)
    }

    fn pad(&self, tensor: &Tensor, shape: &[u32], start: &[u32], value: f64) -> Result<Tensor, EngineError> {
        operations::pad(tensor, shape, start, value)
    }

    fn crop(&self, tensor: &Tensor, shape: &[u32], start: &[u32]) -> Result<Tensor, EngineError> {
        operations::crop(tensor, shape, start)
    }

    fn buckets(&self, graph: &Graph) -> Vec<Vec<TensorInfo>> {
        operations::buckets(graph)
    }

    fn describe(&self, shard: &ShardFile) -> ShardInfo {
        let DimensionNames { inputs, outputs } = operations::dimensions(shard);
        let ports = |infos: Vec<TensorInfo>, named: Vec<Vec<String>>| infos.into_iter().zip(named).map(|(info, named)| port(info, named)).collect();
        ShardInfo {
            id: shard.id(),
            weight_bytes: shard.weight_bytes(),
            inputs: ports(shard.inputs(), inputs),
            outputs: ports(shard.outputs(), outputs),
            operators: shard.operators(),
        }
    }
}

fn port(info: TensorInfo, dimensions: Vec<String>) -> Port {
    Port { name: info.name, element_type: info.element_type, dimensions }
}
