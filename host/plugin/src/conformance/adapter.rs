//! Shards for adapters: ranges of a small generated model, loaded on every offer, against the engine itself.

use std::sync::Arc;

use host_core::{error::Error as Broken, policy::PolicyFault, policy::StrikeKind, shard::BlockRange};
use host_engine::{Engines, Inspection, Kind, LoadOptions, MlpSize, Shard, Tensor, generate, inspect};

use super::{Examination, Rule, Source, Suite, source::model_id};
use crate::{
    adapter::{RunCall, run},
    error::{Error, Fault},
    program::Program,
    workbench::fresh,
    world::{ShardAdapter, Warm},
};

/// Layers of the model: as many blocks or more.
const LAYERS: usize = 6;
/// Numbers that go in.
const WIDTH: usize = 32;
/// The largest difference from the engine's own answer, as a part of its largest value: what a shard's golden check takes.
const TOLERANCE: f64 = 2e-2;

/// The model and the engine that answers are held against.
pub(crate) struct Model {
    inspection: Inspection,
    engines: Engines,
}

/// A range of the model, on an offer, run so many times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    start: u32,
    end: u32,
    /// Counts what the adapter offers, again from the first behind the last.
    offer: u32,
    /// One for each run.
    seeds: Vec<u32>,
    /// Whether inputs of a wrong shape come between.
    wrong: bool,
}

impl Suite for ShardAdapter {
    type Context = Model;
    type Input = Load;
    const SHARE: u32 = 10;

    fn context() -> Result<Model, Error> {
        let failed = |error: host_engine::Error| Error::from(Fault::Host { what: "the model for adapters could not be made" }).because(error);
        let size = MlpSize { inputs: WIDTH, hidden: WIDTH, layers: LAYERS, outputs: 10 };
        let id = model_id("generated").map_err(|error| Error::from(Fault::Host { what: "the model for adapters has no name" }).because(error))?;
        let file = generate(&Kind::Mlp(size), 11).map_err(failed)?;
        let inspection = inspect(&file, id).and_then(Inspection::with_golden).map_err(failed)?;
        Ok(Model { inspection, engines: Engines::default() })
    }

    fn generate(source: &mut Source, context: &Model, _number: u32) -> Result<Load, Broken> {
        let blocks = context.inspection.profile().whole().end();
        let start = source.between(0, blocks - 1);
        let seeds = (0..source.between(1, 4)).map(|_| source.between(0, 1_000_000)).collect();
        Ok(Load { start, end: source.between(start + 1, blocks), offer: source.between(0, 7), seeds, wrong: source.once_in(2) })
    }

    fn examine(program: &Program<Self>, context: &Model, input: &Load, _elder: Option<(&mut Warm<Self>, u32)>) -> Examination {
        let mut seen = Examination::default();
        if let Err(fault) = examined(program, context, input, &mut seen) {
            seen.fault("the adapter", &fault);
        }
        seen
    }

    fn smaller(input: &Load) -> Vec<Load> {
        let mut found = Vec::new();
        if input.end - input.start > 1 {
            found.extend([Load { end: input.end - 1, ..input.clone() }, Load { start: input.start + 1, ..input.clone() }]);
        }
        if input.seeds.len() > 1 {
            found.push(Load { seeds: input.seeds[..input.seeds.len() - 1].to_vec(), ..input.clone() });
        }
        found.extend([Load { offer: 0, ..input.clone() }, Load { wrong: false, ..input.clone() }]);
        found.retain(|smaller| smaller != input);
        found
    }

    fn render(input: &Load) -> String {
        let Load { start, end, offer, seeds, wrong } = input;
        let between = if *wrong { ", inputs of a wrong shape first" } else { "" };
        format!("blocks [{start}..{end}) of a perceptron of {LAYERS} layers of {WIDTH}, offer {offer}, {} runs{between}", seeds.len())
    }
}

/// The shard of an input.
fn shard(context: &Model, input: &Load) -> Result<Arc<Shard>, PolicyFault> {
    let made = BlockRange::new(input.start, input.end)
        .map_err(|error| error.to_string())
        .and_then(|range| context.inspection.shard(range).map_err(|error| error.to_string()));
    made.map(Arc::new).map_err(|message| PolicyFault { kind: StrikeKind::Invalid, message: format!("the host cannot cut the shard: {message}") })
}

fn examined(program: &Program<ShardAdapter>, context: &Model, input: &Load, seen: &mut Examination) -> Result<(), PolicyFault> {
    let shard = shard(context, input)?;
    let (mut one, mut two) = (fresh(program)?, fresh(program)?);
    let (offers, again) = (one.probe()?, two.probe()?);
    seen.hold(Rule::NoPast, if offers == again { Ok(()) } else { Err(format!("probe: first {offers:?}, then {again:?}")) });
    let Ok(count) = u32::try_from(offers.len()) else { return Ok(()) };
    if count == 0 {
        seen.note("it finds nothing to drive on this machine, so nothing was loaded", true);
        return Ok(());
    }
    let loaded = (one.load(Arc::clone(&shard), input.offer % count)?, two.load(Arc::clone(&shard), input.offer % count)?);
    seen.possible = Some(true);
    if let (Err(refusal), _) | (_, Err(refusal)) = loaded {
        seen.refusal(&refusal, offers.len());
        return Ok(());
    }
    runs(context, input, &shard, (&mut one, &mut two), seen)?;
    let copied = one.guest().handles.copied_bytes;
    seen.note("tensor bytes go through its memory, which costs time", copied > 0);
    if seen.broken.is_none() {
        seen.passed.extend([Rule::Answers, Rule::Proved]);
    }
    Ok(())
}

type Pair<'a> = (&'a mut Warm<ShardAdapter>, &'a mut Warm<ShardAdapter>);

fn runs(context: &Model, input: &Load, shard: &Shard, (one, two): Pair<'_>, seen: &mut Examination) -> Result<(), PolicyFault> {
    if input.wrong {
        let wrong = shard.inputs.iter().map(|_| Tensor::from_f32(&[1, 3], &[1.0; 3])).collect::<Result<Vec<_>, _>>();
        let answer = run(one, &RunCall::default(), wrong.unwrap_or_default(), &shard.outputs)?;
        one.guest_mut().handles.forget_tensors();
        seen.hold(Rule::TakesErrors, if answer.is_err() { Ok(()) } else { Err("it computes something from inputs of a wrong shape".to_owned()) });
    }
    let engine = context.engines.load("tract", shard, &LoadOptions::default());
    let mut engine = engine.map_err(|error| PolicyFault { kind: StrikeKind::Invalid, message: format!("the host's engine cannot load the shard: {error}") })?;
    for (ordinal, seed) in (0_u32..).zip(&input.seeds) {
        let inputs: Vec<Tensor> = shard.inputs.iter().filter_map(|spec| tensor(spec, *seed)).collect();
        let call = RunCall { request: ordinal, new_tokens: 0, batch: 1, ..RunCall::default() };
        let expected = engine.run(inputs.clone()).unwrap_or_default();
        let mut answers = Vec::new();
        for warm in [&mut *one, &mut *two] {
            let answer = run(warm, &call, inputs.clone(), &shard.outputs)?;
            warm.guest_mut().handles.forget_tensors();
            match answer {
                Ok(outputs) => answers.push(outputs),
                Err(error) => seen.hold(Rule::Computes, Err(format!("run {ordinal}: {}", error.message))),
            }
        }
        if let [first, second] = answers.as_slice() {
            seen.hold(Rule::Computes, near(first, &expected));
            seen.hold(Rule::NoPast, if first == second { Ok(()) } else { Err(format!("run {ordinal}: two instances compute different bits")) });
        }
    }
    Ok(())
}

/// A tensor of seeded numbers in -1 to 1.
fn tensor(spec: &host_engine::TensorSpec, seed: u32) -> Option<Tensor> {
    let shape: Vec<usize> = spec.shape.iter().map(|dimension| dimension.fixed().unwrap_or(1)).collect();
    let values = host_engine::Seed::new(u64::from(seed)).floats(shape.iter().product(), 1.0);
    Tensor::from_f32(&shape, &values).ok()
}

fn near(found: &[Tensor], expected: &[Tensor]) -> Result<(), String> {
    for (found, expected) in found.iter().zip(expected) {
        let (found, expected) = (found.to_f64(), expected.to_f64());
        let largest = expected.iter().fold(1e-6_f64, |largest, value| largest.max(value.abs()));
        let apart = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max);
        // The largest of several numbers leaves out what is none.
        if apart > TOLERANCE * largest || found.len() != expected.len() || found.iter().any(|value| value.is_nan()) {
            return Err(format!("its answer is {apart} away from the engine's, whose largest value is {largest}"));
        }
    }
    Ok(())
}
