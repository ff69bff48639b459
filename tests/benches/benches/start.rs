//! From the start of the process until `digits` answers, with an empty data directory and with a used one; idle memory.

use serde_json::json;
use shardhost_benches::{Host, report, round};

const RUNS: usize = 7;

fn main() -> Result<(), String> {
    let flags = ["--local-devices", "3", "--models", "models"];
    let (mut cold, mut warm, mut resident) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let data = tempfile::tempdir().map_err(|error| error.to_string())?;
        let host = Host::start(data.path().into(), &flags)?;
        cold.push(host.ready_after.as_secs_f64() * 1e3);
        resident.push(host.resident_mib());
        drop(host);
        warm.push(Host::start(data.path().into(), &flags)?.ready_after.as_secs_f64() * 1e3);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        round(values[values.len() / 2])
    };
    report("start", json!({ "runs": RUNS, "empty_data_ms": median(&mut cold), "used_data_ms": median(&mut warm), "idle_mib": median(&mut resident) }));
    Ok(())
}
