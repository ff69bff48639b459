//! What a driver process is started with, and what it may take. Every limit has a default.

use std::{collections::BTreeMap, path::PathBuf};

use host_engine::EngineInfo;

use crate::events::EventSink;

/// How the process of one engine is started.
#[derive(Clone, Debug)]
pub struct DriverSettings {
    /// The program; its arguments must lead to [`crate::serve`].
    pub program: PathBuf,
    /// What comes before the arguments that this crate adds: the command's name.
    pub arguments: Vec<String>,
    /// The engine that the process opens.
    pub engine: String,
    /// The vendor's library behind it; none for an engine that is part of the program.
    pub library: Option<PathBuf>,
    /// What the engine itself is opened with.
    pub settings: BTreeMap<String, String>,
    /// What it may take.
    pub limits: DriverLimits,
    /// What is said of the engine before it was opened for the first time.
    pub info: EngineInfo,
    /// Who is told what happens.
    pub log: EventSink,
}

/// What a driver process and its calls may take.
#[derive(Clone, PartialEq, Debug)]
pub struct DriverLimits {
    /// From the start of the process until its engine is open.
    pub start_ms_max: u64,
    /// Time to load one shard.
    pub load_ms_max: u64,
    /// Time of one run.
    pub call_ms_max: u64,
    /// Time to end in good order, once nothing is loaded any more.
    pub end_ms_max: u64,
    /// How long the process stays when nothing is loaded any more.
    pub linger_ms: u64,
    /// From one sign of life to the next.
    pub heartbeat_ms: u64,
    /// A process that has given no sign of life for so long hangs.
    pub silent_ms_max: u64,
    /// Memory that the process may hold beside mapped files; 0 for no limit.
    pub memory_bytes_max: u64,
    /// Whether the kernel refuses the process more private memory than that, too. Libraries that reserve much more than they use,
    /// as CUDA's do, cannot live with it.
    pub memory_is_hard: bool,
    /// Tensors of one call that take no more than this together go in the message; larger ones go through shared memory.
    pub inline_bytes_max: usize,
    /// Shared memory of one user of a graph, for inputs and outputs each.
    pub shared_bytes_max: u64,
    /// How long both sides look for an answer again and again before they sleep until it comes. Takes processor time.
    pub spin_us: u64,
    /// A call whose process died is made again if the next process may be started within this time.
    pub retry_wait_ms_max: u64,
    /// When a process is started again.
    pub restarts: RestartLimits,
    /// Lines that it may print in a second; more are counted and dropped.
    pub log_lines_per_s_max: u32,
    /// Longest line that it may print; longer ones are cut.
    pub log_line_bytes_max: usize,
    /// Environment variables that the process gets beside those that it always gets. One that ends with `*` stands for all that begin so.
    pub environment: Vec<String>,
}

impl Default for DriverLimits {
    fn default() -> Self {
        Self {
            start_ms_max: 30_000,
            load_ms_max: 120_000,
            call_ms_max: 30_000,
            end_ms_max: 2_000,
            linger_ms: 0,
            heartbeat_ms: 100,
            silent_ms_max: 1_000,
            memory_bytes_max: 0,
            memory_is_hard: false,
            inline_bytes_max: 64 << 10,
            shared_bytes_max: 4 << 30,
            spin_us: 0,
            retry_wait_ms_max: 1_000,
            restarts: RestartLimits::default(),
            log_lines_per_s_max: 50,
            log_line_bytes_max: 4096,
            environment: Vec::new(),
        }
    }
}

/// When a process that died is started again. It always is, in the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RestartLimits {
    /// So many deaths in a row cost no wait.
    pub at_once_max: u32,
    /// The wait after the next one.
    pub first_ms: u64,
    /// By how much each further wait is longer.
    pub factor: f64,
    /// The longest wait.
    pub most_ms: u64,
    /// A process that lives so long makes the deaths before it forgotten.
    pub calm_ms: u64,
}

impl Default for RestartLimits {
    fn default() -> Self {
        Self { at_once_max: 5, first_ms: 100, factor: 2.0, most_ms: 30_000, calm_ms: 60_000 }
    }
}
