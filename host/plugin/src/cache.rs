//! Native code on disk, so that a plugin is compiled once. Only files that this host wrote, in a folder that only its user
//! can write to, are ever loaded; a plugin's file is always WebAssembly. A damaged file is compiled again.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use host_engine::Digest;
use wasmtime::{Engine, component::Component};

use crate::error::{Error, Fault};

/// First bytes of each file; a change of the layout changes them.
const MAGIC: &[u8; 16] = b"shardhost-code-2";
const CHECKSUM_BYTES: usize = 4;

/// A folder of native code.
pub(crate) struct Cache {
    folder: PathBuf,
    compatibility: u64,
}

impl Cache {
    /// Makes the folder if need be, and refuses one that others can write to.
    pub(crate) fn open(folder: &Path, compatibility: u64) -> Result<Self, Error> {
        make_private(folder).map_err(|error| {
            Error::from(Fault::Host { what: "the folder for compiled plugins cannot be used" }).because(format!("{}: {error}", folder.display()))
        })?;
        Ok(Self { folder: folder.to_owned(), compatibility })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}.code", self.compatibility))
    }

    /// The code of a component, if it is there and whole.
    pub(crate) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let path = self.path(digest);
        let file = fs::read(&path).ok()?;
        let (head, code) = file.split_at_checked(MAGIC.len() + CHECKSUM_BYTES)?;
        let (magic, checksum) = head.split_at(MAGIC.len());
        if magic != MAGIC || checksum != crc32fast::hash(code).to_le_bytes() {
            return None;
        }
        // What `keep` wrote: the folder is writable by this user alone, which `open` proved, the checksum rules out damage, and
        // the name carries the compatibility hash of this very engine.
        revive(engine, code)
    }

    /// Writes the code of a component. Without it the next start compiles again, so a failure is not one of the plugin.
    pub(crate) fn keep(&self, digest: Digest, code: &[u8]) {
        // A full disk is no reason to refuse a plugin; a half-written file never gets its name.
        drop(self.write(digest, code));
    }

    fn write(&self, digest: Digest, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(&crc32fast::hash(code).to_le_bytes())?;
        file.write_all(code)?;
        file.persist(self.path(digest))?;
        Ok(())
    }
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
