//! The second embedded engine: rten. Pure Rust, loads without optimising for lengths, so one graph serves every batch and length.
//! It computes with four element types; the others that it takes are converted on the way in and out.

mod tensors;
mod threads;

use std::{fmt, sync::Arc};

use host_core::units::Bytes;
use rten::{Model, ModelOptions, NodeId, RunError, RunOptions, Value};

use crate::{
    binding::Binding,
    engine::{Engine, EngineInfo, Graph, LoadOptions, check_inputs},
    error::Error,
    guard::guarded,
    spec::TensorSpec,
    split::Shard,
    tensor::Tensor,
};

/// Its name.
const NAME: &str = "rten";
/// Most threads that one run may use.
const THREADS_MAX: usize = 64;

/// rten as an engine.
#[derive(Clone, Copy, Debug)]
pub struct RtenEngine;

impl Engine for RtenEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: NAME.into(),
            version: "0.27.0".into(),
            accelerator: "cpu".into(),
            memory: None,
            // Resident bytes beside the file after loading and running generated models, one process each, 2 cores x86-64: 1.0 to
            // 1.2 times the weights of MobileNet, ResNet-50, an encoder, one of 8 bits and a decoder; 1.6 times (48 MiB for 30) of
            // a decoder of 4 bits, which gets its tied embedding of floats a second time, transposed. While it loads, rten has the
            // file once more.
            weight_factor: 1.35,
            fixed_bytes: Bytes::mib(8),
            element_types: tensors::TYPES.to_vec(),
            attributes: Vec::new(),
        }
    }

    /// Open dimensions stay open whatever the options say: there is no plan that lengths could change.
    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        let loaded = Loaded::new(shard, options, &self.info()).map_err(|error| error.of(&shard.id))?;
        Ok(Box::new(RtenGraph { loaded: Arc::new(loaded), threads: options.threads.clamp(1, THREADS_MAX) }))
    }
}

/// What all users of a loaded shard share.
struct Loaded {
    model: Model,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    /// The places of `inputs` and `outputs` in the graph.
    input_ids: Vec<NodeId>,
    output_ids: Vec<NodeId>,
    memory: Bytes,
}

impl Loaded {
    fn new(shard: &Shard, options: &LoadOptions, info: &EngineInfo) -> Result<Self, Error> {
        options.check_settings(NAME, &[])?;
        shard.inputs.iter().chain(&shard.outputs).try_for_each(tensors::check)?;
        // rten takes the bytes for its own; it lets go of them when the weights are out.
        let model = guarded(NAME, "read the graph", || ModelOptions::with_all_ops().load(shard.file.to_vec()))?;
        let ids = |specs: &[TensorSpec]| specs.iter().map(|spec| model.node_id(&spec.name)).collect::<Result<Vec<_>, RunError>>();
        let (input_ids, output_ids) = guarded(NAME, "find an input or output", || Ok::<_, RunError>((ids(&shard.inputs)?, ids(&shard.outputs)?)))?;
        let memory = shard.weight_bytes.scaled(info.weight_factor) + info.fixed_bytes;
        Ok(Self { model, inputs: shard.inputs.clone(), outputs: shard.outputs.clone(), input_ids, output_ids, memory })
    }

    fn run(&self, inputs: &[Tensor], threads: usize) -> Result<Vec<Value>, Error> {
        let given = self.inputs.iter().zip(inputs).map(|(spec, tensor)| tensors::to_rten(spec, tensor)).collect::<Result<Vec<_>, _>>()?;
        let given = self.input_ids.iter().copied().zip(given).collect();
        let options = RunOptions::default().with_thread_pool(Some(threads::pool(threads)));
        guarded(NAME, "run", || self.model.run(given, &self.output_ids, Some(options)))
    }
}

/// One user of a loaded shard.
struct RtenGraph {
    loaded: Arc<Loaded>,
    threads: usize,
}

impl fmt::Debug for RtenGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtenGraph").field("inputs", &self.loaded.inputs).field("outputs", &self.loaded.outputs).finish_non_exhaustive()
    }
}

impl Graph for RtenGraph {
    fn inputs(&self) -> &[TensorSpec] {
        &self.loaded.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.loaded.outputs
    }

    fn memory(&self) -> Bytes {
        self.loaded.memory
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        check_inputs(self.inputs(), &inputs)?;
        // That symbols have one length each is what rten does not check.
        Binding::solve(self.inputs().iter().zip(inputs.iter().map(Tensor::shape)))?;
        let values = self.loaded.run(&inputs, self.threads)?;
        let made = |(spec, value): (&TensorSpec, Value)| {
            let tensor = tensors::from_rten(spec, value)?;
            spec.check(&tensor).map(|()| tensor)
        };
        self.outputs().iter().zip(values).map(made).collect()
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(Self { loaded: Arc::clone(&self.loaded), threads: self.threads }))
    }
}
