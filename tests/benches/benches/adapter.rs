//! The whole adapter path (host to guest to engine and back) against the engine called directly, in turns on the same graph: tract, and
//! ONNX Runtime where its library is found, both in this process. No byte may go through the guest's memory.

use std::{collections::BTreeMap, error::Error, path::Path, sync::Arc, time::Instant};

use host_core::ids::{ModelId, ModelName};
use host_engine::{Engine, Engines, Inspection, Kind, LoadOptions, OnnxFile, Tensor, generate, inspect};
use host_plugin::{CodeFolder, EventSink, Phase, PluginConfig, PluginHost, RunCall};
use host_vendor::ort::{Library, OrtEngine, Provider, SearchPaths};
use serde_json::json;
use shardhost_benches::{report, round};

/// How often the two take turns.
const BLOCKS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let model = |name: &str| OnnxFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../models/{name}/1/model.onnx")));
    let (digits, mlp) = (model("digits")?, model("mlp")?);
    let mobilenet = OnnxFile::parse(generate(&Kind::MobileNet { pixels: 224 }, 1)?.to_bytes()?, None)?;
    let image = |name: &str, pixels: usize, channels: usize| -> Result<(String, Tensor), host_engine::Error> {
        let values: Vec<f32> = (0..channels * pixels * pixels).map(|index| (index % 17) as f32 / 17.0).collect();
        Ok((name.to_owned(), Tensor::from_f32(&[1, channels, pixels, pixels], &values)?))
    };
    let row: Vec<f32> = (0..16_u8).map(f32::from).collect();
    let cache = tempfile::tempdir()?;
    for (engine, engines) in both()? {
        let engines = Arc::new(engines);
        let config = PluginConfig { code: Some(CodeFolder::at(cache.path())), ..PluginConfig::default() };
        let plugins = PluginHost::start(config, engines.clone(), EventSink::none())?;
        let bench = Bench { engine, engines: &engines, plugins: &plugins };
        bench.measure(&mlp, ("mlp".to_owned(), Tensor::from_f32(&[1, 16], &row)?), 50_000)?;
        bench.measure(&digits, image("digits", 8, 1)?, 20_000)?;
        bench.measure(&mobilenet, image("mobilenet", 224, 3)?, 200)?;
    }
    Ok(())
}

/// The engines by name, each the default one of its own.
fn both() -> Result<Vec<(&'static str, Engines)>, Box<dyn Error>> {
    let mut both = vec![("tract", Engines::default())];
    match Library::find(&SearchPaths::of_machine(Provider::Cpu, None)) {
        Ok(library) => {
            let engine: Arc<dyn Engine> = Arc::new(OrtEngine::open(&library.path, Provider::Cpu, &BTreeMap::new())?);
            both.push(("ort", Engines::new(vec![engine])));
        }
        Err(error) => eprintln!("without ort: {error}"),
    }
    Ok(both)
}

struct Bench<'a> {
    engine: &'static str,
    engines: &'a Engines,
    plugins: &'a PluginHost,
}

impl Bench<'_> {
    fn measure(&self, file: &OnnxFile, (name, input): (String, Tensor), runs: usize) -> Result<(), Box<dyn Error>> {
        let id = ModelId { name: ModelName::parse(&name)?, version: 1 };
        let inspection: Inspection = inspect(file, id)?.with_golden()?;
        let shard = Arc::new(inspection.shard(inspection.profile().whole())?);
        let mut direct = self.engines.load(self.engine, &shard, &LoadOptions::default())?;
        let mut adapter = self.plugins.adapter("cpu")?.open(shard, 0)?;
        let call = RunCall { request: 1, sequence: 0, phase: Phase::Whole, past_tokens: 0, new_tokens: 0, batch: 1 };
        let (mut direct_us, mut adapter_us) = (Vec::new(), Vec::new());
        // In blocks that take turns: run by run, each would find the caches as the other left them.
        for _ in 0..BLOCKS {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            for _ in 0..runs / BLOCKS {
                let started = Instant::now();
                one = direct.run(vec![input.clone()])?;
                direct_us.push(started.elapsed().as_secs_f64() * 1e6);
            }
            for _ in 0..runs / BLOCKS {
                let started = Instant::now();
                two = adapter.run(&call, vec![input.clone()])?;
                adapter_us.push(started.elapsed().as_secs_f64() * 1e6);
            }
            assert_eq!(one, two, "both paths compute the same");
        }
        let runs = direct_us.len();
        assert_eq!(adapter.copied_bytes(), 0, "nothing goes through the guest");
        let total = |times: &[f64]| times.iter().sum::<f64>();
        let throughput = total(&direct_us) / total(&adapter_us);
        direct_us.sort_by(f64::total_cmp);
        adapter_us.sort_by(f64::total_cmp);
        let added = adapter_us[runs / 2] - direct_us[runs / 2];
        let values = json!({
            "model": name,
            "engine": self.engine,
            "direct_p50_us": round(direct_us[runs / 2]),
            "adapter_p50_us": round(adapter_us[runs / 2]),
            "added_p50_us": round(added),
            "throughput_ratio": round(throughput),
            "throughput_ratio_p50": round(direct_us[runs / 2] / adapter_us[runs / 2]),
            "bytes_through_the_guest": adapter.copied_bytes(),
        });
        report("adapter", values);
        Ok(())
    }
}
