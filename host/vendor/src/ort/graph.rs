//! A shard that ONNX Runtime has prepared.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use host_core::units::Bytes;
use host_engine::{Binding, Error, Fault, Graph, Tensor, TensorSpec, check_inputs};
use ort::session::{Session, SessionInputValue};

use super::{Provider, errors, profiles::Profiles, tensors};

/// A loaded shard. One session serves every length of its open dimensions.
///
/// Users of the same shard share one session under a lock. ONNX Runtime says that a session may run on several threads at once, its binding
/// for Rust says that it must not and asks for it alone; a second session would hold the weights a second time, because weights are
/// part of a session and only those that were packed can be shared. What waits for the lock would otherwise compete for the threads
/// of the same session.
#[derive(Clone, Debug)]
pub(super) struct OrtGraph {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    session: Mutex<Session>,
    provider: Provider,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    /// Lengths beyond which the provider would have to prepare anew; empty where it takes all.
    profiles: Profiles,
    memory: Bytes,
}

impl OrtGraph {
    /// Of a session whose inputs and outputs have these names.
    pub(super) fn new(session: Session, provider: Provider, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>, profiles: Profiles, memory: Bytes) -> Self {
        Self { shared: Arc::new(Shared { session: Mutex::new(session), provider, inputs, outputs, profiles, memory }) }
    }
}

impl Graph for OrtGraph {
    fn inputs(&self) -> &[TensorSpec] {
        &self.shared.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.shared.outputs
    }

    fn memory(&self) -> Bytes {
        self.shared.memory
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let shared = &self.shared;
        check_inputs(&shared.inputs, &inputs)?;
        // ONNX Runtime takes two lengths of one symbol, and computes something.
        let lengths = Binding::solve(shared.inputs.iter().zip(inputs.iter().map(Tensor::shape)))?;
        shared.profiles.check(&lengths)?;
        let given = shared.inputs.iter().zip(&inputs).map(|(spec, tensor)| Ok((Cow::Borrowed(spec.name.as_str()), tensors::to_value(tensor)?)));
        let given = given.collect::<Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>, Error>>()?;
        // A panic in another user's run leaves a session that may be run again: runs keep nothing in it.
        let mut session = shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = session.run(given).map_err(|error| errors::run(shared.provider, &error))?;
        let take = |spec: &TensorSpec| {
            let value = made.remove(&spec.name).ok_or_else(|| Error::from(Fault::Missing { what: "output", name: spec.name.clone() }))?;
            let tensor = tensors::from_value(spec, value)?;
            spec.check(&tensor)?;
            Ok(tensor)
        };
        shared.outputs.iter().map(take).collect()
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(self.clone()))
    }
}
