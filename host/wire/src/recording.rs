//! Recordings of decisions: JSON lines. The first line of each run of a host is a header; topologies, pressures and plugins
//! are written once, when they change, and referred to by number after that. Numbers survive to the last bit.

mod allocation;
mod exact;
mod routing;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use host_core::{
    decision::{self, Record, Reply},
    ids::Generation,
    policy::{self, PolicyFault, StrikeKind},
    topology,
    units::{Bytes, Millis},
};
use serde::{Deserialize, Serialize};

pub use allocation::{Observation, Problem, Proposal};
pub use exact::Exact;
pub use routing::{Pressures, RouteRequest, Topology};

use crate::error::{Error, Fault};

/// The version of the format that this host writes and reads.
pub const FORMAT: u32 = 1;
/// Topologies and pressures that a reader keeps for lines that refer to them. A writer writes again what has fallen out.
const KNOWN_MAX: usize = 64;

/// One line of a recording.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// A host started to record.
    Header(Header),
    /// A plugin that answers from here on.
    Plugin(Plugin),
    /// What can be served.
    Topology(Topology),
    /// How hard the devices of a topology work.
    Pressures(Pressures),
    /// A decision.
    Decision(Box<Decision>),
    /// Decisions that are missing here.
    Gap(Gap),
}

/// Where a run of a host begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// The host's version.
    pub host: String,
}

/// A generation of a slot, and how it is configured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plugin {
    /// The slot.
    pub slot: String,
    /// Its generation; 0 is the built-in plugin that answers when another fails.
    pub generation: u64,
    /// The plugin.
    pub plugin: String,
    /// SHA-256 of its file.
    pub digest: String,
    /// What it was configured with, as JSON, where that is known.
    pub config: Option<String>,
}

/// Decisions that were not recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// How many; 0 where nobody knows.
    pub decisions: u64,
}

/// One decision.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Counts the decisions of the host.
    pub ordinal: u64,
    /// The slot that was asked.
    pub slot: String,
    /// The plugin that answered.
    pub plugin: String,
    /// The generation that it served as.
    pub generation: u64,
    /// SHA-256 of its file.
    pub digest: String,
    /// Why the plugin in service did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// What was asked.
    pub question: Question,
    /// What was answered.
    pub answer: Answer,
}

/// What was asked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Question {
    /// Place a model.
    Allocate {
        /// The whole problem.
        problem: Problem,
    },
    /// Say whether a plan should be made again.
    Review {
        /// The whole observation.
        observation: Observation,
    },
    /// Find a path.
    Route {
        /// Number of a topology line before this.
        topology: u32,
        /// Number of a pressures line before this.
        pressures: u64,
        /// The request.
        request: RouteRequest,
    },
    /// Rank an arrival.
    Admit {
        /// The arrival.
        arrival: Arrival,
    },
}

/// What was answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// A proposal.
    Proposal(Proposal),
    /// The plan stays.
    Keep,
    /// The plan should be made again.
    Replan {
        /// Why.
        reason: String,
    },
    /// A path.
    Path {
        /// Indexes of segments.
        segments: Vec<u32>,
    },
    /// A rank.
    Rank {
        /// The smallest is served first.
        rank: Exact,
    },
    /// An honest no.
    Refused(Refusal),
    /// No answer at all.
    Failed {
        /// `trap`, `late`, `memory`, `invalid` or `over_budget`.
        fault: String,
        /// What happened.
        message: String,
    },
}

/// An honest no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// For a person.
    pub reason: String,
    /// What was nearest to being enough.
    pub nearest: Option<u32>,
    /// What it lacks.
    pub short_bytes: u64,
}

/// A request that has just arrived.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Arrival {
    /// Counts arrivals.
    pub ordinal: u32,
    /// Index into `classes`.
    pub class: u32,
    /// Since the host started.
    pub now_ms: Exact,
    /// From now until the answer is worthless.
    pub deadline_ms: Option<Exact>,
    /// What serving it is expected to take.
    pub expected_ms: Exact,
    /// Waiting requests and the last rank of each class.
    pub classes: Vec<(u32, Exact)>,
    /// The most requests that may wait.
    pub depth_max: u32,
    /// The rank that had its turn last; 0 in recordings that do not say it.
    #[serde(default)]
    pub served_rank: Exact,
    /// From one turn to the next while requests wait, if the host knew.
    #[serde(default)]
    pub turn_ms: Option<Exact>,
}

/// What the reader of a recording is given.
#[derive(Clone, Debug)]
pub enum Event {
    /// A run of a host begins: numbers of topologies start again.
    Started(Header),
    /// A plugin that answers from here on.
    Plugin(Plugin),
    /// A decision with everything that it depended on.
    Decided(Box<Record>),
    /// Decisions are missing here.
    Gap(Gap),
}

/// Turns decisions into lines.
#[derive(Debug, Default)]
pub struct Encoder {
    topologies: VecDeque<u32>,
    pressures: VecDeque<(u32, u64)>,
    plugins: BTreeSet<(String, u64)>,
}

impl Encoder {
    /// What a decision and everything new that it refers to is written as. `config` is asked for once for each generation.
    pub fn encode(&mut self, record: &Record, config: Option<&str>) -> Vec<Line> {
        let mut lines = Vec::new();
        if self.plugins.insert((record.slot.clone(), record.generation.0)) {
            lines.push(Line::Plugin(Plugin {
                slot: record.slot.clone(),
                generation: record.generation.0,
                plugin: record.plugin.clone(),
                digest: record.digest.clone(),
                config: config.map(str::to_owned),
            }));
        }
        let question = match &record.question {
            decision::Question::Allocate(problem) => Question::Allocate { problem: problem.as_ref().into() },
            decision::Question::Review(observation) => Question::Review { observation: observation.as_ref().into() },
            decision::Question::Admit(arrival) => Question::Admit { arrival: arrival.into() },
            decision::Question::Route { snapshot, request } => {
                let (topology, pressures) = (snapshot.topology.number, snapshot.pressures.number);
                if is_new(&mut self.topologies, topology) {
                    lines.push(Line::Topology(snapshot.topology.as_ref().into()));
                }
                if is_new(&mut self.pressures, (topology, pressures)) {
                    lines.push(Line::Pressures(Pressures::of(topology, &snapshot.pressures)));
                }
                Question::Route { topology, pressures, request: request.into() }
            }
        };
        lines.push(Line::Decision(Box::new(Decision {
            ordinal: record.ordinal,
            slot: record.slot.clone(),
            plugin: record.plugin.clone(),
            generation: record.generation.0,
            digest: record.digest.clone(),
            fallback: record.fallback.clone(),
            question,
            answer: (&record.answer).into(),
        })));
        lines
    }
}

/// Remembers the newest; the oldest fall out, for writers and readers alike.
fn is_new<T: PartialEq>(known: &mut VecDeque<T>, one: T) -> bool {
    if known.contains(&one) {
        return false;
    }
    known.push_back(one);
    while known.len() > KNOWN_MAX {
        known.pop_front();
    }
    true
}

/// Turns lines into decisions.
#[derive(Debug, Default)]
pub struct Decoder {
    topologies: VecDeque<Arc<topology::Topology>>,
    pressures: VecDeque<(u32, Arc<topology::PressureTable>)>,
}

impl Decoder {
    /// Takes the next line; what only later lines need gives nothing.
    pub fn decode(&mut self, line: Line) -> Result<Option<Event>, Error> {
        match line {
            Line::Header(header) if header.format != FORMAT => {
                Err(Fault::Recording { what: format!("it has format {}, this host reads {FORMAT}", header.format) }.into())
            }
            Line::Header(header) => {
                *self = Self::default();
                Ok(Some(Event::Started(header)))
            }
            Line::Plugin(plugin) => Ok(Some(Event::Plugin(plugin))),
            Line::Gap(gap) => Ok(Some(Event::Gap(gap))),
            Line::Topology(topology) => {
                keep(&mut self.topologies, Arc::new(topology.try_into()?));
                Ok(None)
            }
            Line::Pressures(pressures) => {
                keep(&mut self.pressures, (pressures.topology, Arc::new(pressures.into())));
                Ok(None)
            }
            Line::Decision(decision) => self.record(*decision).map(|record| Some(Event::Decided(Box::new(record)))),
        }
    }

    fn record(&self, decision: Decision) -> Result<Record, Error> {
        let question = match decision.question {
            Question::Allocate { problem } => decision::Question::Allocate(Arc::new(problem.try_into()?)),
            Question::Review { observation } => decision::Question::Review(Arc::new(observation.try_into()?)),
            Question::Admit { arrival } => decision::Question::Admit(arrival.into()),
            Question::Route { topology, pressures, request } => {
                let missing = |what: &str, number: u64| {
                    Error::from(Fault::Recording { what: format!("decision {} refers to {what} {number}, which is not there", decision.ordinal) })
                };
                let known = self.topologies.iter().rev().find(|known| known.number == topology).cloned();
                let table = self.pressures.iter().rev().find(|(of, table)| (*of, table.number) == (topology, pressures)).map(|(_, table)| table.clone());
                let snapshot = topology::RoutingSnapshot {
                    topology: known.ok_or_else(|| missing("topology", u64::from(topology)))?,
                    pressures: table.ok_or_else(|| missing("pressures", pressures))?,
                };
                decision::Question::Route { snapshot, request: request.into() }
            }
        };
        Ok(Record {
            ordinal: decision.ordinal,
            slot: decision.slot,
            plugin: decision.plugin,
            generation: Generation(decision.generation),
            digest: decision.digest,
            fallback: decision.fallback,
            question,
            answer: decision.answer.try_into()?,
        })
    }
}

fn keep<T>(known: &mut VecDeque<T>, one: T) {
    known.push_back(one);
    while known.len() > KNOWN_MAX {
        known.pop_front();
    }
}

impl From<&policy::Answer<Reply>> for Answer {
    fn from(answer: &policy::Answer<Reply>) -> Self {
        match answer {
            Ok(Ok(Reply::Proposal(proposal))) => Self::Proposal(proposal.into()),
            Ok(Ok(Reply::Verdict(policy::Verdict::Keep))) => Self::Keep,
            Ok(Ok(Reply::Verdict(policy::Verdict::Replan(reason)))) => Self::Replan { reason: reason.clone() },
            Ok(Ok(Reply::Path(segments))) => Self::Path { segments: segments.clone() },
            Ok(Ok(Reply::Rank(rank))) => Self::Rank { rank: Exact(*rank) },
            Ok(Err(refusal)) => Self::Refused(Refusal { reason: refusal.reason.clone(), nearest: refusal.nearest, short_bytes: refusal.short.0 }),
            Err(fault) => Self::Failed { fault: fault.kind.word().to_owned(), message: fault.message.clone() },
        }
    }
}

impl TryFrom<Answer> for policy::Answer<Reply> {
    type Error = Error;

    fn try_from(answer: Answer) -> Result<Self, Error> {
        Ok(match answer {
            Answer::Proposal(proposal) => Ok(Ok(Reply::Proposal(proposal.into()))),
            Answer::Keep => Ok(Ok(Reply::Verdict(policy::Verdict::Keep))),
            Answer::Replan { reason } => Ok(Ok(Reply::Verdict(policy::Verdict::Replan(reason)))),
            Answer::Path { segments } => Ok(Ok(Reply::Path(segments))),
            Answer::Rank { rank } => Ok(Ok(Reply::Rank(rank.0))),
            Answer::Refused(refusal) => Ok(Err(policy::Refusal { reason: refusal.reason, nearest: refusal.nearest, short: Bytes(refusal.short_bytes) })),
            Answer::Failed { fault, message } => {
                let unknown = || Fault::UnknownWord { what: "fault", word: fault.clone(), known: "trap, late, memory, invalid, over_budget" };
                let kind = StrikeKind::ALL.into_iter().find(|kind| kind.word() == fault).ok_or_else(unknown)?;
                Err(PolicyFault { kind, message })
            }
        })
    }
}

impl From<&policy::Arrival> for Arrival {
    fn from(arrival: &policy::Arrival) -> Self {
        Self {
            ordinal: arrival.ordinal,
            class: arrival.class,
            now_ms: arrival.now.into(),
            deadline_ms: arrival.deadline.map(Exact::from),
            expected_ms: arrival.expected.into(),
            classes: arrival.classes.iter().map(|class| (class.depth, Exact(class.last_rank))).collect(),
            depth_max: arrival.depth_max,
            served_rank: Exact(arrival.line.served_rank),
            turn_ms: arrival.line.turn.map(Exact::from),
        }
    }
}

impl From<Arrival> for policy::Arrival {
    fn from(arrival: Arrival) -> Self {
        Self {
            ordinal: arrival.ordinal,
            class: arrival.class,
            now: arrival.now_ms.into(),
            deadline: arrival.deadline_ms.map(Millis::from),
            expected: arrival.expected_ms.into(),
            classes: arrival.classes.into_iter().map(|(depth, last_rank)| policy::ClassState { depth, last_rank: last_rank.0 }).collect(),
            depth_max: arrival.depth_max,
            line: policy::LineState { served_rank: arrival.served_rank.0, turn: arrival.turn_ms.map(Millis::from) },
        }
    }
}

#[cfg(test)]
mod tests;
