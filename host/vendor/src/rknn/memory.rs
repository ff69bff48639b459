//! Tensors in memory that the NPU reads and writes itself. Bound to a context once; each run copies into it and out of it, and the
//! library copies nothing.

use std::{slice, sync::Arc};

use host_engine::{Error, Fault};

use super::{
    abi,
    api::ZeroCopy,
    codes::check,
    context::{Context, size_of_tensor},
};
use crate::room;

/// Memory of one tensor of a context.
#[derive(Debug)]
pub(super) struct Memory {
    context: Arc<Context>,
    functions: ZeroCopy,
    memory: *mut abi::TensorMemory,
    size: usize,
}

// SAFETY: the pointer is owned by this value alone, and the library does not care which thread calls; that only one does at a time is
// seen to by `Context::turn`, which every user of this type holds.
unsafe impl Send for Memory {}

impl Memory {
    /// Allocates memory for a tensor and binds it. `attribute` says how its bytes lie, `size` how many they are.
    pub(super) fn bind(context: &Arc<Context>, functions: ZeroCopy, mut attribute: abi::Attribute, size: usize) -> Result<Self, Error> {
        let wanted = size_of_tensor(size)?.max(attribute.size_with_stride);
        // SAFETY: the context is live; null says that there is no memory.
        let memory = unsafe { (functions.create)(context.handle(), wanted) };
        if memory.is_null() {
            let reason = "rknn_create_mem gave nothing".to_owned();
            let error = Fault::Exhausted { engine: "rknn".into(), doing: "load a model", reason }.into();
            return Err(room::told(error, u64::from(wanted), room::of_machine));
        }
        let made = Self { context: Arc::clone(context), functions, memory, size };
        // SAFETY: `memory` is live and of this context; the attribute is copied by the library.
        check(unsafe { (functions.set)(context.handle(), memory, &raw mut attribute) }, "bind memory", "rknn_set_io_mem")?;
        Ok(made)
    }

    /// Writes a tensor and lets the NPU see it.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.bytes()?.copy_from_slice(data);
        self.sync(abi::TO_DEVICE)
    }

    /// Reads what the NPU has written.
    pub(super) fn read(&mut self) -> Result<&[u8], Error> {
        self.sync(abi::FROM_DEVICE)?;
        self.bytes().map(|bytes| &*bytes)
    }

    fn bytes(&mut self) -> Result<&mut [u8], Error> {
        // SAFETY: the structure lives until it is destroyed, which happens on drop; the library does not change it.
        let memory = unsafe { *self.memory };
        if memory.address.is_null() || (memory.size as usize) < self.size {
            let reason = format!("rknn_create_mem gave {} bytes at {:?}, {} are needed", memory.size, memory.address, self.size);
            return Err(Fault::Engine { engine: "rknn".into(), doing: "map memory", reason }.into());
        }
        // SAFETY: `size` bytes lie at the address, mapped for reading and writing while the memory lives; nobody else has the pointer, and
        // the NPU uses it within `rknn_run` only, which needs this context's turn.
        Ok(unsafe { slice::from_raw_parts_mut(memory.address.cast(), self.size) })
    }

    fn sync(&self, direction: i32) -> Result<(), Error> {
        // SAFETY: context and memory are live.
        check(unsafe { (self.functions.sync)(self.context.handle(), self.memory, direction) }, "move a tensor", "rknn_mem_sync")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was created by this context, which lives as long as this value, and is destroyed here only.
        let _ = unsafe { (self.functions.destroy)(self.context.handle(), self.memory) };
    }
}
