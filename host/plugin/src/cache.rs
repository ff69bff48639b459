//! Native code on disk, so that a plugin is compiled once. Only files that this host wrote, in a folder that only its user
//! can write to, are ever loaded; a plugin's file is always WebAssembly. A damaged file is compiled again.
//!
//! A file is the code itself, which is mapped and not read, followed by a checksum and what kind of file it is.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use host_engine::{Digest, map_file};
use wasmtime::{Engine, component::Component};

use crate::error::{Error, Fault};

/// Last bytes of each file; a change of the layout changes them.
const MAGIC: &[u8; 16] = b"shardhost-code-3";
const CHECKSUM_BYTES: usize = 4;
/// Components whose files are known to be whole; with more than these, all are proved anew.
const WHOLE_MAX: usize = 1024;

/// A folder of native code.
pub(crate) struct Cache {
    folder: PathBuf,
    compatibility: u64,
    /// Whose files this process has written or proved. A checksum of a hundred megabytes takes longer than to map them.
    whole: Mutex<BTreeSet<Digest>>,
}

impl Cache {
    /// Makes the folder if need be, and refuses one that others can write to.
    pub(crate) fn open(folder: &Path, compatibility: u64) -> Result<Self, Error> {
        make_private(folder).map_err(|error| {
            Error::from(Fault::Host { what: "the folder for compiled plugins cannot be used" }).because(format!("{}: {error}", folder.display()))
        })?;
        Ok(Self { folder: folder.to_owned(), compatibility, whole: Mutex::default() })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}.code", self.compatibility))
    }

    /// The code of a component, if it is there and whole.
    pub(crate) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let path = self.path(digest);
        if !self.is_whole(digest, &path) {
            return None;
        }
        // SAFETY: what `keep` wrote: the folder is writable by this user alone, which `open` proved, the checksum rules out
        // damage, the name carries the compatibility hash of this very engine, and files get their name when they are whole and
        // are replaced but never written again, so that a mapping does not change.
        let mapped = unsafe { Component::deserialize_file(engine, &path) }.ok();
        // A file system may not let files be executed; memory can be.
        mapped.or_else(|| revive(engine, code_of(&map_file(&path).ok()?)?))
    }

    fn is_whole(&self, digest: Digest, path: &Path) -> bool {
        if self.proved().contains(&digest) {
            return true;
        }
        let is_whole = map_file(path).is_ok_and(|file| code_of(&file).is_some());
        if is_whole {
            self.prove(digest);
        }
        is_whole
    }

    fn proved(&self) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
        // The set is whole between any two statements.
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prove(&self, digest: Digest) {
        let mut whole = self.proved();
        if whole.len() >= WHOLE_MAX {
            whole.clear();
        }
        whole.insert(digest);
    }

    /// Writes the code of a component. Without it the next start compiles again, so a failure is not one of the plugin.
    pub(crate) fn keep(&self, digest: Digest, code: &[u8]) {
        // A full disk is no reason to refuse a plugin; a half-written file never gets its name.
        if self.write(digest, code).is_ok() {
            self.prove(digest);
        }
    }

    fn write(&self, digest: Digest, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(code)?;
        file.write_all(&crc32fast::hash(code).to_le_bytes())?;
        file.write_all(MAGIC)?;
        file.persist(self.path(digest))?;
        Ok(())
    }
}

/// The code in a file, if it is whole.
fn code_of(file: &[u8]) -> Option<&[u8]> {
    let (rest, magic) = file.split_at_checked(file.len().checked_sub(MAGIC.len())?)?;
    let (code, checksum) = rest.split_at_checked(rest.len().checked_sub(CHECKSUM_BYTES)?)?;
    (magic == MAGIC && checksum == crc32fast::hash(code).to_le_bytes()).then_some(code)
}

/// A component from native code that this program made: here, in its child, or before it was started again. Never call it
/// with bytes that anybody else could have written.
pub(crate) fn revive(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: callers hand over only what this program's own compiler wrote, through a pipe or a folder that nobody else can
    // write to; wasmtime itself refuses code of another version or configuration.
    unsafe { Component::deserialize(engine, code) }.ok()
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    // A new file belongs to whoever this process runs as; the folder must belong to the same.
    let own = tempfile::NamedTempFile::new_in(folder)?.as_file().metadata()?.uid();
    let metadata = fs::symlink_metadata(folder)?;
    if metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "it belongs to user {} with mode {:o}, it must be a folder of user {own} with mode 700",
        metadata.uid(),
        metadata.mode() & 0o777
    )))
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}
