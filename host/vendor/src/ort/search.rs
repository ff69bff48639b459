//! Where ONNX Runtime is on this machine. Nothing is loaded: files are found by their names, versions read from them, and what the
//! loader would not take is passed over with the reason.

use std::{
    collections::BTreeSet,
    env, fmt, fs,
    path::{Path, PathBuf},
};

use host_engine::Error;

use super::Provider;
use crate::library;

/// The oldest version that can be used: what this program was built for (`api-17`).
pub const VERSION_MIN: Version = Version { major: 1, minor: 17, patch: 0 };
/// Begin of every file name that ONNX Runtime's library has on Linux.
const FILE_NAME: &str = "libonnxruntime.so";
/// The package inside a Python's packages, of all wheels: onnxruntime, onnxruntime-gpu and onnxruntime-cann.
const WHEEL_FOLDER: &str = "onnxruntime/capi";
/// Most entries of a folder that are looked at, so that a search ends.
const ENTRIES_MAX: usize = 4096;
/// Most folders that are looked at.
const FOLDERS_MAX: usize = 256;

/// A version of the library.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// 1 so far.
    pub major: u32,
    /// What decides about compatibility.
    pub minor: u32,
    /// Corrections.
    pub patch: u32,
}

impl Version {
    /// Reads `1.31.1`; a part that is missing is 0. None for what is no version.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
        let major = parts.next()??;
        let rest = [parts.next(), parts.next()].map(|part| part.unwrap_or(Some(0)));
        match (rest, parts.next()) {
            ([Some(minor), Some(patch)], None) => Some(Self { major, minor, patch }),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A library that was found and looks usable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Library {
    /// The file, links resolved.
    pub path: PathBuf,
    /// Its version, as far as the file's name says it; what is loaded says it for certain.
    pub version: Option<Version>,
}

impl Library {
    /// Finds the library: where people have said where it is, that one or an error; else the newest of all that are usable. The error
    /// lists where was looked, and what was passed over and why.
    pub fn find(paths: &SearchPaths) -> Result<Self, Error> {
        if let Some((who, path)) = &paths.named {
            return named(path, paths.provider).map_err(|error| Error::unsupported(format!("{who}: {error}")));
        }
        let mut passed = Vec::new();
        let mut usable: Vec<Self> = Vec::new();
        for file in paths.folders.iter().flat_map(|folder| files(folder)) {
            match usable_file(&file, paths.provider) {
                Ok(library) => usable.push(library),
                Err(error) => passed.push(error.to_string()),
            }
        }
        // Of equal ones the first: folders are in the order in which they should count.
        let newest = usable.into_iter().rev().max_by_key(|library| library.version);
        newest.ok_or_else(|| nothing(paths, &passed))
    }
}

fn nothing(paths: &SearchPaths, passed: &[String]) -> Error {
    let folders = paths.folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    let passed = if passed.is_empty() { String::new() } else { format!("; passed over: {}", passed.join("; ")) };
    let package = paths.provider.package();
    Error::unsupported(format!(
        "no ONNX Runtime for engine {} was found: looked for {FILE_NAME}* in {folders}{passed}; `pip install {package}` installs it, and engines.onnxruntime.library or ORT_DYLIB_PATH says where it is",
        paths.provider.engine()
    ))
}

/// A file or folder that a person has named.
pub(super) fn named(path: &Path, provider: Provider) -> Result<Library, Error> {
    if !path.is_dir() {
        return usable_file(path, provider);
    }
    let mut found: Vec<PathBuf> = files(path);
    found.extend(files(&path.join("capi")));
    found.extend(files(&path.join("lib")));
    found.extend(files(&path.join(WHEEL_FOLDER)));
    let mut refusals = Vec::new();
    let mut usable = Vec::new();
    for file in found {
        match usable_file(&file, provider) {
            Ok(library) => usable.push(library),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    let newest = usable.into_iter().rev().max_by_key(|library: &Library| library.version);
    newest.ok_or_else(|| match refusals.into_iter().next() {
        Some(refusal) => Error::unsupported(refusal),
        None => Error::unsupported(format!("folder `{}`: expected a file {FILE_NAME}*, found none", path.display())),
    })
}

/// Holds a file against what can be known without loading it.
fn usable_file(path: &Path, provider: Provider) -> Result<Library, Error> {
    library::check(path)?;
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let version = path.file_name().and_then(|name| name.to_str()).and_then(version_of_name);
    if let Some(version) = version.filter(|version| *version < VERSION_MIN) {
        return Err(too_old(&path, &version.to_string()));
    }
    if let Some(companion) = provider.companion()
        && !path.with_file_name(companion).is_file()
    {
        return Err(Error::unsupported(format!(
            "library `{}`: expected {companion} beside it for engine {}, found none: it is a build without that provider",
            path.display(),
            provider.engine()
        )));
    }
    Ok(Library { path, version })
}

/// The refusal of a version below the oldest that can be used.
pub(super) fn too_old(path: &Path, found: &str) -> Error {
    Error::unsupported(format!("library `{}`: expected ONNX Runtime {}.{} or newer, found {found}", path.display(), VERSION_MIN.major, VERSION_MIN.minor))
}

/// What stands behind `libonnxruntime.so.`.
fn version_of_name(name: &str) -> Option<Version> {
    Version::parse(name.strip_prefix(FILE_NAME)?.strip_prefix('.')?)
}

/// Files of a folder with the library's name, each once though links may name it several times.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_library = |name: &str| name == FILE_NAME || version_of_name(name).is_some();
    let named = entries.take(ENTRIES_MAX).flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_library));
    let resolved: BTreeSet<PathBuf> = named.map(|entry| fs::canonicalize(entry.path()).unwrap_or_else(|_| entry.path())).collect();
    resolved.into_iter().collect()
}

/// Where to look, and for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchPaths {
    /// What the library must have a provider for.
    pub provider: Provider,
    /// A file or folder that people have named, and with what; then nothing else is looked at.
    pub named: Option<(&'static str, PathBuf)>,
    /// Folders to look into, in the order in which they count among equal versions.
    pub folders: Vec<PathBuf>,
}

impl SearchPaths {
    /// Where to look on this machine: what the config names, else what `ORT_DYLIB_PATH` names, else the packages of each Python that
    /// can be found without running one, and the system's folders.
    pub fn of_machine(provider: Provider, configured: Option<&Path>) -> Self {
        let from_config = configured.map(|path| ("engines.onnxruntime.library", path.to_owned()));
        let variable = || env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty()).map(|value| ("ORT_DYLIB_PATH", PathBuf::from(value)));
        let list = |name: &str| env::var_os(name).map(|value| env::split_paths(&value).collect::<Vec<_>>()).unwrap_or_default();
        let one = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(one).collect();
        prefixes.extend(list("PATH").iter().filter_map(|folder| python_prefix(folder)));
        if let Some(home) = one("HOME") {
            prefixes.push(home.join(".local"));
            prefixes.extend(children(&home.join(".pyenv/versions")));
        }
        prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
        let mut folders: Vec<PathBuf> = prefixes.iter().flat_map(|prefix| wheels(prefix)).collect();
        folders.extend(list("LD_LIBRARY_PATH"));
        folders.extend(system_folders());
        Self { provider, named: from_config.or_else(variable), folders: once_each(folders) }
    }
}

/// The prefix of the Python whose program lies in this folder of `PATH`.
fn python_prefix(folder: &Path) -> Option<PathBuf> {
    let has_python = ["python3", "python"].iter().any(|name| folder.join(name).exists());
    has_python.then(|| folder.parent().map(Path::to_owned)).flatten()
}

/// The folders below a prefix in which wheels of ONNX Runtime lie, for each version of Python.
fn wheels(prefix: &Path) -> Vec<PathBuf> {
    let libraries = ["lib", "lib64"].map(|name| prefix.join(name));
    let is_python = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python3"));
    let pythons = libraries.iter().flat_map(|folder| children(folder)).filter(is_python);
    let packages = pythons.flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name).join(WHEEL_FOLDER)));
    packages.filter(|folder| folder.is_dir()).collect()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.take(ENTRIES_MAX).flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn system_folders() -> Vec<PathBuf> {
    let triple = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    let fixed = ["/usr/local/lib", "/usr/local/lib64", triple.as_str(), "/usr/lib", "/usr/lib64", "/opt/onnxruntime/lib"];
    fixed.iter().map(PathBuf::from).collect()
}

fn once_each(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let is_new = |folder: &PathBuf| seen.insert(fs::canonicalize(folder).unwrap_or_else(|_| folder.clone()));
    folders.into_iter().filter(|folder| folder.is_absolute()).filter(is_new).take(FOLDERS_MAX).collect()
}

#[cfg(test)]
mod tests;
