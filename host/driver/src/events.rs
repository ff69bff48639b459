//! What happens in the life of driver processes, told to whoever keeps logs and metrics. This crate writes neither.
//! The sink is called inline, from whichever thread it happened on: it must neither block nor call back into this crate.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Why a process is gone, or never came to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Death {
    /// It could not be started at all.
    NotStarted { reason: String },
    /// It is another release than this one, or speaks another protocol.
    Version { program: String, expected: String, found: String },
    /// It could not open its engine. Not its fault; it waits for its next try like one that died.
    Refused { reason: String },
    /// It ended by itself: an exit, or a signal such as that of a crash or of `kill -9`.
    Ended { status: String, by_signal: bool, last_line: Option<String> },
    /// It did not answer in time, and was ended.
    Late { doing: &'static str, ms: u64 },
    /// It gave no sign of life, and was ended.
    Silent { ms: u64 },
    /// It said what is no message, and was ended.
    Garbage { reason: String },
    /// It held too much memory, and was ended.
    Memory { found_bytes: u64, bytes_max: u64 },
}

impl Death {
    /// A word for labels.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotStarted { .. } => "not_started",
            Self::Version { .. } => "version",
            Self::Refused { .. } => "refused",
            Self::Ended { by_signal: true, .. } => "signal",
            Self::Ended { by_signal: false, .. } => "exit",
            Self::Late { .. } => "late",
            Self::Silent { .. } => "silent",
            Self::Garbage { .. } => "garbage",
            Self::Memory { .. } => "memory",
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { reason } => write!(f, "the driver process does not start: {reason}"),
            Self::Version { program, expected, found } => {
                write!(f, "{program} is {found}, this host is {expected}; the program has been replaced, start the host again")
            }
            Self::Refused { reason } => f.write_str(reason),
            Self::Ended { status, last_line: Some(line), .. } => write!(f, "the driver process ended with {status}, its last words: {line}"),
            Self::Ended { status, last_line: None, .. } => write!(f, "the driver process ended with {status}"),
            Self::Late { doing, ms } => write!(f, "the driver process did not {doing} within {ms} ms"),
            Self::Silent { ms } => write!(f, "the driver process gave no sign of life for {ms} ms"),
            Self::Garbage { reason } => write!(f, "the driver process said what is no message: {reason}"),
            Self::Memory { found_bytes, bytes_max } => write!(f, "the driver process holds {found_bytes} bytes of memory, it may hold {bytes_max}"),
        }
    }
}

/// Something that happened to the process of an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriverEvent {
    /// It has started and opened its engine.
    Started { engine: String, pid: u32, ms: u64 },
    /// It has ended because nothing was loaded any more.
    Ended { engine: String, pid: u32 },
    /// It died, or was ended for a cause.
    Died { engine: String, pid: u32, death: Death },
    /// It could not be started, or could not open its engine.
    NotOpened { engine: String, death: Death, next_ms: u64 },
    /// A call or a load is made again in a fresh process.
    Retried { engine: String, doing: &'static str, death: Death },
    /// It printed a line.
    Line { engine: String, text: String },
    /// It printed more lines than it may.
    LinesDropped { engine: String, count: u64 },
}

/// Where events go.
#[derive(Clone)]
pub struct EventSink(Arc<dyn Fn(&DriverEvent) + Send + Sync>);

impl EventSink {
    /// Calls this for each event.
    pub fn new(sink: impl Fn(&DriverEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Tells nobody.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn tell(&self, event: DriverEvent) {
        (self.0)(&event);
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSink").finish_non_exhaustive()
    }
}

/// How the process of an engine is, and how it has been.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DriverState {
    /// The process, if there is one now.
    pub pid: Option<u32>,
    /// Memory that it holds beside mapped files, at its last sign of life.
    pub memory_bytes: u64,
    /// Processes that were started.
    pub starts: u64,
    /// Deaths by the word of their cause.
    pub deaths: BTreeMap<&'static str, u64>,
    /// Runs that were asked of it.
    pub calls: u64,
    /// Runs and loads that were made again.
    pub retries: u64,
}
