//! What it takes to hand a message to another host: 8 KiB, 256 KiB and 4 MiB to a real device, and to a service that does the same
//! with TLS and without, all three in turns; and 8 KiB while messages of 16 MiB flow, on a connection of its own and on theirs.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use host_wire::peer::pb;
use serde_json::json;
use shardhost_benches::{
    Host, Times,
    echo::{self, EchoProcess, SERVE},
    peer::{self, Lane, Way, rpc::peer_client::PeerClient},
    pool, report, round,
};
use tonic::transport::Channel;

/// Sizes, and how often each is handed over in one turn.
const SIZES: [(usize, usize); 3] = [(8 << 10, 200), (256 << 10, 50), (4 << 20, 10)];
/// Messages up to this size go over the connection for small ones, as the program has it.
const SMALL_BYTES_MAX: usize = 256 << 10;
/// How often those that are compared take turns.
const TURNS: usize = 12;
/// What flows beside small messages, and how many of them at once.
const LARGE_BYTES: usize = 16 << 20;
const LARGE_AT_ONCE: usize = 2;
/// How long they flow.
const FLOW: Duration = Duration::from_secs(6);
/// Threads of this process for connections.
const THREADS: usize = 2;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = words.as_slice()
        && word == SERVE
    {
        return Ok(runtime.block_on(echo::serve(Path::new(folder)))?);
    }
    let folder = tempfile::tempdir()?;
    let scene = Scene::start(folder.path())?;
    runtime.block_on(measure(&scene))
}

/// What is at the other ends.
struct Scene {
    central: Host,
    /// Kept for as long as it is measured.
    _device: Host,
    device_address: String,
    echoes: EchoProcess,
}

impl Scene {
    fn start(folder: &Path) -> Result<Self, Failed> {
        let at = |name: &str| -> PathBuf { folder.join(name) };
        std::fs::create_dir_all(at("models"))?;
        let central = pool::central(at("central"), &at("models"), &[])?;
        let device = pool::join(&central, folder, "device", &[])?;
        let status = device.command(&["status", "-o", "json"])?;
        let device_address = status["peers"].as_str().ok_or("the device does not say where its peers reach it")?.to_owned();
        Ok(Self { central, _device: device, device_address, echoes: EchoProcess::start(folder)? })
    }

    /// By name, the way to each other end. The device takes nobody but hosts, so this process enrols as one.
    async fn ways(&self) -> Result<[(&'static str, Way); 3], String> {
        let identity = peer::enrol(&peer::authority(&self.central)?, &pool::token(&self.central, 1)?, "bench").await?;
        let device = identity.to_device(&self.device_address, "device")?;
        Ok([("device", device), ("tls", self.echoes.secure.clone()), ("plain", self.echoes.plain.clone())])
    }
}

/// The connections to one other end.
struct End {
    name: &'static str,
    latency: PeerClient<Channel>,
    bulk: PeerClient<Channel>,
}

impl End {
    async fn open((name, way): (&'static str, Way)) -> Result<Self, String> {
        let (latency, bulk) = (way.open(Lane::Latency).await?, way.open(Lane::Bulk).await?);
        Ok(Self { name, latency: PeerClient::new(latency), bulk: PeerClient::new(bulk) })
    }

    fn lane(&self, bytes: usize) -> &PeerClient<Channel> {
        if bytes <= SMALL_BYTES_MAX { &self.latency } else { &self.bulk }
    }
}

async fn measure(scene: &Scene) -> Result<(), Failed> {
    let mut ends = Vec::new();
    for way in scene.ways().await? {
        ends.push(End::open(way).await?);
    }
    for (bytes, count) in SIZES {
        alone(&ends, bytes, count).await?;
    }
    for end in &ends {
        beside_large_ones(end).await?;
    }
    Ok(())
}

/// Hands messages of a size over, one after another.
async fn alone(ends: &[End], bytes: usize, count: usize) -> Result<(), Failed> {
    let message = Bytes::from(vec![7; bytes]);
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); ends.len()];
    for turn in 0..=TURNS {
        for (end, times) in ends.iter().zip(&mut times) {
            for _ in 0..count {
                let took = hand_over(end.lane(bytes), &message).await?;
                // The first turn warms up.
                times.extend((turn > 0).then_some(took));
            }
        }
    }
    let times: Vec<Times> = times.iter().map(|times| Times::of(times)).collect();
    let plain_us = ends.iter().zip(&times).find(|(end, _)| end.name == "plain").map_or(f64::NAN, |(_, times)| times.percentile(0.5));
    for (end, times) in ends.iter().zip(&times) {
        let p50_us = times.percentile(0.5);
        let values = json!({
            "to": end.name,
            "bytes": bytes,
            "times": times.summary(),
            "bytes_per_s": round(bytes as f64 / (p50_us / 1e6)),
            "ratio_p50_to_plain": round(p50_us / plain_us),
        });
        report("hop", values);
    }
    Ok(())
}

/// Small messages while large ones flow, on a connection of their own and on the same one.
async fn beside_large_ones(end: &End) -> Result<(), Failed> {
    for (connections, small) in [(2, &end.latency), (1, &end.bulk)] {
        let (over, flowed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let flows: Vec<_> = (0..LARGE_AT_ONCE).map(|_| tokio::spawn(flow(end.bulk.clone(), over.clone(), flowed.clone()))).collect();
        let (small_message, started) = (Bytes::from(vec![7; SIZES[0].0]), Instant::now());
        let mut times = Vec::new();
        while started.elapsed() < FLOW {
            times.push(hand_over(small, &small_message).await?);
        }
        let large_bytes_per_s = flowed.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        for flow in flows {
            flow.await??;
        }
        let values = json!({
            "to": end.name,
            "bytes": SIZES[0].0,
            "beside_bytes": LARGE_BYTES,
            "connections": connections,
            "times": Times::of(&times).summary(),
            "large_bytes_per_s": round(large_bytes_per_s),
        });
        report("hop_beside_large_ones", values);
    }
    Ok(())
}

/// Hands large messages over, one after another, until it is over; counts their bytes.
async fn flow(client: PeerClient<Channel>, over: Arc<AtomicBool>, flowed: Arc<AtomicU64>) -> Result<(), String> {
    let message = Bytes::from(vec![7; LARGE_BYTES]);
    while !over.load(Ordering::Relaxed) {
        hand_over(&client, &message).await?;
        flowed.fetch_add(LARGE_BYTES as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// As long as it takes until the other end has said that it has it all.
async fn hand_over(client: &PeerClient<Channel>, message: &Bytes) -> Result<Duration, String> {
    let request = pb::EchoRequest { data: message.clone(), ..pb::EchoRequest::default() };
    let started = Instant::now();
    client.clone().echo(request).await.map_err(|status| format!("an echo failed: {status}"))?;
    Ok(started.elapsed())
}
