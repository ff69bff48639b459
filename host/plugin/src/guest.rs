//! What the host keeps for one guest: its memory limit, the clock of the call that runs, its log lines, and the handles that
//! it was given. One guest is called by one thread at a time.

use std::{sync::Arc, time::Duration};

use host_engine::Engines;
use wasmtime::{ResourceLimiter, UpdateDeadline, component::ResourceTable};

use crate::{
    clock::{Clock, thread_time},
    events::LogLevel,
    limits::{CallLimits, Limits},
};

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
            call: CallClock {
                deadline: Duration::ZERO,
                clock: Clock::start(),
                engine: Duration::ZERO,
                engine_processor: Duration::ZERO,
                processor_at_deadline: None,
            },
            log: CallLog { lines: Vec::new(), dropped: 0, lines_max: limits.log_lines_max, line_bytes_max: limits.log_line_bytes_max },
            handles: Handles::new(engines, limits.tensors_max),
        }
    }

    /// Forgets what the call before left.
    pub(crate) fn begin(&mut self, limits: &CallLimits) {
        self.memory.refused = None;
        self.log.lines.clear();
        self.log.dropped = 0;
        self.call = CallClock {
            deadline: limits.deadline,
            clock: Clock::start(),
            engine: Duration::ZERO,
            engine_processor: Duration::ZERO,
            processor_at_deadline: None,
        };
    }
}

/// Counts linear memory, all memories of a guest together.
pub(crate) struct MemoryLimit {
    pub bytes: usize,
    pub bytes_max: usize,
    table_elements_max: usize,
    parts_max: usize,
    /// What it asked for when it was refused.
    pub refused: Option<usize>,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.bytes.saturating_add(desired.saturating_sub(current));
        if total > self.bytes_max {
            self.refused = Some(total);
            return Ok(false);
        }
        self.bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements_max)
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
    deadline: Duration,
    clock: Clock,
    /// Time in engines during this call by the clock, and by the processor since the deadline first passed.
    engine: Duration,
    engine_processor: Duration,
    /// Processor time of the thread when the deadline first passed.
    processor_at_deadline: Option<Duration>,
}

impl CallClock {
    /// Called when the deadline passed. The clock cannot tell a guest that computes from a thread that the system does not
    /// run, so from then on the processor time of the thread counts: the guest is late when it has used the deadline again.
    pub(crate) fn judge(&mut self) -> UpdateDeadline {
        let own = self.clock.elapsed().saturating_sub(self.engine);
        if own < self.deadline {
            return UpdateDeadline::Continue(ticks(self.deadline - own));
        }
        let Some(processor) = thread_time().map(|time| time.saturating_sub(self.engine_processor)) else {
            return UpdateDeadline::Interrupt;
        };
        let first = *self.processor_at_deadline.get_or_insert(processor);
        if processor.saturating_sub(first) >= self.deadline { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) }
    }

    /// Runs the host's own work, which is not the guest's fault.
    pub(crate) fn outside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        // Asking for processor time is a system call; before the deadline has passed nobody needs the answer.
        let (clock, processor) = (Clock::start(), self.processor_at_deadline.and_then(|_| thread_time()));
        let result = work();
        self.engine += clock.elapsed();
        if let Some(before) = processor {
            self.engine_processor += thread_time().unwrap_or(before).saturating_sub(before);
        }
        result
    }
}

/// Ticks of a millisecond until a deadline surely passed.
pub(crate) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2).min(u64::MAX / 2) + 1
}

/// Lines that the guest wrote during this call.
pub(crate) struct CallLog {
    pub lines: Vec<(LogLevel, String)>,
    pub dropped: u32,
    lines_max: usize,
    line_bytes_max: usize,
}

impl CallLog {
    pub(crate) fn write(&mut self, level: LogLevel, mut line: String) {
        if self.lines.len() >= self.lines_max {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        if line.len() > self.line_bytes_max {
            let end = (0..=self.line_bytes_max).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
            line.truncate(end);
        }
        self.lines.push((level, line));
    }

    /// The last error, which of a panic is its text.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.lines.iter().rev().find(|(level, _)| *level == LogLevel::Error).map(|(_, line)| line.as_str())
    }
}

/// Tensors, shards and graphs that the guest holds handles of.
pub(crate) struct Handles {
    pub engines: Arc<Engines>,
    pub tensors: ResourceTable,
    pub shards: ResourceTable,
    pub graphs: ResourceTable,
    /// Bytes that went through the guest's memory.
    pub copied_bytes: u64,
}

impl Handles {
    fn new(engines: Arc<Engines>, tensors_max: usize) -> Self {
        let table = |capacity_max: usize| {
            let mut table = ResourceTable::new();
            table.set_max_capacity(capacity_max);
            table
        };
        Self { engines, tensors: table(tensors_max), shards: table(16), graphs: table(16), copied_bytes: 0 }
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
