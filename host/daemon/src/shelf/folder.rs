//! The plugins folder: what lies there at the start, and what is dropped into it, changed or taken out while the host runs.
//! A file that is still being written is left alone until it is whole and has not changed for a while.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant, SystemTime},
};

use notify::{EventKind, RecursiveMode, Watcher};

use super::Shelf;
use crate::{
    clock,
    error::{Error, Fault},
    stage_fault::StageFault,
};

/// Changes that wait to be looked at; a full channel loses nothing, because the whole folder is looked through.
const CHANGES_MAX: usize = 16;
/// A file must have kept its size and age for so long.
const STILL: Duration = Duration::from_millis(300);
/// The folder is looked through this often even if nothing was said, for file systems that say nothing.
const ROUND: Duration = Duration::from_secs(5);

/// What a file looked like.
type Look = (u64, Option<SystemTime>);

/// `DIR/*.wasm` and `DIR/*/*.wasm`, sorted.
pub(super) fn components(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, Error> {
        let fault = |error| Error::from(Fault::File { doing: "read the plugins folder", path: folder.display().to_string() }).because(error);
        let entries = fs::read_dir(folder).map_err(fault)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(fault)).collect()
    };
    let is_component = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|extension| extension == "wasm");
    let mut found = Vec::new();
    for path in list(folder)? {
        if path.is_dir() {
            found.extend(list(&path)?.into_iter().filter(is_component));
        } else if is_component(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Watches a folder as long as the returned value lives.
#[derive(Debug)]
pub struct FolderWatch {
    /// Ends the thread when it is dropped, for then nobody sends any more.
    _watcher: notify::RecommendedWatcher,
}

impl FolderWatch {
    /// Installs what changes in the folder. What lies there now is known already.
    pub(super) fn start(folder: PathBuf, shelf: Shelf) -> Result<Self, Error> {
        let fault = |error: notify::Error| Error::from(Fault::File { doing: "watch the plugins folder", path: folder.display().to_string() }).because(error);
        let (changes, changed): (SyncSender<()>, Receiver<()>) = sync_channel(CHANGES_MAX);
        let tell = move |event: notify::Result<notify::Event>| {
            let matters = event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
            if matters {
                // A full channel says already that something changed.
                let _ = changes.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(tell).map_err(fault)?;
        watcher.watch(&folder, RecursiveMode::Recursive).map_err(fault)?;
        let known = looks(&folder)?;
        let watch = move || watch(&folder, &changed, &shelf, known);
        let thread = std::thread::Builder::new().name("plugins folder".to_owned()).spawn(watch);
        thread.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?;
        Ok(Self { _watcher: watcher })
    }
}

fn watch(folder: &Path, changed: &Receiver<()>, shelf: &Shelf, mut known: BTreeMap<PathBuf, Look>) {
    let mut restless: BTreeMap<PathBuf, (Look, Instant)> = BTreeMap::new();
    loop {
        let wait = if restless.is_empty() { ROUND } else { STILL / 3 };
        match changed.recv_timeout(wait) {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
        let now = match looks(folder) {
            Ok(now) => now,
            Err(error) => {
                tracing::error!(%error, "the plugins folder cannot be looked through");
                continue;
            }
        };
        for gone in known.keys().filter(|path| !now.contains_key(*path)).cloned().collect::<Vec<_>>() {
            known.remove(&gone);
            restless.remove(&gone);
            shelf.file_gone(&gone);
        }
        for (path, look) in now {
            if known.get(&path) == Some(&look) {
                continue;
            }
            let (seen, since) = restless.entry(path.clone()).or_insert((look, clock::now()));
            if *seen != look {
                (*seen, *since) = (look, clock::now());
            } else if since.elapsed() >= STILL {
                restless.remove(&path);
                known.insert(path.clone(), look);
                shelf.file_changed(&path);
            }
        }
    }
}

fn looks(folder: &Path) -> Result<BTreeMap<PathBuf, Look>, Error> {
    let look = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok()?;
        Some((path, (metadata.len(), metadata.modified().ok())))
    };
    Ok(components(folder)?.into_iter().filter_map(look).collect())
}
