//! Native code on disk, so that a plugin is compiled once, for every host of this user. Only files that this program wrote, in
//! a folder that only its user can write to, are ever loaded; a plugin's file is always WebAssembly. A damaged file is compiled
//! again. When the files take more than they may, those that were used longest ago go.
//!
//! A file is the code itself, which is mapped and not read, followed by a checksum and what kind of file it is.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use host_engine::{Digest, map_file};
use wasmtime::{Engine, component::Component};

use crate::{clock, error::Error, private_folder};

/// Last bytes of each file; a change of the layout changes them.
const MAGIC: &[u8; 16] = b"shardhost-code-3";
const CHECKSUM_BYTES: usize = 4;
/// How the names of whole files end.
const CODE: &str = "code";
/// A file that is half written for longer than this was left by a process that ended.
const LEFT_AFTER: Duration = Duration::from_secs(3600);
/// Components whose files are known to be whole; with more than these, all are proved anew.
const WHOLE_MAX: usize = 1024;

/// A folder for native code, which hosts of one user may share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeFolder {
    /// Where it is; made if need be, and refused if others can write to it.
    pub path: PathBuf,
    /// Most bytes of native code in it.
    pub bytes_max: u64,
}

impl CodeFolder {
    /// With room for 4 GiB.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), bytes_max: 4 << 30 }
    }
}

/// A folder of native code for one engine.
pub(crate) struct Cache {
    folder: PathBuf,
    bytes_max: u64,
    compatibility: u64,
    /// Whose files this process has written or proved. A checksum of a hundred megabytes takes longer than to map them.
    whole: Mutex<BTreeSet<Digest>>,
}

impl Cache {
    pub(crate) fn open(folder: &CodeFolder, compatibility: u64) -> Result<Self, Error> {
        private_folder::open(&folder.path, "the folder for compiled plugins cannot be used")?;
        Ok(Self { folder: folder.path.clone(), bytes_max: folder.bytes_max, compatibility, whole: Mutex::default() })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}.{CODE}", self.compatibility))
    }

    /// The code of a component, if it is there and whole.
    pub(crate) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let path = self.path(digest);
        if !self.is_whole(digest, &path) {
            return None;
        }
        used(&path);
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
        if code.len() as u64 > self.bytes_max {
            return;
        }
        // A full disk is no reason to refuse a plugin; a half-written file never gets its name.
        if self.write(digest, code).is_ok() {
            self.prove(digest);
            // What cannot be cleared away now can be next time.
            let _ = self.make_room(&self.path(digest));
        }
    }

    /// Removes what was used longest ago until the rest is within the limit, but not the file that was just written. What is
    /// mapped stays readable without its name.
    fn make_room(&self, just_written: &Path) -> io::Result<()> {
        let now = clock::system_time();
        let (mut kept, mut bytes) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another host may have removed it meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            let (path, changed) = (entry.path(), metadata.modified()?);
            if path.extension() == Some(OsStr::new(CODE)) {
                bytes += metadata.len();
                kept.push((changed, path, metadata.len()));
            } else if now.duration_since(changed).is_ok_and(|age| age > LEFT_AFTER) {
                let _ = fs::remove_file(path);
            }
        }
        kept.sort();
        for (_, path, size) in kept.into_iter().filter(|(_, path, _)| path != just_written) {
            if bytes <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            bytes -= size;
        }
        Ok(())
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

/// Notes that a file was used, by its time of change; where that cannot be noted it only goes earlier.
fn used(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(clock::system_time()));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, bytes_max: u64) -> Cache {
        Cache::open(&CodeFolder { path: folder.to_owned(), bytes_max }, 7).expect("a private folder")
    }

    fn names(cache: &Cache, of: &[&[u8]]) -> Vec<bool> {
        of.iter().map(|name| cache.path(Digest::of(name)).exists()).collect()
    }

    #[test]
    fn what_was_used_longest_ago_goes_when_there_is_no_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path(), 3_000);
        let age = |name: &[u8], seconds| {
            let file = File::open(cache.path(Digest::of(name))).expect("kept");
            file.set_modified(clock::system_time() - Duration::from_secs(seconds)).expect("set");
        };
        for (name, seconds) in [(b"a", 20), (b"b", 30)] {
            cache.keep(Digest::of(name), &[0; 1_000]);
            age(name, seconds);
        }
        cache.keep(Digest::of(b"c"), &[0; 1_000]);
        assert_eq!(names(&cache, &[b"a", b"b", b"c"]), [true, false, true], "checksums make it more than three thousand");
        used(&cache.path(Digest::of(b"a")));
        age(b"c", 10);
        cache.keep(Digest::of(b"d"), &[0; 1_500]);
        assert_eq!(names(&cache, &[b"a", b"c", b"d"]), [true, false, true]);
        cache.keep(Digest::of(b"e"), &[0; 3_001]);
        assert_eq!(names(&cache, &[b"a", b"d", b"e"]), [true, true, false], "it alone is too large");
    }

    #[test]
    fn what_a_process_that_ended_left_half_written_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path(), 3_000);
        let (old, new) = (folder.path().join(".tmp1"), folder.path().join(".tmp2"));
        fs::write(&old, b"half").expect("written");
        fs::write(&new, b"half").expect("written");
        File::open(&old).expect("there").set_modified(clock::system_time() - LEFT_AFTER - Duration::from_secs(1)).expect("set");
        cache.keep(Digest::of(b"a"), &[0; 10]);
        assert_eq!((old.exists(), new.exists()), (false, true), "another host may be writing the newer one");
    }
}
