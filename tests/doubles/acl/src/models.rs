//! Models: loading, describing, data sets and running.

use std::{
    ffi::{CString, c_char, c_int, c_void},
    slice,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use double_core::{Model, Payload, garbage};
use host_engine::TensorSpec;

use crate::{
    abi::{
        ACL_ERROR_FAILURE, ACL_ERROR_GE_MEMORY_ALLOCATION, ACL_ERROR_INVALID_PARAM, ACL_ERROR_OP_NOT_FOUND, ACL_ERROR_PARSE_MODEL, ACL_SUCCESS, AclError,
        AclmdlIoDims, Handle,
    },
    state::{Buffer, Description, Refusal, State, WATCH, entered, explain, number, output_bytes, refuse, shape, started, state, tensor_bytes},
};

/// The side of a model in a description's list of names.
const INPUT: usize = 0;
const OUTPUT: usize = 1;

fn wrong(text: &str) -> Refusal {
    (ACL_ERROR_INVALID_PARAM, text.to_owned())
}

/// # Safety
/// `model` is null or points to `size` bytes.
unsafe fn payload(model: *const c_void, size: usize) -> Result<Payload, AclError> {
    if model.is_null() || size == 0 {
        return Err(refuse("aclmdl*Mem", wrong("null or 0 bytes")));
    }
    // SAFETY: the caller's promise.
    let data = Bytes::copy_from_slice(unsafe { slice::from_raw_parts(model.cast::<u8>(), size) });
    Payload::from_bytes(&data).ok().filter(|payload| payload.kind == "acl").ok_or(ACL_ERROR_PARSE_MODEL)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclmdlQuerySizeFromMem(model: *const c_void, size: usize, working: *mut usize, weights: *mut usize) -> AclError {
    // SAFETY: the caller says that so many bytes lie there.
    let read = unsafe { payload(model, size) };
    let mut found = ACL_SUCCESS;
    let code = started("aclmdlQuerySizeFromMem", |_| {
        if working.is_null() || weights.is_null() {
            return Err(wrong("null"));
        }
        match &read {
            // SAFETY: not null, and the caller's to write to.
            Ok(payload) => unsafe {
                working.write(payload.outputs.iter().map(tensor_bytes).sum());
                weights.write(payload.file.len());
            },
            Err(code) => found = *code,
        }
        Ok(())
    });
    if code == ACL_SUCCESS { found } else { code }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclmdlLoadFromMem(model: *const c_void, size: usize, id: *mut u32) -> AclError {
    let code = entered("aclmdlLoadFromMem", |_| if id.is_null() { Err(wrong("null")) } else { Ok(()) });
    if code != ACL_SUCCESS {
        return code;
    }
    // SAFETY: the caller says that so many bytes lie there.
    let payload = match unsafe { payload(model, size) } {
        Ok(payload) => payload,
        Err(code) => return code,
    };
    let weights = payload.file.len();
    let Ok(model) = Model::load(payload) else { return ACL_ERROR_PARSE_MODEL };
    if let Some(operator) = WATCH.lacked(&model) {
        explain(&format!("EZ3003: No supported Ops kernel and engine are found for [{operator}_1], optype [{operator}]."));
        return ACL_ERROR_OP_NOT_FOUND;
    }
    if !WATCH.take(weights) {
        return ACL_ERROR_GE_MEMORY_ALLOCATION;
    }
    let number = state(|state| {
        let number = u32::try_from(state.name()).unwrap_or(0);
        state.models.insert(number, Arc::new(Mutex::new(model)));
        number
    });
    // SAFETY: not null, and the caller's to write to.
    unsafe { id.write(number) };
    ACL_SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlUnload(id: u32) -> AclError {
    entered("aclmdlUnload", |state| {
        let model = state.model(id)?;
        let bytes = model.try_lock().map_err(|_| (ACL_ERROR_FAILURE, "a model is unloaded while it computes".to_owned()))?.payload().file.len();
        state.models.remove(&id);
        WATCH.give(bytes);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlCreateDesc() -> Handle {
    state(|state| {
        let name = state.name();
        state.descriptions.insert(name, Description::default());
        name as Handle
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlDestroyDesc(description: Handle) -> AclError {
    started("aclmdlDestroyDesc", |state| state.descriptions.remove(&(description as usize)).map(drop).ok_or_else(|| wrong("no such description")))
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetDesc(description: Handle, id: u32) -> AclError {
    started("aclmdlGetDesc", |state| {
        let model = state.model(id)?;
        let payload = model.try_lock().map_err(|_| (ACL_ERROR_FAILURE, "a model is described while it computes".to_owned()))?.payload().clone();
        let made = state.descriptions.get_mut(&(description as usize)).ok_or_else(|| wrong("no such description"))?;
        let names = |specs: &[TensorSpec], name: fn(usize, &str) -> String| {
            specs.iter().enumerate().map(|(place, spec)| CString::new(name(place, &spec.name)).unwrap_or_default()).collect()
        };
        // Outputs are named as the converter names them.
        made.names = [names(&payload.inputs, |_, name| name.to_owned()), names(&payload.outputs, |place, name| format!("node_{place}:0:{name}"))];
        made.payload = Some(payload);
        Ok(())
    })
}

/// Looks at one tensor of a filled description.
fn described<T>(description: Handle, side: usize, index: usize, none: T, look: impl FnOnce(&TensorSpec, &CString) -> T) -> T {
    let found = state(|state: &mut State| {
        let description = state.descriptions.get(&(description as usize))?;
        let payload = description.payload.as_ref()?;
        let spec = if side == INPUT { payload.inputs.get(index)? } else { payload.outputs.get(index)? };
        Some(look(spec, description.names[side].get(index)?))
    });
    found.unwrap_or_else(|| {
        WATCH.violation(format!("tensor {index} of a description that has none"));
        none
    })
}

fn count(description: Handle, of: fn(&Payload) -> usize) -> usize {
    state(|state| state.descriptions.get(&(description as usize)).and_then(|description| description.payload.as_ref()).map_or(0, of))
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetNumInputs(description: Handle) -> usize {
    count(description, |payload| payload.inputs.len())
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetNumOutputs(description: Handle) -> usize {
    count(description, |payload| payload.outputs.len())
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetInputSizeByIndex(description: Handle, index: usize) -> usize {
    described(description, INPUT, index, 0, |spec, _| tensor_bytes(spec))
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetOutputSizeByIndex(description: Handle, index: usize) -> usize {
    described(description, OUTPUT, index, 0, |spec, _| output_bytes(spec))
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetInputNameByIndex(description: Handle, index: usize) -> *const c_char {
    described(description, INPUT, index, std::ptr::null(), |_, name| name.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetOutputNameByIndex(description: Handle, index: usize) -> *const c_char {
    described(description, OUTPUT, index, std::ptr::null(), |_, name| name.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetInputDataType(description: Handle, index: usize) -> c_int {
    described(description, INPUT, index, -1, |spec, _| number(spec.element_type))
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlGetOutputDataType(description: Handle, index: usize) -> c_int {
    described(description, OUTPUT, index, -1, |spec, _| number(spec.element_type))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclmdlGetInputDims(description: Handle, index: usize, dims: *mut AclmdlIoDims) -> AclError {
    // SAFETY: the caller's promise.
    unsafe { dimensions("aclmdlGetInputDims", description, INPUT, index, dims) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclmdlGetOutputDims(description: Handle, index: usize, dims: *mut AclmdlIoDims) -> AclError {
    // SAFETY: the caller's promise.
    unsafe { dimensions("aclmdlGetOutputDims", description, OUTPUT, index, dims) }
}

/// # Safety
/// `dims` is null or the caller's to write to.
unsafe fn dimensions(function: &str, description: Handle, side: usize, index: usize, dims: *mut AclmdlIoDims) -> AclError {
    if let Some(code) = WATCH.enter(function) {
        return code;
    }
    if dims.is_null() {
        return refuse(function, wrong("null"));
    }
    let made = described(description, side, index, None, |spec, name| {
        let lengths = shape(spec);
        let mut made = AclmdlIoDims { name: [0; 128], dim_count: lengths.len(), dims: [0; 128] };
        made.name.iter_mut().zip(name.as_bytes().iter().take(127)).for_each(|(to, from)| *to = c_char::from_ne_bytes([*from]));
        made.dims.iter_mut().zip(lengths).for_each(|(to, from)| *to = i64::try_from(from).unwrap_or(-1));
        Some(made)
    });
    let Some(made) = made else { return ACL_ERROR_INVALID_PARAM };
    // SAFETY: not null, and the caller's to write to.
    unsafe { dims.write(made) };
    ACL_SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlCreateDataset() -> Handle {
    state(|state| {
        let name = state.name();
        state.sets.insert(name, Vec::new());
        name as Handle
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlDestroyDataset(set: Handle) -> AclError {
    started("aclmdlDestroyDataset", |state| {
        let named = state.sets.remove(&(set as usize)).ok_or_else(|| wrong("no such data set"))?;
        for name in named {
            state.buffers.get_mut(&name).ok_or_else(|| wrong("a buffer was destroyed before its data set"))?.used = false;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclCreateDataBuffer(data: *mut c_void, size: usize) -> Handle {
    state(|state| {
        if state.memory.get(&(data as usize)).is_none_or(|memory| memory.len() < size) {
            WATCH.violation(format!("aclCreateDataBuffer: {size} bytes of memory that the device does not have"));
            return std::ptr::null_mut();
        }
        let name = state.name();
        state.buffers.insert(name, Buffer { memory: data as usize, size, used: false });
        name as Handle
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclDestroyDataBuffer(buffer: Handle) -> AclError {
    started("aclDestroyDataBuffer", |state| {
        let found = state.buffers.remove(&(buffer as usize)).ok_or_else(|| wrong("no such buffer"))?;
        if found.used { Err((ACL_SUCCESS, "a buffer is destroyed that a data set names".to_owned())) } else { Ok(()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlAddDatasetBuffer(set: Handle, buffer: Handle) -> AclError {
    started("aclmdlAddDatasetBuffer", |state| {
        let found = state.buffers.get_mut(&(buffer as usize)).filter(|buffer| !buffer.used).ok_or_else(|| wrong("no such buffer, or it is in a set"))?;
        let named = state.sets.get_mut(&(set as usize)).ok_or_else(|| wrong("no such data set"))?;
        found.used = true;
        named.push(buffer as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclmdlExecute(id: u32, input: Handle, output: Handle) -> AclError {
    let mut taken = None;
    let code = entered("aclmdlExecute", |state| {
        taken = Some(state.model(id)?);
        Ok(())
    });
    let Some(model) = taken.filter(|_| code == ACL_SUCCESS) else { return code };
    execute(&model, input as usize, output as usize).map_or_else(|refusal| refuse("aclmdlExecute", refusal), |()| ACL_SUCCESS)
}

/// Computes without holding the state, as other models may compute meanwhile.
fn execute(model: &Mutex<Model>, input: usize, output: usize) -> Result<(), Refusal> {
    let mut model = model.try_lock().map_err(|_| (ACL_ERROR_FAILURE, "two threads run one model".to_owned()))?;
    let payload = model.payload().clone();
    let inputs = state(|state| state.take_inputs(&payload, input))?;
    let places = state(|state| state.output_buffers(&payload, output))?;
    let made = model.run(inputs).map_err(|error| (ACL_ERROR_FAILURE, format!("the model failed: {error}")))?;
    state(|state| {
        for (buffer, tensor) in places.iter().zip(made) {
            let tensor = if WATCH.garbage() { garbage(&tensor) } else { tensor };
            let memory = state.memory.get_mut(&buffer.memory).ok_or_else(|| wrong("memory was freed while a model computed"))?;
            memory[..tensor.data().len()].copy_from_slice(tensor.data());
        }
        Ok(())
    })
}
