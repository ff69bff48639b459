//! The embedded engine: tract. Takes every shard, on any CPU, and needs nothing installed.
//! The batch is always 1 here (open batches gave wrong answers without an error on block-quantised weights); requests of
//! more rows are run row by row by the caller.

pub(crate) mod facts;
pub(crate) mod guard;
pub(crate) mod parse;
mod plan;
pub(crate) mod tensors;

use std::sync::Arc;

use host_core::units::Bytes;

use crate::{
    element_type::ElementType,
    engine::{Engine, EngineInfo, Graph, LoadOptions, check_inputs},
    error::Error,
    onnx::OnnxFile,
    spec::TensorSpec,
    split::Shard,
    tensor::Tensor,
};
use plan::Plans;

/// tract as an engine.
#[derive(Clone, Copy, Debug)]
pub struct TractEngine;

impl Engine for TractEngine {
    fn info(&self) -> EngineInfo {
        use ElementType::*;
        EngineInfo {
            name: "tract".into(),
            version: "0.23.9".into(),
            accelerator: "cpu".into(),
            memory: None,
            // Measured on decoders and CNNs of 50 to 600 MB: 1.5 to 2 times the file while it runs, packed weights included.
            weight_factor: 2.0,
            fixed_bytes: Bytes::mib(8),
            element_types: vec![Fp64, Fp32, Fp16, Int64, Int32, Int16, Int8, Uint64, Uint32, Uint16, Uint8, Boolean],
            attributes: Vec::new(),
        }
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        options.check_settings("tract", &[]).map_err(|error| error.of(&shard.id))?;
        let file = OnnxFile::parse(shard.file.clone(), None).map_err(|error| error.of(&shard.id))?;
        let plans = Plans::prepare(&file, &shard.inputs, &shard.outputs, options).map_err(|error| error.of(&shard.id))?;
        let memory = shard.weight_bytes.scaled(self.info().weight_factor) + self.info().fixed_bytes;
        Ok(Box::new(TractGraph { plans: Arc::new(plans), memory }))
    }
}

/// A loaded shard. Runs share everything but the state of one run.
#[derive(Debug)]
struct TractGraph {
    plans: Arc<Plans>,
    memory: Bytes,
}

impl Graph for TractGraph {
    fn inputs(&self) -> &[TensorSpec] {
        self.plans.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.plans.outputs()
    }

    fn memory(&self) -> Bytes {
        self.memory
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        check_inputs(self.inputs(), &inputs)?;
        let outputs = self.plans.run(inputs)?;
        self.outputs().iter().zip(&outputs).try_for_each(|(spec, tensor)| spec.check(tensor))?;
        Ok(outputs)
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(Self { plans: Arc::clone(&self.plans), memory: self.memory }))
    }
}
