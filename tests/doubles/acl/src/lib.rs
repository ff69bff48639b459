//! A double of libascendcl for tests: the C interface of AscendCL as far as the engine calls it, held strictly to what its headers say, with real
//! results computed by tract. It is no AscendCL and says nothing of what an Ascend device does.
//!
//! `DOUBLE_ACL` in the environment names faults, `DOUBLE_ACL_VIOLATIONS` a file for what callers did wrong. `acl_double_*` are functions
//! for tests, which the real library does not have.

#![expect(clippy::missing_safety_doc, reason = "each function is called as the vendor's header says")]

pub mod abi;
pub mod models;
mod state;

use std::{
    ffi::{CString, c_char, c_int, c_void},
    slice,
    sync::OnceLock,
};

use abi::{
    ACL_ERROR_INVALID_DEVICE, ACL_ERROR_INVALID_PARAM, ACL_ERROR_REPEAT_INITIALIZE, ACL_ERROR_RT_MEMORY_ALLOCATION, ACL_ERROR_UNINITIALIZE,
    ACL_MEMCPY_DEVICE_TO_HOST, ACL_MEMCPY_HOST_TO_DEVICE, ACL_SUCCESS, AclError, Handle,
};
use state::{CURRENT, Life, WATCH, entered, recent, refuse, started, state};

/// Devices that it has.
const DEVICES: u32 = 1;
/// Its memory where no fault says another size.
const MEMORY_BYTES: u64 = 8 << 30;
/// Its interface's version where no fault says another one.
const VERSION: [i32; 3] = [1, 12, 0];

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclInit(_config: *const c_char) -> AclError {
    if let Some(code) = WATCH.enter("aclInit") {
        return code;
    }
    let before = state(|state| std::mem::replace(&mut state.life, Life::Running));
    if before == Life::Fresh { ACL_SUCCESS } else { refuse("aclInit", (ACL_ERROR_REPEAT_INITIALIZE, "it was called before in this process".into())) }
}

#[unsafe(no_mangle)]
pub extern "C" fn aclFinalize() -> AclError {
    if let Some(code) = WATCH.enter("aclFinalize") {
        return code;
    }
    let left = state(|state| {
        let left = open(state) + usize::from(state.device.is_some());
        (std::mem::replace(&mut state.life, Life::Ended), left)
    });
    match left {
        (Life::Running, 0) => ACL_SUCCESS,
        (Life::Running, left) => refuse("aclFinalize", (ACL_SUCCESS, format!("{left} things are not given back"))),
        _ => refuse("aclFinalize", (ACL_ERROR_UNINITIALIZE, "the library is not started".into())),
    }
}

fn open(state: &state::State) -> usize {
    state.contexts.len() + state.memory.len() + state.models.len() + state.descriptions.len() + state.sets.len() + state.buffers.len()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtGetVersion(major: *mut i32, minor: *mut i32, patch: *mut i32) -> AclError {
    started("aclrtGetVersion", |_| {
        if major.is_null() || minor.is_null() || patch.is_null() {
            return Err((ACL_ERROR_INVALID_PARAM, "null".into()));
        }
        let [first, second, third] = version();
        // SAFETY: not null, and the caller's to write to.
        unsafe {
            major.write(first);
            minor.write(second);
            patch.write(third);
        }
        Ok(())
    })
}

fn version() -> [i32; 3] {
    let said: Option<Vec<i32>> = WATCH.version().map(|text| text.split('.').filter_map(|number| number.parse().ok()).collect());
    said.and_then(|numbers| <[i32; 3]>::try_from(numbers).ok()).unwrap_or(VERSION)
}

#[unsafe(no_mangle)]
pub extern "C" fn aclrtGetSocName() -> *const c_char {
    static NAME: OnceLock<CString> = OnceLock::new();
    let name = || CString::new(WATCH.chip().unwrap_or_else(|| "Ascend310P3".to_owned())).unwrap_or_default();
    NAME.get_or_init(name).as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn aclGetRecentErrMsg() -> *const c_char {
    recent()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtGetDeviceCount(count: *mut u32) -> AclError {
    started("aclrtGetDeviceCount", |_| {
        if count.is_null() {
            return Err((ACL_ERROR_INVALID_PARAM, "null".into()));
        }
        // SAFETY: not null, and the caller's to write to.
        unsafe { count.write(DEVICES) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclrtSetDevice(device: i32) -> AclError {
    started("aclrtSetDevice", |state| {
        if device < 0 || i64::from(device) >= i64::from(DEVICES) {
            return Err((ACL_ERROR_INVALID_DEVICE, format!("device {device}")));
        }
        state.device = Some(device);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn aclrtResetDevice(device: i32) -> AclError {
    started("aclrtResetDevice", |state| {
        if state.device.take() != Some(device) || open(state) > 0 {
            return Err((ACL_ERROR_INVALID_DEVICE, format!("device {device} was not set, or {} things on it are in use", open(state))));
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtCreateContext(context: *mut Handle, device: i32) -> AclError {
    started("aclrtCreateContext", |state| {
        if context.is_null() || state.device != Some(device) {
            return Err((ACL_ERROR_INVALID_PARAM, format!("null, or device {device} was not set")));
        }
        let name = state.name();
        state.contexts.insert(name);
        CURRENT.set(name);
        // SAFETY: not null, and the caller's to write to.
        unsafe { context.write(name as Handle) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtSetCurrentContext(context: Handle) -> AclError {
    started("aclrtSetCurrentContext", |state| {
        if !state.contexts.contains(&(context as usize)) {
            return Err((ACL_ERROR_INVALID_PARAM, "a context that does not exist".into()));
        }
        CURRENT.set(context as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtDestroyContext(context: Handle) -> AclError {
    started("aclrtDestroyContext", |state| {
        if state.contexts.remove(&(context as usize)) { Ok(()) } else { Err((ACL_ERROR_INVALID_PARAM, "a context that does not exist".into())) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtGetMemInfo(_kind: c_int, free: *mut usize, total: *mut usize) -> AclError {
    entered("aclrtGetMemInfo", |_| {
        if free.is_null() || total.is_null() {
            return Err((ACL_ERROR_INVALID_PARAM, "null".into()));
        }
        let all = WATCH.memory_bytes_max().unwrap_or(MEMORY_BYTES);
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        // SAFETY: not null, and the caller's to write to.
        unsafe {
            free.write(bytes(all.saturating_sub(WATCH.memory_bytes() + WATCH.memory_bytes_taken())));
            total.write(bytes(all));
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtMalloc(address: *mut *mut c_void, size: usize, policy: c_int) -> AclError {
    let mut full = false;
    let code = entered("aclrtMalloc", |state| {
        if address.is_null() || size == 0 || !(0..=5).contains(&policy) {
            return Err((ACL_ERROR_INVALID_PARAM, format!("null, {size} bytes, or policy {policy}")));
        }
        full = !WATCH.take(size);
        if full {
            return Ok(());
        }
        let mut data = vec![0u8; size];
        let pointer = data.as_mut_ptr();
        state.memory.insert(pointer as usize, data);
        // SAFETY: not null, and the caller's to write to.
        unsafe { address.write(pointer.cast()) };
        Ok(())
    });
    if full { ACL_ERROR_RT_MEMORY_ALLOCATION } else { code }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtFree(address: *mut c_void) -> AclError {
    entered("aclrtFree", |state| {
        if state.buffers.values().any(|buffer| buffer.memory == address as usize) {
            return Err((ACL_ERROR_INVALID_PARAM, "memory is freed that a buffer names".into()));
        }
        let data = state.memory.remove(&(address as usize)).ok_or((ACL_ERROR_INVALID_PARAM, "memory is freed that was not allocated".to_owned()))?;
        WATCH.give(data.len());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aclrtMemcpy(to: *mut c_void, room: usize, from: *const c_void, count: usize, kind: c_int) -> AclError {
    entered("aclrtMemcpy", |state| {
        let refused = |text: String| Err((ACL_ERROR_INVALID_PARAM, text));
        if to.is_null() || from.is_null() || count == 0 || count > room {
            return refused(format!("null, or {count} bytes into {room}"));
        }
        match kind {
            ACL_MEMCPY_HOST_TO_DEVICE => {
                let Some(memory) = state.memory.get_mut(&(to as usize)).filter(|memory| memory.len() >= room) else {
                    return refused(format!("{room} bytes of a device's memory that it does not have"));
                };
                // SAFETY: the caller says that `count` bytes lie at `from`.
                memory[..count].copy_from_slice(unsafe { slice::from_raw_parts(from.cast(), count) });
            }
            ACL_MEMCPY_DEVICE_TO_HOST => {
                let Some(memory) = state.memory.get(&(from as usize)).filter(|memory| memory.len() >= count) else {
                    return refused(format!("{count} bytes of a device's memory that it does not have"));
                };
                // SAFETY: the caller says that `room` bytes may be written at `to`.
                unsafe { slice::from_raw_parts_mut(to.cast::<u8>(), count) }.copy_from_slice(&memory[..count]);
            }
            _ => return refused(format!("direction {kind}")),
        }
        Ok(())
    })
}

/// For tests: sets other faults; 0 if the words are known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn acl_double_set(text: *const c_char) -> c_int {
    // SAFETY: the caller gives a text.
    if unsafe { WATCH.set(text) } { 0 } else { -1 }
}

/// For tests: what callers did wrong, a line each; gives the length of all of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn acl_double_violations(buffer: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller gives so many bytes.
    unsafe { WATCH.violations(buffer, size) }
}

/// For tests: models, descriptions, sets, buffers and memory that live, contexts aside.
#[unsafe(no_mangle)]
pub extern "C" fn acl_double_open() -> usize {
    state(|state| open(state) - state.contexts.len())
}

/// For tests: device memory in use, in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn acl_double_memory() -> u64 {
    WATCH.memory_bytes()
}
