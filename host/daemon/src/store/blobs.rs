//! Blobs that must outlive the process. A file is there whole or not at all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use host_engine::{Digest, map_file};

use super::digest_folder::{DigestFolder, Named, file_error};
use crate::store::BlobFault;
use crate::{clock, error::Error};

/// Blobs that are known to be whole; with more than these, all are proved anew.
const PROVED_MAX: usize = 4096;
/// A file that was changed more recently may be changed again without a trace in its times, so it is proved each time.
const SETTLED_S: i64 = 2;

#[derive(Debug)]
pub(super) struct Blobs {
    folder: DigestFolder,
    written: AtomicU64,
    /// What files looked like when their bytes were found to have their digest, which takes longer than all else.
    proved: Mutex<BTreeMap<Digest, Look>>,
}

/// What tells a file from the same one after a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Look {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Look {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { inode: metadata.ino(), bytes: metadata.len(), changed: (metadata.mtime(), metadata.mtime_nsec()) })
    }

    fn is_settled(&self) -> bool {
        let now_s = i64::try_from(clock::unix_ms() / 1000).unwrap_or_default();
        now_s.saturating_sub(self.changed.0) > SETTLED_S
    }
}

impl Blobs {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let folder = DigestFolder::open(folder)?;
        // What a killed process left half written; the lock says that nobody writes now.
        for (named, path, _) in folder.entries()? {
            if matches!(named, Named::Part(_) | Named::Scrap) {
                folder.remove(&path)?;
            }
        }
        Ok(Self { folder, written: AtomicU64::new(0), proved: Mutex::default() })
    }

    /// The digest is that of the bytes: whoever calls has computed it.
    pub(super) fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        if self.holds(digest, bytes) {
            return Ok(());
        }
        let part = self.folder.part_of(digest, self.written.fetch_add(1, Ordering::Relaxed));
        write_durably(&part, bytes).map_err(|error| file_error("write", &part, error))?;
        self.folder.adopt(&part, digest)
    }

    /// Whether these are the bytes that are kept under a digest. Comparing takes a fraction of the time of computing one.
    pub(super) fn holds(&self, digest: Digest, bytes: &[u8]) -> bool {
        let path = self.folder.path(digest);
        fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64) && map_file(&path).is_ok_and(|kept| *kept == *bytes)
    }

    /// The bytes, mapped: files are replaced and removed, and never written again.
    pub(super) fn get(&self, digest: Digest) -> Result<Bytes, Error> {
        let fault = |problem| Error::from(BlobFault::Missing { digest: digest.to_string(), problem });
        let path = self.folder.path(digest);
        let look = Look::of(&path);
        let bytes = map_file(&path).map_err(|error| fault("is not in the store").because(error))?;
        if look.is_some() && self.proved().get(&digest) == look.as_ref() {
            return Ok(bytes);
        }
        if Digest::of(&bytes) != digest {
            return Err(fault("is damaged on disk"));
        }
        if let Some(look) = look.filter(Look::is_settled) {
            self.prove(digest, look);
        }
        Ok(bytes)
    }

    /// Forgets the bytes of a digest, if they are there.
    pub(super) fn remove(&self, digest: Digest) -> Result<(), Error> {
        self.proved().remove(&digest);
        self.folder.remove(&self.folder.path(digest))
    }

    fn proved(&self) -> MutexGuard<'_, BTreeMap<Digest, Look>> {
        // The map is whole between any two statements.
        self.proved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prove(&self, digest: Digest, look: Look) {
        let mut proved = self.proved();
        if proved.len() >= PROVED_MAX {
            proved.clear();
        }
        proved.insert(digest, look);
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
