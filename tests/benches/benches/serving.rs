//! `mlp` over HTTP under a load generator that others wrote (wrk), at 1 and 8 connections; then 100 swaps of the routing
//! policy under that load.

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use shardhost_benches::{Host, report, round};

const SECONDS: u32 = 8;
const SWAPS: u32 = 100;

/// Posts one request for ever and prints what wrk counted as one JSON line.
const SCRIPT: &str = r#"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,16],"data":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]}]}'
done = function(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout
  io.write(string.format('RESULT {"requests":%d,"failed":%d,"seconds":%.3f,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, failed, summary.duration / 1e6, latency:percentile(50), latency:percentile(99)))
end
"#;

fn main() -> Result<(), String> {
    let data = tempfile::tempdir().map_err(|error| error.to_string())?;
    let script = data.path().join("post.lua");
    std::fs::write(&script, SCRIPT).map_err(|error| error.to_string())?;
    let host = Host::start(data.path().into(), &["--local-devices", "1", "--models", "models"])?;
    load(&host, &script, 1, 1)?;
    for connections in [1, 8] {
        let (before, result) = (host.cpu(), load(&host, &script, connections, SECONDS)?);
        report("serving", summary(&result, connections, (host.cpu() - before).as_secs_f64()));
    }
    swaps(&host, &script)
}

fn load(host: &Host, script: &Path, connections: u32, seconds: u32) -> Result<Value, String> {
    let output = Command::new("wrk")
        .args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{seconds}s"), "-s"])
        .arg(script)
        .arg(format!("http://{}/v2/models/mlp/infer", host.address))
        .output()
        .map_err(|error| format!("wrk does not start ({error}); it is the package wrk of Debian"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT ")).ok_or_else(|| format!("wrk said: {text}"))?;
    serde_json::from_str(line).map_err(|error| error.to_string())
}

fn summary(result: &Value, connections: u32, cpu_seconds: f64) -> Value {
    let requests = result["requests"].as_f64().unwrap_or(f64::NAN);
    let seconds = result["seconds"].as_f64().unwrap_or(f64::NAN);
    json!({
        "connections": connections,
        "requests_per_s": round(requests / seconds),
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "cpu_us_per_request": round(cpu_seconds * 1e6 / requests),
        "failed": result["failed"],
    })
}

/// Installs the two built-in routing policies in turn while the load runs.
fn swaps(host: &Host, script: &Path) -> Result<(), String> {
    let quiet = load(host, script, 8, SECONDS)?;
    let (loaded, swapped) = std::thread::scope(|scope| {
        let load = scope.spawn(|| load(host, script, 8, SECONDS * 3));
        let mut swapped = 0;
        for swap in 0..SWAPS {
            let name = if swap % 2 == 0 { "round-robin-routing" } else { "least-loaded-routing" };
            host.command(&["plugin", "swap", "routing", name, "-o", "json"])?;
            swapped += 1;
        }
        let loaded = load.join().map_err(|_| "the load generator's thread failed".to_owned())??;
        Ok::<_, String>((loaded, swapped))
    })?;
    let ratio = loaded["p99_us"].as_f64().unwrap_or(f64::NAN) / quiet["p99_us"].as_f64().unwrap_or(f64::NAN);
    let values = json!({
        "swaps": swapped,
        "requests": loaded["requests"],
        "failed": loaded["failed"],
        "p99_us": loaded["p99_us"],
        "p99_us_without_swaps": quiet["p99_us"],
        "p99_ratio": round(ratio),
    });
    report("serving_with_swaps", values);
    Ok(())
}
