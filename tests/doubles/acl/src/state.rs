//! What the library holds: contexts, device memory, models, descriptions, data sets and buffers.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    ffi::{CString, c_char},
    sync::{Arc, Mutex, PoisonError},
};

use double_core::{Model, Payload, Watch};
use host_engine::{Dimension, ElementType, Tensor, TensorSpec};

use crate::abi::{
    ACL_ERROR_FAILURE, ACL_ERROR_INVALID_MODEL_ID, ACL_ERROR_INVALID_PARAM, ACL_ERROR_MODEL_INPUT_NOT_MATCH, ACL_ERROR_MODEL_OUTPUT_NOT_MATCH,
    ACL_ERROR_RT_CONTEXT_NULL, ACL_ERROR_UNINITIALIZE, ACL_SUCCESS, AclError,
};

/// Buffers of outputs are longer than their tensors, as those of devices are.
const OUTPUT_ALIGNMENT: usize = 64;

/// What is wrong with a call, and the code that it gets.
pub type Refusal = (AclError, String);

/// How far the library is in its one life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Life {
    #[default]
    Fresh,
    Running,
    Ended,
}

/// A data buffer: device memory by its address, and a size.
#[derive(Clone, Copy)]
pub struct Buffer {
    pub memory: usize,
    pub size: usize,
    /// Whether a data set names it.
    pub used: bool,
}

/// A description of a model.
#[derive(Default)]
pub struct Description {
    pub payload: Option<Payload>,
    pub names: [Vec<CString>; 2],
}

#[derive(Default)]
pub struct State {
    pub life: Life,
    pub device: Option<i32>,
    pub contexts: HashSet<usize>,
    /// Device memory by address.
    pub memory: HashMap<usize, Vec<u8>>,
    pub models: HashMap<u32, Arc<Mutex<Model>>>,
    pub descriptions: HashMap<usize, Description>,
    pub sets: HashMap<usize, Vec<usize>>,
    pub buffers: HashMap<usize, Buffer>,
    last: usize,
}

pub static WATCH: Watch = Watch::new("DOUBLE_ACL");
static STATE: Mutex<Option<State>> = Mutex::new(None);

thread_local! {
    /// The context that this thread has entered; 0 is none.
    pub static CURRENT: Cell<usize> = const { Cell::new(0) };
    /// What it says of the last error of this thread.
    static RECENT: RefCell<CString> = RefCell::new(c"EZ9999: Inner Error (double)".to_owned());
}

/// Says more of an error than its code does.
pub fn explain(text: &str) {
    RECENT.with_borrow_mut(|recent| *recent = CString::new(text).unwrap_or_default());
}

/// What was said last; it stays until this thread's next error is explained.
pub fn recent() -> *const c_char {
    RECENT.with_borrow(|recent| recent.as_ptr())
}

/// Works on the state.
pub fn state<T>(work: impl FnOnce(&mut State) -> T) -> T {
    work(STATE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Notes what was wrong, and answers with the code.
pub fn refuse(function: &str, (code, text): Refusal) -> AclError {
    WATCH.violation(format!("{function}: {text}"));
    code
}

/// A call that needs the library to be started.
pub fn started(function: &str, work: impl FnOnce(&mut State) -> Result<(), Refusal>) -> AclError {
    if let Some(code) = WATCH.enter(function) {
        return code;
    }
    let done = state(|state| {
        if state.life != Life::Running {
            return Err((ACL_ERROR_UNINITIALIZE, "called while the library is not started".to_owned()));
        }
        work(state)
    });
    done.map_or_else(|refusal| refuse(function, refusal), |()| ACL_SUCCESS)
}

/// A call that needs a context, too.
pub fn entered(function: &str, work: impl FnOnce(&mut State) -> Result<(), Refusal>) -> AclError {
    started(function, |state| {
        let current = CURRENT.get();
        if !state.contexts.contains(&current) {
            return Err((ACL_ERROR_RT_CONTEXT_NULL, "called by a thread without a context".to_owned()));
        }
        work(state)
    })
}

impl State {
    /// A new name for something.
    pub fn name(&mut self) -> usize {
        self.last += 8;
        self.last
    }

    pub fn model(&self, number: u32) -> Result<Arc<Mutex<Model>>, Refusal> {
        self.models.get(&number).map(Arc::clone).ok_or((ACL_ERROR_INVALID_MODEL_ID, format!("model {number} does not exist")))
    }

    /// The bytes of each buffer of a set, which must be as many and as long as the specs say.
    fn buffers(&self, set: usize, specs: &[TensorSpec], code: AclError, size: fn(&TensorSpec) -> usize) -> Result<Vec<Buffer>, Refusal> {
        let named = self.sets.get(&set).ok_or((ACL_ERROR_INVALID_PARAM, "a data set that does not exist".to_owned()))?;
        if named.len() != specs.len() {
            return Err((code, format!("{} buffers are in the set, {} are needed", named.len(), specs.len())));
        }
        let one = |(name, spec): (&usize, &TensorSpec)| {
            let buffer = self.buffers.get(name).ok_or((ACL_ERROR_INVALID_PARAM, "a buffer that does not exist".to_owned()))?;
            let allocated = self.memory.get(&buffer.memory).map_or(0, Vec::len);
            let needed = size(spec);
            if buffer.size != needed || allocated < needed {
                return Err((code, format!("`{}` has a buffer of {} bytes over {allocated}, {needed} are needed", spec.name, buffer.size)));
            }
            Ok(*buffer)
        };
        named.iter().zip(specs).map(one).collect()
    }

    /// The inputs of a run.
    pub fn take_inputs(&self, payload: &Payload, set: usize) -> Result<Vec<Tensor>, Refusal> {
        let buffers = self.buffers(set, &payload.inputs, ACL_ERROR_MODEL_INPUT_NOT_MATCH, tensor_bytes)?;
        let one = |(buffer, spec): (&Buffer, &TensorSpec)| {
            let data = self.memory.get(&buffer.memory).map(|data| data[..tensor_bytes(spec)].to_vec()).unwrap_or_default();
            Tensor::new(spec.element_type, shape(spec), data.into()).map_err(|error| (ACL_ERROR_FAILURE, error.to_string()))
        };
        buffers.iter().zip(&payload.inputs).map(one).collect()
    }

    /// Where the outputs of a run go.
    pub fn output_buffers(&self, payload: &Payload, set: usize) -> Result<Vec<Buffer>, Refusal> {
        self.buffers(set, &payload.outputs, ACL_ERROR_MODEL_OUTPUT_NOT_MATCH, output_bytes)
    }
}

/// The shape of a spec, whose lengths a payload has fixed.
pub fn shape(spec: &TensorSpec) -> Vec<usize> {
    spec.shape.iter().filter_map(Dimension::fixed).collect()
}

/// Bytes of a tensor.
pub fn tensor_bytes(spec: &TensorSpec) -> usize {
    shape(spec).iter().product::<usize>() * spec.element_type.size_bytes()
}

/// Bytes of an output's buffer.
pub fn output_bytes(spec: &TensorSpec) -> usize {
    tensor_bytes(spec).next_multiple_of(OUTPUT_ALIGNMENT)
}

/// The number of an element type.
pub fn number(element_type: ElementType) -> i32 {
    match element_type {
        ElementType::Fp32 => 0,
        ElementType::Fp16 => 1,
        ElementType::Int8 => 2,
        ElementType::Int32 => 3,
        ElementType::Uint8 => 4,
        ElementType::Int16 => 6,
        ElementType::Uint16 => 7,
        ElementType::Uint32 => 8,
        ElementType::Int64 => 9,
        ElementType::Uint64 => 10,
        ElementType::Fp64 => 11,
        ElementType::Boolean => 12,
        ElementType::Bf16 => 27,
    }
}
