//! What a guest may take: memory, time, returned bytes, log lines. Everything has a default and can be set.

use std::time::Duration;

/// Limits of every guest. A plugin's manifest may ask for less, and for more up to the `_granted_max` fields.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Size of a plugin's file.
    pub component_bytes_max: usize,
    /// Linear memory of one guest, all its memories together.
    pub memory_bytes_max: usize,
    /// The most memory that a manifest can ask for. Python and JavaScript guests bring an interpreter.
    pub memory_bytes_granted_max: usize,
    /// The longest deadline that a manifest can ask for.
    pub call_ms_granted_max: u64,
    /// The most warm instances that a manifest can ask for.
    pub instances_granted_max: usize,
    /// Core modules, tables and memories of one guest; interpreters bring up to 60.
    pub parts_max: usize,
    /// Elements of one table.
    pub table_elements_max: usize,
    /// Stack of a guest call. It lies on the stack of the thread that calls, which must be larger by far.
    pub stack_bytes_max: usize,
    /// Bytes that one call may hand to the host at once, and as tensors all together.
    pub returned_bytes_max: usize,
    /// The same for `allocate` and `review`, whose plans are larger.
    pub allocation_returned_bytes_max: usize,
    /// Bytes of the tensors that operations on tensors may make in one call of an adapter, all together. They lie in the host's memory.
    pub operation_bytes_max: u64,
    /// Lines kept of what one call logs and prints; further ones are dropped and counted.
    pub log_lines_max: usize,
    /// Bytes kept of one log line.
    pub log_line_bytes_max: usize,
    /// Log lines that are passed on of one plugin within a second; further ones are dropped and counted.
    pub log_lines_per_second_max: u32,
    /// Tensors that a guest may hold at once, and handles of its output.
    pub tensors_max: usize,
    /// Graphs that a guest may hold at once. An instance drives one shard, so more than a few are a leak.
    pub graphs_max: usize,
    /// Instances of a policy that are kept ready.
    pub warm_instances: usize,
    /// Instances of a policy that are in use at once. Requests beyond it are answered by the built-in plugin, without a
    /// strike. Adapters have one instance for each shard in use, which the host decides.
    pub instances_max: usize,
    /// Time for each function.
    pub deadlines: Deadlines,
}

/// How long a guest may compute, in milliseconds. Time that it waits in an engine, or for a processor, does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// Instantiation and `configure`.
    pub configure_ms_max: u64,
    /// `allocate`
    pub allocate_ms_max: u64,
    /// `review`
    pub review_ms_max: u64,
    /// `set-topology`
    pub set_topology_ms_max: u64,
    /// `set-pressure`
    pub set_pressure_ms_max: u64,
    /// `route`
    pub route_ms_max: u64,
    /// `admit`
    pub admit_ms_max: u64,
    /// `probe` of an adapter
    pub probe_ms_max: u64,
    /// `load` of an adapter, without the engine's time
    pub load_ms_max: u64,
    /// `run` of an adapter, without the engine's time
    pub run_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes_max: 64 << 20,
            memory_bytes_max: 64 << 20,
            memory_bytes_granted_max: 512 << 20,
            call_ms_granted_max: 60_000,
            instances_granted_max: 64,
            parts_max: 64,
            table_elements_max: 100_000,
            stack_bytes_max: 512 << 10,
            returned_bytes_max: 1 << 20,
            allocation_returned_bytes_max: 16 << 20,
            operation_bytes_max: 1 << 30,
            log_lines_max: 32,
            log_line_bytes_max: 4096,
            log_lines_per_second_max: 1000,
            tensors_max: 4096,
            graphs_max: 16,
            warm_instances: 2,
            instances_max: 64,
            deadlines: Deadlines::default(),
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            configure_ms_max: 5_000,
            allocate_ms_max: 5_000,
            review_ms_max: 1_000,
            set_topology_ms_max: 50,
            set_pressure_ms_max: 5,
            route_ms_max: 2,
            admit_ms_max: 2,
            probe_ms_max: 60_000,
            load_ms_max: 60_000,
            run_ms_max: 60_000,
        }
    }
}

/// A call's deadline and how much it may hand over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallLimits {
    pub function: &'static str,
    pub deadline: Duration,
    pub returned_bytes_max: usize,
}

impl Limits {
    /// The limits of one function by its WIT name; functions that are not known get those of `configure`.
    pub(crate) fn of(&self, function: &'static str) -> CallLimits {
        let times = &self.deadlines;
        let (ms, returned_bytes_max) = match function {
            "allocate" => (times.allocate_ms_max, self.allocation_returned_bytes_max),
            "review" => (times.review_ms_max, self.allocation_returned_bytes_max),
            "set-topology" => (times.set_topology_ms_max, self.returned_bytes_max),
            "set-pressure" => (times.set_pressure_ms_max, self.returned_bytes_max),
            "route" => (times.route_ms_max, self.returned_bytes_max),
            "admit" => (times.admit_ms_max, self.returned_bytes_max),
            "probe" => (times.probe_ms_max, self.returned_bytes_max),
            "load" => (times.load_ms_max, self.returned_bytes_max),
            // A guest that computes its own tensors hands them over as bytes.
            "run" => (times.run_ms_max, self.memory_bytes_max),
            _ => (times.configure_ms_max, self.returned_bytes_max),
        };
        CallLimits { function, deadline: Duration::from_millis(ms), returned_bytes_max }
    }
}
