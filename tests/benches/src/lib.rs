//! What measurements share: percentiles, one JSON line each, and a host process to measure.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Prints one measurement.
pub fn report(name: &str, values: Value) {
    println!("{}", json!({ "bench": name, "values": values }));
}

/// Microseconds of each call of `work`, `calls` of them after a tenth as many to warm up.
pub fn time_calls(calls: usize, mut work: impl FnMut(usize)) -> Times {
    for call in 0..calls / 10 {
        work(call);
    }
    let times: Vec<Duration> = (0..calls)
        .map(|call| {
            let started = Instant::now();
            work(call);
            started.elapsed()
        })
        .collect();
    Times::of(&times)
}

/// Sorted times in microseconds.
#[derive(Clone, Debug)]
pub struct Times(Vec<f64>);

impl Times {
    /// Of times in any order.
    pub fn of(times: &[Duration]) -> Self {
        let mut microseconds: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
        microseconds.sort_by(f64::total_cmp);
        Self(microseconds)
    }

    /// The time that this share of calls does not exceed.
    pub fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (share * last as f64).round() as usize;
        self.0.get(index.min(last)).copied().unwrap_or(f64::NAN)
    }

    /// Shortest, median, and the time that one call in a hundred exceeds.
    pub fn summary(&self) -> Value {
        json!({ "min_us": round(self.percentile(0.0)), "p50_us": round(self.percentile(0.5)), "p99_us": round(self.percentile(0.99)) })
    }
}

/// Three decimals are more than any of these measurements is worth.
pub fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

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
    /// `127.0.0.1:PORT`
    pub address: String,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

impl Host {
    /// Starts a host on this data directory. The error says what went wrong.
    pub fn start(data: PathBuf, flags: &[&str]) -> Result<Self, String> {
        let program = host_program();
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let started = Instant::now();
        let child = Command::new(&program)
            .current_dir(root)
            .args(["run", "--http", "127.0.0.1:0", "--data"])
            .arg(&data)
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} does not start ({error}); build it first: cargo build --release", program.display()))?;
        let mut host = Self { child, data, address: String::new(), ready_after: Duration::ZERO };
        while started.elapsed() < Duration::from_secs(60) {
            let status = host.command(&["status", "-o", "json"]).unwrap_or_default();
            let ready = status["state"] == "ready";
            if let Some(address) = status["http"].as_str().filter(|_| ready) {
                host.address = address.trim_start_matches("http://").to_owned();
                host.ready_after = started.elapsed();
                return Ok(host);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err("the host was not ready within a minute".to_owned())
    }

    /// Runs a command against it; its JSON.
    pub fn command(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = Command::new(host_program()).args(arguments).arg("--data").arg(&self.data).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().map_or(f64::NAN, |kib| round(kib / 1024.0))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
