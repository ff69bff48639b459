//! Starting the built-in plugins cold and from the cache, allocating at several sizes, also against the same code called
//! natively, and swapping.

#[path = "../../../host/plugin/tests/support/guests.rs"]
#[allow(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod guests;
#[path = "plugins/large.rs"]
mod large;
#[path = "../../../host/plugin/tests/support/scenes.rs"]
#[allow(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod scenes;

use std::{error::Error, sync::Arc, time::Instant};

use guests::guest;
use host_engine::Engines;
use host_plugin::{CodeFolder, EventSink, PluginConfig, PluginHost, PluginSource};
use scenes::{problem, request, snapshot};
use serde_json::json;
use shardhost_benches::{Times, report, round, time_calls};

const SWAPS: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    starting()?;
    let folder = tempfile::tempdir()?;
    let config = PluginConfig { code: Some(CodeFolder::at(folder.path())), passes: Some(folder.path().to_owned()), ..PluginConfig::default() };
    let host = PluginHost::start(config, Arc::new(Engines::default()), EventSink::none())?;
    for devices in [3, 8, 64, 256, 1000] {
        let problem = problem(devices, 1);
        let calls = if devices < 100 { 20 } else { 5 };
        let times = time_calls(calls, |_| {
            std::hint::black_box(host.allocation().allocate(&problem)).ok();
        });
        report("allocate", json!({ "devices": devices, "blocks": 6, "times": times.summary() }));
    }
    large::planning(large::Hosts { balanced: &host, even: &with_even()? })?;
    swapping(&host)
}

/// A host that splits evenly.
fn with_even() -> Result<PluginHost, Box<dyn Error>> {
    let host = PluginHost::start(PluginConfig::default(), Arc::new(Engines::default()), EventSink::none())?;
    host.commit(host.prepare(&guest("even-allocation"), None, None)?)?;
    Ok(host)
}

fn starting() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let config = PluginConfig { code: Some(CodeFolder::at(folder.path())), passes: Some(folder.path().to_owned()), ..PluginConfig::default() };
    let mut milliseconds = Vec::new();
    for _ in 0..6 {
        let started = Instant::now();
        PluginHost::start(config.clone(), Arc::new(Engines::default()), EventSink::none())?;
        milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let cached = milliseconds.iter().skip(1).copied().fold(f64::INFINITY, f64::min);
    report("start_plugins", json!({ "compiled_ms": round(milliseconds[0]), "cached_ms_min": round(cached) }));
    Ok(())
}

fn swapping(host: &PluginHost) -> Result<(), Box<dyn Error>> {
    let (mut prepare, mut commit, mut first) = (Vec::new(), Vec::new(), Vec::new());
    let (slot, snapshot, asked) = (host.routing(None)?, snapshot(1, 8, 0.0), request(1, 16));
    for swap in 0..SWAPS {
        let source = PluginSource::builtin(if swap % 2 == 0 { "round-robin-routing" } else { "least-loaded-routing" })?;
        let started = Instant::now();
        let prepared = host.prepare(&source, None, None)?;
        prepare.push(started.elapsed());
        let started = Instant::now();
        host.commit(prepared)?;
        commit.push(started.elapsed());
        let started = Instant::now();
        slot.route(&snapshot, &asked)?;
        first.push(started.elapsed());
    }
    let [prepare, commit, first] = [prepare, commit, first].map(|times| Times::of(&times).summary());
    report("swap", json!({ "swaps": SWAPS, "prepare": prepare, "commit": commit, "first_call": first }));
    Ok(())
}
