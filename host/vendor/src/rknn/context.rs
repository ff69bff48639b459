//! One context of librknnrt, safe to call: destroyed once, its outputs released once. A context is for one thread at a time.

use std::{
    ffi::{c_int, c_void},
    mem::size_of,
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use host_engine::{Error, Fault};

use super::{abi, api::Api, codes::check};
use crate::room;

/// A model in the NPU, and the state of one run of it.
#[derive(Debug)]
pub(super) struct Context {
    api: Arc<Api>,
    handle: abi::Handle,
    /// Held by whoever calls, as a context is for one thread at a time.
    calls: Mutex<()>,
    /// Whose weights it shares; that one must outlive it.
    origin: Option<Arc<Self>>,
    /// What it was loaded from, where the library cannot share weights.
    model: Option<Bytes>,
}

impl Context {
    /// Loads a model from memory.
    pub(super) fn load(api: &Arc<Api>, model: &Bytes) -> Result<Self, Error> {
        let size = u32::try_from(model.len())
            .map_err(|_| Error::from(Fault::TooLarge { what: "size of the model in bytes", found: model.len() as u64, max: u64::from(u32::MAX) }))?;
        let mut handle = 0;
        // SAFETY: `model` is `size` bytes long, which are not 0 (a size of 0 would make the library read a path); the library copies what
        // it keeps and does not write to it, although C has no `const` there. The extension may be null.
        let code = match size {
            0 => return Err(Error::unsupported("the artefact is empty")),
            _ => unsafe { (api.init)(&raw mut handle, model.as_ptr().cast_mut().cast(), size, 0, std::ptr::null_mut()) },
        };
        // The NPU's memory is the machine's.
        check(code, "load a model", "rknn_init").map_err(|error| room::told(error, u64::from(size), room::of_machine))?;
        let kept = api.duplicate.is_none().then(|| model.clone());
        Ok(Self { api: Arc::clone(api), handle, calls: Mutex::default(), origin: None, model: kept })
    }

    /// What the library says to bytes that are no model: whether there is an NPU shows before it reads them.
    pub(super) fn knock(api: &Arc<Api>) -> c_int {
        let mut nothing = [0u8; 64];
        let mut handle = 0;
        // SAFETY: as in `load`.
        let code = unsafe { (api.init)(&raw mut handle, nothing.as_mut_ptr().cast(), 64, 0, std::ptr::null_mut()) };
        if code == abi::SUCCESS {
            drop(Self { api: Arc::clone(api), handle, calls: Mutex::default(), origin: None, model: None });
        }
        code
    }

    /// Another context with the same weights; with weights of its own where the library cannot share them.
    pub(super) fn duplicate(self: &Arc<Self>) -> Result<Self, Error> {
        let Some(duplicate) = self.api.duplicate else {
            let none = || Error::from(Fault::Missing { what: "model", name: "rknn".into() });
            return Self::load(&self.api, self.model.as_ref().ok_or_else(none)?);
        };
        let origin = self.origin.as_ref().unwrap_or(self);
        let _turn = origin.turn();
        let (mut from, mut handle) = (origin.handle, 0);
        // SAFETY: `from` is a live context that no other thread uses now, because its turn is held.
        let code = unsafe { duplicate(&raw mut from, &raw mut handle) };
        check(code, "share a model", "rknn_dup_context")?;
        Ok(Self { api: Arc::clone(&self.api), handle, calls: Mutex::default(), origin: Some(Arc::clone(origin)), model: None })
    }

    /// Waits until no other thread calls, and keeps others from it.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        // The lock guards calls, not data: after a panic of another thread the context is as the library left it.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn api(&self) -> &Api {
        &self.api
    }

    pub(super) fn handle(&self) -> abi::Handle {
        self.handle
    }

    /// How many inputs and outputs it has.
    pub(super) fn counts(&self) -> Result<abi::Counts, Error> {
        self.query(abi::QUERY_COUNTS, abi::Counts::default())
    }

    /// An input.
    pub(super) fn input(&self, index: u32) -> Result<abi::Attribute, Error> {
        self.query(abi::QUERY_INPUT, abi::Attribute::asked(index))
    }

    /// An output.
    pub(super) fn output(&self, index: u32) -> Result<abi::Attribute, Error> {
        self.query(abi::QUERY_OUTPUT, abi::Attribute::asked(index))
    }

    /// Versions of library and driver.
    pub(super) fn versions(&self) -> Result<abi::Versions, Error> {
        self.query(abi::QUERY_VERSIONS, abi::Versions { library: [0; 256], driver: [0; 256] })
    }

    /// What the model takes of the NPU's memory.
    pub(super) fn memory(&self) -> Result<abi::MemorySizes, Error> {
        self.query(abi::QUERY_MEMORY, abi::MemorySizes::default())
    }

    /// Binds it to cores.
    pub(super) fn set_cores(&self, mask: i32) -> Result<(), Error> {
        let Some(set) = self.api.set_core_mask else {
            let library = self.api.loaded.path().display();
            return Err(Error::unsupported(format!("setting `core_mask` needs a function `rknn_set_core_mask`, library `{library}` has none")));
        };
        // SAFETY: the context is live.
        check(unsafe { set(self.handle, mask) }, "choose cores", "rknn_set_core_mask")
    }

    /// Hands inputs over; the library converts and keeps them.
    pub(super) fn set_inputs(&self, inputs: &[InputData<'_>]) -> Result<(), Error> {
        let mut given = inputs
            .iter()
            .map(|input| {
                Ok(abi::Input {
                    index: input.index,
                    data: input.data.as_ptr().cast_mut().cast(),
                    size: size_of_tensor(input.data.len())?,
                    pass_through: 0,
                    element_type: input.element_type,
                    format: input.format,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let count = size_of_tensor(given.len())?;
        // SAFETY: `given` has `count` entries, each with memory that is as long as it says and lives until the call is over; with
        // `pass_through` 0 the library copies from it and does not write to it.
        check(unsafe { (self.api.set_inputs)(self.handle, count, given.as_mut_ptr()) }, "take inputs", "rknn_inputs_set")
    }

    /// Computes, until it is done.
    pub(super) fn run(&self) -> Result<(), Error> {
        // SAFETY: the context is live; the extension may be null, which waits for the end.
        check(unsafe { (self.api.run)(self.handle, std::ptr::null_mut()) }, "run", "rknn_run")
    }

    /// The outputs, in the library's order: for each whether it is wanted as 32-bit floats.
    pub(super) fn outputs(&self, want_float: &[bool]) -> Result<Outputs<'_>, Error> {
        let one = |(index, want): (usize, &bool)| {
            let index = size_of_tensor(index)?;
            Ok(abi::Output { want_float: u8::from(*want), preallocated: 0, index, data: std::ptr::null_mut(), size: 0 })
        };
        let mut outputs = want_float.iter().enumerate().map(one).collect::<Result<Vec<_>, Error>>()?;
        let count = size_of_tensor(outputs.len())?;
        // SAFETY: `outputs` has `count` entries, which the library fills.
        let code = unsafe { (self.api.get_outputs)(self.handle, count, outputs.as_mut_ptr(), std::ptr::null_mut()) };
        check(code, "give outputs", "rknn_outputs_get")?;
        Ok(Outputs { context: self, outputs })
    }

    fn query<T: Copy>(&self, command: c_int, mut answer: T) -> Result<T, Error> {
        let size = size_of_tensor(size_of::<T>())?;
        // SAFETY: each command is asked with its own structure, as `abi` declares it, and with that one's size.
        let code = unsafe { (self.api.query)(self.handle, command, (&raw mut answer).cast::<c_void>(), size) };
        check(code, "describe a model", "rknn_query")?;
        Ok(answer)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the handle came from this library, is destroyed here only, and nobody else can hold it: outputs and memory borrow or
        // own the context, and contexts that share its weights own it. The code says nothing that could be done about it now.
        let _ = unsafe { (self.api.destroy)(self.handle) };
    }
}

/// One input as it is handed over.
#[derive(Debug)]
pub(super) struct InputData<'a> {
    /// The library's number of it.
    pub(super) index: u32,
    /// Its elements.
    pub(super) data: &'a [u8],
    /// What they are.
    pub(super) element_type: u32,
    /// The order of its axes.
    pub(super) format: u32,
}

/// Outputs in the library's memory, released when dropped.
#[derive(Debug)]
pub(super) struct Outputs<'a> {
    context: &'a Context,
    outputs: Vec<abi::Output>,
}

impl Outputs<'_> {
    /// The bytes of one; none if the library has not given it.
    pub(super) fn data(&self, index: u32) -> Option<&[u8]> {
        let output = self.outputs.get(index as usize).filter(|output| !output.data.is_null())?;
        // SAFETY: the library has filled the entry, so `size` bytes lie at `data` until they are released, which needs `self`.
        Some(unsafe { slice::from_raw_parts(output.data.cast(), output.size as usize) })
    }

    /// Gives them back, and says if the library does not take them.
    pub(super) fn release(mut self) -> Result<(), Error> {
        let mut outputs = std::mem::take(&mut self.outputs);
        check(give_back(self.context, &mut outputs), "take outputs back", "rknn_outputs_release")
    }
}

impl Drop for Outputs<'_> {
    fn drop(&mut self) {
        if !self.outputs.is_empty() {
            // An error has come before, and is what is told.
            let _ = give_back(self.context, &mut self.outputs);
        }
    }
}

fn give_back(context: &Context, outputs: &mut [abi::Output]) -> c_int {
    let count = u32::try_from(outputs.len()).unwrap_or(u32::MAX);
    // SAFETY: these are the entries that `rknn_outputs_get` has filled, all of them, and they are given back here only.
    unsafe { (context.api.release_outputs)(context.handle, count, outputs.as_mut_ptr()) }
}

/// A size or count as the interface has it.
pub(super) fn size_of_tensor(size: usize) -> Result<u32, Error> {
    u32::try_from(size).map_err(|_| Fault::TooLarge { what: "size of a tensor in bytes", found: size as u64, max: u64::from(u32::MAX) }.into())
}
