//! Runs shards in a row and holds them against the whole model.

use std::collections::HashMap;

use host_core::ids::{ModelId, ModelName};
use host_engine::{ElementType, Engines, Inspection, LoadOptions, OnnxFile, Seed, Shard, Tensor, TensorSpec, inspect, split};

pub type Named = HashMap<String, Tensor>;

/// How near shards must come to the whole model, as a part of the largest value.
#[derive(Clone, Copy, Debug)]
pub enum Near {
    /// Bit for bit.
    Exact,
    /// With the reason at the place where it is used.
    Within(f64),
}

pub fn id(name: &str) -> ModelId {
    ModelId { name: ModelName::parse(name).expect("a plain name"), version: 1 }
}

pub fn inspected(file: &OnnxFile, name: &str) -> Inspection {
    inspect(file, id(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs shards one after another, values handed on by name.
pub fn run(engines: &Engines, shards: &[Shard], inputs: &Named) -> Named {
    run_on(engines, &["tract"], shards, inputs)
}

/// The same on these engines, which take turns.
pub fn run_on(engines: &Engines, names: &[&str], shards: &[Shard], inputs: &Named) -> Named {
    let mut values = inputs.clone();
    for (shard, name) in shards.iter().zip(names.iter().cycle()) {
        let mut graph = engines.load(name, shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("load {}: {error}", shard.id));
        let given = graph.inputs().iter().map(|spec| values.get(&spec.name).unwrap_or_else(|| panic!("{} wants {}", shard.id, spec.name)).clone()).collect();
        let names: Vec<String> = graph.outputs().iter().map(|spec| spec.name.clone()).collect();
        let made = graph.run(given).unwrap_or_else(|error| panic!("run {}: {error}", shard.id));
        values.extend(names.into_iter().zip(made));
    }
    values
}

/// Cuts at each legal cut alone, at some random sets and at all of them, and compares every output of the model.
pub fn equal_whole(inspection: &Inspection, inputs: &[Named], near: Near) {
    let engines = Engines::default();
    let whole = split(inspection, &[]).expect("no cut is legal");
    let legal = inspection.legal_cuts();
    let mut sets: Vec<Vec<u32>> = legal.iter().map(|&cut| vec![cut]).collect();
    let mut seed = Seed::new(99);
    sets.extend((0..3).map(|_| legal.iter().copied().filter(|_| seed.below(2) == 0).collect()));
    sets.push(legal);
    for inputs in inputs {
        let expected = run(&engines, &whole, inputs);
        for cuts in &sets {
            let shards = split(inspection, cuts).unwrap_or_else(|error| panic!("{cuts:?}: {error}"));
            let found = run(&engines, &shards, inputs);
            for output in inspection.outputs() {
                compare(&output.name, &found[&output.name], &expected[&output.name], near, &format!("{} cut at {cuts:?}", inspection.profile().id()));
            }
        }
    }
}

pub fn compare(name: &str, found: &Tensor, expected: &Tensor, near: Near, place: &str) {
    assert_eq!((found.shape(), found.element_type()), (expected.shape(), expected.element_type()), "{place}: {name}");
    let (a, b) = (found.to_f64(), expected.to_f64());
    assert!(a.iter().chain(&b).all(|value| value.is_finite()), "{place}: {name} holds values that are no numbers");
    let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let largest = b.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let allowed = match near {
        Near::Exact => 0.0,
        Near::Within(part) => part * largest,
    };
    assert!(difference <= allowed, "{place}: {name} differs by {difference:e}, {allowed:e} is allowed, the largest value is {largest}");
}

/// Seeded inputs with these lengths for symbols; integers are ids below `vocabulary`, masks 1 and positions going on from the past.
pub fn inputs(specs: &[TensorSpec], lengths: &[(&str, usize)], vocabulary: usize, seed: u64) -> Named {
    let mut seed = Seed::new(seed);
    let length = |text: &str| -> usize {
        let one =
            |part: &str| part.parse().unwrap_or_else(|_| lengths.iter().find(|(name, _)| *name == part).unwrap_or_else(|| panic!("no length for {part}")).1);
        text.split(" + ").map(one).sum()
    };
    let past = lengths.iter().find(|(name, _)| name.contains("past")).map_or(0, |(_, length)| *length);
    let mut tensor = |spec: &TensorSpec| {
        let shape: Vec<usize> = spec.shape.iter().map(|dimension| length(&dimension.to_string())).collect();
        let count: usize = shape.iter().product();
        let last = shape.last().copied().unwrap_or(1).max(1);
        let mut integer = |place: usize| match spec.name.as_str() {
            name if name.contains("mask") => 1,
            name if name.contains("position") => (past + place % last) as i64,
            name if name.contains("type") => 0,
            _ => seed.below(vocabulary) as i64,
        };
        if spec.element_type == ElementType::Int64 {
            return Tensor::from_i64(&shape, &(0..count).map(&mut integer).collect::<Vec<_>>()).expect("as many as the shape has");
        }
        Tensor::from_f32(&shape, &seed.floats(count, 1.0)).expect("as many as the shape has")
    };
    specs.iter().map(|spec| (spec.name.clone(), tensor(spec))).collect()
}
