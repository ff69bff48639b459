//! A shard on an Ascend device: one model for each bucket.

use std::sync::Arc;

use bytes::Bytes as Data;
use host_core::units::Bytes;
use host_engine::{Artefact, Error, Graph, Shard, Tensor, TensorSpec};

use super::{buffers::Buffers, model::Model, runtime::Runtime};
use crate::buckets::{self, lengths};

/// A loaded shard: for one thread at a time. Whoever shares it gets buffers of its own and the same models, which take turns.
#[derive(Debug)]
pub(super) struct AclGraph {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    buckets: Vec<Bucket>,
    memory: Bytes,
}

impl AclGraph {
    /// Loads all buckets of a shard.
    pub(super) fn load(runtime: &Arc<Runtime>, shard: &Shard, artefacts: &[&Artefact]) -> Result<Self, Error> {
        let load = |artefact: &&Artefact| {
            let model = Arc::new(Model::load(runtime, artefact)?);
            Bucket::new(model, artefact.inputs.clone(), artefact.outputs.clone())
        };
        let buckets = artefacts.iter().map(load).collect::<Result<Vec<_>, Error>>()?;
        let inputs = buckets::common(&shard.inputs, buckets.iter().map(|bucket| bucket.inputs.as_slice()));
        let outputs = buckets::common(&shard.outputs, buckets.iter().map(|bucket| bucket.outputs.as_slice()));
        let memory = Bytes(buckets.iter().map(Bucket::memory_bytes).sum());
        Ok(Self { inputs, outputs, buckets, memory })
    }
}

impl Graph for AclGraph {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn memory(&self) -> Bytes {
        self.memory
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let place = buckets::choose(self.buckets.iter().map(|bucket| bucket.inputs.as_slice()), &inputs)?;
        self.buckets[place].run(&inputs)
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        let share = |bucket: &Bucket| Bucket::new(Arc::clone(&bucket.model), bucket.inputs.clone(), bucket.outputs.clone());
        let buckets = self.buckets.iter().map(share).collect::<Result<_, _>>()?;
        Ok(Box::new(Self { inputs: self.inputs.clone(), outputs: self.outputs.clone(), buckets, memory: self.memory }))
    }

    fn buckets(&self) -> Vec<Vec<TensorSpec>> {
        self.buckets.iter().map(|bucket| bucket.inputs.clone()).collect()
    }
}

/// A model and the buffers of one user of it.
#[derive(Debug)]
struct Bucket {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    into: Buffers,
    out: Buffers,
    // Last, so that buffers are freed before a model is unloaded.
    model: Arc<Model>,
}

impl Bucket {
    fn new(model: Arc<Model>, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Result<Self, Error> {
        let into = Buffers::new(model.runtime(), &model.inputs)?;
        let out = Buffers::new(model.runtime(), &model.outputs)?;
        Ok(Self { inputs, outputs, into, out, model })
    }

    fn memory_bytes(&self) -> u64 {
        let buffers: usize = self.model.inputs.iter().chain(&self.model.outputs).map(|place| place.size).sum();
        self.model.memory_bytes + buffers as u64
    }

    /// Runs inputs that fit.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let runtime = self.model.runtime();
        runtime.enter()?;
        for (index, place) in self.model.inputs.iter().enumerate() {
            self.into.write(index, inputs[place.declared].data())?;
        }
        {
            let _turn = self.model.turn();
            // SAFETY: the model is loaded, and computes for this thread alone while its turn is held; both sets have a live buffer for each
            // of its tensors, of the size that it has said.
            let code = unsafe { (runtime.api.execute)(self.model.number(), self.into.set(), self.out.set()) };
            runtime.api.check(code, "run", "aclmdlExecute")?;
        }
        let output = |declared: usize| {
            let spec = &self.outputs[declared];
            let index = self.model.outputs.iter().position(|place| place.declared == declared).unwrap_or(declared);
            let shape = lengths(spec).unwrap_or_default();
            let size = shape.iter().product::<usize>() * spec.element_type.size_bytes();
            Tensor::new(spec.element_type, shape, Data::from(self.out.read(index, size)?))
        };
        (0..self.outputs.len()).map(output).collect()
    }
}
