//! Writes every decision to a file, for `host replay`. On a thread of its own, behind a bounded line: a decision that finds
//! the line full is counted and not recorded, and no request ever waits. What the lines mean is known to `host_wire`.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
};

use host_core::decision::Record;
use host_plugin::{Decided, DecisionSink};
use host_wire::recording::{Encoder, FORMAT, Gap, Header, Line};

use crate::{
    config::Recording,
    error::{Error, Fault},
    stage_fault::StageFault,
};

/// Records decisions, or does nothing where no file is named. A clone is another handle of the same.
#[derive(Clone, Debug)]
pub struct Recorder(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    lines: SyncSender<Message>,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts decisions, recorded or not.
    ordinal: AtomicU64,
    /// Not recorded since the last gap was written.
    dropped: AtomicU64,
    /// Nothing is recorded any more.
    ended: AtomicBool,
}

enum Message {
    Decided(u64, Box<Decided>),
    Finish,
}

impl Recorder {
    /// Opens the file and starts the thread. Lines are added behind those that are there.
    pub fn start(settings: &Recording) -> Result<Self, Error> {
        let Some(path) = &settings.file else { return Ok(Self(None)) };
        let fault = |error: io::Error| Error::from(Fault::File { doing: "record to", path: path.display().to_string() }).because(error);
        let book = Book::open(path, settings.bytes_max).map_err(fault)?;
        let (lines, waiting) = sync_channel(settings.waiting_max);
        let state = Arc::new(State::default());
        let of_thread = state.clone();
        let thread = std::thread::Builder::new().name("record decisions".to_owned()).spawn(move || write(book, &waiting, &of_thread));
        let thread = thread.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?;
        Ok(Self(Some(Arc::new(Inner { lines, state, thread: Mutex::new(Some(thread)) }))))
    }

    /// Where decisions go.
    pub fn sink(&self) -> DecisionSink {
        let Some(inner) = &self.0 else { return DecisionSink::default() };
        let (lines, state) = (inner.lines.clone(), inner.state.clone());
        DecisionSink::new(move |decided| {
            if state.ended.load(Ordering::Relaxed) {
                return;
            }
            let ordinal = state.ordinal.fetch_add(1, Ordering::Relaxed);
            if lines.try_send(Message::Decided(ordinal, Box::new(decided))).is_err() {
                state.dropped.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Waits until everything is written, and records no more.
    pub fn finish(&self) {
        let Some(inner) = &self.0 else { return };
        let thread = inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread may have ended by itself; a panic of it was reported by the panic.
            let _ = inner.lines.send(Message::Finish);
            let _ = thread.join();
        }
    }
}

fn write(mut book: Book, waiting: &Receiver<Message>, state: &State) {
    let mut encoder = Encoder::default();
    let mut written = book.line(&Line::Header(Header { format: FORMAT, host: env!("CARGO_PKG_VERSION").to_owned() }));
    while written.is_ok() {
        let message = match waiting.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            // What was written is seen by readers as soon as there is time for it.
            Err(TryRecvError::Empty) => match book.flush().map(|()| waiting.recv()) {
                Ok(Ok(message)) => message,
                Ok(Err(_)) => break,
                Err(error) => {
                    written = Err(Stop::Failed(error));
                    break;
                }
            },
        };
        let Message::Decided(ordinal, decided) = message else { break };
        written = book.gap(state.dropped.swap(0, Ordering::Relaxed)).and_then(|()| book.record(&mut encoder, ordinal, *decided));
    }
    state.ended.store(true, Ordering::Relaxed);
    let ended = written.and_then(|()| book.gap(state.dropped.swap(0, Ordering::Relaxed))).and_then(|()| book.flush().map_err(Stop::Failed));
    match ended {
        Ok(()) => {}
        Err(Stop::Full) => {
            let _ = book.flush();
            tracing::warn!(record_bytes_max = book.bytes_max, "the recording has reached its size; nothing more is recorded");
        }
        Err(Stop::Failed(error)) => tracing::error!(%error, "decisions could not be written; nothing more is recorded"),
    }
}

/// Why nothing more is written.
enum Stop {
    Full,
    Failed(io::Error),
}

/// The file.
struct Book {
    file: BufWriter<File>,
    bytes: u64,
    bytes_max: u64,
}

impl Book {
    fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let bytes = file.metadata()?.len();
        let mut book = Self { file: BufWriter::new(file.try_clone()?), bytes, bytes_max };
        if bytes > 0 {
            // A line that was cut short by a crash must not swallow the header.
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                book.file.write_all(b"\n")?;
            }
        }
        Ok(book)
    }

    fn record(&mut self, encoder: &mut Encoder, ordinal: u64, decided: Decided) -> Result<(), Stop> {
        let by = &decided.by;
        let record = Record {
            ordinal,
            slot: by.slot.to_string(),
            plugin: by.plugin.to_string(),
            generation: by.generation,
            digest: by.digest.to_string(),
            fallback: decided.fallback.map(|fault| fault.to_string()),
            question: decided.question,
            answer: decided.answer,
        };
        encoder.encode(&record, decided.config.as_deref()).iter().try_for_each(|line| self.line(line))
    }

    fn gap(&mut self, decisions: u64) -> Result<(), Stop> {
        if decisions > 0 { self.line(&Line::Gap(Gap { decisions })) } else { Ok(()) }
    }

    fn line(&mut self, line: &Line) -> Result<(), Stop> {
        let mut text = serde_json::to_vec(line).map_err(|error| Stop::Failed(error.into()))?;
        text.push(b'\n');
        if self.bytes + text.len() as u64 > self.bytes_max {
            return Err(Stop::Full);
        }
        self.bytes += text.len() as u64;
        self.file.write_all(&text).map_err(Stop::Failed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use host_core::{
        decision::{Question, Reply},
        ids::Generation,
        policy::{Arrival, LineState},
        units::Millis,
    };
    use host_plugin::{Bearer, Digest, SlotName};

    use super::*;

    fn decided(ordinal: u32) -> Decided {
        let arrival = Arrival {
            ordinal,
            class: 0,
            now: Millis(0.1),
            deadline: None,
            expected: Millis(1.0),
            classes: Vec::new(),
            depth_max: 4,
            line: LineState::default(),
        };
        let by = Bearer { slot: SlotName::Queueing, plugin: "p".into(), digest: Digest([7; 32]), generation: Generation(3) };
        Decided { by: Arc::new(by), config: Some("{}".to_owned()), question: Question::Admit(arrival), answer: Ok(Ok(Reply::Rank(0.1))), fallback: None }
    }

    fn written(path: &Path) -> Vec<Line> {
        let text = std::fs::read_to_string(path).expect("the recording is there");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn settings(path: &Path) -> Recording {
        Recording { file: Some(path.to_owned()), bytes_max: 1 << 20, waiting_max: 1024 }
    }

    #[test]
    fn every_decision_is_written_behind_a_header_with_its_generation_and_digest() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("decisions.jsonl");
        for _ in 0..2 {
            let recorder = Recorder::start(&settings(&path)).expect("it starts");
            (0..3).for_each(|ordinal| send(&recorder.sink(), ordinal));
            recorder.finish();
        }
        let lines = written(&path);
        assert_eq!(lines.iter().filter(|line| matches!(line, Line::Header(_))).count(), 2);
        assert_eq!(lines.iter().filter(|line| matches!(line, Line::Plugin(_))).count(), 2);
        let Some(Line::Decision(last)) = lines.last() else { panic!("{lines:?}") };
        assert_eq!((last.ordinal, last.generation, last.digest.as_str()), (2, 3, "07".repeat(32).as_str()));
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_swallow_the_next_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("decisions.jsonl");
        std::fs::write(&path, "{\"line\":\"deci").expect("written");
        Recorder::start(&settings(&path)).expect("it starts").finish();
        assert!(matches!(written(&path).as_slice(), [Line::Header(_)]));
    }

    #[test]
    fn recording_stops_at_its_size_and_at_whole_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("decisions.jsonl");
        let recorder = Recorder::start(&Recording { bytes_max: 2048, ..settings(&path) }).expect("it starts");
        (0..100).for_each(|ordinal| send(&recorder.sink(), ordinal));
        recorder.finish();
        let text = std::fs::read_to_string(&path).expect("the recording is there");
        assert!(text.len() <= 2048 && text.ends_with('\n'));
        assert!((2..20).contains(&written(&path).len()));
    }

    #[test]
    fn what_finds_the_line_full_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("decisions.jsonl");
        let recorder = Recorder::start(&Recording { waiting_max: 1, ..settings(&path) }).expect("it starts");
        (0..2_000).for_each(|ordinal| send(&recorder.sink(), ordinal));
        recorder.finish();
        let counted = |line: &Line| match line {
            Line::Decision(_) => 1,
            Line::Gap(gap) => gap.decisions,
            _ => 0,
        };
        assert_eq!(written(&path).iter().map(counted).sum::<u64>(), 2_000);
    }

    fn send(sink: &DecisionSink, ordinal: u32) {
        sink.send(decided(ordinal));
    }
}
