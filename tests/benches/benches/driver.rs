//! A graph in a driver process against the same graph in this one, in turns, for tensors of three sizes: what the way there and back
//! adds. The graph does next to nothing with its input, so that the way is what is measured. And what a neighbour in this process
//! notices while a driver process is killed again and again.
//!
//! The program is its own driver process.

use std::{
    collections::BTreeMap,
    error::Error,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use host_core::ids::{ModelId, ModelName};
use host_driver::{DriverEngine, DriverLimits, DriverSettings, EventSink, RestartLimits, ServeOrder, serve};
use host_engine::{Engine as _, Graph, Kind, LoadOptions, MlpSize, OnnxFile, Shard, Tensor, TractEngine, generate, inspect, split};
use serde_json::json;
use shardhost_benches::{Times, report, round};

/// How often the two take turns.
const BLOCKS: usize = 20;
/// From one kill to the next.
const KILL_EVERY: Duration = Duration::from_millis(200);
/// The argument that makes this program a driver process.
const ROLE: &str = "drive";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == ROLE) {
        return Ok(serve(&order(&arguments)?)?);
    }
    for spin_us in [0, 50] {
        for (name, kib, runs) in [("1 KiB", 1, 20_000), ("1 MiB", 1 << 10, 1_000), ("16 MiB", 16 << 10, 200)] {
            transport(name, kib << 10, runs, spin_us)?;
        }
    }
    neighbour()
}

fn order(arguments: &[String]) -> Result<ServeOrder, Box<dyn Error>> {
    let after = |flag: &str| -> Result<&String, String> {
        let place = arguments.iter().position(|argument| argument == flag).ok_or(format!("{flag} is missing"))?;
        arguments.get(place + 1).ok_or(format!("{flag} has no value"))
    };
    Ok(ServeOrder {
        engine: after("--engine")?.clone(),
        library: None,
        settings: BTreeMap::new(),
        heartbeat_ms: after("--heartbeat-ms")?.parse()?,
        inline_bytes_max: after("--inline-bytes")?.parse()?,
        shared_bytes_max: after("--shared-bytes")?.parse()?,
        spin_us: after("--spin-us")?.parse()?,
        data_bytes_max: after("--data-bytes")?.parse()?,
    })
}

fn driver(limits: DriverLimits) -> Result<DriverEngine, Box<dyn Error>> {
    Ok(DriverEngine::new(DriverSettings {
        program: std::env::current_exe()?,
        arguments: vec![ROLE.to_owned()],
        engine: "tract".to_owned(),
        library: None,
        settings: BTreeMap::new(),
        limits,
        info: TractEngine.info(),
        log: EventSink::none(),
    }))
}

fn whole(file: &OnnxFile) -> Result<Shard, Box<dyn Error>> {
    let inspection = inspect(file, ModelId { name: ModelName::parse("measured")?, version: 1 })?;
    Ok(split(&inspection, &[])?.remove(0))
}

/// A model with as many outputs as inputs, of which one layer of width 1 makes nearly nothing: the input's bytes are what travels.
fn light(bytes: usize) -> Result<(Shard, Tensor), Box<dyn Error>> {
    let width = bytes / 4;
    let file = generate(&Kind::Mlp(MlpSize { inputs: width, hidden: 1, layers: 1, outputs: width }), 1)?;
    let values: Vec<f32> = (0..width).map(|index| (index % 17) as f32 / 17.0).collect();
    Ok((whole(&file)?, Tensor::from_f32(&[1, width], &values)?))
}

fn transport(name: &str, bytes: usize, runs: usize, spin_us: u64) -> Result<(), Box<dyn Error>> {
    let (shard, input) = light(bytes)?;
    let engine = driver(DriverLimits { spin_us, ..DriverLimits::default() })?;
    let mut direct = TractEngine.load(&shard, &LoadOptions::default())?;
    let mut driven = engine.load(&shard, &LoadOptions::default())?;
    let (mut direct_times, mut driven_times) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        let one = timed(direct.as_mut(), &input, runs / BLOCKS, &mut direct_times)?;
        let two = timed(driven.as_mut(), &input, runs / BLOCKS, &mut driven_times)?;
        if one != two {
            return Err("both compute the same".into());
        }
    }
    let (direct, driven) = (Times::of(&direct_times), Times::of(&driven_times));
    let added_us = driven.percentile(0.5) - direct.percentile(0.5);
    let values = json!({
        "tensor": name,
        "spin_us": spin_us,
        "direct": direct.summary(),
        "driver": driven.summary(),
        "added_p50_us": round(added_us),
        // As many bytes go there as come back.
        "added_gb_per_s": round(2.0 * bytes as f64 / (added_us * 1e3)),
    });
    report("driver", values);
    Ok(())
}

fn timed(graph: &mut dyn Graph, input: &Tensor, runs: usize, times: &mut Vec<Duration>) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let mut outputs = graph.run(vec![input.clone()])?;
    for _ in 0..runs {
        let started = Instant::now();
        outputs = graph.run(vec![input.clone()])?;
        times.push(started.elapsed());
    }
    Ok(outputs)
}

/// The p99 of a graph in this process beside a driver process that lives, that is killed again and again, and that lives again.
fn neighbour() -> Result<(), Box<dyn Error>> {
    let digits = OnnxFile::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/digits/1/model.onnx"))?;
    let shard = whole(&digits)?;
    let before = beside(&shard, false)?;
    let times = beside(&shard, true)?;
    let after = beside(&shard, false)?;
    let p99 = |times: &Times| times.percentile(0.99);
    let ratio = round(p99(&times) / p99(&before).max(p99(&after)));
    report("neighbour_of_a_dying_driver", json!({ "times": times.summary(), "beside_a_living_one": before.summary(), "ratio_p99": ratio }));
    Ok(())
}

fn beside(shard: &Shard, dies: bool) -> Result<Times, Box<dyn Error>> {
    let engine = driver(DriverLimits { restarts: RestartLimits { at_once_max: u32::MAX, ..RestartLimits::default() }, ..DriverLimits::default() })?;
    let mut driven = engine.load(shard, &LoadOptions::default())?;
    let mut own = TractEngine.load(shard, &LoadOptions::default())?;
    let input = Tensor::from_f32(&[1, 1, 8, 8], &[0.5; 64])?;
    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    let lost = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut lost = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                lost += u32::from(driven.run(vec![input.clone()]).is_err());
            }
            lost
        });
        if dies {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(KILL_EVERY);
                    if let Some(pid) = engine.state().pid {
                        drop(std::process::Command::new("kill").arg("-9").arg(pid.to_string()).status());
                    }
                }
            });
        }
        let timed = timed(own.as_mut(), &input, 20_000, &mut times);
        stop.store(true, Ordering::Relaxed);
        (asking.join(), timed.map(drop).map_err(|error| error.to_string()))
    });
    match lost {
        (Ok(0), Ok(())) => Ok(Times::of(&times)),
        (Ok(lost), done) => Err(format!("{lost} calls of the driver were lost; {done:?}").into()),
        (Err(_), _) => Err("asking the driver has panicked".into()),
    }
}
