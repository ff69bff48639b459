//! AscendCL in this process: started once, on one device, and ended after the last that uses it is gone.
//!
//! `aclInit` may be called once in the life of a process. So engines share one runtime for as long as one of them lives, and after its
//! end the library cannot be opened again in this process: a driver process ends then, too.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    ptr::null_mut,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use host_engine::Error;

use super::{
    abi,
    api::{Api, text},
};
use crate::room;

/// Whether a library was started in this process.
#[derive(Debug)]
enum State {
    Running(Weak<Runtime>, i32),
    Ended,
}

/// First number of the interface's version: AscendCL's documentation says that another one is for changes that do not fit.
const MAJOR: i32 = 1;

/// By the library's path.
static STATES: Mutex<Option<HashMap<PathBuf, State>>> = Mutex::new(None);

/// The library, started, with one context on one device. A context is for one thread at a time as far as one model is concerned;
/// each thread says before it calls that it is this one that it means.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) api: Api,
    device: i32,
    context: Context,
}

/// An address that the library has given and that only it follows.
#[derive(Debug)]
struct Context(abi::Opaque);

// SAFETY: the library documents that a context may be used by any thread that has made it its current one; the pointer itself is never
// followed here and never changes.
unsafe impl Send for Context {}
// SAFETY: as for `Send`.
unsafe impl Sync for Context {}

impl Runtime {
    /// Starts the library on a device, or joins those who have.
    pub(super) fn open(library: &Path, device: i32) -> Result<Arc<Self>, Error> {
        let path = library.canonicalize().unwrap_or_else(|_| library.to_owned());
        // What is in the map is whole between any two statements.
        let mut states = STATES.lock().unwrap_or_else(PoisonError::into_inner);
        let states = states.get_or_insert_default();
        match states.get(&path) {
            Some(State::Running(runtime, on)) => match runtime.upgrade() {
                Some(_) if *on != device => {
                    let name = library.display();
                    return Err(Error::unsupported(format!("library `{name}` is in use on device {on} by this process, device {device} needs another one")));
                }
                Some(runtime) => return Ok(runtime),
                None => return Err(ended(library)),
            },
            Some(State::Ended) => return Err(ended(library)),
            None => {}
        }
        let api = Api::open(library)?;
        // SAFETY: null says that there is no file of settings; this is the one call for this library in this process.
        api.check(unsafe { (api.init)(std::ptr::null()) }, "start", "aclInit")?;
        states.insert(path.clone(), State::Ended);
        let runtime = Arc::new(Self::start(api, device)?);
        states.insert(path, State::Running(Arc::downgrade(&runtime), device));
        Ok(runtime)
    }

    fn start(api: Api, device: i32) -> Result<Self, Error> {
        let mut count = 0;
        let mut context = null_mut();
        let end = |error| {
            // SAFETY: it was started, and nothing of it is in use. The first error is the one to tell.
            let _ = unsafe { (api.finalize)() };
            error
        };
        if let Some([major, minor, patch]) = version(&api).filter(|[major, ..]| *major != MAJOR) {
            let path = api.loaded.path().display();
            return Err(end(Error::unsupported(format!("library `{path}`: expected version {MAJOR}.x, found {major}.{minor}.{patch}"))));
        }
        // SAFETY: the library is started; the pointers are to values that live during the calls.
        unsafe {
            api.check((api.device_count)(&raw mut count), "find devices", "aclrtGetDeviceCount").map_err(end)?;
            if i64::from(device) >= i64::from(count) {
                return Err(end(Error::unsupported(format!("setting `device` is {device}, the library finds {count} devices"))));
            }
            api.check((api.set_device)(device), "open the device", "aclrtSetDevice").map_err(end)?;
            if let Err(error) = api.check((api.create_context)(&raw mut context, device), "open the device", "aclrtCreateContext") {
                let _ = (api.reset_device)(device);
                return Err(end(error));
            }
        }
        Ok(Self { api, device, context: Context(context) })
    }

    /// Makes this thread mean this runtime's device. To be called before anything that is on the device.
    pub(super) fn enter(&self) -> Result<(), Error> {
        // SAFETY: the context lives as long as the runtime.
        self.api.check(unsafe { (self.api.set_context)(self.context.0) }, "enter the device", "aclrtSetCurrentContext")
    }

    /// The chip's name in small letters: `ascend310p3`; none if the library does not say it.
    pub(super) fn chip(&self) -> Option<String> {
        // SAFETY: the function takes nothing and gives null or a text that stays.
        unsafe { text((self.api.chip)()) }.map(|name| name.to_ascii_lowercase())
    }

    /// Version of the library: `1.12.0`; empty if it does not say it.
    pub(super) fn version(&self) -> String {
        version(&self.api).map(|[major, minor, patch]| format!("{major}.{minor}.{patch}")).unwrap_or_default()
    }

    /// All of the device's memory in bytes; none if the library does not say it.
    pub(super) fn memory(&self) -> Option<u64> {
        self.memory_now().map(|now| now.total_bytes)
    }

    /// An error with how much memory was needed and how much is free, if it is that memory is used up.
    pub(super) fn short(&self, error: Error, needed_bytes: u64) -> Error {
        room::told(error, needed_bytes, || self.memory_now().map(|now| now.free_bytes))
    }

    fn memory_now(&self) -> Option<MemoryNow> {
        self.enter().ok()?;
        [abi::HIGH_BANDWIDTH, abi::DDR].into_iter().find_map(|kind| {
            let (mut free, mut total) = (0, 0);
            // SAFETY: two pointers to numbers that live during the call.
            let code = unsafe { (self.api.get_memory)(kind, &raw mut free, &raw mut total) };
            (code == abi::SUCCESS && total > 0).then_some(MemoryNow { free_bytes: free as u64, total_bytes: total as u64 })
        })
    }
}

/// What a device says of its memory.
#[derive(Clone, Copy, Debug)]
struct MemoryNow {
    free_bytes: u64,
    total_bytes: u64,
}

/// The interface's version; none if the library does not say it.
fn version(api: &Api) -> Option<[i32; 3]> {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: three pointers to numbers that live during the call.
    let code = unsafe { (api.get_version)(&raw mut major, &raw mut minor, &raw mut patch) };
    (code == abi::SUCCESS).then_some([major, minor, patch])
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let path = self.api.loaded.path();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut states = STATES.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: whoever uses models or memory of this runtime holds it, so nothing of it is in use; each call is made once, in the order
        // that the library asks for. There is nobody left to tell of a failure.
        unsafe {
            let _ = (self.api.set_context)(self.context.0);
            let _ = (self.api.destroy_context)(self.context.0);
            let _ = (self.api.reset_device)(self.device);
            let _ = (self.api.finalize)();
        }
        states.get_or_insert_default().insert(path, State::Ended);
    }
}

fn ended(library: &Path) -> Error {
    let name = library.display();
    Error::unsupported(format!("library `{name}` was ended in this process and can be started once in each: it needs another process"))
}
