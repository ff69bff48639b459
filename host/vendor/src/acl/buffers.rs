//! Device memory of the inputs or outputs of one user of a model, in the data set that the library wants it in.

use std::{ffi::c_void, ptr::null_mut, sync::Arc};

use host_engine::{Error, Fault};

use super::{abi, model::Place, runtime::Runtime};

/// A data set with one buffer for each tensor; all of it freed when dropped.
#[derive(Debug)]
pub(super) struct Buffers {
    runtime: Arc<Runtime>,
    set: abi::Opaque,
    buffers: Vec<Buffer>,
}

/// Device memory, and what the library knows it by.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    memory: *mut c_void,
    size: usize,
    handle: abi::Opaque,
}

// SAFETY: the addresses are owned by this value alone; the library lets any thread use them that has entered the device, which each
// method does first.
unsafe impl Send for Buffers {}

impl Buffers {
    /// Allocates memory for each tensor.
    pub(super) fn new(runtime: &Arc<Runtime>, places: &[Place]) -> Result<Self, Error> {
        runtime.enter()?;
        // SAFETY: the function takes nothing and gives null or a set that is destroyed on drop.
        let set = unsafe { (runtime.api.create_set)() };
        if set.is_null() {
            return Err(none("aclmdlCreateDataset"));
        }
        let mut made = Self { runtime: Arc::clone(runtime), set, buffers: Vec::with_capacity(places.len()) };
        places.iter().try_for_each(|place| made.add(place.size))?;
        Ok(made)
    }

    fn add(&mut self, size: usize) -> Result<(), Error> {
        let api = &self.runtime.api;
        let mut buffer = Buffer { memory: null_mut(), size, handle: null_mut() };
        // SAFETY: the pointer is to one that lives. A size of 0 is refused by the library, so an empty tensor gets a byte.
        let code = unsafe { (api.malloc)(&raw mut buffer.memory, size.max(1), abi::HUGE_FIRST) };
        api.check(code, "allocate a tensor", "aclrtMalloc").map_err(|error| self.runtime.short(error, size as u64))?;
        // SAFETY: the memory was just allocated with this size.
        buffer.handle = unsafe { (api.create_buffer)(buffer.memory, size) };
        // From here on dropping frees it.
        self.buffers.push(buffer);
        if buffer.handle.is_null() {
            return Err(none("aclCreateDataBuffer"));
        }
        // SAFETY: both are live; the set does not own the buffer.
        api.check(unsafe { (api.add_buffer)(self.set, buffer.handle) }, "allocate a tensor", "aclmdlAddDatasetBuffer")
    }

    /// The library's name for all of it.
    pub(super) fn set(&self) -> abi::Opaque {
        self.set
    }

    /// Copies a tensor to the device. The device must have been entered.
    pub(super) fn write(&mut self, place: usize, data: &[u8]) -> Result<(), Error> {
        let Some(buffer) = self.buffers.get(place) else { return Err(missing(place)) };
        if data.is_empty() {
            return Ok(());
        }
        let api = &self.runtime.api;
        // SAFETY: `size` bytes of the device lie at `memory`, and the library refuses to copy more than that; `data` is as long as it says.
        let code = unsafe { (api.memcpy)(buffer.memory, buffer.size, data.as_ptr().cast(), data.len(), abi::HOST_TO_DEVICE) };
        api.check(code, "send a tensor", "aclrtMemcpy")
    }

    /// Copies the first `size` bytes of a tensor from the device. The device must have been entered.
    pub(super) fn read(&self, place: usize, size: usize) -> Result<Vec<u8>, Error> {
        let Some(buffer) = self.buffers.get(place).filter(|buffer| size <= buffer.size) else { return Err(missing(place)) };
        let mut data = vec![0; size];
        if size == 0 {
            return Ok(data);
        }
        let api = &self.runtime.api;
        // SAFETY: `data` is `size` bytes long, and no more than the device's memory has.
        let code = unsafe { (api.memcpy)(data.as_mut_ptr().cast(), size, buffer.memory, size, abi::DEVICE_TO_HOST) };
        api.check(code, "fetch a tensor", "aclrtMemcpy").map(|()| data)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.runtime.enter().is_err() {
            return;
        }
        let api = &self.runtime.api;
        // SAFETY: all of it was made by this library for this value, and is freed here only: the set first, then what it named, then the
        // memory behind that.
        unsafe {
            let _ = (api.destroy_set)(self.set);
            for buffer in &self.buffers {
                if !buffer.handle.is_null() {
                    let _ = (api.destroy_buffer)(buffer.handle);
                }
                let _ = (api.free)(buffer.memory);
            }
        }
    }
}

fn none(function: &str) -> Error {
    Fault::Exhausted { engine: "acl".into(), doing: "allocate a tensor", reason: format!("{function} gave nothing") }.into()
}

fn missing(place: usize) -> Error {
    Fault::Missing { what: "buffer", name: place.to_string() }.into()
}
