//! The one ONNX Runtime that a process can hold: the binding keeps library and environment in variables of the process, for ever.
//! Whoever wants another library starts another process.

use std::{
    ffi::CStr,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use host_engine::Error;
use libloading::Symbol;
use ort::environment::Environment;

use super::search::{VERSION_MIN, Version, too_old};
use crate::library;

/// What is loaded, as engines of this process use it.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// The file, links resolved.
    pub(super) path: PathBuf,
    /// As the library itself says it.
    pub(super) version: String,
    /// What sessions are made in.
    pub(super) environment: Environment,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// Loads a library, or finds it loaded. Refuses a second, different one.
pub(super) fn load(path: &Path) -> Result<Loaded, Error> {
    library::check(path)?;
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // What is in it is whole at any time: it is written once, when all is made.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = loaded.as_ref() {
        if loaded.path == path {
            return Ok(loaded.clone());
        }
        let (first, second) = (loaded.path.display(), path.display());
        return Err(Error::unsupported(format!(
            "library `{second}`: expected `{first}`, which this process holds already, and a process can hold one ONNX Runtime"
        )));
    }
    let version = version_of(&path)?;
    let refused = |error: &dyn std::fmt::Display| Error::unsupported(format!("library `{}`: expected ONNX Runtime, found {error}", path.display()));
    // From here on the binding keeps the library. Before `init_from` no call of it may be made: it would panic for want of a library.
    let builder = ort::init_from(&path).map_err(|error| refused(&error))?;
    let environment = builder.with_name("shardhost").with_telemetry(false).build().map_err(|error| refused(&error))?;
    Ok(loaded.insert(Loaded { path, version, environment }).clone())
}

/// Asks the library itself, which loads it and lets it go again.
fn version_of(path: &Path) -> Result<String, Error> {
    let refused = |found: String| Error::unsupported(format!("library `{}`: expected one that can be loaded, found {found}", path.display()));
    // SAFETY: loading a library runs its initialisers. It is the one that people have named or installed as ONNX Runtime, its header
    // was checked, and that it may still misbehave is why this runs in a driver process.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| refused(one_line(&error.to_string())))?;
    // SAFETY: the symbol has had this type in every release of ONNX Runtime; a library without it is refused.
    let base: Symbol<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase> =
        unsafe { library.get(b"OrtGetApiBase") }.map_err(|_| refused("no function OrtGetApiBase in it: it is no ONNX Runtime".into()))?;
    // SAFETY: it takes nothing and answers a pointer to a table that lives as long as the library, or null, which is tested.
    let table = unsafe { base().as_ref() }.ok_or_else(|| refused("a table of functions that is null".into()))?;
    // SAFETY: it takes nothing and answers a string of the library that ends with 0.
    let text = unsafe { CStr::from_ptr((table.GetVersionString)()) };
    let version = text.to_string_lossy().into_owned();
    // Builds between releases say `1.32.0-dev`; what stands before counts.
    let number = version.split(|c: char| c != '.' && !c.is_ascii_digit()).next().and_then(Version::parse);
    match number {
        Some(number) if number >= VERSION_MIN => Ok(version),
        _ => Err(too_old(path, &version)),
    }
}

/// The loader's messages may go over several lines.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
