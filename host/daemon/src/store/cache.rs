//! What this host fetched by digest and could fetch again: files of shards and their golden answers. Files on disk within a limit;
//! what was used longest ago makes room, what is pinned stays. A download that was cut short, even by a kill, goes on where
//! it stopped, and gets its name only when its digest is right. The calls block for as long as the disk takes, and hashing
//! takes about a second a gigabyte: not for an async thread. Whoever fetches asks `obtain`; nothing here knows a network.

mod aside;
mod ledger;
mod partial;
mod pinned;

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use host_core::units::Bytes;
use host_engine::{Digest, Digester};
use tokio::sync::watch;

pub use aside::Aside;
pub use partial::Partial;
pub use pinned::Pinned;

use super::digest_folder::{DigestFolder, Named, file_error};
use crate::{clock, config::CacheLimits, error::Error, store::BlobFault};
use ledger::{Full, Gone, Ledger, State};
use partial::Claim;

/// Bytes that are read at once when a file is hashed.
const READ_BYTES: usize = 256 << 10;

/// A handle; clones share the cache.
#[derive(Clone, Debug)]
pub struct BlobCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: DigestFolder,
    state: Mutex<Shared>,
}

/// What all threads see.
#[derive(Debug)]
struct Shared {
    ledger: Ledger,
    /// The downloads that run now; each channel closes when its download ends.
    underway: HashMap<Digest, watch::Receiver<()>>,
}

/// How full the cache is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Taken on disk, or reserved by a download.
    pub bytes: Bytes,
    /// The most that it takes.
    pub bytes_max: Bytes,
    /// What is in use now and cannot make room.
    pub pinned: Bytes,
    /// Blobs that are there whole.
    pub blobs: usize,
}

/// What there is of a blob that somebody wants.
#[derive(Debug)]
pub enum Begun {
    /// All of it.
    There(Pinned),
    /// Nothing, or its beginning; the caller brings the rest.
    Mine(Box<Partial>),
    /// Somebody else brings it.
    Others(Underway),
}

/// A download by somebody else.
#[derive(Debug)]
pub struct Underway(watch::Receiver<()>);

impl Underway {
    /// Waits until it has ended, well or not.
    pub async fn over(mut self) {
        // Nothing is ever sent: the channel closes.
        let _ = self.0.changed().await;
    }
}

impl BlobCache {
    /// Opens or makes the cache of a folder that no other process uses: keeps what is whole and what can be gone on with,
    /// and removes what is damaged and what is too much.
    pub fn open(folder: &Path, limits: &CacheLimits) -> Result<Self, Error> {
        let disk = folder;
        let folder = DigestFolder::open(folder)?;
        let found = survey(&folder)?;
        let taken: u64 = found.iter().map(|file| file.bytes).sum();
        let free = rustix::fs::statvfs(disk).map_err(|error| file_error("ask for the free space of", disk, error.into()))?;
        let mut ledger = Ledger::new(limit(limits, free.f_bavail.saturating_mul(free.f_frsize), taken));
        for file in found {
            ledger.found(file.digest, file.bytes, file.state);
        }
        for gone in ledger.trim() {
            folder.remove(&place(&folder, gone))?;
        }
        Ok(Self(Arc::new(Inner { folder, state: Mutex::new(Shared { ledger, underway: HashMap::new() }) })))
    }

    /// The blob of a digest, which stays until the pin is dropped; none if it is not there whole. The first pin since the
    /// host started proves the bytes, and removes them if they are damaged.
    pub fn pin(&self, digest: Digest) -> Result<Option<Pinned>, Error> {
        let Some((hold, state, bytes)) = self.lock().ledger.hold(digest) else { return Ok(None) };
        let path = self.0.folder.path(digest);
        if state == State::Unproved {
            match hashed(&path, u64::MAX).map(|(digester, _)| digester.finish()) {
                Ok(found) if found == digest => self.lock().ledger.prove(&hold),
                outcome => {
                    let problem = outcome.map_or_else(|error| error.to_string(), |found| format!("its bytes have digest sha256:{found}"));
                    tracing::warn!(%digest, problem, "a cached blob is damaged and is dropped");
                    return self.drop_damaged(hold, &path).map(|()| None);
                }
            }
        }
        touch(&path);
        Ok(Some(Pinned::new(self.clone(), hold, Bytes(bytes))))
    }

    /// Makes room for a blob of this size, unless it is there or somebody is bringing it. Fails with Busy where everything
    /// that could make room is in use.
    pub fn begin(&self, digest: Digest, size: Bytes) -> Result<Begun, Error> {
        loop {
            if let Some(pinned) = self.pin(digest)? {
                return Ok(Begun::There(pinned));
            }
            let mut shared = self.lock();
            if let Some(others) = shared.underway.get(&digest) {
                return Ok(Begun::Others(Underway(others.clone())));
            }
            // Otherwise a download has ended between the two looks; the next one finds what it brought.
            if shared.ledger.state(digest).is_none_or(|state| state == State::Part) {
                let claim = self.claim(&mut shared, digest, size)?;
                drop(shared);
                return Ok(Begun::Mine(Box::new(Partial::open(claim, size)?)));
            }
        }
    }

    /// The blob of a digest: from the cache, or brought by `download`, which appends what is missing and finishes. Of those who
    /// ask for one digest at the same time only one downloads; if it fails, the next of them goes on where it stopped. Waits
    /// for as long as downloads take: whoever asks sets the deadline. The disk is looked at aside.
    pub async fn obtain<D, F>(&self, aside: &Aside, digest: Digest, size: Bytes, download: D) -> Result<Pinned, Error>
    where
        D: FnOnce(Partial) -> F,
        F: Future<Output = Result<Pinned, Error>>,
    {
        loop {
            let cache = self.clone();
            match aside.run(move || cache.begin(digest, size)).await? {
                Begun::There(pinned) => return Ok(pinned),
                Begun::Mine(partial) => return download(*partial).await,
                Begun::Others(underway) => underway.over().await,
            }
        }
    }

    /// Removes a blob, or the beginning of one, unless it is in use. Says whether there was something to remove.
    pub fn evict(&self, digest: Digest) -> Result<bool, Error> {
        let mut shared = self.lock();
        let gone = shared.ledger.evict(digest);
        gone.map(|gone| self.make_room(&mut shared, vec![gone])).transpose().map(|done| done.is_some())
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        let shared = self.lock();
        let ledger = &shared.ledger;
        Usage { bytes: Bytes(ledger.bytes()), bytes_max: Bytes(ledger.bytes_max()), pinned: Bytes(ledger.held()), blobs: ledger.whole() }
    }

    fn claim(&self, shared: &mut Shared, digest: Digest, size: Bytes) -> Result<Claim, Error> {
        let bytes_max = Bytes(shared.ledger.bytes_max());
        let full = |Full { held }| Error::from(BlobFault::CacheFull { digest, size, bytes_max, held: Bytes(held) });
        let (hold, gone) = shared.ledger.reserve(digest, size.0).map_err(full)?;
        let (claim, others) = Claim::new(self.clone(), hold);
        shared.underway.insert(digest, others);
        match self.make_room(shared, gone) {
            Ok(()) => Ok(claim),
            Err(error) => {
                claim.end(shared);
                Err(error)
            }
        }
    }

    /// Removes files that are counted no more. One that cannot be removed is counted again.
    fn make_room(&self, shared: &mut Shared, gone: Vec<Gone>) -> Result<(), Error> {
        let mut outcome = Ok(());
        for gone in gone {
            let path = place(&self.0.folder, gone);
            if let Err(error) = self.0.folder.remove(&path) {
                shared.ledger.found(gone.0, length(&path), gone.1);
                outcome = Err(error);
            }
        }
        outcome
    }

    fn drop_damaged(&self, hold: ledger::Hold, path: &Path) -> Result<(), Error> {
        let mut shared = self.lock();
        // Whoever came to the same conclusion first has removed it, and the file may be a new one by now.
        if shared.ledger.strike(hold) { self.0.folder.remove(path) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // The ledger does not panic between changes that belong together.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that was there when the cache was opened.
struct Survivor {
    used: SystemTime,
    digest: Digest,
    bytes: u64,
    state: State,
}

/// What is left from before, the one used longest ago first; removes what is of no use.
fn survey(folder: &DigestFolder) -> Result<Vec<Survivor>, Error> {
    let entries = folder.entries()?;
    let whole = |digest: &Digest| entries.iter().any(|(named, ..)| *named == Named::Whole(*digest));
    let mut found = Vec::new();
    for (named, path, metadata) in &entries {
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let survivor = |digest: &Digest, state| Survivor { used, digest: *digest, bytes: metadata.len(), state };
        match named {
            Named::Whole(digest) => found.push(survivor(digest, State::Unproved)),
            Named::Part(digest) if metadata.len() > 0 && !whole(digest) => found.push(survivor(digest, State::Part)),
            Named::Part(_) | Named::Scrap => folder.remove(path)?,
            Named::Foreign => tracing::warn!(path = %path.display(), "the cache has not written this file, and leaves it alone"),
        }
    }
    found.sort_by_key(|file| (file.used, file.digest));
    Ok(found)
}

/// What the config allows, but not more than its share of what is free or the cache's own already.
fn limit(limits: &CacheLimits, free: u64, taken: u64) -> u64 {
    let share = free.saturating_add(taken) as f64 * limits.disk_ratio_max;
    limits.bytes_max.min(share as u64)
}

fn place(folder: &DigestFolder, (digest, state): Gone) -> PathBuf {
    if state == State::Part { folder.part(digest) } else { folder.path(digest) }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Digests the first bytes of a file, at most so many, and says how many there were.
fn hashed(path: &Path, bytes_max: u64) -> io::Result<(Digester, u64)> {
    let (mut file, mut digester, mut bytes) = (File::open(path)?.take(bytes_max), Digester::default(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((digester, bytes)),
            read => {
                digester.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Notes in the file that it was used, so that the next process knows too. Without the note it only goes earlier.
fn touch(path: &Path) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(clock::unix_ms());
    let touched = File::options().append(true).open(path).and_then(|file| file.set_modified(now));
    if let Err(error) = touched {
        tracing::debug!(path = %path.display(), %error, "the use of a cached blob could not be noted");
    }
}

#[cfg(test)]
mod tests;
