//! A result as a small text file: what it is of, what came out, and a digest of both, so that a damaged one is not believed.

use host_core::units::{Bytes, Millis};

use super::{Figures, Measured, Outcome};
use crate::digest::Digest;

/// The first line; another form of the file gets another number.
const FORM: &str = "shardhost-measured 1";

/// What a result is of, beside the processor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    pub(super) shard: Digest,
    pub(super) engine: String,
    pub(super) version: String,
    pub(super) threads: usize,
    /// The other options that it was loaded with, in one line.
    pub(super) loaded: String,
}

impl Key {
    /// The lines that name it.
    fn lines(&self, cpu: &str) -> String {
        let Self { shard, engine, version, threads, loaded } = self;
        format!("{FORM}\nshard {shard}\nengine {engine}\nversion {version}\nthreads {threads}\nloaded {loaded}\ncpu {cpu}\n")
    }

    /// The name of its file; those of one shard begin alike.
    pub(super) fn file(&self, cpu: &str) -> String {
        format!("{}{:.16}", prefix(&self.shard), Digest::of(self.lines(cpu).as_bytes()).to_string())
    }
}

/// What the names of a shard's files begin with.
pub(super) fn prefix(shard: &Digest) -> String {
    format!("{:.32}-", shard.to_string())
}

/// The file's text.
pub(super) fn write(key: &Key, cpu: &str, measured: &Measured) -> String {
    let outcome = match &measured.outcome {
        Outcome::Agrees(Figures { run, load, memory, difference }) => format!("agrees {:?} {:?} {} {difference:?}", run.0, load.0, memory.0),
        Outcome::Refused { reason } => format!("refused {reason}"),
    };
    let text = format!("{}{outcome}\n", key.lines(cpu));
    let digest = Digest::of(text.as_bytes());
    format!("{text}sha256 {digest}\n")
}

/// Reads what `write` wrote; none for anything else, and for another processor's.
pub(super) fn read(text: &str, cpu: &str) -> Option<(Key, Measured)> {
    let (body, digest) = text.strip_suffix('\n')?.rsplit_once("\nsha256 ")?;
    let body = format!("{body}\n");
    if Digest::parse(digest) != Some(Digest::of(body.as_bytes())) {
        return None;
    }
    let mut lines = body.lines();
    let form = lines.next()?;
    let mut named = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    let shard = Digest::parse(&named("shard")?)?;
    let (engine, version) = (named("engine")?, named("version")?);
    let threads = named("threads")?.parse().ok()?;
    let loaded = named("loaded")?;
    if form != FORM || named("cpu")? != cpu {
        return None;
    }
    let outcome = outcome(lines.next()?)?;
    let measured = Measured { engine: engine.clone(), version: version.clone(), threads, outcome };
    Some((Key { shard, engine, version, threads, loaded }, measured))
}

fn outcome(line: &str) -> Option<Outcome> {
    if let Some(reason) = line.strip_prefix("refused ") {
        return Some(Outcome::Refused { reason: reason.to_owned() });
    }
    let words: Vec<&str> = line.strip_prefix("agrees ")?.split(' ').collect();
    let [run, load, memory, difference] = words.as_slice() else { return None };
    let figures =
        Figures { run: Millis(run.parse().ok()?), load: Millis(load.parse().ok()?), memory: Bytes(memory.parse().ok()?), difference: difference.parse().ok()? };
    Some(Outcome::Agrees(figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<(Key, Measured)> {
        let key = Key { shard: Digest::of(b"a"), engine: "rten".into(), version: String::new(), threads: 2, loaded: "All ".into() };
        let figures = Figures { run: Millis(0.1 + 0.2), load: Millis(12.0), memory: Bytes(1 << 40), difference: 1.5e-7 };
        let row = |outcome| Measured { engine: "rten".into(), version: String::new(), threads: 2, outcome };
        vec![(key.clone(), row(Outcome::Agrees(figures))), (key, row(Outcome::Refused { reason: "output `y` differs\u{a0}by 3".into() }))]
    }

    #[test]
    fn a_row_reads_back_what_was_written_on_the_same_processor_only() {
        for (key, measured) in cases() {
            let text = write(&key, "a processor", &measured);
            assert_eq!(read(&text, "another one"), None);
            assert_eq!(read(&text, "a processor"), Some((key, measured)));
        }
    }

    #[test]
    fn a_row_with_any_byte_changed_or_cut_off_is_not_believed() {
        for (key, measured) in cases() {
            let text = write(&key, "p", &measured);
            for place in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[place] ^= 1;
                let changed = String::from_utf8(bytes).unwrap_or_default();
                assert_eq!(read(&changed, "p"), None, "byte {place} of {text:?}");
                assert_eq!(text.get(..place).and_then(|short| read(short, "p")), None, "the first {place} bytes of {text:?}");
            }
        }
    }

    #[test]
    fn files_of_one_shard_begin_alike_and_no_two_keys_share_one() {
        let key = &cases()[0].0;
        let others = [Key { threads: 1, ..key.clone() }, Key { engine: "tract".into(), ..key.clone() }, Key { version: "2".into(), ..key.clone() }];
        for other in others {
            assert!(other.file("p").starts_with(&prefix(&key.shard)));
            assert_ne!(other.file("p"), key.file("p"));
        }
        assert_ne!(key.file("p"), key.file("q"));
    }
}
