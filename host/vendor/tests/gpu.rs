//! Engines `cuda` and `tensorrt` on a real GPU: right answers for every generated kind, whole and cut, and for others a refusal that names the
//! operator. They test nothing where there is no GPU, unless `SHARDHOST_REQUIRE_GPU` names the engine; `tests/gpu/run` sets it.
//! They have never run on a GPU so far.
#![allow(clippy::panic, reason = "tests fail by panicking")]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use host_core::ids::{ModelId, ModelName};
use host_engine::{CnnSize, DecoderSize, EncoderSize, Engine as _, Engines, Kind, LoadOptions, MlpSize, OnnxFile, Shard, generate, inspect, split};
use host_vendor::ort::{Library, OrtEngine, Provider, SearchPaths};

/// Ranges in which the golden inputs of all models here lie.
const PROFILES: &str = "sequence=1/8/32,sequence_length=1/8/32,past_sequence_length=0/8/32";

fn engine(provider: Provider) -> Option<OrtEngine> {
    let settings: BTreeMap<String, String> = match provider {
        Provider::TensorRt => [("profiles".to_owned(), PROFILES.to_owned())].into(),
        _ => BTreeMap::new(),
    };
    let found = Library::find(&SearchPaths::of_machine(provider, None));
    match found.and_then(|library| OrtEngine::open(&library.path, provider, &settings)) {
        Ok(engine) => Some(engine),
        Err(error) => {
            let required = std::env::var("SHARDHOST_REQUIRE_GPU").is_ok_and(|name| name == provider.engine());
            assert!(!required, "SHARDHOST_REQUIRE_GPU is {} and {error}", provider.engine());
            println!("skipped: {error}");
            None
        }
    }
}

fn kinds() -> Vec<(&'static str, Kind)> {
    vec![
        ("mlp", Kind::Mlp(MlpSize { inputs: 20, hidden: 40, layers: 4, outputs: 5 })),
        ("cnn", Kind::Cnn(CnnSize { pixels: 16, channels: 8, blocks: 4, classes: 5 })),
        ("mobilenet", Kind::MobileNet { pixels: 64 }),
        ("encoder", Kind::Encoder(EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 })),
        ("decoder", Kind::Decoder(DecoderSize { vocabulary: 60, hidden: 32, layers: 2, heads: 4, kv_heads: 2, feed_forward: 48, tied: true })),
    ]
}

fn shards(file: &OnnxFile, name: &str) -> Vec<Shard> {
    let id = ModelId { name: ModelName::parse(name).expect("a name"), version: 1 };
    let inspection = inspect(file, id).expect("it has blocks").with_golden().expect("golden answers");
    [Vec::new(), inspection.legal_cuts()].iter().flat_map(|cuts| split(&inspection, cuts).expect("legal cuts")).collect()
}

fn every_kind_is_right(provider: Provider) {
    let Some(engine) = engine(provider) else { return };
    let (name, engines) = (provider.engine(), Engines::new(vec![Arc::new(engine)]));
    for (kind_name, kind) in kinds() {
        for shard in shards(&generate(&kind, 7).expect("a model"), kind_name) {
            // Loading checks the golden answers.
            engines.load(name, &shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn cuda_gives_the_golden_answers_of_every_kind() {
    every_kind_is_right(Provider::Cuda);
}

#[test]
fn tensorrt_gives_the_golden_answers_of_every_kind() {
    every_kind_is_right(Provider::TensorRt);
}

#[test]
fn a_gpu_says_its_name_and_its_memory() {
    let Some(engine) = engine(Provider::Cuda) else { return };
    let info = engine.info();
    assert!(info.memory.is_some_and(|memory| memory.0 > 1 << 30), "{:?}", info.memory);
    assert!(info.attributes.iter().any(|(name, gpu)| name == "gpu" && !gpu.is_empty()), "{:?}", info.attributes);
}

/// An operator that CUDA's provider of this version has no kernel for, if there is one: products of 8-bit integers with dynamic ranges.
#[test]
fn what_would_run_on_the_cpu_is_refused_with_the_operators_name_or_runs_on_the_gpu() {
    let Some(engine) = engine(Provider::Cuda) else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/int8-dynamic.onnx");
    let engines = Engines::new(vec![Arc::new(engine)]);
    for shard in shards(&OnnxFile::open(&path).expect("a committed fixture"), "int8-dynamic") {
        if let Err(error) = engines.load("cuda", &shard, &LoadOptions::default()) {
            let text = error.to_string();
            assert!(text.contains("engine cuda would leave work to the CPU: it does not take operator ") || text.contains("does not take operator"), "{text}");
        }
    }
}
