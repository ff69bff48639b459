//! Blobs that must outlive the process. A file is there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use host_engine::Digest;

use super::digest_folder::{DigestFolder, Named, file_error};
use crate::error::Error;
use crate::store::BlobFault;

#[derive(Debug)]
pub(super) struct Blobs {
    folder: DigestFolder,
    written: AtomicU64,
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
        Ok(Self { folder, written: AtomicU64::new(0) })
    }

    /// The digest is that of the bytes: whoever calls has computed it.
    pub(super) fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        // Comparing takes a fraction of the time of another digest.
        if fs::read(self.folder.path(digest)).is_ok_and(|kept| kept == bytes) {
            return Ok(());
        }
        let part = self.folder.part_of(digest, self.written.fetch_add(1, Ordering::Relaxed));
        write_durably(&part, bytes).map_err(|error| file_error("write", &part, error))?;
        self.folder.adopt(&part, digest)
    }

    pub(super) fn get(&self, digest: Digest) -> Result<Bytes, Error> {
        let fault = |problem| Error::from(BlobFault::Missing { digest: digest.to_string(), problem });
        let bytes = fs::read(self.folder.path(digest)).map_err(|error| fault("is not in the store").because(error))?;
        if Digest::of(&bytes) == digest { Ok(bytes.into()) } else { Err(fault("is damaged on disk")) }
    }

    /// Forgets the bytes of a digest, if they are there.
    pub(super) fn remove(&self, digest: Digest) -> Result<(), Error> {
        self.folder.remove(&self.folder.path(digest))
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
