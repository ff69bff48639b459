//! A vendor's library in this process, and its functions by name. All that an engine calls is looked up when it is opened, so that a
//! library that lacks something is refused then, in one line, and not in the middle of a run.

use std::{
    mem::ManuallyDrop,
    path::{Path, PathBuf},
};

use host_engine::Error;
use libloading::Library;

use crate::library;

/// A loaded library. It stays in the process until that ends: vendors' libraries leave threads and callbacks behind, and a driver
/// process ends with its last shard anyway.
#[derive(Debug)]
pub(crate) struct Loaded {
    library: ManuallyDrop<Library>,
    path: PathBuf,
}

impl Loaded {
    /// Checks the file and loads it. The error names it, what was expected and what was found.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        library::check(path)?;
        // SAFETY: loading runs the library's initialisers. The file is one that whoever runs this host has named as the vendor's
        // library, and it was looked at: it is a whole shared library for this machine.
        // An absolute path, as a bare name would be looked for in the system's folders.
        let library = unsafe { Library::new(std::path::absolute(path).unwrap_or_else(|_| path.to_owned())) }.map_err(|error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Error::unsupported(format!("library `{}`: expected one that can be loaded, found that {reason}", path.display()))
        })?;
        Ok(Self { library: ManuallyDrop::new(library), path: path.to_owned() })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A function that must be there.
    ///
    /// # Safety
    /// `F` must be the type of a function pointer with the signature that the vendor documents for `name`.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &str) -> Result<F, Error> {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.optional(name) }.ok_or_else(|| Error::unsupported(format!("library `{}`: expected a function `{name}`, found none", self.path.display())))
    }

    /// A function that older libraries lack.
    ///
    /// # Safety
    /// As for `function`.
    pub(crate) unsafe fn optional<F: Copy>(&self, name: &str) -> Option<F> {
        // SAFETY: the caller promises that `F` is the function's type; the pointer is copied out of the symbol, which is sound because
        // the library is never unloaded.
        unsafe { self.library.get::<F>(name) }.ok().map(|symbol| *symbol)
    }
}
