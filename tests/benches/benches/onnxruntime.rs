//! ONNX Runtime as an engine, in this process: generated models and those of a folder, one run after another. Writes the generated ones
//! to a folder, with the shapes of their inputs beside them, where `python_onnxruntime.py` takes them to measure the same.
//!
//! Arguments: `provider=cpu` or `cuda`, `tensorrt`, `cann`; `threads=1,2`; `seconds=2` for each; `folder=PATH`; `set:NAME=VALUE` for settings
//! of the engine, such as `set:spinning=true`.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use host_core::ids::{ModelId, ModelName};
use host_engine::{DecoderSize, EncoderSize, Engine as _, Inspection, Kind, LoadOptions, OnnxFile, Tensor, TensorSpec, generate, inspect, split};
use host_vendor::ort::{Library, OrtEngine, Provider, SearchPaths};
use serde_json::json;
use shardhost_benches::{report, round};

/// Lengths of open dimensions, for all models: an encoder at 64 tokens, a decoder at one more after 128.
const LENGTHS: [(&str, usize); 5] = [("batch", 1), ("batch_size", 1), ("sequence", 64), ("past_sequence_length", 128), ("sequence_length", 1)];
/// Ranges for TensorRT in which these lie.
const PROFILES: &str = "sequence=1/64/128,past_sequence_length=0/128/256,sequence_length=1/1/64";
/// Runs that are not counted: they touch the weights for the first time.
const WARMING_RUNS: usize = 3;

struct Arguments {
    provider: Provider,
    threads: Vec<usize>,
    time: Duration,
    folder: PathBuf,
    settings: BTreeMap<String, String>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut read = Arguments {
        provider: Provider::Cpu,
        threads: vec![1, 2],
        time: Duration::from_secs(2),
        folder: env::temp_dir().join("shardhost-onnxruntime"),
        settings: BTreeMap::new(),
    };
    for argument in env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        let (name, value) = argument.split_once('=').ok_or_else(|| format!("argument {argument} is not NAME=VALUE"))?;
        match name {
            "provider" => {
                let name = if value == "cpu" { "ort" } else { value };
                read.provider = Provider::of_engine(name).ok_or_else(|| format!("there is no provider {value}"))?;
            }
            "threads" => read.threads = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "seconds" => read.time = Duration::from_secs_f64(value.parse()?),
            "folder" => read.folder = value.into(),
            _ => match name.strip_prefix("set:") {
                Some(setting) => drop(read.settings.insert(setting.to_owned(), value.to_owned())),
                None => return Err(format!("there is no argument {name}").into()),
            },
        }
    }
    if read.provider == Provider::TensorRt {
        read.settings.entry("profiles".into()).or_insert_with(|| PROFILES.into());
    }
    Ok(read)
}

fn kinds() -> Vec<(&'static str, Kind)> {
    let encoder = EncoderSize { vocabulary: 8000, hidden: 384, layers: 6, heads: 12, feed_forward: 1536, length_max: 128 };
    let decoder = DecoderSize { vocabulary: 8000, hidden: 512, layers: 8, heads: 8, kv_heads: 4, feed_forward: 1408, tied: true };
    vec![
        ("mobilenet", Kind::MobileNet { pixels: 224 }),
        ("resnet50", Kind::ResNet50 { pixels: 224 }),
        ("encoder", Kind::Encoder(encoder)),
        ("decoder-step", Kind::Decoder(decoder)),
    ]
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    fs::create_dir_all(&arguments.folder)?;
    let library = Library::find(&SearchPaths::of_machine(arguments.provider, None))?;
    let engine = OrtEngine::open(&library.path, arguments.provider, &arguments.settings)?;
    for (name, kind) in kinds() {
        let file = arguments.folder.join(format!("{name}.onnx"));
        let bytes = generate(&kind, 1)?.to_bytes()?;
        fs::write(&file, &bytes)?;
        let id = ModelId { name: ModelName::parse(name)?, version: 1 };
        let inspection = inspect(&OnnxFile::parse(bytes, None)?, id)?;
        let inputs = inspection.inputs().iter().map(given).collect::<Result<Vec<_>, _>>()?;
        let shapes: BTreeMap<&str, &[usize]> = inspection.inputs().iter().zip(&inputs).map(|(spec, tensor)| (spec.name.as_str(), tensor.shape())).collect();
        fs::write(file.with_extension("shapes.json"), json!(shapes).to_string())?;
        for &threads in &arguments.threads {
            measure(&engine, &inspection, &inputs, threads, &arguments)?;
        }
    }
    Ok(())
}

fn measure(engine: &OrtEngine, inspection: &Inspection, inputs: &[Tensor], threads: usize, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let shard = split(inspection, &[])?.remove(0);
    let started = Instant::now();
    let mut graph = engine.load(&shard, &LoadOptions { threads, ..LoadOptions::default() })?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < 2 * WARMING_RUNS || begun.elapsed() < arguments.time {
        let given = inputs.to_vec();
        let started = Instant::now();
        graph.run(given)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.drain(..WARMING_RUNS);
    times.sort_by(f64::total_cmp);
    let values = json!({
        "model": inspection.profile().id().name.to_string(),
        "provider": arguments.provider.engine(),
        "version": engine.info().version,
        "threads": threads,
        "load_ms": round(load_ms),
        "p50_ms": round(times[times.len() / 2]),
        "min_ms": round(times[0]),
        "runs": times.len(),
        "memory_mb": round(graph.memory().megabytes()),
    });
    report("onnxruntime", values);
    Ok(())
}

/// What `python_onnxruntime.py` gives as well: whole numbers are 1, floats go up and down.
fn given(spec: &TensorSpec) -> Result<Tensor, Box<dyn Error>> {
    let length = |text: &str| -> Result<usize, String> {
        let one = |part: &str| {
            let known = || LENGTHS.iter().find(|(name, _)| *name == part).map(|(_, length)| *length);
            part.parse().ok().or_else(known).ok_or_else(|| format!("input {spec} has a length {part} that is not known"))
        };
        text.split(" + ").map(one).sum()
    };
    let shape = spec.shape.iter().map(|dimension| length(&dimension.to_string())).collect::<Result<Vec<_>, _>>()?;
    let count: usize = shape.iter().product();
    Ok(match spec.element_type.is_integer() {
        true => Tensor::from_i64(&shape, &vec![1; count])?,
        false => Tensor::from_f32(&shape, &(0..count).map(|index| (index % 255) as f32 / 255.0 - 0.5).collect::<Vec<_>>())?,
    })
}
