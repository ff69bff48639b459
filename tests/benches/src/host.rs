//! A host process to measure: a central, or a device of one.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{http::Connection, round};

/// How long a host may take to be ready: a large model is cut and checked first, and machines that measure may be busy.
const READY_MAX: Duration = Duration::from_secs(300);

/// The `host` program beside this measurement, in the same profile.
pub fn host_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    folder.join("host")
}

/// A host process with ports of its own; killed when dropped.
#[derive(Debug)]
pub struct Host {
    child: Child,
    data: PathBuf,
    /// `127.0.0.1:PORT`; empty of a device, which clients do not reach.
    pub address: String,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

impl Host {
    /// Starts a host on this data directory. The error says what went wrong.
    pub fn start(data: PathBuf, flags: &[&str]) -> Result<Self, String> {
        let mut host = Self::spawn(data, &[&["--http", "127.0.0.1:0"], flags].concat())?;
        let status = host.wait_for("ready")?;
        host.address = status["http"].as_str().unwrap_or_default().trim_start_matches("http://").to_owned();
        Ok(host)
    }

    /// Starts a device with flags that name its central, and waits until it attends.
    pub fn join(data: PathBuf, flags: &[&str]) -> Result<Self, String> {
        let mut device = Self::spawn(data, flags)?;
        device.wait_for("attending")?;
        Ok(device)
    }

    /// Starts a process and waits for nothing.
    pub fn spawn(data: PathBuf, flags: &[&str]) -> Result<Self, String> {
        let program = host_program();
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let child = Command::new(&program)
            .current_dir(root)
            .args(["run", "--data"])
            .arg(&data)
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} does not start ({error}); build it first: cargo build --release", program.display()))?;
        Ok(Self { child, data, address: String::new(), ready_after: Duration::ZERO })
    }

    /// Waits until it says that it is in this state; its status.
    fn wait_for(&mut self, state: &str) -> Result<Value, String> {
        let started = Instant::now();
        while started.elapsed() < READY_MAX {
            let status = self.command(&["status", "-o", "json"]).unwrap_or_default();
            if status["state"] == state {
                self.ready_after = started.elapsed();
                return Ok(status);
            }
            if let Ok(Some(ended)) = self.child.try_wait() {
                return Err(format!("the host ended with {ended} before it was {state}; `host run` with the same flags says why"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(format!("the host was not {state} within {} s", READY_MAX.as_secs()))
    }

    /// Runs a command against it; its JSON.
    pub fn command(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = Command::new(host_program()).args(arguments).arg("--data").arg(&self.data).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// A connection to its admin socket.
    pub fn admin(&self) -> Result<Connection<UnixStream>, String> {
        Connection::to_admin(&self.data).map_err(|error| format!("the admin socket in {}: {error}", self.data.display()))
    }

    /// How often it computed a stage of this model so far, and how many seconds that took in all.
    pub fn stages_ran(&self, model: &str) -> Result<(f64, f64), String> {
        let metrics = self.admin()?.text("/metrics")?;
        let sum = |what: &str| -> f64 {
            let start = format!("host_stage_duration_seconds_{what}{{model=\"{model}@");
            metrics.lines().filter(|line| line.starts_with(&start)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Ok((sum("count"), sum("sum")))
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Sends it a signal by name, such as `STOP`.
    pub fn signal(&self, name: &str) -> Result<(), String> {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().map_err(|error| error.to_string())?;
        if sent.success() { Ok(()) } else { Err(format!("process {} took no signal {name}", self.child.id())) }
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// CPU time that the process took so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().filter_map(|&index| fields.get(index)?.parse::<u64>().ok()).sum();
        // The kernel counts hundredths of a second for programs on every platform that Linux runs on.
        Duration::from_millis(ticks * 10)
    }

    /// Memory that the process has in RAM, in MiB.
    pub fn resident_mib(&self) -> f64 {
        self.memory_mib("VmRSS:")
    }

    /// The most memory that it ever had in RAM, in MiB.
    pub fn resident_mib_max(&self) -> f64 {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().map_or(f64::NAN, |kib| round(kib / 1024.0))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}
