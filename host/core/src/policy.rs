//! What a policy is to the host: a function of a snapshot. Implemented by sandboxed plugins and by doubles in tests.

use std::fmt;

use crate::{
    problem::{Problem, Proposal},
    topology::{RouteRequest, RoutingSnapshot},
    units::{Bytes, Millis},
};

/// A plugin's honest *no*, with its reason. An answer, never a strike.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    /// For a person.
    pub reason: String,
    /// The offer or segment that was nearest to being enough.
    pub nearest: Option<u32>,
    /// What it lacks; 0 where memory is not the constraint.
    pub short: Bytes,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// One failure of a plugin in service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StrikeKind {
    /// It trapped.
    Trap,
    /// It did not answer within its deadline.
    Late,
    /// It took more memory, or returned more bytes, than it may.
    Memory,
    /// Its answer broke a rule.
    Invalid,
    /// It answers in time, but takes far longer than it rehearsed.
    OverBudget,
}

impl StrikeKind {
    /// All kinds, for metrics.
    pub const ALL: [Self; 5] = [Self::Trap, Self::Late, Self::Memory, Self::Invalid, Self::OverBudget];

    /// A word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Late => "late",
            Self::Memory => "memory",
            Self::Invalid => "invalid",
            Self::OverBudget => "over_budget",
        }
    }
}

/// A strike with what happened.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyFault {
    /// Which kind of failure.
    pub kind: StrikeKind,
    /// What happened, for a person.
    pub message: String,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.word(), self.message)
    }
}

impl PolicyFault {
    /// An answer that breaks a rule.
    pub fn invalid(message: String) -> Self {
        Self { kind: StrikeKind::Invalid, message }
    }
}

/// What a policy answers: its decision, or its refusal; or it failed to answer at all.
pub type Answer<T> = Result<Result<T, Refusal>, PolicyFault>;

/// Whether a plan should be made again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is good enough.
    Keep,
    /// Plan again, and why.
    Replan(String),
}

/// One stage as it was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StageObservation {
    /// Index of the replica in the problem's current plan.
    pub replica: u32,
    /// Position in the replica.
    pub stage: u32,
    /// What the cost model says.
    pub predicted: Millis,
    /// What was measured.
    pub measured: Millis,
    /// Runs behind the measured value.
    pub runs: u32,
}

/// What a policy is asked to review.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// The problem as it would be posed now.
    pub problem: Problem,
    /// Measured stages.
    pub stages: Vec<StageObservation>,
    /// The highest pressure of any device in the plan.
    pub pressure_max: f64,
    /// The mean pressure over them.
    pub pressure_mean: f64,
    /// Expected time until the next request.
    pub arrival: Millis,
}

/// Decides which offers hold which blocks of a model.
pub trait AllocationPolicy: Send {
    /// Places one model.
    fn allocate(&mut self, problem: &Problem) -> Answer<Proposal>;
    /// Says whether the plan in force should be made again.
    fn review(&mut self, observation: &Observation) -> Result<Verdict, PolicyFault>;
}

impl<P: AllocationPolicy + ?Sized> AllocationPolicy for Box<P> {
    fn allocate(&mut self, problem: &Problem) -> Answer<Proposal> {
        (**self).allocate(problem)
    }

    fn review(&mut self, observation: &Observation) -> Result<Verdict, PolicyFault> {
        (**self).review(observation)
    }
}

/// Decides which segments a request goes through.
pub trait RoutingPolicy: Send {
    /// Indexes of the model's segments. Not believed until `ServedModel::check`.
    fn route(&mut self, snapshot: &RoutingSnapshot, request: &RouteRequest) -> Answer<Vec<u32>>;
}

impl<P: RoutingPolicy + ?Sized> RoutingPolicy for Box<P> {
    fn route(&mut self, snapshot: &RoutingSnapshot, request: &RouteRequest) -> Answer<Vec<u32>> {
        (**self).route(snapshot, request)
    }
}

/// The line of one class at this moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ClassState {
    /// Requests waiting.
    pub depth: u32,
    /// The rank of the last request admitted.
    pub last_rank: f64,
}

/// How the whole line moves at this moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct LineState {
    /// The rank of the request that was given its turn last, 0 at first.
    pub served_rank: f64,
    /// From one turn to the next while requests wait, on average; none before that was seen.
    pub turn: Option<Millis>,
}

/// A request that has just arrived.
#[derive(Clone, PartialEq, Debug)]
pub struct Arrival {
    /// Counts arrivals and wraps at 2^31.
    pub ordinal: u32,
    /// Index into `classes`.
    pub class: u32,
    /// Since the host started.
    pub now: Millis,
    /// From now until the answer is worthless, if the client named a time.
    pub deadline: Option<Millis>,
    /// What serving it is expected to take.
    pub expected: Millis,
    /// Every class.
    pub classes: Vec<ClassState>,
    /// The most requests that may wait.
    pub depth_max: u32,
    /// The whole line.
    pub line: LineState,
}

/// Decides who waits.
pub trait QueueingPolicy: Send {
    /// A finite rank, smallest served first, or a refusal.
    fn admit(&mut self, arrival: &Arrival) -> Answer<f64>;
}

impl<P: QueueingPolicy + ?Sized> QueueingPolicy for Box<P> {
    fn admit(&mut self, arrival: &Arrival) -> Answer<f64> {
        (**self).admit(arrival)
    }
}
