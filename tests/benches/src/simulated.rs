//! `host simulate` as a measurement calls it: a fleet file in, its JSON out.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::host_program;

/// Simulates a fleet with these flags, and gives what it printed. Paths are relative to the workspace.
pub fn simulate(fleet: &Path, flags: &[&str]) -> Result<Value, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = host_program();
    let mut command = Command::new(&program);
    command.current_dir(root).arg("simulate").arg(fleet).args(["-o", "json"]).args(flags);
    let output = command.output().map_err(|error| format!("{} does not start ({error}); build it first: cargo build --release", program.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// The outcome of the only run.
pub fn only(simulated: &Value) -> Result<&Value, String> {
    match simulated["runs"].as_array().map(Vec::as_slice) {
        Some([only]) => Ok(only),
        other => Err(format!("{} runs, one was asked for", other.map_or(0, <[Value]>::len))),
    }
}
