//! The adapters of accelerators with fixed shapes, through the sandbox, on an engine that takes no other shapes and types than those of
//! its buckets and computes with tract.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/scenes.rs"]
mod scenes;

use std::sync::Arc;

use guests::component;
use host_core::{ids::Generation, units::Bytes};
use host_engine::{
    DecoderSize, ElementType, EncoderSize, Engine, EngineInfo, Engines, Error, Graph, Kind, LoadOptions, Shard, Tensor, TensorSpec, TractEngine, check_inputs,
    generate, inspect, split,
};
use host_plugin::{EngineErrorKind, Fault, Limits, PluginConfig, PluginHost, PluginSource, RunCall, SlotName};
use scenes::{Scene, model_id};

/// Lengths of symbols.
type Lengths = &'static [(&'static str, usize)];

/// Takes shards in these lengths only, and integers of 32 bits only.
#[derive(Clone, Debug)]
struct Fixed {
    name: &'static str,
    accelerator: &'static str,
    buckets: &'static [Lengths],
    attributes: Vec<(String, String)>,
}

impl Engine for Fixed {
    fn info(&self) -> EngineInfo {
        let own = EngineInfo { name: self.name.to_owned(), accelerator: self.accelerator.to_owned(), memory: Some(Bytes::mib(512)), ..TractEngine.info() };
        EngineInfo { element_types: vec![ElementType::Fp32, ElementType::Int32], attributes: self.attributes.clone(), ..own }
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        options.check_settings(self.name, &["core_mask"])?;
        let inner = TractEngine.load(shard, &LoadOptions::default())?;
        let buckets = self.buckets.iter().map(|lengths| shard.inputs.iter().map(|spec| closed(spec, lengths)).collect()).collect();
        Ok(Box::new(FixedGraph { inner, buckets }))
    }
}

fn closed(spec: &TensorSpec, lengths: Lengths) -> TensorSpec {
    let value = |term: &str| term.parse().ok().or_else(|| lengths.iter().find(|(name, _)| *name == term).map(|(_, length)| *length));
    let shape: Vec<usize> =
        spec.shape.iter().map(|dimension| dimension.to_string().split(" + ").map(|term| value(term).expect("a length for each symbol")).sum()).collect();
    let element_type = if spec.element_type == ElementType::Int64 { ElementType::Int32 } else { spec.element_type };
    TensorSpec::fixed(spec.name.clone(), element_type, &shape)
}

#[derive(Debug)]
struct FixedGraph {
    inner: Box<dyn Graph>,
    buckets: Vec<Vec<TensorSpec>>,
}

impl Graph for FixedGraph {
    fn inputs(&self) -> &[TensorSpec] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.inner.outputs()
    }

    fn memory(&self) -> Bytes {
        self.inner.memory()
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        if !self.buckets.iter().any(|bucket| check_inputs(bucket, &inputs).is_ok()) {
            return Err(Error::unsupported(format!(
                "no graph for {:?}",
                inputs.iter().map(|input| (input.element_type(), input.shape().to_vec())).collect::<Vec<_>>()
            )));
        }
        let specs = self.inner.inputs().to_vec();
        self.inner.run(inputs.iter().zip(&specs).map(|(input, spec)| input.cast(spec.element_type)).collect::<Result<_, _>>()?)
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(Self { inner: self.inner.share()?, buckets: self.buckets.clone() }))
    }

    fn buckets(&self) -> Vec<Vec<TensorSpec>> {
        self.buckets.clone()
    }
}

const RKNN: Fixed =
    Fixed { name: "rknn", accelerator: "rknn", buckets: &[&[("batch", 1), ("sequence", 32)], &[("batch", 1), ("sequence", 8)]], attributes: Vec::new() };

fn scene(engine: Fixed, limits: Limits) -> Scene {
    Scene::with_engines(PluginConfig { limits, ..PluginConfig::default() }, Engines::new(vec![Arc::new(TractEngine), Arc::new(engine)]))
}

/// The two halves of a small model.
fn halves(kind: &Kind) -> Vec<Arc<Shard>> {
    let inspection = inspect(&generate(kind, 7).unwrap(), model_id()).unwrap();
    let cuts = inspection.legal_cuts();
    split(&inspection, &cuts[cuts.len() / 2..=cuts.len() / 2]).unwrap().into_iter().map(Arc::new).collect()
}

fn encoder() -> Vec<Arc<Shard>> {
    halves(&Kind::Encoder(EncoderSize { vocabulary: 50, hidden: 16, layers: 2, heads: 2, feed_forward: 32, length_max: 64 }))
}

fn decoder() -> Vec<Arc<Shard>> {
    halves(&Kind::Decoder(DecoderSize { vocabulary: 50, hidden: 16, layers: 2, heads: 2, kv_heads: 1, feed_forward: 32, tied: false }))
}

/// Inputs of a shard at these lengths: ones for masks, positions after the past, and small numbers that differ for all else.
fn inputs(shard: &Shard, lengths: &[(&'static str, usize)], past: i64) -> Vec<Tensor> {
    let length = |term: &str| term.parse().ok().or_else(|| lengths.iter().find(|(name, _)| *name == term).map(|(_, length)| *length)).expect("a length");
    let made = |spec: &TensorSpec| {
        let shape: Vec<usize> = spec.shape.iter().map(|dimension| dimension.to_string().split(" + ").map(length).sum()).collect();
        let count: usize = shape.iter().product();
        match spec.name.as_str() {
            "attention_mask" => Tensor::from_i64(&shape, &vec![1; count]),
            "position_ids" => Tensor::from_i64(&shape, &(past..).take(count).collect::<Vec<_>>()),
            "input_ids" => Tensor::from_i64(&shape, &(0..50).cycle().skip(3).step_by(7).take(count).collect::<Vec<_>>()),
            _ => Tensor::from_f32(&shape, &(0..count).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect::<Vec<_>>()),
        }
        .unwrap()
    };
    shard.inputs.iter().map(made).collect()
}

fn assert_close(found: &[Tensor], expected: &[Tensor], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((found.element_type(), found.shape()), (expected.element_type(), expected.shape()), "{what}");
        let far = found.to_f64().iter().zip(expected.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-4, "{what}: {far}");
    }
}

#[test]
fn an_encoder_is_padded_to_buckets_and_answers_as_its_engine_does_without() {
    let scene = scene(RKNN, Limits::default());
    let adapter = scene.host.adapter("rknn").unwrap();
    for shard in encoder() {
        let mut instance = adapter.open(Arc::clone(&shard), 0).unwrap();
        assert!(
            instance.fit().attributes.contains(&("buckets".to_owned(), "batch = 1, sequence = 32; batch = 1, sequence = 8".to_owned())),
            "{:?}",
            instance.fit()
        );
        let mut direct = Engines::default().load("tract", &shard, &LoadOptions::default()).unwrap();
        for sequence in [1, 5, 8, 9, 32] {
            let inputs = inputs(&shard, &[("batch", 1), ("sequence", sequence)], 0);
            let found = instance.run(&RunCall::default(), inputs.clone()).unwrap();
            assert_close(&found, &direct.run(inputs).unwrap(), &format!("{} at {sequence}", shard.id));
        }
        assert_eq!(instance.copied_bytes(), 0);
        let long = instance.run(&RunCall::default(), inputs(&shard, &[("batch", 1), ("sequence", 33)], 0)).expect_err("no bucket is so long");
        assert!(matches!(long.fault(), Fault::Engine { kind: EngineErrorKind::Invalid, .. }), "{long}");
        assert!(long.to_string().contains("dimension `sequence`") && long.to_string().contains("is 33, the largest bucket has 32"), "{long}");
    }
    assert!(scene.events().is_empty(), "{:?}", scene.events());
}

#[test]
fn a_decoder_with_its_past_is_padded_to_buckets_and_answers_as_its_engine_does_without() {
    const BUCKETS: [Lengths; 2] =
        [&[("batch_size", 1), ("sequence_length", 1), ("past_sequence_length", 16)], &[("batch_size", 1), ("sequence_length", 8), ("past_sequence_length", 8)]];
    let scene = scene(Fixed { buckets: &BUCKETS, name: "acl", accelerator: "ascend", ..RKNN }, Limits::default());
    let adapter = scene.host.adapter("ascend").unwrap();
    for shard in decoder() {
        let mut instance = adapter.open(Arc::clone(&shard), 0).unwrap();
        let mut direct = Engines::default().load("tract", &shard, &LoadOptions::default()).unwrap();
        for (tokens, past) in [(1, 16), (1, 9), (5, 0), (8, 8), (2, 3), (1, 0)] {
            let inputs = inputs(&shard, &[("batch_size", 1), ("sequence_length", tokens), ("past_sequence_length", past)], past as i64);
            let found = instance.run(&RunCall::default(), inputs.clone()).unwrap();
            assert_close(&found, &direct.run(inputs).unwrap(), &format!("{} with {tokens} after {past}", shard.id));
        }
    }
}

#[test]
fn what_operations_make_in_one_call_is_limited() {
    let scene = scene(RKNN, Limits { operation_bytes_max: 1000, ..Limits::default() });
    let shard = encoder().remove(1);
    let mut instance = scene.host.adapter("rknn").unwrap().open(Arc::clone(&shard), 0).unwrap();
    let error = instance.run(&RunCall::default(), inputs(&shard, &[("batch", 1), ("sequence", 20)], 0)).expect_err("32 tokens of 16 floats are more");
    assert!(matches!(error.fault(), Fault::Engine { kind: EngineErrorKind::Exhausted, .. }), "{error}");
    assert!(error.to_string().contains("1000 are allowed"), "{error}");
}

#[test]
fn an_engine_that_cannot_be_used_is_no_offer_and_the_log_says_why() {
    let reason = ("unusable".to_owned(), "librknnrt.so: no such file".to_owned());
    let scene = scene(Fixed { attributes: vec![reason], ..RKNN }, Limits::default());
    assert!(scene.host.adapter("rknn").unwrap().probe().unwrap().is_empty());
    scene.wait_for("line", |event| format!("{event:?}").contains("engine rknn cannot be used: librknnrt.so: no such file"));
}

#[test]
fn adapters_beside_the_one_of_the_cpu_are_there_when_they_are_asked_for() {
    let scene = scene(RKNN, Limits::default());
    let there = || scene.host.adapters().iter().map(|slot| slot.name().to_string()).collect::<Vec<_>>();
    assert_eq!(there(), ["adapter/cpu"]);
    assert_eq!(scene.host.adapter_kinds(), ["ascend", "cpu", "cuda", "rknn", "tensorrt"]);
    assert_eq!(scene.host.adapter("rknn").unwrap().bearer().unwrap().generation, Generation(1));
    assert_eq!(there(), ["adapter/cpu", "adapter/rknn"]);
    let slot = SlotName::Adapter("ascend".to_owned());
    scene.host.commit(scene.host.prepare(&PluginSource::builtin("ascend-adapter").unwrap(), Some(slot), None).unwrap()).unwrap();
    assert_eq!(scene.host.adapter("ascend").unwrap().bearer().unwrap().generation, Generation(2), "on top of the built-in one");
}

#[test]
fn operations_are_for_adapters_in_a_version_that_this_host_offers() {
    let imports = |import: &str, kind: &str| {
        let bytes = component(&[import], &["shardhost:plugin/plugin@0.1.0", &format!("shardhost:plugin/{kind}@0.1.0")]);
        PluginHost::inspect(&PluginSource { name: "x.wasm".to_owned(), bytes: bytes.into(), manifest: None }).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(imports("shardhost:tensors/operations@0.1.0", "adapter"), Ok(()));
    assert_eq!(imports("shardhost:tensors/operations@0.1.4", "adapter"), Ok(()));
    for (import, kind) in [("operations@0.1.0", "routing"), ("operations@0.2.0", "adapter"), ("operations", "adapter"), ("secrets@0.1.0", "adapter")] {
        let import = format!("shardhost:tensors/{import}");
        let text = imports(&import, kind).expect_err("it is not granted");
        assert!(text.contains(&format!("imports `{import}`")), "{text}");
    }
    let bytes = |name: &str| PluginHost::inspect(&PluginSource::builtin(name).unwrap()).unwrap().imports;
    assert!(bytes("rknn-adapter").iter().any(|import| import == "shardhost:tensors/operations@0.1.0"));
    assert!(!bytes("cpu-adapter").iter().any(|import| import.starts_with("shardhost:tensors")), "it runs on hosts that do not offer them");
}
