//! What a plugin must show before it is put in service: sound answers to synthetic questions, and how long they take. A
//! refusal is a sound answer; a broken rule, a trap or a missed deadline is not.

use std::{sync::Arc, time::Duration};

use host_core::{
    cost::CostModel,
    decision::{Question, Reply, is_same_answer},
    device::Roles,
    error::Error as Broken,
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId},
    link::{Links, Speed},
    model::{Block, ModelProfile},
    plan::{OfferCapacity, Stage},
    policy::{Answer, Arrival, ClassState, LineState},
    problem::{Objective, Placement, Problem, ProblemDevice, ProblemOffer},
    shard::BlockRange,
    topology::{RouteRequest, RoutingSnapshot, Segment, ServedModel, Topology, TopologyDevice},
    units::{Bytes, Millis},
};

use crate::{
    clock::{CallTimer, Clock},
    error::{Error, Fault},
    policies,
    program::{Caged, Program},
    world::{AllocationPolicy, QueueingPolicy, RoutingPolicy, ShardAdapter, Warm, World},
};

/// Routes and arrivals that are rehearsed: enough for a p99.
const CALLS: u32 = 300;
/// Synthetic routes and arrivals on which two plugins are compared.
const COMPARED: u32 = 100;
/// Rehearsing stops after this time if there were enough calls to see that it works.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The number of the synthetic topology. Real ones count from 1 and never get there; the instance is dropped anyway.
const TOPOLOGY_NUMBER: u32 = u32::MAX;

/// Objective, devices, memory of each in MiB, fewest stages.
const PROBLEMS: [(Objective, u32, u64, u32); 4] =
    [(Objective::Balanced, 1, 64, 1), (Objective::Throughput, 3, 64, 3), (Objective::Latency, 4, 3, 1), (Objective::Balanced, 2, 1, 1)];

/// A plugin that rehearsed.
pub(crate) struct Rehearsed<W: World> {
    /// A warm instance that has not been told anything.
    pub warm: Warm<W>,
    pub told: Rehearsal,
}

/// How a plugin did in rehearsal.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rehearsal {
    /// Calls that were answered.
    pub calls: u32,
    /// The p99 of the function that is called for each request; none for functions whose time depends on the question.
    pub p99: Option<Duration>,
    /// Questions among them that this host was really asked.
    pub recorded: u32,
    /// The most linear memory that it had.
    pub memory_bytes: u64,
    /// Against the plugin in service, on the same questions; none where there is none of its kind.
    pub compared: Option<Compared>,
}

/// Two plugins on the same questions, the new one and the one in service.
#[derive(Clone, PartialEq, Debug)]
pub struct Compared {
    /// The one in service.
    pub with: Arc<str>,
    /// Questions that both were asked, recorded and synthetic ones.
    pub questions: u32,
    /// Questions that both answer alike, to the last bit.
    pub same: u32,
    /// Refusals of the new one and of the one in service.
    pub refused: (u32, u32),
    /// Failures of the one in service; the new one has none.
    pub failed_before: u32,
    /// The worth of the new one's plans as a part of that of the plans of the one in service: the mean over problems that
    /// both place, above 1 is better. Requests per time, or for latency its inverse.
    pub value_ratio: Option<f64>,
    /// The longest time but one in a hundred, of the new one and of the one in service.
    pub p99: (Duration, Duration),
    /// The most linear memory of the new one and of the one in service.
    pub memory_bytes: (u64, u64),
}

/// What can be rehearsed.
pub(crate) trait Rehearse: World {
    /// Answers synthetic questions.
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error>;
    /// Questions on which two plugins are compared beside those that were recorded.
    fn synthetic() -> Result<Vec<Question>, Broken> {
        Ok(Vec::new())
    }
    /// Answers one question of its kind and proves the answer; none for questions of other kinds.
    fn decide(_warm: &mut Warm<Self>, _question: &Question) -> Option<Answer<Reply>> {
        None
    }
}

/// Rehearses on one instance and gives back another, so that what was said in rehearsal is forgotten. An answer that breaks a
/// rule, of a synthetic question or of one that this host was really asked, keeps the plugin out of service.
pub(crate) fn rehearse<W: Rehearse>(program: &Program<W>, recorded: &[Question], serving: Option<&Program<W>>) -> Result<Rehearsed<W>, Error> {
    let mut warm = program.start()?;
    let (calls, p99) = W::rehearse(program, &mut warm)?;
    let mut told = Rehearsal { calls, p99, recorded: 0, memory_bytes: warm.guest().memory.bytes as u64, compared: None };
    let synthetic = made(W::synthetic())?;
    let count = u32::try_from(recorded.len()).unwrap_or(u32::MAX);
    let mut new = Turn::of(program)?;
    // What serves may not even start any more; then there is nothing to compare with.
    let mut before = serving.and_then(|serving| Turn::of(serving).ok());
    let mut ratios = Vec::new();
    let (mut questions, mut same, mut failed_before) = (0, 0, 0);
    let whole = Clock::start();
    for (number, question) in (0_u32..).zip(recorded.iter().chain(&synthetic)) {
        let Some(answer) = new.decide(question) else { continue };
        if let Err(fault) = &answer {
            let reason = if number < count { format!("on a question that this host was asked: {fault}") } else { fault.to_string() };
            return Err(Fault::Rehearsal { plugin: program.package.name.to_string(), function: question.function(), reason }.into());
        }
        told.calls += 1;
        told.recorded += u32::from(number < count);
        let earlier = before.as_mut().and_then(|before| before.decide(question));
        if let Some(earlier) = earlier {
            questions += 1;
            same += u32::from(is_same_answer(&answer, &earlier));
            failed_before += u32::from(earlier.is_err());
            ratios.extend(value_ratio(question, &answer, &earlier));
        }
        if whole.elapsed() > TIME_MAX {
            break;
        }
    }
    told.memory_bytes = told.memory_bytes.max(new.memory_bytes);
    told.compared = before.map(|before| Compared {
        with: Arc::clone(&before.program.package.name),
        questions,
        same,
        refused: (new.refused, before.refused),
        failed_before,
        value_ratio: (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64),
        memory_bytes: (new.memory_bytes, before.memory_bytes),
        p99: (longest(new.times), longest(before.times)),
    });
    Ok(Rehearsed { warm: program.start()?, told })
}

fn longest(times: Vec<Duration>) -> Duration {
    p99(times).unwrap_or_default()
}

/// One of two plugins that are asked the same.
struct Turn<'a, W: World> {
    program: &'a Program<W>,
    warm: Option<Warm<W>>,
    times: Vec<Duration>,
    refused: u32,
    memory_bytes: u64,
}

impl<'a, W: Rehearse> Turn<'a, W> {
    fn of(program: &'a Program<W>) -> Result<Self, Error> {
        Ok(Self { program, warm: Some(program.start()?), times: Vec::new(), refused: 0, memory_bytes: 0 })
    }

    /// A failed instance is followed by a fresh one.
    fn decide(&mut self, question: &Question) -> Option<Answer<Reply>> {
        let mut warm = self.warm.take().or_else(|| self.program.start().ok())?;
        let timer = CallTimer::start();
        let answer = W::decide(&mut warm, question);
        self.times.extend(answer.as_ref().map(|_| timer.computed()));
        self.refused += u32::from(matches!(answer, Some(Ok(Err(_)))));
        self.memory_bytes = self.memory_bytes.max(warm.guest().memory.bytes as u64);
        self.warm = Some(warm).filter(|warm| !warm.failed());
        answer
    }
}

/// What a plan is worth as a part of another's, where both are plans.
fn value_ratio(question: &Question, new: &Answer<Reply>, before: &Answer<Reply>) -> Option<f64> {
    let (Question::Allocate(problem), Ok(Ok(Reply::Proposal(new))), Ok(Ok(Reply::Proposal(before)))) = (question, new, before) else { return None };
    let value = |replicas| problem.worth(replicas).value(problem.placement.objective);
    let (new, before) = (value(&new.replicas), value(&before.replicas));
    (before > 0.0).then(|| new / before)
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
        for (objective, devices, memory_mib, stages_min) in PROBLEMS {
            let problem = made(problem(objective, devices, memory_mib, stages_min))?;
            sound(program, "allocate", policies::allocate(warm, &problem))?;
            calls += 1;
        }
        // What an allocation takes depends on its problem, so none of these times is a measure for others.
        Ok((calls, None))
    }

    fn synthetic() -> Result<Vec<Question>, Broken> {
        PROBLEMS
            .into_iter()
            .map(|(objective, devices, memory_mib, stages_min)| Ok(Question::Allocate(Arc::new(problem(objective, devices, memory_mib, stages_min)?))))
            .collect()
    }

    fn decide(warm: &mut Warm<Self>, question: &Question) -> Option<Answer<Reply>> {
        let Question::Allocate(problem) = question else { return None };
        Some(policies::allocate(warm, problem).map(|answer| answer.map(|allocated| Reply::Proposal(allocated.proposal))))
    }
}

impl Rehearse for RoutingPolicy {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error> {
        let snapshot = RoutingSnapshot { topology: Arc::new(made(topology())?), ..RoutingSnapshot::default() };
        let mut times = Vec::new();
        let whole = Clock::start();
        for ordinal in 0..CALLS {
            let request = request(ordinal);
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

    fn synthetic() -> Result<Vec<Question>, Broken> {
        let snapshot = RoutingSnapshot { topology: Arc::new(topology()?), ..RoutingSnapshot::default() };
        Ok((0..COMPARED).map(|ordinal| Question::Route { snapshot: snapshot.clone(), request: request(ordinal) }).collect())
    }

    fn decide(warm: &mut Warm<Self>, question: &Question) -> Option<Answer<Reply>> {
        let Question::Route { snapshot, request } = question else { return None };
        Some(policies::route(warm, snapshot, request).map(|answer| answer.map(|path| Reply::Path(path.segments().to_vec()))))
    }
}

/// One of the requests that are rehearsed: for a small model and a large one, in turns.
fn request(ordinal: u32) -> RouteRequest {
    let (model, segments) = if ordinal.is_multiple_of(2) { (0, 4) } else { (1, 64) };
    let outstanding = (0..segments).map(|segment: u32| (segment * 7 + ordinal) % 5).collect();
    RouteRequest { model, ordinal, random: f64::from(ordinal) / f64::from(CALLS), sequence_key: ordinal % 3, input: Bytes(1024), outstanding }
}

/// One of the arrivals that are rehearsed.
fn arrival(ordinal: u32) -> Arrival {
    let classes = (0..3).map(|class| ClassState { depth: ordinal % (class + 2), last_rank: f64::from(ordinal) }).collect();
    Arrival {
        ordinal,
        class: ordinal % 3,
        now: Millis(f64::from(ordinal)),
        deadline: ordinal.is_multiple_of(2).then_some(Millis(100.0)),
        expected: Millis(5.0),
        classes,
        depth_max: 8,
        line: LineState { served_rank: f64::from(ordinal), turn: Some(Millis(1.5)) },
    }
}

impl Rehearse for QueueingPolicy {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error> {
        let mut times = Vec::new();
        let whole = Clock::start();
        for ordinal in 0..CALLS {
            let arrival = arrival(ordinal);
            let timer = CallTimer::start();
            sound(program, "admit", policies::admit(warm, &arrival))?;
            times.push(timer.computed());
            if whole.elapsed() > TIME_MAX {
                break;
            }
        }
        Ok((u32::try_from(times.len()).unwrap_or(u32::MAX), p99(times)))
    }

    fn synthetic() -> Result<Vec<Question>, Broken> {
        Ok((0..COMPARED).map(|ordinal| Question::Admit(arrival(ordinal))).collect())
    }

    fn decide(warm: &mut Warm<Self>, question: &Question) -> Option<Answer<Reply>> {
        let Question::Admit(arrival) = question else { return None };
        Some(policies::admit(warm, arrival).map(|answer| answer.map(Reply::Rank)))
    }
}

impl Rehearse for ShardAdapter {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error> {
        sound(program, "probe", warm.probe().map(Ok))?;
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
