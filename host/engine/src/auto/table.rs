//! Where results are kept: in memory, and in a folder with a file for each. A file that cannot be read or written costs measuring
//! again, and nothing else, so that is no error.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{
    AutoSettings, Measured,
    row::{self, Key},
};
use crate::digest::Digest;

/// Largest file that is read, in bytes; what is written is far smaller.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The results of this machine.
#[derive(Debug)]
pub(super) struct Table {
    settings: AutoSettings,
    rows: Mutex<Rows>,
    measuring: Mutex<()>,
}

/// Results, each with the number under which it came.
#[derive(Debug, Default)]
struct Rows {
    by_key: HashMap<Key, (u64, Measured)>,
    came: u64,
}

impl Rows {
    fn put(&mut self, key: Key, measured: Measured, most: usize) {
        self.came += 1;
        self.by_key.insert(key, (self.came, measured));
        if self.by_key.len() > most.max(1) {
            let oldest = self.by_key.iter().min_by_key(|(_, (came, _))| *came).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.by_key.remove(&key));
        }
    }
}

impl Table {
    pub(super) fn new(settings: AutoSettings) -> Self {
        Self { settings, rows: Mutex::default(), measuring: Mutex::default() }
    }

    /// Whoever holds this measures, and nobody else.
    pub(super) fn measuring(&self) -> MutexGuard<'_, ()> {
        self.measuring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A result that is known, from memory or from its file.
    pub(super) fn get(&self, key: &Key) -> Option<Measured> {
        if let Some((_, known)) = self.lock().by_key.get(key) {
            return Some(known.clone());
        }
        let path = self.settings.folder.as_ref()?.join(key.file(&self.settings.cpu));
        let (found, measured) = row::read(&read(&path)?, &self.settings.cpu)?;
        if found != *key {
            return None;
        }
        self.lock().put(found, measured.clone(), self.settings.results_max);
        Some(measured)
    }

    /// Keeps a result, in a file only if it lasts.
    pub(super) fn put(&self, key: &Key, measured: &Measured, lasts: bool) {
        self.lock().put(key.clone(), measured.clone(), self.settings.results_max);
        let Some(folder) = self.settings.folder.as_ref().filter(|_| lasts) else { return };
        let text = row::write(key, &self.settings.cpu, measured);
        if write(folder, &key.file(&self.settings.cpu), &text).is_ok() {
            forget_oldest(folder, self.settings.results_max.max(1));
        }
    }

    /// All results of a shard.
    pub(super) fn of(&self, shard: &Digest) -> Vec<Measured> {
        let mut found: HashMap<Key, Measured> = HashMap::new();
        let prefix = row::prefix(shard);
        for path in self.settings.folder.iter().flat_map(|folder| files(folder)) {
            let is_its = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
            let row = if is_its { read(&path).and_then(|text| row::read(&text, &self.settings.cpu)) } else { None };
            found.extend(row.filter(|(key, _)| key.shard == *shard));
        }
        let rows = self.lock();
        let known = rows.by_key.iter().filter(|(key, _)| key.shard == *shard);
        found.extend(known.map(|(key, (_, measured))| (key.clone(), measured.clone())));
        found.into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        // The rows are whole between any two statements.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

fn read(path: &Path) -> Option<String> {
    let small = fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= FILE_BYTES_MAX);
    if small { fs::read_to_string(path).ok() } else { None }
}

/// Under another name first, so that none is seen half written.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let half = folder.join(format!("{name}.{}", std::process::id()));
    fs::write(&half, text)?;
    fs::rename(&half, folder.join(name))
}

fn forget_oldest(folder: &Path, most: usize) {
    let mut aged: Vec<(SystemTime, std::path::PathBuf)> =
        files(folder).into_iter().filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).collect();
    aged.sort();
    let surplus = aged.len().saturating_sub(most);
    for (_, path) in aged.into_iter().take(surplus) {
        // One that stays is the oldest next time, too.
        let _ = fs::remove_file(path);
    }
}
