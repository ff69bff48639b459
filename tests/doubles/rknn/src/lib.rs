//! A double of librknnrt for tests: the C interface of `rknn_api.h` as far as the engine calls it, held strictly to what the header says, with
//! real results computed by tract. It is no RKNN runtime and says nothing of what an NPU does.
//!
//! `DOUBLE_RKNN` in the environment names faults, `DOUBLE_RKNN_VIOLATIONS` a file for what callers did wrong. `rknn_double_*` are
//! functions for tests, which the real library does not have.

#![expect(clippy::missing_safety_doc, reason = "each function is called as the vendor's header says")]

pub mod abi;
mod context;
mod tensors;

use std::{
    collections::HashMap,
    ffi::{c_char, c_int, c_void},
    mem::size_of,
    slice,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use abi::{
    RKNN_ERR_CTX_INVALID, RKNN_ERR_FAIL, RKNN_ERR_MALLOC_FAIL, RKNN_ERR_MODEL_INVALID, RKNN_ERR_OUTPUT_INVALID, RKNN_ERR_PARAM_INVALID,
    RKNN_ERR_TARGET_PLATFORM_UNMATCH, RKNN_QUERY_IN_OUT_NUM, RKNN_QUERY_INPUT_ATTR, RKNN_QUERY_MEM_SIZE, RKNN_QUERY_OUTPUT_ATTR, RKNN_QUERY_SDK_VERSION,
    RKNN_SUCC, RknnContext, RknnInput, RknnInputOutputNum, RknnMemSize, RknnOutput, RknnSdkVersion, RknnTensorAttr, RknnTensorMem,
};
use bytes::Bytes;
use context::{Context, Refusal};
use double_core::{Model, Payload, Watch};

/// What it says unless a fault says otherwise.
const VERSION: &str = "2.0.0 (double)";

static WATCH: Watch = Watch::new("DOUBLE_RKNN");
static CONTEXTS: Mutex<Option<HashMap<u64, Arc<Mutex<Context>>>>> = Mutex::new(None);
static LAST: AtomicU64 = AtomicU64::new(0);

fn contexts<T>(work: impl FnOnce(&mut HashMap<u64, Arc<Mutex<Context>>>) -> T) -> T {
    work(CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Notes what was wrong, and answers with the code.
fn refuse(function: &str, (code, text): Refusal) -> c_int {
    WATCH.violation(format!("{function}: {text}"));
    code
}

/// Works on a live context; two threads on one are a violation.
fn on(function: &str, handle: RknnContext, work: impl FnOnce(&mut Context) -> Result<(), Refusal>) -> c_int {
    if let Some(code) = WATCH.enter(function) {
        return code;
    }
    let Some(context) = contexts(|all| all.get(&handle).map(Arc::clone)) else {
        return refuse(function, (RKNN_ERR_CTX_INVALID, format!("context {handle} does not exist")));
    };
    let Ok(mut context) = context.try_lock() else {
        return refuse(function, (RKNN_ERR_FAIL, format!("two threads call context {handle}")));
    };
    work(&mut context).map_or_else(|refusal| refuse(function, refusal), |()| RKNN_SUCC)
}

fn add(model: Model, origin: Option<u64>) -> u64 {
    let handle = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    contexts(|all| all.insert(handle, Arc::new(Mutex::new(Context::new(model, origin)))));
    handle
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_init(context: *mut RknnContext, model: *mut c_void, size: u32, flag: u32, extend: *mut c_void) -> c_int {
    if let Some(code) = WATCH.enter("rknn_init") {
        return code;
    }
    if context.is_null() || model.is_null() || size == 0 || flag != 0 || !extend.is_null() {
        return refuse("rknn_init", (RKNN_ERR_PARAM_INVALID, "null, a size of 0, flags or an extension".into()));
    }
    // SAFETY: the caller says that `size` bytes lie at `model`.
    let data = Bytes::copy_from_slice(unsafe { slice::from_raw_parts(model.cast::<u8>(), size as usize) });
    let Ok(payload) = Payload::from_bytes(&data) else { return RKNN_ERR_MODEL_INVALID };
    if payload.kind != "rknn" {
        return RKNN_ERR_MODEL_INVALID;
    }
    if WATCH.chip().is_some_and(|chip| chip != payload.chip) {
        return RKNN_ERR_TARGET_PLATFORM_UNMATCH;
    }
    let weights = payload.file.len();
    let Ok(model) = Model::load(payload) else { return RKNN_ERR_MODEL_INVALID };
    if let Some(operator) = WATCH.lacked(&model) {
        // The library, too, names the operator in what it prints and nowhere else.
        eprintln!("E RKNN: Unsupport CPU op: {operator} in this librknnrt.so (double)");
        return RKNN_ERR_FAIL;
    }
    if !WATCH.take(weights) {
        return RKNN_ERR_MALLOC_FAIL;
    }
    // SAFETY: the pointer is not null, and the caller's to write to.
    unsafe { context.write(add(model, None)) };
    RKNN_SUCC
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_dup_context(from: *mut RknnContext, to: *mut RknnContext) -> c_int {
    if from.is_null() || to.is_null() {
        return refuse("rknn_dup_context", (RKNN_ERR_PARAM_INVALID, "null".into()));
    }
    // SAFETY: not null, and the caller's.
    let origin = unsafe { from.read() };
    let mut made = Err((RKNN_ERR_FAIL, String::new()));
    let code = on("rknn_dup_context", origin, |context| {
        made = context.model.share().map_err(|error| (RKNN_ERR_FAIL, error.to_string()));
        Ok(())
    });
    if code != RKNN_SUCC {
        return code;
    }
    match made {
        // SAFETY: not null, and the caller's to write to.
        Ok(model) => unsafe { to.write(add(model, Some(origin))) },
        Err(refusal) => return refuse("rknn_dup_context", refusal),
    }
    RKNN_SUCC
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_destroy(handle: RknnContext) -> c_int {
    let code = on("rknn_destroy", handle, |context| {
        if context.origin.is_none() {
            WATCH.give(context.model.payload().file.len());
        }
        let (outputs, memories) = (context.given.len(), context.memories.len());
        let left = outputs + memories > 0;
        if left { Err((RKNN_SUCC, format!("{outputs} outputs and {memories} pieces of memory are not released"))) } else { Ok(()) }
    });
    let sharers = contexts(|all| {
        all.remove(&handle);
        all.values().filter(|other| other.try_lock().is_ok_and(|other| other.origin == Some(handle))).count()
    });
    if sharers > 0 {
        return refuse("rknn_destroy", (RKNN_SUCC, format!("{sharers} contexts share the weights of context {handle}")));
    }
    code
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_query(handle: RknnContext, command: c_int, info: *mut c_void, size: u32) -> c_int {
    on("rknn_query", handle, |context| {
        let expected = match command {
            RKNN_QUERY_IN_OUT_NUM => size_of::<RknnInputOutputNum>(),
            RKNN_QUERY_INPUT_ATTR | RKNN_QUERY_OUTPUT_ATTR => size_of::<RknnTensorAttr>(),
            RKNN_QUERY_SDK_VERSION => size_of::<RknnSdkVersion>(),
            RKNN_QUERY_MEM_SIZE => size_of::<RknnMemSize>(),
            _ => return Err((RKNN_ERR_PARAM_INVALID, format!("command {command} is not known"))),
        };
        if size as usize != expected || info.is_null() {
            return Err((RKNN_ERR_PARAM_INVALID, format!("command {command} with {size} bytes, it takes {expected}")));
        }
        // SAFETY: the caller says that `size` bytes lie there, which is the size of what is written and read.
        unsafe { answer(context, command, info) }
    })
}

/// # Safety
/// `info` points to the structure of the command.
unsafe fn answer(context: &Context, command: c_int, info: *mut c_void) -> Result<(), Refusal> {
    let payload = context.model.payload();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    // SAFETY: the caller's promise.
    unsafe {
        match command {
            RKNN_QUERY_IN_OUT_NUM => {
                info.cast::<RknnInputOutputNum>().write(RknnInputOutputNum { n_input: count(payload.inputs.len()), n_output: count(payload.outputs.len()) })
            }
            RKNN_QUERY_SDK_VERSION => {
                let version = WATCH.version().unwrap_or_else(|| VERSION.to_owned());
                info.cast::<RknnSdkVersion>().write(RknnSdkVersion { api_version: letters(&version), drv_version: letters("0.9.0 (double)") });
            }
            RKNN_QUERY_MEM_SIZE => {
                let internal = payload.outputs.iter().map(|spec| tensors::shape(spec).iter().product::<usize>() * 4).sum::<usize>();
                let (total_weight_size, total_internal_size) = (count(payload.file.len()), count(internal));
                let zero = RknnMemSize {
                    total_weight_size,
                    total_internal_size,
                    total_dma_allocated_size: 0,
                    total_sram_size: 0,
                    free_sram_size: 0,
                    reserved: [0; 10],
                };
                info.cast::<RknnMemSize>().write(zero);
            }
            _ => {
                let index = info.cast::<RknnTensorAttr>().read().index;
                let into = command == RKNN_QUERY_INPUT_ATTR;
                let spec = if into { context.input_spec(index as usize) } else { context.output_spec(index as usize) };
                let spec = spec.ok_or((RKNN_ERR_PARAM_INVALID, format!("tensor {index} does not exist")))?;
                let order = if into { tensors::input_order(spec) } else { tensors::output_order(spec) };
                let made = tensors::attribute(index, spec, payload.half, order).ok_or((RKNN_ERR_FAIL, format!("{spec} has no attribute")))?;
                info.cast::<RknnTensorAttr>().write(made);
            }
        }
    }
    Ok(())
}

fn letters(text: &str) -> [c_char; 256] {
    let mut made = [0; 256];
    made.iter_mut().zip(text.bytes().take(255)).for_each(|(to, from)| *to = c_char::from_ne_bytes([from]));
    made
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_set_core_mask(handle: RknnContext, mask: c_int) -> c_int {
    on("rknn_set_core_mask", handle, |_| if [0, 1, 2, 3, 4, 7].contains(&mask) { Ok(()) } else { Err((RKNN_ERR_PARAM_INVALID, format!("core mask {mask}"))) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_inputs_set(handle: RknnContext, count: u32, inputs: *mut RknnInput) -> c_int {
    on("rknn_inputs_set", handle, |context| {
        if inputs.is_null() {
            return Err((RKNN_ERR_PARAM_INVALID, "null".into()));
        }
        // SAFETY: the caller says that there are so many, each with so many bytes.
        let given = unsafe { slice::from_raw_parts(inputs, count as usize) };
        if given.iter().any(|input| input.buf.is_null() || input.pass_through != 0) {
            return Err((RKNN_ERR_PARAM_INVALID, "an input is null or passed through".into()));
        }
        let parts: Vec<_> = given
            .iter()
            // SAFETY: as above.
            .map(|input| (input.index, unsafe { slice::from_raw_parts(input.buf.cast::<u8>(), input.size as usize) }, input.tensor_type, input.fmt))
            .collect();
        context.set_inputs(&parts)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_run(handle: RknnContext, extend: *mut c_void) -> c_int {
    on("rknn_run", handle, |context| {
        if !extend.is_null() {
            return Err((RKNN_ERR_PARAM_INVALID, "an extension".into()));
        }
        context.run(WATCH.garbage())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_outputs_get(handle: RknnContext, count: u32, outputs: *mut RknnOutput, extend: *mut c_void) -> c_int {
    on("rknn_outputs_get", handle, |context| {
        let expected = context.model.payload().outputs.len();
        if outputs.is_null() || !extend.is_null() || count as usize != expected {
            return Err((RKNN_ERR_PARAM_INVALID, format!("{count} outputs are asked for, there are {expected}")));
        }
        if !context.given.is_empty() {
            return Err((RKNN_ERR_OUTPUT_INVALID, "outputs are asked for while others are not released".into()));
        }
        // SAFETY: the caller says that there are so many.
        let asked = unsafe { slice::from_raw_parts_mut(outputs, count as usize) };
        let mut made = Vec::new();
        for (place, output) in asked.iter().enumerate() {
            if output.is_prealloc != 0 || asked[..place].iter().any(|other| other.index == output.index) {
                return Err((RKNN_ERR_PARAM_INVALID, format!("output {} is asked for twice, or into memory of the caller", output.index)));
            }
            made.push(context.output(output.index, output.want_float != 0)?);
        }
        for (output, mut data) in asked.iter_mut().zip(made) {
            output.buf = data.as_mut_ptr().cast();
            output.size = u32::try_from(data.len()).unwrap_or(u32::MAX);
            context.given.insert(output.buf as usize, data);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_outputs_release(handle: RknnContext, count: u32, outputs: *mut RknnOutput) -> c_int {
    on("rknn_outputs_release", handle, |context| {
        if outputs.is_null() {
            return Err((RKNN_ERR_PARAM_INVALID, "null".into()));
        }
        // SAFETY: the caller says that there are so many.
        let given = unsafe { slice::from_raw_parts(outputs, count as usize) };
        let unknown = given.iter().filter(|output| context.given.remove(&(output.buf as usize)).is_none()).count();
        if unknown > 0 { Err((RKNN_ERR_OUTPUT_INVALID, format!("{unknown} outputs are released that are not out"))) } else { Ok(()) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_create_mem(handle: RknnContext, size: u32) -> *mut RknnTensorMem {
    let mut made = std::ptr::null_mut();
    on("rknn_create_mem", handle, |context| {
        if size == 0 {
            return Err((RKNN_ERR_PARAM_INVALID, "0 bytes".into()));
        }
        if WATCH.take(size as usize) {
            made = context.create_memory(size);
        }
        Ok(())
    });
    made
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_destroy_mem(handle: RknnContext, memory: *mut RknnTensorMem) -> c_int {
    on("rknn_destroy_mem", handle, |context| {
        let found = context.destroy_memory(memory as usize).ok_or((RKNN_ERR_PARAM_INVALID, "memory is destroyed that is not there".to_owned()))?;
        WATCH.give(found.data.len());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_set_io_mem(handle: RknnContext, memory: *mut RknnTensorMem, attribute: *mut RknnTensorAttr) -> c_int {
    on("rknn_set_io_mem", handle, |context| {
        if attribute.is_null() {
            return Err((RKNN_ERR_PARAM_INVALID, "null".into()));
        }
        // SAFETY: not null, and the caller's.
        context.bind(memory as usize, &unsafe { attribute.read() })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_mem_sync(handle: RknnContext, memory: *mut RknnTensorMem, mode: c_int) -> c_int {
    on("rknn_mem_sync", handle, |context| context.sync(memory as usize, mode))
}

/// For tests: sets other faults; 0 if the words are known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_double_set(text: *const c_char) -> c_int {
    // SAFETY: the caller gives a text.
    if unsafe { WATCH.set(text) } { 0 } else { -1 }
}

/// For tests: what callers did wrong, a line each; gives the length of all of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rknn_double_violations(buffer: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller gives so many bytes.
    unsafe { WATCH.violations(buffer, size) }
}

/// For tests: contexts that live.
#[unsafe(no_mangle)]
pub extern "C" fn rknn_double_open() -> usize {
    contexts(|all| all.len())
}

/// For tests: device memory in use, in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn rknn_double_memory() -> u64 {
    WATCH.memory_bytes()
}
