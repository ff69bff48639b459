//! What a plugin must show before it is put in service: sound answers to synthetic questions, and how long they take. A
//! refusal is a sound answer; a broken rule, a trap or a missed deadline is not.

use std::{sync::Arc, time::Duration};

use host_core::{
    cost::CostModel,
    device::Roles,
    error::Error as Broken,
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId},
    link::{Links, Speed},
    model::{Block, ModelProfile},
    plan::{OfferCapacity, Stage},
    policy::{Answer, Arrival, ClassState},
    problem::{Objective, Placement, Problem, ProblemDevice, ProblemOffer},
    shard::BlockRange,
    topology::{RouteRequest, RoutingSnapshot, Segment, ServedModel, Topology, TopologyDevice},
    units::{Bytes, Millis},
};

use crate::{
    adapter::sound_offers,
    clock::{CallTimer, Clock},
    error::{Error, Fault},
    policies,
    program::{Program, Warm},
    world::{AllocationPolicy, QueueingPolicy, RoutingPolicy, ShardAdapter, World},
};

/// Routes and arrivals that are rehearsed: enough for a p99.
const CALLS: u32 = 300;
/// Rehearsing stops after this time if there were enough calls to see that it works.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The number of the synthetic topology. Real ones count from 1 and never get there; the instance is dropped anyway.
const TOPOLOGY_NUMBER: u32 = u32::MAX;

/// A plugin that rehearsed.
pub(crate) struct Rehearsed<W: World> {
    /// A warm instance that has not been told anything.
    pub warm: Warm<W>,
    /// The p99 of the function that is called for each request; none for functions whose time depends on the question.
    pub p99: Option<Duration>,
    /// Calls that were answered.
    pub calls: u32,
}

/// What can be rehearsed.
pub(crate) trait Rehearse: World {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error>;
}

/// Rehearses on one instance and gives back another, so that what was said in rehearsal is forgotten.
pub(crate) fn rehearse<W: Rehearse>(program: &Program<W>) -> Result<Rehearsed<W>, Error> {
    let mut warm = program.start()?;
    let (calls, p99) = W::rehearse(program, &mut warm)?;
    Ok(Rehearsed { warm: program.start()?, p99, calls })
}

fn sound<W: World, T>(program: &Program<W>, function: &'static str, answer: Answer<T>) -> Result<(), Error> {
    let reason = |reason: String| Error::from(Fault::Rehearsal { plugin: program.package.name.to_string(), function, reason });
    answer.map(drop).map_err(|fault| reason(fault.to_string()))
}

fn made<T>(result: Result<T, Broken>) -> Result<T, Error> {
    result.map_err(|error| Error::from(Fault::Host { what: "the synthetic questions for rehearsal are wrong" }).because(error))
}

/// The 99th of a hundred durations.
fn p99(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).copied()
}

impl Rehearse for AllocationPolicy {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error> {
        let mut calls = 0;
        for (objective, devices, memory_mib, stages_min) in
            [(Objective::Balanced, 1, 64, 1), (Objective::Throughput, 3, 64, 3), (Objective::Latency, 4, 3, 1), (Objective::Balanced, 2, 1, 1)]
        {
            let problem = made(problem(objective, devices, memory_mib, stages_min))?;
            sound(program, "allocate", policies::allocate(warm, &problem))?;
            calls += 1;
        }
        // What an allocation takes depends on its problem, so none of these times is a measure for others.
        Ok((calls, None))
    }
}

impl Rehearse for RoutingPolicy {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error> {
        let snapshot = RoutingSnapshot { topology: Arc::new(made(topology())?), ..RoutingSnapshot::default() };
        let mut times = Vec::new();
        let whole = Clock::start();
        for ordinal in 0..CALLS {
            let (model, segments) = if ordinal % 2 == 0 { (0, 4) } else { (1, 64) };
            let outstanding = (0..segments).map(|segment: u32| (segment * 7 + ordinal) % 5).collect();
            let request =
                RouteRequest { model, ordinal, random: f64::from(ordinal) / f64::from(CALLS), sequence_key: ordinal % 3, input: Bytes(1024), outstanding };
            let timer = CallTimer::start();
            sound(program, "route", policies::route(warm, &snapshot, &request))?;
            times.push(timer.computed());
            if whole.elapsed() > TIME_MAX {
                break;
            }
        }
        // The first call also hands the topology over.
        times.remove(0);
        Ok((u32::try_from(times.len()).unwrap_or(u32::MAX) + 1, p99(times)))
    }
}

impl Rehearse for QueueingPolicy {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error> {
        let mut times = Vec::new();
        let whole = Clock::start();
        for ordinal in 0..CALLS {
            let classes = (0..3).map(|class| ClassState { depth: ordinal % (class + 2), last_rank: f64::from(ordinal) }).collect();
            let arrival = Arrival {
                ordinal,
                class: ordinal % 3,
                now: Millis(f64::from(ordinal)),
                deadline: (ordinal % 2 == 0).then_some(Millis(100.0)),
                expected: Millis(5.0),
                classes,
                depth_max: 8,
            };
            let timer = CallTimer::start();
            sound(program, "admit", policies::admit(warm, &arrival))?;
            times.push(timer.computed());
            if whole.elapsed() > TIME_MAX {
                break;
            }
        }
        Ok((u32::try_from(times.len()).unwrap_or(u32::MAX), p99(times)))
    }
}

impl Rehearse for ShardAdapter {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error> {
        let answer = warm.call("probe", |world, store| world.shardhost_plugin_adapter().call_probe(store));
        sound(program, "probe", answer.and_then(sound_offers).map(Ok))?;
        Ok((1, None))
    }
}

fn model_id(name: &str) -> Result<ModelId, Broken> {
    Ok(ModelId { name: ModelName::parse(name)?, version: 1 })
}

fn offer_id(index: u32) -> Result<OfferId, Broken> {
    Ok(OfferId { device: DeviceId::parse(&format!("rehearsal-{index}"))?, accelerator: AcceleratorName::parse("cpu")? })
}

/// Four blocks of 1 MiB on devices of falling speed.
fn problem(objective: Objective, devices: u32, memory_mib: u64, stages_min: u32) -> Result<Problem, Broken> {
    let block = Block { flops: 1e9, weights: Bytes::mib(1), activations: Bytes::mib(1), border: Bytes(1024), ..Block::default() };
    let offer = |index: u32| -> Result<ProblemOffer, Broken> {
        Ok(ProblemOffer {
            id: offer_id(index)?,
            device: index,
            capacity: OfferCapacity { pool: 0, memory: Bytes::mib(memory_mib), weight_factor: 1.1, fixed: Bytes(4096), roles: Roles::ALL },
            cost: CostModel::UNCALIBRATED.slowed(1.0 + f64::from(index)),
            busy_ratio: 0.0,
            joined: devices - index,
        })
    };
    Ok(Problem {
        model: Arc::new(ModelProfile::new(model_id("rehearsal")?, vec![block; 4], Vec::new(), Bytes(1024))?),
        devices: (0..devices).map(|index| Ok(ProblemDevice { id: offer_id(index)?.device, site: 0 })).collect::<Result<_, Broken>>()?,
        offers: (0..devices).map(offer).collect::<Result<_, _>>()?,
        links: Vec::new(),
        within_site: Speed::WITHIN_SITE,
        between_sites: Speed::BETWEEN_SITES,
        placement: Placement { objective, stages_min, ..Placement::default() }.clamped(4, devices),
        current: Vec::new(),
        horizon: Millis(600_000.0),
        exclusions: Vec::new(),
    })
}

/// A model in 2 replicas of 2 stages, and one in 32.
fn topology() -> Result<Topology, Broken> {
    let segment = |replica: u32, position: u32| -> Result<Segment, Broken> {
        let stage = Stage { offer: offer_id(replica % 8)?, range: BlockRange::new(position, position + 1)? };
        Ok(Segment { stage, device: replica % 8, replica, position, run: Millis(1.0 + f64::from(replica)), divisible: false })
    };
    let model = |name: &str, replicas: u32| -> Result<ServedModel, Broken> {
        let segments = (0..replicas).flat_map(|replica| [segment(replica, 0), segment(replica, 1)]).collect::<Result<_, _>>()?;
        Ok(ServedModel { id: model_id(name)?, blocks: 2, borders: vec![Bytes(1024); 2], segments })
    };
    Ok(Topology {
        number: TOPOLOGY_NUMBER,
        models: vec![model("rehearsal-a", 2)?, model("rehearsal-b", 32)?],
        devices: (0..8).map(|index| Ok(TopologyDevice { id: offer_id(index)?.device, site: 0 })).collect::<Result<_, Broken>>()?,
        links: Links::default(),
        ..Topology::default()
    })
}
