//! What a person edits in a plugin's folder: says when something was saved there, and leaves alone what builds and editors write
//! for themselves. Called by `host plugin dev`.

use std::{
    collections::BTreeMap,
    fs::{self, DirEntry},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc::{Receiver, channel},
    time::{sleep, timeout},
};

use super::pack::file_fault;
use crate::error::{Error, Fault};

/// Whoever saves several files at once is done when nothing has changed for so long.
const STILL: Duration = Duration::from_millis(200);
/// The folder is looked through this often even if nothing was said, for file systems that say nothing.
const ROUND: Duration = Duration::from_secs(2);
/// More files than this are no plugin's sources.
const FILES_MAX: usize = 20_000;
/// Folders that builds write. Those whose name begins with a dot are no sources either.
const BUILT_FOLDERS: [&str; 3] = ["target", "node_modules", "__pycache__"];
/// How names end that builds and editors write.
const BUILT_FILES: [&str; 5] = [".wasm", ".part", "Cargo.lock", "~", ".pyc"];

/// What every file looked like that a person edits: its length and when it was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Look(BTreeMap<PathBuf, (u64, Option<SystemTime>)>);

/// A folder that is watched as long as this lives.
#[derive(Debug)]
pub(super) struct Edits {
    folder: PathBuf,
    watcher: RecommendedWatcher,
    /// Folders that the watcher knows, each without those below it.
    watched: Vec<PathBuf>,
    said: Receiver<()>,
}

impl Edits {
    pub(super) fn of(folder: &Path) -> Result<Self, Error> {
        let (say, said) = channel(1);
        let tell = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
                // A full channel says already that something changed.
                let _ = say.try_send(());
            }
        };
        let fault = |error: notify::Error| Error::from(Fault::File { doing: "watch", path: folder.display().to_string() }).because(error);
        let watcher = notify::recommended_watcher(tell).map_err(fault)?;
        Ok(Self { folder: folder.to_owned(), watcher, watched: Vec::new(), said })
    }

    /// What the files look like now. Folders that are new are watched from here on.
    pub(super) fn look(&mut self) -> Result<Look, Error> {
        let (mut look, mut folders, mut open) = (Look::default(), Vec::new(), vec![self.folder.clone()]);
        while let Some(folder) = open.pop() {
            // A folder other than the first one may just have been removed.
            let entries = match fs::read_dir(&folder) {
                Err(error) if folder == self.folder => return Err(file_fault("read", &folder, error)),
                Err(_) => continue,
                Ok(entries) => entries,
            };
            for entry in entries.filter_map(Result::ok).filter(is_source) {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(path);
                } else if let Ok(metadata) = fs::metadata(&path) {
                    look.0.insert(path, (metadata.len(), metadata.modified().ok()));
                }
            }
            folders.push(folder);
            if look.0.len() > FILES_MAX {
                let reason = format!("`{}` holds more than {FILES_MAX} files beside what builds write, it is no plugin's folder", self.folder.display());
                return Err(Fault::Usage { reason }.into());
            }
        }
        self.watch(folders);
        Ok(look)
    }

    /// A folder that the system cannot watch is still looked at in each round.
    fn watch(&mut self, folders: Vec<PathBuf>) {
        self.watched.retain(|known| folders.contains(known));
        for folder in folders {
            if !self.watched.contains(&folder) && self.watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                self.watched.push(folder);
            }
        }
    }

    /// Waits until the files look different and stay so for a moment.
    pub(super) async fn changed(&mut self, since: &Look) -> Result<(), Error> {
        let mut last = self.look()?;
        loop {
            if last == *since {
                // Nobody said anything for a while, or somebody did: both are reasons to look.
                let _ = timeout(ROUND, self.said.recv()).await;
                last = self.look()?;
                continue;
            }
            sleep(STILL).await;
            let now = self.look()?;
            if now == last {
                return Ok(());
            }
            last = now;
        }
    }
}

/// Whether a person wrote it.
fn is_source(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy().into_owned();
    !name.starts_with('.') && !BUILT_FOLDERS.contains(&name.as_str()) && !BUILT_FILES.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all).expect("made");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn what_builds_write_is_no_edit_and_what_people_write_is() {
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path(), "src/lib.rs", "one");
        let mut edits = Edits::of(folder.path()).expect("watched");
        let before = edits.look().expect("readable");
        for name in ["mine.wasm", "plugin.wasm.part", "plugin.part/entry.js", "Cargo.lock", "target/debug/x", "node_modules/y/z.js", "__pycache__/p.pyc"] {
            written(folder.path(), name, "built");
        }
        written(folder.path(), ".git/index", "git's");
        written(folder.path(), "src/.lib.rs.swp", "an editor's");
        assert_eq!(edits.look().expect("readable"), before);
        for (name, text) in [("src/lib.rs", "two and more"), ("plugin.toml", "new"), ("src/deep/new.rs", "new")] {
            let before = edits.look().expect("readable");
            written(folder.path(), name, text);
            assert_ne!(edits.look().expect("readable"), before, "{name}");
        }
        let before = edits.look().expect("readable");
        fs::remove_file(folder.path().join("plugin.toml")).expect("removed");
        assert_ne!(edits.look().expect("readable"), before);
    }

    #[tokio::test]
    async fn an_edit_ends_the_wait_also_in_a_folder_that_is_new() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut edits = Edits::of(folder.path()).expect("watched");
        for name in ["a.c", "bindings/b.c", "bindings/c.c"] {
            let before = edits.look().expect("readable");
            written(folder.path(), name, "new");
            timeout(Duration::from_secs(60), edits.changed(&before)).await.expect("noticed").expect("readable");
        }
    }
}
