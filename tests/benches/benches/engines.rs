//! Every engine that computes on the CPU on every kind of model, on 1 and 2 threads: the time of a run, loading, memory, and the largest
//! difference from the golden answers; or why the engine does not take the model. Each in a process of its own, so that memory is
//! that of one engine with one model, and pools of threads disturb nobody. ONNX Runtime is among them where it is found. And for each
//! model whether `auto` took the one that was fastest. Arguments name the models that count.

use std::{collections::BTreeMap, error::Error, fs, path::Path, process::Command, sync::Arc, time::Instant};

use host_core::ids::{ModelId, ModelName};
use host_engine::{
    DecoderSize, ElementType, EncoderSize, Engine, EngineInfo, Engines, Golden, Graph, Inspection, Kind, LoadOptions, Measured, OnnxFile, Outcome, RtenEngine,
    Seed, Shard, Tensor, TensorSpec, TractEngine, generate, golden_difference, inspect,
};
use host_vendor::ort::{Library, OrtEngine, Provider, SearchPaths};
use serde_json::{Value, json};
use shardhost_benches::{report, round};

/// Names a cell of the table to a child.
const CELL: &str = "measure-cell";
/// Time for the runs of a cell, in seconds, after the first.
const RUNS_S: f64 = 3.0;
/// Fewest and most runs.
const RUNS: (usize, usize) = (5, 2_000);
/// The engine that chooses another one.
const AUTO: &str = "auto";
/// Threads of a run.
const THREADS: [usize; 2] = [1, 2];

/// A column of the table.
struct Model {
    name: &'static str,
    /// From the models folder, or generated.
    kind: Option<fn() -> Kind>,
    /// Lengths of the open axes in the runs that are timed.
    lengths: &'static [(&'static str, usize)],
}

/// Six layers of width 384, as small sentence encoders have.
fn encoder() -> EncoderSize {
    EncoderSize { vocabulary: 8_000, hidden: 384, layers: 6, heads: 12, feed_forward: 1536, length_max: 256 }
}

/// Eight layers of width 512, 28 million parameters with the embedding.
fn decoder() -> DecoderSize {
    DecoderSize { vocabulary: 8_000, hidden: 512, layers: 8, heads: 8, kv_heads: 4, feed_forward: 1376, tied: true }
}

const PREFILL: &[(&str, usize)] = &[("past_sequence_length", 0), ("sequence_length", 64)];
const STEP: &[(&str, usize)] = &[("past_sequence_length", 128), ("sequence_length", 1)];

const MODELS: [Model; 11] = [
    Model { name: "digits", kind: None, lengths: &[] },
    Model { name: "mlp", kind: None, lengths: &[] },
    Model { name: "mobilenet", kind: Some(|| Kind::MobileNet { pixels: 224 }), lengths: &[] },
    Model { name: "resnet50", kind: Some(|| Kind::ResNet50 { pixels: 224 }), lengths: &[] },
    Model { name: "encoder", kind: Some(|| Kind::Encoder(encoder())), lengths: &[("sequence", 128)] },
    Model { name: "encoder-int8", kind: Some(|| Kind::EncoderInt8(encoder())), lengths: &[("sequence", 128)] },
    Model { name: "decoder-prefill", kind: Some(|| Kind::Decoder(decoder())), lengths: PREFILL },
    Model { name: "decoder-step", kind: Some(|| Kind::Decoder(decoder())), lengths: STEP },
    Model { name: "decoder-int4-prefill", kind: Some(|| Kind::DecoderInt4(four_bits())), lengths: PREFILL },
    Model { name: "decoder-int4-step", kind: Some(|| Kind::DecoderInt4(four_bits())), lengths: STEP },
    Model { name: "mlp-wide", kind: Some(|| Kind::Mlp(host_engine::MlpSize { inputs: 1024, hidden: 1024, layers: 8, outputs: 10 })), lengths: &[] },
];

/// Its widths are multiples of the 32 weights of a block.
fn four_bits() -> DecoderSize {
    DecoderSize { feed_forward: 1408, ..decoder() }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == CELL) {
        let [engine, model, threads, file] = arguments.get(place + 1..).unwrap_or_default() else { return Err("a cell has four words".into()) };
        return measure(engine, model, threads.parse()?, Path::new(file));
    }
    let folder = tempfile::tempdir()?;
    // Cargo's own words begin with dashes.
    let wanted: Vec<&String> = arguments.iter().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for model in MODELS.iter().filter(|model| wanted.is_empty() || wanted.iter().any(|name| *name == model.name)) {
        let file = folder.path().join(model.name);
        write(model, &file)?;
        for threads in THREADS {
            let mut rows = Vec::new();
            for EngineInfo { name, version, .. } in engines()?.info() {
                let cell = Command::new(std::env::current_exe()?).args([CELL, &name, model.name, &threads.to_string()]).arg(&file).output()?;
                let said: Value = serde_json::from_slice(&cell.stdout)
                    .unwrap_or_else(|_| json!({ "refused": String::from_utf8_lossy(&cell.stderr).lines().next_back().unwrap_or_default() }));
                let mut values = json!({ "engine": name, "version": version, "model": model.name, "threads": threads });
                if let (Some(values), Value::Object(said)) = (values.as_object_mut(), said) {
                    values.extend(said);
                }
                report("engines", values.clone());
                rows.push(values);
            }
            report("engines", chosen(&rows).ok_or("no engine takes the model, or none is `auto`")?);
        }
    }
    Ok(())
}

/// Those that are part of the host, and ONNX Runtime where it is.
fn engines() -> Result<Engines, Box<dyn Error>> {
    let mut engines: Vec<Arc<dyn Engine>> = vec![Arc::new(TractEngine), Arc::new(RtenEngine)];
    if let Ok(library) = Library::find(&SearchPaths::of_machine(Provider::Cpu, None)) {
        engines.push(Arc::new(OrtEngine::open(&library.path, Provider::Cpu, &BTreeMap::new())?));
    }
    Ok(Engines::new(engines))
}

/// What `auto` took beside the fastest of the others whose answers are right, by the times of these rows of one model.
fn chosen(rows: &[Value]) -> Option<Value> {
    let auto = rows.iter().find(|row| row["engine"] == AUTO)?;
    // Loading has held each against the golden answers.
    let is_right = |row: &&Value| row["engine"] != AUTO && row["largest_difference"].is_number();
    let time = |row: &Value| row["p50_ms"].as_f64().unwrap_or(f64::INFINITY);
    let fastest = rows.iter().filter(is_right).min_by(|one, two| time(one).total_cmp(&time(two)))?;
    let took = rows.iter().find(|row| row["engine"] == auto["took"])?;
    Some(json!({
        "model": auto["model"],
        "threads": auto["threads"],
        "auto_took": auto["took"],
        "fastest": fastest["engine"],
        "took_to_fastest": round(time(took) / time(fastest)),
    }))
}

/// The whole model as a shard and its golden answers, beside each other: children do not compute these again.
fn write(model: &Model, file: &Path) -> Result<(), Box<dyn Error>> {
    let read = |name: &str| OnnxFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../models/{name}/1/model.onnx")));
    let graph = match model.kind {
        Some(kind) => OnnxFile::parse(generate(&kind(), 1)?.to_bytes()?, None)?,
        None => read(model.name)?,
    };
    let inspection: Inspection = inspect(&graph, ModelId { name: ModelName::parse(model.name)?, version: 1 })?.with_golden()?;
    let shard = inspection.shard(inspection.profile().whole())?;
    fs::write(file, &shard.file)?;
    fs::write(file.with_extension("golden"), shard.golden.ok_or("it was inspected with golden answers")?.to_bytes()?)?;
    Ok(())
}

/// One cell: prints its values as one line.
fn measure(engine: &str, model: &str, threads: usize, file: &Path) -> Result<(), Box<dyn Error>> {
    let model = MODELS.iter().find(|known| known.name == model).ok_or("no such model")?;
    let golden = Golden::from_bytes(fs::read(file.with_extension("golden"))?.into())?;
    let shard = Shard::read(fs::read(file)?.into(), Some(golden.clone()))?;
    let engines = engines()?;
    let before_bytes = memory_bytes("VmRSS:");
    let started = Instant::now();
    let mut graph = engines.load(engine, &shard, &LoadOptions { threads, ..LoadOptions::default() })?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let difference = golden_difference(graph.as_mut(), &golden)?;
    let inputs = graph.inputs().iter().map(|spec| input(spec, model.lengths)).collect::<Result<Vec<_>, _>>()?;
    let mut times_ms = times(graph.as_mut(), &inputs)?;
    times_ms.sort_by(f64::total_cmp);
    let agrees = |row: &Measured| if let Outcome::Agrees(figures) = &row.outcome { Some(figures.run) } else { None };
    let measured = engines.measured(&shard.digest);
    let took = measured.iter().filter_map(|row| Some((row, agrees(row)?))).min_by(|one, two| one.1.0.total_cmp(&two.1.0)).map(|(row, _)| &row.engine);
    let values = json!({
        "took": took,
        "min_ms": round(times_ms[0]),
        "p50_ms": round(times_ms[times_ms.len() / 2]),
        "runs": times_ms.len(),
        "load_ms": round(load_ms),
        // Beside the file itself, which this process holds, too.
        "memory_mib": round(memory_bytes("VmRSS:").saturating_sub(before_bytes) as f64 / f64::from(1 << 20)),
        "memory_most_mib": round(memory_bytes("VmHWM:").saturating_sub(before_bytes) as f64 / f64::from(1 << 20)),
        "said_memory_mib": round(graph.memory().as_f64() / f64::from(1 << 20)),
        "weights_mib": round(shard.weight_bytes.as_f64() / f64::from(1 << 20)),
        "largest_difference": difference,
    });
    println!("{values}");
    Ok(())
}

fn times(graph: &mut dyn Graph, inputs: &[Tensor]) -> Result<Vec<f64>, host_engine::Error> {
    graph.run(inputs.to_vec())?;
    let all = Instant::now();
    let mut times_ms = Vec::new();
    while times_ms.len() < RUNS.0 || (all.elapsed().as_secs_f64() < RUNS_S && times_ms.len() < RUNS.1) {
        let given = inputs.to_vec();
        let started = Instant::now();
        graph.run(given)?;
        times_ms.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times_ms)
}

/// Seeded numbers; masks of ones, and positions that go on from the past.
fn input(spec: &TensorSpec, lengths: &[(&str, usize)]) -> Result<Tensor, host_engine::Error> {
    let length = |part: &str| part.parse().unwrap_or_else(|_| lengths.iter().find(|(name, _)| *name == part).map_or(1, |(_, length)| *length));
    let shape: Vec<usize> = spec.shape.iter().map(|dimension| dimension.to_string().split(" + ").map(length).sum()).collect();
    let count: usize = shape.iter().product();
    let mut seed = Seed::new(7);
    if spec.element_type != ElementType::Int64 {
        return Tensor::from_f32(&shape, &seed.floats(count, 1.0));
    }
    let past = length("past_sequence_length");
    let integer = |place: usize| match spec.name.as_str() {
        name if name.contains("mask") => 1,
        name if name.contains("position") => (past + place) as i64,
        _ => seed.below(1_000) as i64,
    };
    Tensor::from_i64(&shape, &(0..count).map(integer).collect::<Vec<_>>())
}

/// A figure of this process in bytes, as Linux says it; 0 where nothing does.
fn memory_bytes(figure: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(figure));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}
