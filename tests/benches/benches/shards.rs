//! A MobileNet-like model in 2, 4 and 6 shards, run one after another in one process, against the whole model. The runs of
//! both take turns, so that a busy machine disturbs both alike.

use std::{error::Error, time::Instant};

use host_core::ids::{ModelId, ModelName};
use host_engine::{Engines, Graph, Inspection, Kind, LoadOptions, OnnxFile, Tensor, generate, inspect, split};
use serde_json::json;
use shardhost_benches::{report, round};

const RUNS: usize = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let generated = generate(&Kind::MobileNet { pixels: 224 }, 1)?;
    let id = ModelId { name: ModelName::parse("mobilenet")?, version: 1 };
    let inspection = inspect(&OnnxFile::parse(generated.to_bytes()?, None)?, id)?.with_golden()?;
    let engines = Engines::default();
    let pixels: Vec<f32> = (0..3 * 224 * 224).map(|index| (index % 255) as f32 / 255.0).collect();
    let input = Tensor::from_f32(&[1, 3, 224, 224], &pixels)?;
    let mut whole = chain(&inspection, &engines, 1)?;
    for count in [2, 4, 6] {
        let mut shards = chain(&inspection, &engines, count)?;
        let (mut whole_ms, mut shards_ms) = (Vec::new(), Vec::new());
        let mut outputs = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let started = Instant::now();
            outputs.0 = run(&mut whole, &input)?;
            whole_ms.push(started.elapsed().as_secs_f64() * 1e3);
            let started = Instant::now();
            outputs.1 = run(&mut shards, &input)?;
            shards_ms.push(started.elapsed().as_secs_f64() * 1e3);
        }
        whole_ms.sort_by(f64::total_cmp);
        shards_ms.sort_by(f64::total_cmp);
        let values = json!({
            "shards": count,
            "whole_ms": { "min": round(whole_ms[0]), "p50": round(whole_ms[RUNS / 2]) },
            "shards_ms": { "min": round(shards_ms[0]), "p50": round(shards_ms[RUNS / 2]) },
            "ratio_min": round(shards_ms[0] / whole_ms[0]),
            "ratio_p50": round(shards_ms[RUNS / 2] / whole_ms[RUNS / 2]),
            "largest_difference": largest_difference(&outputs.0, &outputs.1),
        });
        report("shards", values);
    }
    Ok(())
}

/// The model in so many shards of about as many floating point operations each.
fn chain(inspection: &Inspection, engines: &Engines, count: usize) -> Result<Vec<Box<dyn Graph>>, Box<dyn Error>> {
    let blocks = inspection.profile().blocks();
    let total: f64 = blocks.iter().map(|block| block.flops).sum();
    let (mut cuts, mut sum) = (Vec::new(), 0.0);
    for (index, block) in blocks.iter().enumerate().take(blocks.len() - 1) {
        sum += block.flops;
        if sum >= total * (cuts.len() + 1) as f64 / count as f64 && cuts.len() + 1 < count {
            cuts.push(u32::try_from(index + 1)?);
        }
    }
    assert_eq!(cuts.len() + 1, count, "the model has too few blocks");
    let load = |shard| engines.load("tract", shard, &LoadOptions::default());
    Ok(split(inspection, &cuts)?.iter().map(load).collect::<Result<_, _>>()?)
}

fn run(chain: &mut [Box<dyn Graph>], input: &Tensor) -> Result<Vec<Tensor>, host_engine::Error> {
    chain.iter_mut().try_fold(vec![input.clone()], |tensors, graph| graph.run(tensors))
}

fn largest_difference(one: &[Tensor], two: &[Tensor]) -> f64 {
    let pairs = one.iter().zip(two).flat_map(|(one, two)| one.to_f64().into_iter().zip(two.to_f64()));
    pairs.map(|(one, two)| (one - two).abs()).fold(0.0, f64::max)
}
