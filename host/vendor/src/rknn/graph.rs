//! A shard in an NPU: one context for each bucket.

use std::sync::Arc;

use host_core::units::Bytes;
use host_engine::{Artefact, Error, Fault, Graph, Shard, Tensor, TensorSpec};

use super::{
    abi,
    api::{Api, ZeroCopy},
    binding::{Bound, Side, bind},
    context::{Context, InputData, size_of_tensor},
    memory::Memory,
    settings::{Settings, ZeroCopyWhen},
};
use crate::buckets;

/// A loaded shard: for one thread at a time, as its contexts are. Whoever shares it gets contexts of its own over the same weights.
#[derive(Debug)]
pub(super) struct RknnGraph {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    buckets: Vec<Bucket>,
    settings: Settings,
    memory: Bytes,
}

impl RknnGraph {
    /// Loads all buckets of a shard.
    pub(super) fn load(api: &Arc<Api>, shard: &Shard, artefacts: &[&Artefact], settings: Settings) -> Result<Self, Error> {
        let load = |artefact: &&Artefact| {
            let make = || Context::load(api, &artefact.data);
            Bucket::new(&make, &artefact.inputs, &artefact.outputs, &settings)
        };
        let buckets = artefacts.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let inputs = buckets::common(&shard.inputs, buckets.iter().map(|bucket| bucket.inputs.as_slice()));
        let outputs = buckets::common(&shard.outputs, buckets.iter().map(|bucket| bucket.outputs.as_slice()));
        let memory = buckets.iter().try_fold(Bytes::ZERO, |sum, bucket| Ok::<_, Error>(sum + bucket.memory()?))?;
        Ok(Self { inputs, outputs, buckets, settings, memory })
    }

    /// Version of the library and of the NPU's driver, as the library says them.
    pub(super) fn versions(&self) -> Option<(String, String)> {
        let versions = self.buckets.first()?.context.versions().ok()?;
        Some((super::binding::text(&versions.library), super::binding::text(&versions.driver)))
    }
}

impl Graph for RknnGraph {
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
        let share = |bucket: &Bucket| {
            let make = || bucket.context.duplicate();
            Bucket::new(&make, &bucket.inputs, &bucket.outputs, &self.settings)
        };
        Ok(Box::new(Self {
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            buckets: self.buckets.iter().map(share).collect::<Result<_, _>>()?,
            settings: self.settings.clone(),
            memory: self.memory,
        }))
    }

    fn buckets(&self) -> Vec<Vec<TensorSpec>> {
        self.buckets.iter().map(|bucket| bucket.inputs.clone()).collect()
    }
}

/// Memory of the inputs and of the outputs, which the library does not copy.
type InPlace = (Vec<Memory>, Vec<Memory>);

/// A context and what crosses its border.
#[derive(Debug)]
struct Bucket {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    bound_inputs: Vec<Bound>,
    bound_outputs: Vec<Bound>,
    /// None where the library copies tensors.
    memory: Option<InPlace>,
    context: Arc<Context>,
}

impl Bucket {
    /// Tensors go in place where library, setting and tensors allow it. A library that refuses that gets a context that was never asked
    /// for it, and copies.
    fn new(make: &dyn Fn() -> Result<Context, Error>, inputs: &[TensorSpec], outputs: &[TensorSpec], settings: &Settings) -> Result<Self, Error> {
        let mut bucket = Self::copying(make()?, inputs, outputs, settings)?;
        let dense = bucket.bound_inputs.iter().chain(&bucket.bound_outputs).all(Bound::is_dense);
        let (Some(functions), ZeroCopyWhen::Auto, true) = (bucket.context.api().zero_copy, settings.zero_copy, dense) else { return Ok(bucket) };
        match bucket.in_place(functions) {
            Ok(memory) => bucket.memory = Some(memory),
            Err(error) if matches!(error.fault(), Fault::Exhausted { .. }) => return Err(error),
            Err(_) => {
                drop(bucket);
                bucket = Self::copying(make()?, inputs, outputs, settings)?;
            }
        }
        Ok(bucket)
    }

    fn copying(context: Context, inputs: &[TensorSpec], outputs: &[TensorSpec], settings: &Settings) -> Result<Self, Error> {
        let counts = context.counts()?;
        let attributes = |count: u32, ask: fn(&Context, u32) -> Result<abi::Attribute, Error>| -> Result<Vec<_>, Error> {
            (0..count).map(|index| ask(&context, index)).collect()
        };
        let bound_inputs = bind(Side::Input, inputs, &attributes(counts.inputs, Context::input)?)?;
        let bound_outputs = bind(Side::Output, outputs, &attributes(counts.outputs, Context::output)?)?;
        if let Some(mask) = settings.core_mask {
            context.set_cores(mask)?;
        }
        Ok(Self { inputs: inputs.to_vec(), outputs: outputs.to_vec(), bound_inputs, bound_outputs, memory: None, context: Arc::new(context) })
    }

    /// Memory for all tensors.
    fn in_place(&self, functions: ZeroCopy) -> Result<InPlace, Error> {
        let bind = |bound: &Bound| {
            let attribute = abi::Attribute { element_type: bound.element_type, pass_through: 0, size: size_of_tensor(bound.size())?, ..bound.attribute };
            Memory::bind(&self.context, functions, attribute, bound.size())
        };
        let all = |bounds: &[Bound]| bounds.iter().map(bind).collect::<Result<Vec<_>, _>>();
        Ok((all(&self.bound_inputs)?, all(&self.bound_outputs)?))
    }

    fn memory(&self) -> Result<Bytes, Error> {
        let sizes = self.context.memory()?;
        Ok(Bytes(u64::from(sizes.weights)) + Bytes(u64::from(sizes.internal)))
    }

    /// Runs inputs that fit.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let context = Arc::clone(&self.context);
        let _turn = context.turn();
        match self.memory.take() {
            Some(mut memory) => {
                let made = self.run_in_place(inputs, &mut memory);
                self.memory = Some(memory);
                made
            }
            None => self.run_copied(inputs),
        }
    }

    fn run_in_place(&self, inputs: &[Tensor], (into, out): &mut InPlace) -> Result<Vec<Tensor>, Error> {
        for ((bound, memory), tensor) in self.bound_inputs.iter().zip(into).zip(inputs) {
            memory.write(&bound.enter(tensor))?;
        }
        self.context.run()?;
        self.bound_outputs.iter().zip(out).map(|(bound, memory)| bound.leave(memory.read()?)).collect()
    }

    fn run_copied(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let data: Vec<_> = self.bound_inputs.iter().zip(inputs).map(|(bound, tensor)| bound.enter(tensor)).collect();
        let given: Vec<InputData<'_>> = self
            .bound_inputs
            .iter()
            .zip(&data)
            .map(|(bound, data)| InputData { index: bound.index, data, element_type: bound.element_type, format: bound.attribute.format })
            .collect();
        self.context.set_inputs(&given)?;
        self.context.run()?;
        let mut want_float = vec![false; self.bound_outputs.len()];
        for bound in &self.bound_outputs {
            want_float[bound.index as usize] = bound.want_float;
        }
        let outputs = self.context.outputs(&want_float)?;
        let missing = |bound: &Bound| Error::from(Fault::Missing { what: "output", name: bound.spec.name.clone() });
        let made = self.bound_outputs.iter().map(|bound| bound.leave(outputs.data(bound.index).ok_or_else(|| missing(bound))?)).collect();
        outputs.release()?;
        made
    }
}
