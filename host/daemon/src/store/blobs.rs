//! A folder of files named by their SHA-256. A file is there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use host_engine::Digest;

use crate::error::{Error, Fault};

#[derive(Debug)]
pub(super) struct Blobs {
    folder: PathBuf,
    written: AtomicU64,
}

impl Blobs {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let fault = |error: io::Error| Error::from(Fault::File { doing: "make the blob folder", path: folder.display().to_string() }).because(error);
        fs::create_dir_all(folder).map_err(fault)?;
        // What a killed process left half written; the lock says that nobody writes now.
        for entry in fs::read_dir(folder).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                fs::remove_file(&path).map_err(fault)?;
            }
        }
        Ok(Self { folder: folder.to_owned(), written: AtomicU64::new(0) })
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        if self.get(digest).is_ok() {
            return Ok(digest);
        }
        let path = self.path(digest);
        let part = self.folder.join(format!("{digest}.{}.part", self.written.fetch_add(1, Ordering::Relaxed)));
        let written = write_durably(&part, bytes).and_then(|()| fs::rename(&part, &path)).and_then(|()| File::open(&self.folder)?.sync_all());
        written.map_err(|error| Error::from(Fault::File { doing: "write", path: path.display().to_string() }).because(error))?;
        Ok(digest)
    }

    pub(super) fn get(&self, digest: Digest) -> Result<Bytes, Error> {
        let fault = |problem| Error::from(Fault::Blob { digest: digest.to_string(), problem });
        let bytes = fs::read(self.path(digest)).map_err(|error| fault("is not in the store").because(error))?;
        if Digest::of(&bytes) == digest { Ok(bytes.into()) } else { Err(fault("is damaged on disk")) }
    }

    /// Forgets the bytes of a digest, if they are there.
    pub(super) fn remove(&self, digest: Digest) -> Result<(), Error> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::from(Fault::File { doing: "remove", path: path.display().to_string() }).because(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
