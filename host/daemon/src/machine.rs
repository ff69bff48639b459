//! What this machine has and how hard it works, as the operating system says. A system that does not say counts as idle.

mod hardware;

pub use hardware::labels;

/// What the machine is called in its network, if it says.
pub fn name() -> Option<String> {
    sysinfo::System::host_name().ok().filter(|name| !name.is_empty())
}

/// Reads memory and load.
#[derive(Debug)]
pub struct Machine(Option<sysinfo::System>);

impl Machine {
    /// The machine that this process runs on.
    pub fn new() -> Self {
        let system = sysinfo::System::new().inspect_err(|error| tracing::warn!(%error, "the system does not say how hard it works"));
        Self(system.ok())
    }

    /// All memory, in bytes.
    pub fn memory_bytes(&mut self) -> u64 {
        self.0.as_mut().map_or(0, |system| {
            system.refresh_memory();
            system.total_memory()
        })
    }

    /// The model of its processor, empty if that is not known, and how many cores programs see.
    fn processor(&mut self) -> Option<(String, usize)> {
        let system = self.0.as_mut()?;
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        let model = system.cpus().first()?.brand().trim().to_owned();
        Some((model, system.cpus().len()))
    }

    /// Shares of CPU time and of memory in use, 0..1. CPU time is counted from one call to the next.
    pub fn load(&mut self) -> (f64, f64) {
        self.0.as_mut().map_or((0.0, 0.0), |system| {
            system.refresh_cpu_usage();
            system.refresh_memory();
            let cpu = f64::from(system.global_cpu_usage()) / 100.0;
            let memory = system.used_memory() as f64 / (system.total_memory() as f64).max(1.0);
            (cpu.clamp(0.0, 1.0), memory.clamp(0.0, 1.0))
        })
    }
}
