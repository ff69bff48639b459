//! What a plugin must show before it is put in service: sound answers to synthetic questions, and how long they take. A
//! refusal is a sound answer, unless everything is refused that can be done; a broken rule, a trap or a missed deadline is not.

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
    policy::{self, Answer, Arrival, ClassState, LineState, Observation, Refusal, StageObservation},
    problem::{Objective, Placement, Problem, ProblemDevice, ProblemOffer, ProposedStage},
    shard::BlockRange,
    topology::{RouteRequest, RoutingSnapshot, Segment, ServedModel, Topology, TopologyDevice},
    units::{Bytes, Millis},
};

use crate::{
    clock::{CallTimer, Clock},
    error::{Error, Fault},
    passes::Pass,
    policies,
    program::{Caged, Program},
    world::{AllocationPolicy, QueueingPolicy, RoutingPolicy, ShardAdapter, Warm, World},
};

/// The version of the suite: up by one with each change of what is asked, or of what answers are held against, so that whoever
/// passed an earlier one is rehearsed again.
pub(crate) const SUITE: u32 = 1;
/// Routes and arrivals that are rehearsed: enough for a p99.
const CALLS: u32 = 300;
/// Synthetic routes and arrivals on which two plugins are compared.
const COMPARED: u32 = 100;
/// Characters of a refusal that are repeated in the reason why a plugin is not installed.
const REASON_CHARS_MAX: usize = 500;
/// Rehearsing stops after this time if there were enough calls to see that it works.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Weights of a block of the synthetic model.
const BLOCK_MIB: u64 = 1;
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
    /// Whether it had passed before, so that it was asked a few recorded questions and no synthetic ones; `p99` is of that time.
    pub is_known: bool,
    /// Against the plugin in service, on the same questions; none where there is none of its kind.
    pub compared: Option<Compared>,
}

/// What a plugin that has passed a rehearsal before is asked again before it serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BriefRehearsal {
    /// So many of the last questions that were recorded.
    pub questions_max: usize,
    /// No further question after this time.
    pub time_max: Duration,
}

impl Default for BriefRehearsal {
    fn default() -> Self {
        Self { questions_max: 8, time_max: Duration::from_millis(20) }
    }
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
    let memory_bytes = warm.guest().memory.bytes as u64;
    let synthetic = made(W::synthetic())?;
    // What serves may not even start any more; then there is nothing to compare with.
    let mut talk = Conversation::between(Turn::of(program)?, serving.and_then(|serving| Turn::of(serving).ok()));
    let told = talk.ask_all(recorded, &synthetic, TIME_MAX)?;
    let told = Rehearsal { calls: calls + told.calls, p99, memory_bytes: memory_bytes.max(told.memory_bytes), compared: talk.compared(), ..told };
    Ok(Rehearsed { warm: program.start()?, told })
}

/// Asks a plugin that has passed before a few of the last questions, and lets the instance that answered serve: what it was told
/// was true. The budget that it is held to is that of its rehearsal.
pub(crate) fn rehearse_briefly<W: Rehearse>(
    program: &Program<W>,
    pass: Pass,
    recorded: &[Question],
    serving: Option<&Program<W>>,
    brief: BriefRehearsal,
) -> Result<Rehearsed<W>, Error> {
    let clock = Clock::start();
    let newest = &recorded[recorded.len().saturating_sub(brief.questions_max)..];
    let new = Turn::of(program)?;
    // Starting what serves takes longer than all questions; without time or questions there is nothing to compare.
    let compares = !newest.is_empty() && clock.elapsed() < brief.time_max;
    let before = serving.filter(|_| compares).and_then(|serving| Turn::of(serving).ok());
    let mut talk = Conversation::between(new, before);
    let told = talk.ask_all(newest, &[], brief.time_max.saturating_sub(clock.elapsed()))?;
    let told = Rehearsal { p99: pass.p99, memory_bytes: pass.memory_bytes.max(told.memory_bytes), is_known: true, compared: talk.compared(), ..told };
    let warm = talk.new.warm.map_or_else(|| program.start(), Ok)?;
    Ok(Rehearsed { warm, told })
}

/// Asks a plugin that served until a short while ago the same, on an instance that is left of it. It is compared with nothing: that
/// was done when it came, and starting another instance is what swapping back must not cost.
pub(crate) fn rehearse_again<W: Rehearse>(
    program: &Program<W>,
    pass: Pass,
    mut idle: Vec<Warm<W>>,
    recorded: &[Question],
    brief: BriefRehearsal,
) -> Result<(Vec<Warm<W>>, Rehearsal), Error> {
    let newest = &recorded[recorded.len().saturating_sub(brief.questions_max)..];
    let warm = idle.pop().map_or_else(|| program.start(), Ok)?;
    let mut talk = Conversation::between(Turn::with(program, warm), None);
    let told = talk.ask_all(newest, &[], brief.time_max)?;
    idle.extend(talk.new.warm);
    Ok((idle, Rehearsal { p99: pass.p99, memory_bytes: pass.memory_bytes.max(told.memory_bytes), is_known: true, ..told }))
}

/// A plugin that is asked questions, and the one in service, if there is one, that is asked the same.
struct Conversation<'a, W: World> {
    new: Turn<'a, W>,
    before: Option<Turn<'a, W>>,
    questions: u32,
    same: u32,
    failed_before: u32,
    ratios: Vec<f64>,
}

impl<'a, W: Rehearse> Conversation<'a, W> {
    fn between(new: Turn<'a, W>, before: Option<Turn<'a, W>>) -> Self {
        Self { new, before, questions: 0, same: 0, failed_before: 0, ratios: Vec::new() }
    }

    /// Asks until a question is answered wrongly or time is over. What is told has no p99 and compares nothing.
    fn ask_all(&mut self, recorded: &[Question], synthetic: &[Question], time_max: Duration) -> Result<Rehearsal, Error> {
        let clock = Clock::start();
        let mut told = Rehearsal::default();
        let both = recorded.iter().map(|question| (question, true)).chain(synthetic.iter().map(|question| (question, false)));
        for (question, is_recorded) in both {
            let answered = self.ask(question, is_recorded)?;
            told.calls += u32::from(answered);
            told.recorded += u32::from(answered && is_recorded);
            if clock.elapsed() > time_max {
                break;
            }
        }
        told.memory_bytes = self.new.memory_bytes;
        Ok(told)
    }

    /// Asks both; false for a question of another kind than theirs.
    fn ask(&mut self, question: &Question, is_recorded: bool) -> Result<bool, Error> {
        let Some(answer) = self.new.decide(question) else { return Ok(false) };
        if let Err(fault) = &answer {
            let reason = if is_recorded { format!("on a question that this host was asked: {fault}") } else { fault.to_string() };
            let plugin = self.new.program.package.name.to_string();
            return Err(Fault::Rehearsal { plugin, function: question.function(), reason }.into());
        }
        if let Some(earlier) = self.before.as_mut().and_then(|before| before.decide(question)) {
            self.questions += 1;
            self.same += u32::from(is_same_answer(&answer, &earlier));
            self.failed_before += u32::from(earlier.is_err());
            self.ratios.extend(value_ratio(question, &answer, &earlier));
        }
        Ok(true)
    }

    /// How the two compare; none without one in service.
    fn compared(&mut self) -> Option<Compared> {
        let (new, before) = (&mut self.new, self.before.as_mut()?);
        Some(Compared {
            with: Arc::clone(&before.program.package.name),
            questions: self.questions,
            same: self.same,
            refused: (new.refused, before.refused),
            failed_before: self.failed_before,
            value_ratio: (!self.ratios.is_empty()).then(|| self.ratios.iter().sum::<f64>() / self.ratios.len() as f64),
            memory_bytes: (new.memory_bytes, before.memory_bytes),
            p99: (longest(std::mem::take(&mut new.times)), longest(std::mem::take(&mut before.times))),
        })
    }
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
        Ok(Self::with(program, program.start()?))
    }

    fn with(program: &'a Program<W>, warm: Warm<W>) -> Self {
        Self { program, warm: Some(warm), times: Vec::new(), refused: 0, memory_bytes: 0 }
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

/// The refusal, if the answer is one.
fn sound<W: World, T>(program: &Program<W>, function: &'static str, answer: Answer<T>) -> Result<Option<Refusal>, Error> {
    answer.map(Result::err).map_err(|fault| failed(program, function, fault.to_string()))
}

fn failed<W: World>(program: &Program<W>, function: &'static str, reason: String) -> Error {
    Fault::Rehearsal { plugin: program.package.name.to_string(), function, reason }.into()
}

/// How often a plugin refused what can be done.
#[derive(Default)]
struct Refusals {
    asked: u32,
    refused: u32,
    last: Option<Refusal>,
}

impl Refusals {
    fn note(&mut self, refusal: Option<Refusal>) {
        self.asked += 1;
        self.refused += u32::from(refusal.is_some());
        self.last = refusal.or(self.last.take());
    }

    /// One refusal is an honest answer. Who refuses everything that can be done would only be in the way.
    fn check<W: World>(self, program: &Program<W>, function: &'static str) -> Result<(), Error> {
        let Some(last) = self.last.filter(|_| self.refused == self.asked) else { return Ok(()) };
        let words: String = last.reason.chars().take(REASON_CHARS_MAX).collect();
        Err(failed(program, function, format!("it refuses every one of {} questions that have an answer, the last one with `{words}`", self.asked)))
    }
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
        let (mut calls, mut refusals) = (0, Refusals::default());
        for (objective, devices, memory_mib, stages_min) in PROBLEMS {
            let problem = made(problem(objective, devices, memory_mib, stages_min))?;
            let refusal = sound(program, "allocate", policies::allocate(warm, &problem))?;
            // A device that cannot hold a single block has to be refused.
            if memory_mib > BLOCK_MIB {
                refusals.note(refusal);
            }
            sound(program, "review", policy::AllocationPolicy::review(warm, &observation(problem)).map(Ok))?;
            calls += 2;
        }
        refusals.check(program, "allocate")?;
        // What an allocation takes depends on its problem, so none of these times is a measure for others.
        Ok((calls, None))
    }

    fn synthetic() -> Result<Vec<Question>, Broken> {
        let mut questions = Vec::new();
        for (objective, devices, memory_mib, stages_min) in PROBLEMS {
            let problem = problem(objective, devices, memory_mib, stages_min)?;
            questions.push(Question::Allocate(Arc::new(problem.clone())));
            questions.push(Question::Review(Arc::new(observation(problem))));
        }
        Ok(questions)
    }

    fn decide(warm: &mut Warm<Self>, question: &Question) -> Option<Answer<Reply>> {
        match question {
            Question::Allocate(problem) => Some(policies::allocate(warm, problem).map(|answer| answer.map(|allocated| Reply::Proposal(allocated.proposal)))),
            Question::Review(observation) => Some(policy::AllocationPolicy::review(warm, observation).map(|verdict| Ok(Reply::Verdict(verdict)))),
            Question::Route { .. } | Question::Admit(_) => None,
        }
    }
}

impl Rehearse for RoutingPolicy {
    fn rehearse(program: &Program<Self>, warm: &mut Warm<Self>) -> Result<(u32, Option<Duration>), Error> {
        let snapshot = RoutingSnapshot { topology: Arc::new(made(topology())?), ..RoutingSnapshot::default() };
        let (mut times, mut refusals) = (Vec::new(), Refusals::default());
        let whole = Clock::start();
        for ordinal in 0..CALLS {
            let request = request(ordinal);
            let timer = CallTimer::start();
            let answer = policies::route(warm, &snapshot, &request);
            times.push(timer.computed());
            refusals.note(sound(program, "route", answer)?);
            if whole.elapsed() > TIME_MAX {
                break;
            }
        }
        refusals.check(program, "route")?;
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
        let (mut times, mut refusals) = (Vec::new(), Refusals::default());
        let whole = Clock::start();
        for ordinal in 0..CALLS {
            let arrival = arrival(ordinal);
            let timer = CallTimer::start();
            let answer = policies::admit(warm, &arrival);
            times.push(timer.computed());
            refusals.note(sound(program, "admit", answer)?);
            if whole.elapsed() > TIME_MAX {
                break;
            }
        }
        refusals.check(program, "admit")?;
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

/// Four blocks of 1 MiB each on devices of falling speed.
fn problem(objective: Objective, devices: u32, memory_mib: u64, stages_min: u32) -> Result<Problem, Broken> {
    let block = Block { flops: 1e9, weights: Bytes::mib(BLOCK_MIB), activations: Bytes::mib(1), border: Bytes(1024), ..Block::default() };
    let offer = |index: u32| -> Result<ProblemOffer, Broken> {
        Ok(ProblemOffer {
            id: offer_id(index)?,
            device: index,
            capacity: OfferCapacity { pool: 0, memory: Bytes::mib(memory_mib), weight_factor: 1.1, fixed: Bytes(4096), roles: Roles::ALL },
            cost: CostModel::UNCALIBRATED.slowed(1.0 + f64::from(index)),
            busy_ratio: 0.0,
            joined: devices - index,
            held: Vec::new(),
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

/// What a host would see of a plan over all the devices of a problem, on which the last one takes twice as long as predicted.
fn observation(mut problem: Problem) -> Observation {
    let blocks = problem.model.whole().end();
    let stages = u32::try_from(problem.offers.len()).unwrap_or(u32::MAX).min(blocks);
    let cut = |stage: u32| stage * blocks / stages;
    problem.current = vec![(0..stages).map(|stage| ProposedStage { offer: stage, start: cut(stage), end: cut(stage + 1) }).collect()];
    let predicted = problem.predict(&problem.current[0]).stages;
    let slow = stages - 1;
    let observed = |(stage, predicted): (u32, Millis)| {
        let measured = if stage == slow { Millis(predicted.0 * 2.0) } else { predicted };
        StageObservation { replica: 0, stage, predicted, measured, runs: 100 }
    };
    let stages = (0..).zip(predicted).map(observed).collect();
    Observation { problem, stages, pressure_max: 0.9, pressure_mean: 0.5, arrival: Millis(10.0) }
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
