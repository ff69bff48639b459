//! How long a plugin takes at growing sizes and, for an allocation policy, how near its plans come to the best ones. The
//! plugin answers in the sandbox and every answer is proved, as in service.

use std::{sync::Arc, time::Duration};

use host_core::{
    error::Error as Broken,
    policy::{Answer, PolicyFault},
    problem::{Objective, Problem},
    topology::{RouteRequest, RoutingSnapshot},
    units::Bytes,
};
use host_engine::{Digest, Engines, Kind, LoadOptions, MlpSize, Shard, Tensor, generate, inspect, split};

use crate::{
    adapter::{RunCall, run},
    clock::Clock,
    conformance::{self, Source, generated_problem, replicas},
    error::{Error, Fault},
    policies,
    program::Program,
    workbench::fresh,
    world::{AllocationPolicy, QueueingPolicy, RoutingPolicy, ShardAdapter, Warm, World},
};

/// Segments at which `route` is measured.
const SEGMENTS: [u32; 5] = [4, 16, 64, 256, 1024];
/// Priority classes at which `admit` is measured.
const CLASSES: [u32; 3] = [1, 4, 16];
/// Offers at which `allocate` is measured.
const OFFERS: [u32; 5] = [2, 4, 8, 16, 64];
/// Calls of a fast function at each size, and of `allocate`.
const CALLS: u32 = 4_000;
const ALLOCATIONS: u32 = 12;
/// Small problems for each objective whose best plan is searched for.
const QUALITY_PROBLEMS: u32 = 40;
/// A plan this near to the best one is as good.
const BEST_RATIO: f64 = 1.0 - 1e-6;
/// Inputs are the same for everyone.
const SEED: u64 = 42;

/// Times of one function at one size.
#[derive(Clone, PartialEq, Debug)]
pub struct CallTimes {
    /// Segments, classes or offers.
    pub size: u32,
    /// Calls that were answered.
    pub calls: u32,
    /// Half of the calls take at most this.
    pub p50: Duration,
    /// One call in a hundred takes longer.
    pub p99: Duration,
    /// Why it was not measured to the end.
    pub fault: Option<PolicyFault>,
}

/// How near plans come to the best ones of small pools.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PlanQuality {
    /// What plans should be best at.
    pub objective: Objective,
    /// Problems that have a plan.
    pub problems: u32,
    /// Problems of these that it refuses, or fails on.
    pub refused: u32,
    /// Plans that are as good as the best one.
    pub best: u32,
    /// 1 is the best plan's value, 0.5 half of it: the mean over plans.
    pub mean: f64,
    /// The same of the worst plan.
    pub worst: f64,
}

/// Times of one shard, on the engine itself and through the adapter.
#[derive(Clone, PartialEq, Debug)]
pub struct AdapterTimes {
    /// Which shard.
    pub shard: String,
    /// Of the engine itself.
    pub engine_p50: Duration,
    /// Through the adapter.
    pub adapter_p50: Duration,
    /// Through the adapter.
    pub adapter_p99: Duration,
    /// Why it was not measured.
    pub fault: Option<String>,
}

/// What a plugin takes, and what its answers are worth.
#[derive(Clone, PartialEq, Debug)]
pub enum Measurements {
    /// `route`, by segments of the model.
    Routing(Vec<CallTimes>),
    /// `admit`, by priority classes.
    Queueing(Vec<CallTimes>),
    /// Plans, and `allocate` by offers of the pool.
    Allocation(Vec<PlanQuality>, Vec<CallTimes>),
    /// `run`.
    Adapter(Vec<AdapterTimes>),
}

/// The measurements of one plugin.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// Its name.
    pub plugin: Arc<str>,
    /// Its digest.
    pub digest: Digest,
    /// What was measured.
    pub measurements: Measurements,
}

fn measured<W: World>(program: &Program<W>, measurements: Measurements) -> Measured {
    Measured { plugin: Arc::clone(&program.package.name), digest: program.package.digest, measurements }
}

fn made<T>(result: Result<T, Broken>) -> Result<T, Error> {
    result.map_err(|error| Error::from(Fault::Host { what: "the generated questions for measuring are wrong" }).because(error))
}

/// The duration that a share of all does not exceed.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Times a call; the first one also tells the instance what it does not know, and does not count.
fn times<T>(size: u32, calls: u32, time_max: Duration, mut call: impl FnMut(u32) -> Answer<T>) -> CallTimes {
    let whole = Clock::start();
    let mut taken = Vec::new();
    let mut fault = None;
    for ordinal in 0..=calls {
        let clock = Clock::start();
        let answer = call(ordinal);
        let took = clock.elapsed();
        match answer {
            Ok(_) if ordinal > 0 => taken.push(took),
            Ok(_) => {}
            Err(found) => {
                fault = Some(found);
                break;
            }
        }
        if whole.elapsed() > time_max {
            break;
        }
    }
    taken.sort_unstable();
    let count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
    CallTimes { size, calls: count, p50: percentile(&taken, 0.5), p99: percentile(&taken, 0.99), fault }
}

pub(crate) fn routing(program: &Program<RoutingPolicy>, time_max: Duration) -> Result<Measured, Error> {
    let mut rows = Vec::new();
    for (number, segments) in (1_u32..).zip(SEGMENTS) {
        let mut warm = program.start()?;
        let snapshot = RoutingSnapshot { topology: Arc::new(made(replicas(segments / 2, number))?), ..RoutingSnapshot::default() };
        let request = |ordinal: u32| RouteRequest {
            model: 0,
            ordinal,
            random: f64::from(ordinal % 1000) / 1000.0,
            sequence_key: 0,
            input: Bytes(1024),
            outstanding: (0..segments).map(|segment| (segment.wrapping_mul(7) + ordinal) % 4).collect(),
        };
        let requests: Vec<RouteRequest> = (0..64).map(request).collect();
        rows.push(times(segments, CALLS, time_max / 5, |ordinal| policies::route(&mut warm, &snapshot, &requests[ordinal as usize % requests.len()])));
    }
    Ok(measured(program, Measurements::Routing(rows)))
}

pub(crate) fn queueing(program: &Program<QueueingPolicy>, time_max: Duration) -> Result<Measured, Error> {
    let mut rows = Vec::new();
    for classes in CLASSES {
        let mut warm = program.start()?;
        let arrivals: Vec<_> = (0..64).map(|number| conformance::generated_arrival(&mut Source::of(SEED, number), classes)).collect();
        rows.push(times(classes, CALLS, time_max / 3, |ordinal| policies::admit(&mut warm, &arrivals[ordinal as usize % arrivals.len()])));
    }
    Ok(measured(program, Measurements::Queueing(rows)))
}

pub(crate) fn allocation(program: &Program<AllocationPolicy>, time_max: Duration) -> Result<Measured, Error> {
    let clock = Clock::start();
    let mut quality = Vec::new();
    for (share, objective) in [(1, Objective::Throughput), (2, Objective::Latency), (3, Objective::Balanced)] {
        quality.push(plans(program, objective, time_max * share / 6, clock)?);
    }
    let mut rows = Vec::new();
    for offers in OFFERS {
        let mut warm = program.start()?;
        let problems =
            (0..).map(|number| sized(number, offers)).filter(|problem| problem.as_ref().map_or(true, |problem| problem.offers.len() as u32 == offers));
        let problems = made(problems.take(4).collect::<Result<Vec<Problem>, _>>())?;
        rows.push(times(offers, ALLOCATIONS, time_max / 10, |ordinal| policies::allocate(&mut warm, &problems[ordinal as usize % problems.len()])));
    }
    Ok(measured(program, Measurements::Allocation(quality, rows)))
}

/// A problem of exactly so many offers and twelve blocks at most.
fn sized(number: u32, offers: u32) -> Result<Problem, Broken> {
    let mut tries = (0..).map(|again: u32| generated_problem(&mut Source::of(SEED, number.wrapping_mul(1009).wrapping_add(again)), offers, 12));
    tries
        .find(|problem| problem.as_ref().map_or(true, |problem| problem.offers.len() as u32 == offers))
        .unwrap_or_else(|| generated_problem(&mut Source::of(SEED, number), offers, 12))
}

/// Plans of small problems against the best ones.
fn plans(program: &Program<AllocationPolicy>, objective: Objective, time_max: Duration, clock: Clock) -> Result<PlanQuality, Error> {
    let mut warm = program.start()?;
    let mut found = PlanQuality { objective, problems: 0, refused: 0, best: 0, mean: 0.0, worst: f64::INFINITY };
    let mut sum = 0.0;
    for number in 0..QUALITY_PROBLEMS * 8 {
        if found.problems >= QUALITY_PROBLEMS || clock.elapsed() > time_max {
            break;
        }
        let mut problem = made(generated_problem(&mut Source::of(SEED, number), 4, 8))?;
        problem.placement.objective = objective;
        // Staying where it is may be worth more to a policy than the best plan.
        problem.current.clear();
        let Some(optimum) = problem.optimum() else { continue };
        found.problems += 1;
        match policies::allocate(&mut warm, &problem) {
            Ok(Ok(allocated)) => {
                let quality = optimum.quality(objective, &problem.worth(&allocated.proposal.replicas));
                found.best += u32::from(quality >= BEST_RATIO);
                found.worst = found.worst.min(quality);
                sum += quality;
            }
            Ok(Err(_)) => found.refused += 1,
            Err(_) => {
                found.refused += 1;
                warm = program.start()?;
            }
        }
    }
    let answered = found.problems - found.refused;
    found.mean = if answered > 0 { sum / f64::from(answered) } else { 0.0 };
    found.worst = if answered > 0 { found.worst } else { 0.0 };
    Ok(found)
}

pub(crate) fn adapter(program: &Program<ShardAdapter>, time_max: Duration) -> Result<Measured, Error> {
    let failed = |error: host_engine::Error| Error::from(Fault::Host { what: "the model for measuring could not be made" }).because(error);
    let id = made(conformance::generated_model_id())?;
    let size = MlpSize { inputs: 64, hidden: 128, layers: 4, outputs: 10 };
    let inspection = generate(&Kind::Mlp(size), 11).and_then(|file| inspect(&file, id)).map_err(failed)?;
    let cuts = inspection.legal_cuts();
    let whole = split(&inspection, &[]).map_err(failed)?;
    let halves = split(&inspection, cuts.get(cuts.len() / 2).map_or(&[][..], std::slice::from_ref)).map_err(failed)?;
    let engines = Engines::default();
    let mut rows = Vec::new();
    for shard in whole.into_iter().chain(halves) {
        rows.push(added(program, &engines, &Arc::new(shard), time_max / 6)?);
    }
    Ok(measured(program, Measurements::Adapter(rows)))
}

fn added(program: &Program<ShardAdapter>, engines: &Engines, shard: &Arc<Shard>, time_max: Duration) -> Result<AdapterTimes, Error> {
    let mut row =
        AdapterTimes { shard: shard.id.to_string(), engine_p50: Duration::ZERO, adapter_p50: Duration::ZERO, adapter_p99: Duration::ZERO, fault: None };
    let failed = |error: host_engine::Error| Error::from(Fault::Host { what: "the engine could not be measured" }).because(error);
    let input = |spec: &host_engine::TensorSpec| {
        let shape: Vec<usize> = spec.shape.iter().map(|dimension| dimension.fixed().unwrap_or(1)).collect();
        Tensor::zeros(spec.element_type, &shape)
    };
    let inputs = shard.inputs.iter().map(input).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut warm = match opened(program, shard) {
        Ok(warm) => warm,
        Err(reason) => return Ok(AdapterTimes { fault: Some(reason), ..row }),
    };
    let mut graph = engines.load("tract", shard, &LoadOptions::default()).map_err(failed)?;
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    let whole = Clock::start();
    // In blocks and in turns, so that both have their code in the caches and meet the same machine.
    while through.len() < CALLS as usize && whole.elapsed() < time_max {
        for _ in 0..100 {
            let clock = Clock::start();
            graph.run(inputs.clone()).map_err(failed)?;
            direct.push(clock.elapsed());
        }
        for _ in 0..100 {
            let clock = Clock::start();
            let answer = run(&mut warm, &RunCall { batch: 1, ..RunCall::default() }, inputs.clone(), &shard.outputs);
            through.push(clock.elapsed());
            warm.guest_mut().handles.forget_tensors();
            match answer {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Ok(AdapterTimes { fault: Some(error.message), ..row }),
                Err(fault) => return Ok(AdapterTimes { fault: Some(fault.to_string()), ..row }),
            }
        }
    }
    direct.sort_unstable();
    through.sort_unstable();
    (row.engine_p50, row.adapter_p50, row.adapter_p99) = (percentile(&direct, 0.5), percentile(&through, 0.5), percentile(&through, 0.99));
    Ok(row)
}

/// An instance with the shard loaded on its first offer, or why there is none.
fn opened(program: &Program<ShardAdapter>, shard: &Arc<Shard>) -> Result<Warm<ShardAdapter>, String> {
    let mut warm = fresh(program).map_err(|fault| fault.to_string())?;
    let offers = warm.probe().map_err(|fault| fault.to_string())?;
    if offers.is_empty() {
        return Err("it finds nothing to drive on this machine".to_owned());
    }
    match warm.load(Arc::clone(shard), 0) {
        Ok(Ok(_)) => Ok(warm),
        Ok(Err(refusal)) => Err(refusal.reason),
        Err(fault) => Err(fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99)), (Duration::from_micros(51), Duration::from_micros(100)));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn problems_of_a_size_have_that_size() {
        for offers in OFFERS {
            assert_eq!(sized(3, offers).expect("a problem").offers.len(), offers as usize);
        }
    }
}
