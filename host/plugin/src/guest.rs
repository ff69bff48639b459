//! What the host keeps for one guest: its memory limit, the clock of the call that runs, its log lines, and the handles that
//! it was given. One guest is called by one thread at a time.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use host_core::policy::{PolicyFault, StrikeKind};
use host_engine::{Engines, Graph, Shard, Tensor};
use wasmtime::{
    ResourceLimiter, UpdateDeadline,
    component::{Resource, ResourceTable},
};

use crate::{
    call_log::CallLog,
    clock::{Clock, thread_time},
    limits::{CallLimits, Limits},
    meter::{Judgement, Meter},
};

/// A shard that a guest holds a handle of.
pub type ShardFile = Arc<Shard>;
/// A graph that a guest holds a handle of.
pub type LoadedGraph = Box<dyn Graph>;

/// The data of a store.
pub(crate) struct Guest {
    pub memory: MemoryLimit,
    pub call: CallClock,
    pub log: CallLog,
    pub handles: Handles,
}

impl Guest {
    pub(crate) fn new(limits: &Limits, engines: Arc<Engines>) -> Self {
        Self {
            memory: MemoryLimit {
                bytes: 0,
                bytes_max: limits.memory_bytes_max,
                table_elements_max: limits.table_elements_max,
                parts_max: limits.parts_max,
                refused: None,
            },
            call: CallClock::new(Duration::ZERO, Clock::start()),
            log: CallLog::new(limits.log_lines_max, limits.log_line_bytes_max),
            handles: Handles::new(engines, limits),
        }
    }

    /// Forgets what the call before left, apart from lines that nobody took.
    pub(crate) fn begin(&mut self, limits: &CallLimits) {
        self.memory.refused = None;
        self.log.begin();
        self.handles.made_bytes = 0;
        self.handles.operation_bytes = 0;
        self.handles.made_bytes_max = limits.returned_bytes_max;
        self.call = CallClock::new(limits.deadline, self.call.clock);
    }
}

/// Counts linear memory, all memories of a guest together.
pub(crate) struct MemoryLimit {
    pub bytes: usize,
    pub bytes_max: usize,
    table_elements_max: usize,
    parts_max: usize,
    /// What it asked for when it was refused, in words.
    pub refused: Option<String>,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // It fails without us, and would be counted though it was never had.
            return Ok(false);
        }
        let total = self.bytes.saturating_add(desired.saturating_sub(current));
        if total > self.bytes_max {
            self.refused = Some(format!("it asked for {total} bytes of memory, {} are allowed", self.bytes_max));
            return Ok(false);
        }
        self.bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            self.refused = Some(format!("it asked for a table of {desired} elements, {} are allowed", self.table_elements_max));
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.parts_max
    }

    fn tables(&self) -> usize {
        self.parts_max
    }

    fn memories(&self) -> usize {
        self.parts_max
    }
}

/// Tells a guest that computes too long from one that waits in an engine or for a processor.
pub(crate) struct CallClock {
    meter: Meter,
    /// For systems that do not count a thread's processor time.
    clock: Clock,
    /// What engines used during this call since its first epoch passed.
    engine: Duration,
    /// Epochs after its deadline, if it was stopped.
    late: Option<u32>,
}

impl CallClock {
    fn new(deadline: Duration, clock: Clock) -> Self {
        Self { meter: Meter::new(deadline), clock, engine: Duration::ZERO, late: None }
    }

    /// What the thread has used, counted from any fixed moment.
    fn used(&self) -> Duration {
        thread_time().unwrap_or_else(|| self.clock.elapsed())
    }

    /// Called at each epoch that passes while the guest computes.
    pub(crate) fn judge(&mut self) -> UpdateDeadline {
        match self.meter.pass(self.used().saturating_sub(self.engine)) {
            Judgement::GoOn => UpdateDeadline::Continue(1),
            Judgement::Stop { epochs_past } => {
                self.late = Some(epochs_past);
                UpdateDeadline::Interrupt
            }
        }
    }

    /// How many epochs after its deadline the call was stopped, if it was.
    pub(crate) fn late(&self) -> Option<u32> {
        self.late
    }

    /// Runs the host's own work, which is not the guest's fault.
    pub(crate) fn outside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        // Asking for processor time is a system call; before the first epoch has passed nobody needs the answer.
        let before = self.meter.runs().then(|| self.used());
        let result = work();
        if let Some(before) = before {
            self.engine += self.used().saturating_sub(before);
        }
        result
    }
}

/// How a guest broke a rule in a call to the host.
#[derive(Debug)]
pub(crate) struct Broke(pub PolicyFault);

impl Broke {
    fn memory(message: String) -> Self {
        Self(PolicyFault { kind: StrikeKind::Memory, message })
    }
}

impl fmt::Display for Broke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for Broke {}

/// Tensors, shards and graphs that the guest holds handles of, and how often it holds its output.
pub(crate) struct Handles {
    pub engines: Arc<Engines>,
    pub tensors: ResourceTable,
    pub shards: ResourceTable,
    pub graphs: ResourceTable,
    /// Handles of its output that the guest holds. Nothing is behind them, but each takes a place in a table of the host's.
    outputs: usize,
    /// Bytes that went through the guest's memory.
    pub copied_bytes: u64,
    /// Bytes of the tensors that the guest made in this call. They lie in the host's memory, where no limit of the guest's
    /// own memory sees them.
    made_bytes: usize,
    made_bytes_max: usize,
    /// Bytes of the tensors that operations made in this call.
    operation_bytes: u64,
    operation_bytes_max: u64,
}

impl Handles {
    fn new(engines: Arc<Engines>, limits: &Limits) -> Self {
        let table = |capacity_max: usize| {
            let mut table = ResourceTable::new();
            table.set_max_capacity(capacity_max);
            table
        };
        // The host hands out shards, one to an instance.
        let (tensors, shards, graphs) = (table(limits.tensors_max), table(1), table(limits.graphs_max));
        Self {
            engines,
            tensors,
            shards,
            graphs,
            outputs: 0,
            copied_bytes: 0,
            made_bytes: 0,
            made_bytes_max: 0,
            operation_bytes: 0,
            operation_bytes_max: limits.operation_bytes_max,
        }
    }

    /// Counts a tensor that the guest makes.
    pub(crate) fn make(&mut self, bytes: usize) -> Result<(), Broke> {
        self.copied_bytes += bytes as u64;
        self.made_bytes = self.made_bytes.saturating_add(bytes);
        if self.made_bytes > self.made_bytes_max {
            return Err(Broke::memory(format!("it made tensors of {} bytes in one call, {} are allowed", self.made_bytes, self.made_bytes_max)));
        }
        Ok(())
    }

    /// Counts a tensor that an operation is about to make; the error says how many bytes that would be.
    pub(crate) fn operate(&mut self, bytes: u64) -> Result<(), String> {
        let all = self.operation_bytes.saturating_add(bytes);
        if all > self.operation_bytes_max {
            return Err(format!("operations of one call would make tensors of {all} bytes, {} are allowed", self.operation_bytes_max));
        }
        self.operation_bytes = all;
        Ok(())
    }

    /// Takes a tensor in, for the guest to hold.
    pub(crate) fn hold_tensor(&mut self, tensor: Tensor) -> Result<Resource<Tensor>, Broke> {
        let max = self.tensors.max_capacity();
        self.tensors.push(tensor).map_err(|_| Broke::memory(format!("it holds more than {max} tensors")))
    }

    /// Counts a handle of its output that the guest is given.
    pub(crate) fn hold_output(&mut self) -> Result<(), Broke> {
        let max = self.tensors.max_capacity();
        if self.outputs >= max {
            return Err(Broke::memory(format!("it holds more than {max} handles of its output")));
        }
        self.outputs += 1;
        Ok(())
    }

    /// The guest has dropped one of those.
    pub(crate) fn forget_output(&mut self) {
        self.outputs = self.outputs.saturating_sub(1);
    }

    /// Takes the shard in that the instance is to drive.
    pub(crate) fn hold_shard(&mut self, shard: ShardFile) -> Result<Resource<ShardFile>, Broke> {
        self.shards.push(shard).map_err(|_| Broke::memory("it holds a shard already".to_owned()))
    }

    /// Takes a graph in, for the guest to hold.
    pub(crate) fn hold_graph(&mut self, graph: LoadedGraph) -> Result<Resource<LoadedGraph>, Broke> {
        let max = self.graphs.max_capacity();
        self.graphs.push(graph).map_err(|_| Broke::memory(format!("it holds more than {max} graphs")))
    }

    /// Drops tensors that the guest still holds: none outlives its call.
    pub(crate) fn forget_tensors(&mut self) {
        if !self.tensors.is_empty() {
            let capacity_max = self.tensors.max_capacity();
            self.tensors = ResourceTable::new();
            self.tensors.set_max_capacity(capacity_max);
        }
    }
}
