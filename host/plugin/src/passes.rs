//! Which plugins have passed their rehearsal on a host, on disk. A plugin that passed is known: before it serves
//! again it is asked a few of the last questions, and not all of the synthetic ones anew. What fails is never in here.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use host_engine::Digest;

use crate::{error::Error, names::PluginKind, private_folder, program::Program, rehearse::SUITE, world::World};

/// The first line of each file; a change of the layout changes it.
const MAGIC: &str = "shardhost-passes-1";
/// Passes that are kept of one component, which may have several configurations; the newest ones.
const PASSES_MAX: usize = 8;

/// What is kept of a rehearsal that was passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pass {
    /// The rehearsed p99, which the slot's budget is made of.
    pub p99: Option<Duration>,
    /// The most linear memory that it had.
    pub memory_bytes: u64,
}

/// What a pass is for: a component, and a digest of everything else that its rehearsal depended on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PassFor {
    component: Digest,
    with: Digest,
}

/// A folder of passes, one file for each component.
pub(crate) struct PassBook {
    folder: PathBuf,
    compatibility: u64,
    /// One change at a time: each writes a file anew.
    changing: Mutex<()>,
}

impl PassBook {
    /// Makes the folder if need be, and refuses one that others can write to. For an engine of this compatibility.
    pub(crate) fn open(folder: &Path, compatibility: u64) -> Result<Self, Error> {
        private_folder::open(folder, "the folder of passed rehearsals cannot be used")?;
        Ok(Self { folder: folder.to_owned(), compatibility, changing: Mutex::new(()) })
    }

    /// What would be rehearsed.
    pub(crate) fn pass_for<W: World>(&self, kind: PluginKind, program: &Program<W>) -> PassFor {
        let (package, engine) = (&program.package, self.compatibility);
        let host = env!("CARGO_PKG_VERSION");
        let with = format!("{SUITE} {host} {engine:016x} {} {} {:?} {}", package.contract.version, kind.word(), program.limits, program.config);
        PassFor { component: package.digest, with: Digest::of(with.as_bytes()) }
    }

    /// The pass, if there is one.
    pub(crate) fn find(&self, of: &PassFor) -> Option<Pass> {
        self.read(of.component).into_iter().find(|(with, _)| *with == of.with).map(|(_, pass)| pass)
    }

    /// Keeps a pass. Without it the plugin is rehearsed in full again, so a failure is not one of the plugin.
    pub(crate) fn keep(&self, of: &PassFor, pass: Pass) {
        self.change(of, Some(pass));
    }

    /// Forgets the pass of a plugin that has failed since.
    pub(crate) fn forget(&self, of: &PassFor) {
        self.change(of, None);
    }

    fn change(&self, of: &PassFor, pass: Option<Pass>) {
        // It guards nothing in memory, so a panic elsewhere leaves it sound.
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut passes = self.read(of.component);
        passes.retain(|(with, _)| *with != of.with);
        passes.extend(pass.map(|pass| (of.with, pass)));
        let newest = &passes[passes.len().saturating_sub(PASSES_MAX)..];
        if self.write(of.component, newest).is_err() {
            // A pass that should be forgotten and cannot be is worse than none.
            drop(fs::remove_file(self.path(of.component)));
        }
    }

    fn path(&self, component: Digest) -> PathBuf {
        self.folder.join(format!("{component}.passes"))
    }

    /// Lines that cannot be read are of no host that this one knows.
    fn read(&self, component: Digest) -> Vec<(Digest, Pass)> {
        let Ok(text) = fs::read_to_string(self.path(component)) else { return Vec::new() };
        match text.split_once('\n') {
            Some((MAGIC, lines)) => lines.lines().filter_map(line).collect(),
            _ => Vec::new(),
        }
    }

    fn write(&self, component: Digest, passes: &[(Digest, Pass)]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        writeln!(file, "{MAGIC}")?;
        for (with, pass) in passes {
            let p99 = pass.p99.map_or_else(|| "none".to_owned(), |p99| p99.as_nanos().to_string());
            writeln!(file, "{with} {p99} {}", pass.memory_bytes)?;
        }
        file.persist(self.path(component))?;
        Ok(())
    }
}

/// `DIGEST P99_NS MEMORY_BYTES`, with `none` for no p99.
fn line(line: &str) -> Option<(Digest, Pass)> {
    let mut words = line.split(' ');
    let (with, p99, memory) = (words.next()?, words.next()?, words.next()?);
    let p99 = if p99 == "none" { None } else { Some(Duration::from_nanos(p99.parse().ok()?)) };
    let pass = Pass { p99, memory_bytes: memory.parse().ok()? };
    words.next().is_none().then_some((Digest::parse(with)?, pass))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(component: &[u8], with: u8) -> PassFor {
        PassFor { component: Digest::of(component), with: Digest::of(&[with]) }
    }

    fn pass(nanos: u64) -> Pass {
        Pass { p99: Some(Duration::from_nanos(nanos)), memory_bytes: 65_536 }
    }

    #[test]
    fn a_pass_is_found_by_all_that_it_depended_on_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = PassBook::open(folder.path(), 7).expect("a private folder");
        let (one, other) = (of(b"a", 1), of(b"a", 2));
        book.keep(&one, pass(5_250));
        book.keep(&other, Pass { p99: None, memory_bytes: 0 });
        let again = PassBook::open(folder.path(), 7).expect("a private folder");
        assert_eq!((again.find(&one), again.find(&other)), (Some(pass(5_250)), Some(Pass { p99: None, memory_bytes: 0 })));
        assert_eq!(again.find(&of(b"b", 1)), None, "another component");
        again.forget(&one);
        assert_eq!((book.find(&one), book.find(&other).is_some()), (None, true));
    }

    #[test]
    fn only_the_newest_passes_of_a_component_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = PassBook::open(folder.path(), 7).expect("a private folder");
        (0..20).for_each(|with| book.keep(&of(b"a", with), pass(u64::from(with))));
        let kept: Vec<u8> = (0..20).filter(|with| book.find(&of(b"a", *with)).is_some()).collect();
        assert_eq!(kept, (12..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_is_damaged_or_of_another_layout_holds_no_pass() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = PassBook::open(folder.path(), 7).expect("a private folder");
        let one = of(b"a", 1);
        book.keep(&one, pass(9));
        let (path, whole) = (book.path(one.component), fs::read_to_string(book.path(one.component)).expect("written"));
        for text in [String::new(), whole.replace("passes-1", "passes-0"), whole.replace(" 9 ", " nine "), whole.replace(" 65536", "")] {
            fs::write(&path, text).expect("written");
            assert_eq!(book.find(&one), None);
        }
        fs::write(&path, whole).expect("written");
        assert_eq!(book.find(&one), Some(pass(9)));
    }
}
