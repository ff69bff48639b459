//! How long plugins take, one JSON line each: starting cold and from the cache, routing at 4, 64 and 1024 segments beside the
//! same policy natively, swapping, and an adapter beside the engine itself. Run with `cargo bench -p host-plugin`.
#![allow(clippy::unwrap_used, reason = "a benchmark stops where it fails")]

#[path = "../tests/support/scenes.rs"]
mod scenes;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use host_engine::{Engines, Kind, LoadOptions, MlpSize, Tensor, generate, inspect, split};
use host_plugin::{EventSink, PluginConfig, PluginHost, PluginSource, RunCall};
use scenes::{model_id, problem, request, snapshot};

fn main() {
    starting();
    let host = PluginHost::start(PluginConfig::default(), Arc::new(Engines::default()), EventSink::none()).unwrap();
    routing(&host);
    allocating(&host);
    swapping(&host);
    adapting(&host);
}

fn line(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_nanos() as f64 / 1e3;
    println!(r#"{{"what":"{what}","runs":{},"p50_us":{},"p99_us":{},"max_us":{}}}"#, times.len(), at(50), at(99), at(100));
}

fn timed<T>(runs: usize, mut work: impl FnMut(usize) -> T) -> Vec<Duration> {
    let time = |run| {
        let start = Instant::now();
        std::hint::black_box(work(run));
        start.elapsed()
    };
    (0..runs).map(time).collect()
}

fn starting() {
    let folder = tempfile::tempdir().unwrap();
    let config = PluginConfig { cache_folder: Some(folder.path().to_owned()), ..PluginConfig::default() };
    let start = |_| PluginHost::start(config.clone(), Arc::new(Engines::default()), EventSink::none()).unwrap();
    line("start, nothing compiled", timed(1, start));
    line("start from the cache", timed(20, start));
}

fn routing(host: &PluginHost) {
    let slot = host.routing(None).unwrap();
    for replicas in [2, 32, 512] {
        let snapshot = snapshot(replicas, replicas, 0.0);
        let segments = replicas * 2;
        let times = timed(20_000, |run| slot.route(&snapshot, &request(run as u32, segments)).unwrap());
        line(&format!("route, {segments} segments"), times[10..].to_vec());
    }
}

fn allocating(host: &PluginHost) {
    for devices in [3, 8, 64, 256, 1000] {
        let problem = problem(devices, 1);
        let runs = if devices < 100 { 20 } else { 3 };
        line(&format!("allocate 6 blocks, {devices} devices"), timed(runs, |_| host.allocation().allocate(&problem).unwrap()));
    }
}

fn swapping(host: &PluginHost) {
    let (mut prepare, mut commit) = (Vec::new(), Vec::new());
    for swap in 0..50 {
        let source = PluginSource::builtin(if swap % 2 == 0 { "round-robin-routing" } else { "least-loaded-routing" }).unwrap();
        let start = Instant::now();
        let prepared = host.prepare(&source, None, None).unwrap();
        prepare.push(start.elapsed());
        let start = Instant::now();
        host.commit(prepared).unwrap();
        commit.push(start.elapsed());
    }
    line("prepare a routing plugin, uncached", prepare);
    line("swap it in", commit);
}

fn adapting(host: &PluginHost) {
    let model = generate(&Kind::Mlp(MlpSize { inputs: 262_144, hidden: 16, layers: 2, outputs: 10 }), 7).unwrap();
    let inspection = inspect(&model, model_id()).unwrap();
    let shard = Arc::new(split(&inspection, &[]).unwrap().remove(0));
    let input = Tensor::from_f32(&[1, 262_144], &vec![0.5; 262_144]).unwrap();
    let engines = Engines::default();
    let mut graph = engines.load("tract", &shard, &LoadOptions::default()).unwrap();
    let mut instance = host.adapter("cpu").unwrap().open(shard, 0).unwrap();
    let call = RunCall::default();
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    // By turns, so that both meet the same machine.
    for _ in 0..300 {
        direct.extend(timed(1, |_| graph.run(vec![input.clone()]).unwrap()));
        through.extend(timed(1, |_| instance.run(&call, vec![input.clone()]).unwrap()));
    }
    line("1 MB through the engine itself", direct);
    line("1 MB through the adapter", through);
}
