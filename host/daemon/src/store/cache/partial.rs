//! A blob on its way into the cache.

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf};

use host_core::units::Bytes;
use host_engine::{Digest, Digester};
use tokio::sync::watch;

use super::{BlobCache, Pinned, Shared, file_error, hashed, ledger::Hold, length};
use crate::error::Error;
use crate::store::BlobFault;

/// A download. Dropped before it is finished, it leaves what has come for the next one to go on with.
#[derive(Debug)]
pub struct Partial {
    claim: Claim,
    file: File,
    digester: Digester,
    offset: u64,
    size: Bytes,
}

impl Partial {
    /// Goes on with what is there of it.
    pub(super) fn open(claim: Claim, size: Bytes) -> Result<Self, Error> {
        let path = claim.part();
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(|error| file_error("write", &path, error))?;
        // More than there can be of it is of something else, and so is every byte of it.
        if length(&path) > size.0 {
            file.set_len(0).map_err(|error| file_error("shorten", &path, error))?;
        }
        let (digester, offset) = hashed(&path, size.0).map_err(|error| file_error("read", &path, error))?;
        Ok(Self { claim, file, digester, offset, size })
    }

    /// Which blob.
    pub fn digest(&self) -> Digest {
        self.claim.digest
    }

    /// Its whole size.
    pub fn size(&self) -> Bytes {
        self.size
    }

    /// How much of it is there: the download goes on from here.
    pub fn offset(&self) -> Bytes {
        Bytes(self.offset)
    }

    /// Takes the next bytes. Refuses more than the size; after an error that is not the sender's fault, what was there before
    /// is still there. Takes a few milliseconds for a megabyte.
    pub fn append(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let end = self.offset + chunk.len() as u64;
        if end > self.size.0 {
            return Err(self.length_error(end));
        }
        if let Err(error) = self.file.write_all_at(chunk, self.offset) {
            // Where this fails too, what lies behind the offset is the beginning of this chunk, and as good.
            let _ = self.file.set_len(self.offset);
            return Err(file_error("write", &self.claim.part(), error));
        }
        self.digester.update(chunk);
        self.offset = end;
        Ok(())
    }

    /// Proves that it is whole and right, and gives it its name. What is too short can be gone on with; what is wrong is removed.
    pub fn finish(self) -> Result<Pinned, Error> {
        if self.offset != self.size.0 {
            return Err(self.length_error(self.offset));
        }
        let (digest, part) = (self.claim.digest, self.claim.part());
        self.file.sync_all().map_err(|error| file_error("write", &part, error))?;
        let found = self.digester.finish();
        if found != digest {
            self.claim.discard()?;
            return Err(BlobFault::Mismatch { expected: digest, found }.into());
        }
        self.claim.cache.0.folder.adopt(&part, digest)?;
        Ok(self.claim.complete(self.size))
    }

    fn length_error(&self, found: u64) -> Error {
        BlobFault::Length { digest: self.claim.digest, expected: self.size, found: Bytes(found) }.into()
    }
}

/// The right to be the only one who brings a blob.
#[derive(Debug)]
pub(super) struct Claim {
    cache: BlobCache,
    digest: Digest,
    /// Taken when the claim ends.
    hold: Option<Hold>,
    /// Closes when the claim ends, which wakes those who wait.
    _underway: watch::Sender<()>,
}

impl Claim {
    pub(super) fn new(cache: BlobCache, hold: Hold) -> (Self, watch::Receiver<()>) {
        let (sender, receiver) = watch::channel(());
        (Self { cache, digest: hold.digest, hold: Some(hold), _underway: sender }, receiver)
    }

    fn part(&self) -> PathBuf {
        self.cache.0.folder.part(self.digest)
    }

    /// Ends without a blob; what there is on disk stays.
    pub(super) fn end(mut self, shared: &mut Shared) {
        self.give_up(shared);
    }

    /// Ends without a blob, and removes what there is.
    fn discard(mut self) -> Result<(), Error> {
        let cache = self.cache.clone();
        let mut shared = cache.lock();
        if let Some(hold) = self.hold.take() {
            shared.ledger.strike(hold);
        }
        shared.underway.remove(&self.digest);
        cache.0.folder.remove(&self.part())
    }

    /// Ends with the blob under its name.
    fn complete(mut self, size: Bytes) -> Pinned {
        let cache = self.cache.clone();
        let mut shared = cache.lock();
        shared.underway.remove(&self.digest);
        // Only `end`, `discard` and dropping take the hold, and none of them has happened.
        let hold = self.hold.take().expect("a claim has its hold until it ends");
        shared.ledger.prove(&hold);
        drop(shared);
        Pinned::new(cache, hold, size)
    }

    fn give_up(&mut self, shared: &mut Shared) {
        if let Some(hold) = self.hold.take() {
            let bytes = length(&self.part());
            if bytes == 0 {
                // An empty file is of no use to anyone; left behind, it is removed when the cache is opened.
                let _ = self.cache.0.folder.remove(&self.part());
            }
            shared.ledger.abandon(hold, bytes);
            shared.underway.remove(&self.digest);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.hold.is_some() {
            let cache = self.cache.clone();
            self.give_up(&mut cache.lock());
        }
    }
}
