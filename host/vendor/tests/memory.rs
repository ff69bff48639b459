//! What a loaded shard is said to take, against what the process grew by: a process of its own for each, because what was freed before is used again.
#![cfg(target_os = "linux")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use host_core::ids::{ModelId, ModelName};
use host_engine::{DecoderSize, Engine as _, Kind, LoadOptions, Shard, Tensor, TensorSpec, generate, inspect, split};
use host_vendor::ort::{Library, OrtEngine, Provider, SearchPaths};

/// Pages that are in memory, in bytes.
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: f64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096.0
}

/// The shard that is loaded before any is measured.
const FIRST: &str = "first";
/// Says to a child of this test which shard it loads.
const SHARD_VARIABLE: &str = "SHARDHOST_TEST_SHARD";

#[test]
fn a_loaded_shard_takes_about_what_is_said() {
    let library = match Library::find(&SearchPaths::of_machine(Provider::Cpu, None)) {
        Ok(library) => library,
        Err(error) => {
            assert!(std::env::var_os("SHARDHOST_REQUIRE_ONNXRUNTIME").is_none(), "SHARDHOST_REQUIRE_ONNXRUNTIME is set and {error}");
            return println!("skipped: {error}");
        }
    };
    if let Some(file) = std::env::var_os(SHARD_VARIABLE) {
        return load(&library, Path::new(&file));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let decoder = DecoderSize { vocabulary: 4000, hidden: 512, layers: 4, heads: 8, kv_heads: 8, feed_forward: 1536, tied: false };
    let written = |name: &str, kind: &Kind| {
        let file = generate(kind, 1).expect("a model");
        let id = ModelId { name: ModelName::parse(name).expect("a name"), version: 1 };
        let shard = split(&inspect(&file, id).expect("it has blocks"), &[]).expect("one shard").remove(0);
        fs::write(folder.path().join(name), &shard.file).expect("room");
    };
    written(FIRST, &Kind::MobileNet { pixels: 32 });
    for (name, kind) in [("mobilenet", Kind::MobileNet { pixels: 224 }), ("decoder", Kind::Decoder(decoder)), ("resnet50", Kind::ResNet50 { pixels: 224 })] {
        written(name, &kind);
        // What was freed in this process would be used again, and nothing would grow.
        let child = Command::new(std::env::current_exe().expect("it runs"))
            .arg("--nocapture")
            .env(SHARD_VARIABLE, folder.path().join(name))
            // What is needed on loading only is given back at once, as driver processes do after each load.
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("grew by"), "{name}: {said}{}", String::from_utf8_lossy(&child.stderr));
        print!("{said}");
    }
}

fn load(library: &Library, file: &Path) {
    let engine = OrtEngine::open(&library.path, Provider::Cpu, &BTreeMap::new()).expect("it opens");
    let shard = |path: &Path| Shard::read(fs::read(path).expect("it was written").into(), None).expect("a shard");
    let started = |shard: &Shard| {
        let mut graph = engine.load(shard, &LoadOptions::default()).expect("it loads");
        let zeros = |spec: &TensorSpec| {
            let shape: Vec<usize> = spec.shape.iter().map(|dimension| dimension.fixed().unwrap_or(16)).collect();
            Tensor::zeros(spec.element_type, &shape).expect("a sound shape")
        };
        let inputs = graph.inputs().iter().map(zeros).collect();
        // Positions and lengths fit each other only where no cache is there; what counts is the memory.
        let ran = graph.run(inputs).is_ok();
        (graph, ran)
    };
    // The library itself comes into memory with the first graph.
    let first = started(&shard(&file.with_file_name(FIRST)));
    let shard = shard(file);
    let before = resident();
    let (graph, ran) = started(&shard);
    let (grown, said, weights) = (resident() - before, graph.memory().as_f64(), shard.weight_bytes.as_f64());
    println!("{}: ran {ran}, weights {weights:.0}, grew by {grown:.0} ({:.2} times), said {said:.0}", shard.id, grown / weights);
    drop(first);
    assert!(grown <= 1.25 * said, "{} grew by {grown:.0} bytes, {said:.0} were said", shard.id);
    assert!(grown >= 0.3 * said, "{} grew by {grown:.0} bytes only, {said:.0} were said", shard.id);
}
