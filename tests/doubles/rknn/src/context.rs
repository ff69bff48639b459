//! One context, and the order in which it may be called.

use std::{collections::HashMap, ffi::c_int};

use double_core::Model;
use host_engine::{ElementType, Tensor, TensorSpec};

use crate::{
    abi::{RKNN_ERR_FAIL, RKNN_ERR_INPUT_INVALID, RKNN_ERR_OUTPUT_INVALID, RKNN_ERR_PARAM_INVALID, RknnTensorAttr, RknnTensorMem},
    tensors,
};

/// What is wrong with a call, and the code that it gets.
pub type Refusal = (c_int, String);

/// Memory that both sides use.
pub struct Memory {
    /// What the caller holds: one of it, in memory that does not move.
    _shown: Vec<RknnTensorMem>,
    /// What its address is that of.
    pub data: Vec<u8>,
    /// Whether the device has seen the last of what the caller wrote.
    synced: bool,
}

// SAFETY: the address in what is shown is that of `data`, which moves with it.
unsafe impl Send for Memory {}

/// What a binding says: which memory, and what its elements are.
#[derive(Clone, Copy)]
struct Binding {
    memory: usize,
    element_type: ElementType,
    order: c_int,
}

/// A context.
pub struct Context {
    pub model: Model,
    /// Whose weights it shares.
    pub origin: Option<u64>,
    inputs: Vec<Option<Tensor>>,
    outputs: Option<Vec<Tensor>>,
    /// Outputs that are out, by address.
    pub given: HashMap<usize, Vec<u8>>,
    /// By the address of what the caller holds.
    pub memories: HashMap<usize, Memory>,
    bound_inputs: HashMap<usize, Binding>,
    bound_outputs: HashMap<usize, Binding>,
}

impl Context {
    pub fn new(model: Model, origin: Option<u64>) -> Self {
        Self {
            inputs: vec![None; model.payload().inputs.len()],
            model,
            origin,
            outputs: None,
            given: HashMap::new(),
            memories: HashMap::new(),
            bound_inputs: HashMap::new(),
            bound_outputs: HashMap::new(),
        }
    }

    pub fn input_spec(&self, index: usize) -> Option<&TensorSpec> {
        self.model.payload().inputs.get(index)
    }

    pub fn output_spec(&self, index: usize) -> Option<&TensorSpec> {
        self.model.payload().outputs.get(index)
    }

    /// Takes all inputs of a run.
    pub fn set_inputs(&mut self, given: &[(u32, &[u8], c_int, c_int)]) -> Result<(), Refusal> {
        let refused = |text: String| (RKNN_ERR_INPUT_INVALID, text);
        if !self.bound_inputs.is_empty() {
            return Err(refused("inputs are set although memory is bound".into()));
        }
        if given.len() != self.inputs.len() {
            return Err(refused(format!("{} inputs are set, there are {}", given.len(), self.inputs.len())));
        }
        let mut taken = vec![None; self.inputs.len()];
        for &(index, data, element_type, order) in given {
            let place = index as usize;
            let spec = self.input_spec(place).ok_or_else(|| refused(format!("input {index} is set, there are {}", taken.len())))?;
            if taken[place].is_some() {
                return Err(refused(format!("input {index} is set twice")));
            }
            taken[place] = Some(tensors::take(spec, data, element_type, order).map_err(refused)?);
        }
        self.inputs = taken;
        Ok(())
    }

    /// Computes.
    pub fn run(&mut self, garbage: bool) -> Result<(), Refusal> {
        if !self.given.is_empty() {
            return Err((RKNN_ERR_FAIL, format!("run while {} outputs are not released", self.given.len())));
        }
        if !self.bound_inputs.is_empty() {
            self.read_bound()?;
        }
        let inputs = self.inputs.iter().cloned().collect::<Option<Vec<_>>>();
        let inputs = inputs.ok_or((RKNN_ERR_INPUT_INVALID, "run before inputs were set".to_owned()))?;
        let outputs = self.model.run(inputs).map_err(|error| (RKNN_ERR_FAIL, format!("the model failed: {error}")))?;
        self.outputs = Some(if garbage { outputs.iter().map(double_core::garbage).collect() } else { outputs });
        if self.bound_outputs.is_empty() { Ok(()) } else { self.write_bound() }
    }

    fn read_bound(&mut self) -> Result<(), Refusal> {
        let refused = |text: String| (RKNN_ERR_INPUT_INVALID, text);
        for place in 0..self.inputs.len() {
            let binding = *self.bound_inputs.get(&place).ok_or_else(|| refused(format!("no memory is bound to input {place}")))?;
            let memory = self.memories.get_mut(&binding.memory).ok_or_else(|| refused(format!("memory of input {place} is gone")))?;
            if !std::mem::take(&mut memory.synced) {
                return Err(refused(format!("memory of input {place} was not synchronised to the device")));
            }
            let spec = &self.model.payload().inputs[place];
            let size = tensors::shape(spec).iter().product::<usize>() * binding.element_type.size_bytes();
            let number = tensors::number_of(binding.element_type);
            self.inputs[place] = Some(tensors::take(spec, &memory.data[..size], number, binding.order).map_err(refused)?);
        }
        Ok(())
    }

    fn write_bound(&mut self) -> Result<(), Refusal> {
        let refused = |text: String| (RKNN_ERR_OUTPUT_INVALID, text);
        for (place, tensor) in self.outputs.iter().flatten().enumerate() {
            let binding = self.bound_outputs.get(&place).ok_or_else(|| refused(format!("no memory is bound to output {place}")))?;
            let memory = self.memories.get_mut(&binding.memory).ok_or_else(|| refused(format!("memory of output {place} is gone")))?;
            let data = tensors::give(tensor, binding.element_type).ok_or_else(|| refused(format!("output {place} cannot be {}", binding.element_type)))?;
            // Callers see it once they have synchronised.
            memory.data[..data.len()].copy_from_slice(&data);
            memory.synced = false;
        }
        Ok(())
    }

    /// The bytes of an output as a caller wants them.
    pub fn output(&self, index: u32, want_float: bool) -> Result<Vec<u8>, Refusal> {
        let refused = |text: String| (RKNN_ERR_OUTPUT_INVALID, text);
        let outputs = self.outputs.as_ref().ok_or_else(|| refused("outputs are asked for before a run".into()))?;
        let place = index as usize;
        let (tensor, spec) = outputs.get(place).zip(self.output_spec(place)).ok_or_else(|| refused(format!("output {index} does not exist")))?;
        let wanted = if want_float { ElementType::Fp32 } else { tensors::inside(spec, self.model.payload().half) };
        let data = tensors::give(tensor, wanted).ok_or_else(|| refused(format!("output {index} cannot be {wanted}")))?;
        Ok(data.to_vec())
    }

    /// Adds memory, and gives what the caller holds.
    pub fn create_memory(&mut self, size: u32) -> *mut RknnTensorMem {
        let mut data = vec![0u8; size as usize];
        let address = data.as_mut_ptr().cast();
        let mut shown = vec![RknnTensorMem { virt_addr: address, phys_addr: 0, fd: -1, offset: 0, size, flags: 0, priv_data: std::ptr::null_mut() }];
        let pointer = shown.as_mut_ptr();
        self.memories.insert(pointer as usize, Memory { _shown: shown, data, synced: false });
        pointer
    }

    /// Binds memory to the input or output that the attribute names.
    pub fn bind(&mut self, memory: usize, attribute: &RknnTensorAttr) -> Result<(), Refusal> {
        let refused = |text: String| (RKNN_ERR_PARAM_INVALID, text);
        let element_type = tensors::element_type(attribute.tensor_type).ok_or_else(|| refused("memory of an unknown type is bound".into()))?;
        let name: Vec<u8> = attribute.name.iter().take_while(|byte| **byte != 0).map(|byte| byte.to_ne_bytes()[0]).collect();
        let place = |specs: &[TensorSpec]| specs.iter().position(|spec| spec.name.as_bytes() == name);
        let payload = self.model.payload();
        let (spec, place, into) = match (place(&payload.inputs), place(&payload.outputs)) {
            (Some(place), _) => (&payload.inputs[place], place, true),
            (None, Some(place)) => (&payload.outputs[place], place, false),
            _ => return Err(refused("memory is bound to a name that is not there".into())),
        };
        let needed = tensors::shape(spec).iter().product::<usize>() * element_type.size_bytes();
        let size = self.memories.get(&memory).ok_or_else(|| refused("memory is bound that is not there".into()))?.data.len();
        if size < needed {
            return Err(refused(format!("memory of {size} bytes is bound to `{}`, {needed} are needed", spec.name)));
        }
        let order = if into { tensors::input_order(spec) } else { tensors::output_order(spec) };
        if attribute.fmt != order {
            return Err(refused(format!("memory is bound to `{}` in order {}, its attribute says {order}", spec.name, attribute.fmt)));
        }
        let bound = if into { &mut self.bound_inputs } else { &mut self.bound_outputs };
        bound.insert(place, Binding { memory, element_type, order });
        Ok(())
    }

    /// Moves memory to the device or back.
    pub fn sync(&mut self, memory: usize, mode: c_int) -> Result<(), Refusal> {
        let found = self.memories.get_mut(&memory).ok_or((RKNN_ERR_PARAM_INVALID, "memory is synchronised that is not there".to_owned()))?;
        match mode {
            1 | 3 => found.synced = true,
            2 => {}
            _ => return Err((RKNN_ERR_PARAM_INVALID, format!("memory is synchronised with mode {mode}"))),
        }
        Ok(())
    }

    /// Ends a use of memory.
    pub fn destroy_memory(&mut self, memory: usize) -> Option<Memory> {
        self.bound_inputs.retain(|_, binding| binding.memory != memory);
        self.bound_outputs.retain(|_, binding| binding.memory != memory);
        self.memories.remove(&memory)
    }
}
