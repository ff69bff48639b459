//! Slots of the three kinds of policies. Each proves what its guests answer before anyone acts on it: an answer that breaks
//! a rule is a strike like a trap, and the built-in plugin answers in its place.

use std::sync::Arc;

use host_core::{
    decision::{Question, Reply},
    error::Error as Broken,
    ids::Generation,
    plan::Replica,
    policy::{self, Answer, Arrival, Observation, PolicyFault, Refusal, Verdict},
    problem::{Problem, Proposal},
    topology::{Path, RouteRequest, RoutingSnapshot},
};
use host_engine::Digest;

use crate::{
    error::Error,
    events::Bearer,
    names::SlotName,
    slot::{Slot, SlotStatus},
    witness::{is_kept, witness},
    world::{AllocationPolicy, QueueingPolicy, RoutingPolicy},
};

pub use crate::slot::Decision;

/// A proposal that was proved, and its replicas by name.
#[derive(Clone, PartialEq, Debug)]
pub struct Allocated {
    /// As the policy named it.
    pub proposal: Proposal,
    /// The same with offers named: what goes into a plan.
    pub replicas: Vec<Replica>,
}

fn broken(error: Broken) -> PolicyFault {
    PolicyFault::invalid(error.to_string())
}

/// Asks for a plan and proves it.
pub(crate) fn allocate(policy: &mut impl policy::AllocationPolicy, problem: &Problem) -> Answer<Allocated> {
    let prove = |proposal: Proposal| Ok(Allocated { replicas: problem.check(&proposal).map_err(broken)?, proposal });
    policy.allocate(problem)?.map(prove).map_or_else(|refusal| Ok(Err(refusal)), |proved| proved.map(Ok))
}

/// Asks for a path and proves it.
pub(crate) fn route(policy: &mut impl policy::RoutingPolicy, snapshot: &RoutingSnapshot, request: &RouteRequest) -> Answer<Path> {
    let answer = policy.route(snapshot, request)?;
    let model = snapshot.topology.models.get(request.model as usize);
    let prove = |indexes: Vec<u32>| match model {
        Some(model) => model.check(&indexes).map_err(broken),
        None => Err(PolicyFault::invalid(format!("it found a path for model {}, there are {}", request.model, snapshot.topology.models.len()))),
    };
    answer.map(prove).map_or_else(|refusal| Ok(Err(refusal)), |proved| proved.map(Ok))
}

/// Asks for a rank and proves it.
pub(crate) fn admit(policy: &mut impl policy::QueueingPolicy, arrival: &Arrival) -> Answer<f64> {
    match policy.admit(arrival)? {
        Ok(rank) if !rank.is_finite() => Err(PolicyFault::invalid(format!("the rank is {rank}, it must be finite"))),
        answer => Ok(answer),
    }
}

macro_rules! slot {
    ($(#[$doc:meta])* $name:ident, $world:ident) => {
        $(#[$doc])*
        pub struct $name(pub(crate) Arc<Slot<$world>>);

        impl $name {
            /// Its name.
            pub fn name(&self) -> &SlotName {
                &self.0.name
            }

            /// What serves now; none in an empty slot.
            pub fn bearer(&self) -> Option<Arc<Bearer>> {
                self.0.current().map(|version| Arc::clone(&version.bearer))
            }

            /// What serves now with its configuration, as JSON; none in an empty slot.
            pub fn configured(&self) -> Option<(Arc<Bearer>, String)> {
                self.0.current().map(|version| (Arc::clone(&version.bearer), version.tenant.program.config.clone()))
            }

            /// What is in it, and how it fares.
            pub fn status(&self) -> SlotStatus {
                self.0.status()
            }

            /// Digests of all that it remembers: files of these must be kept.
            pub fn digests(&self) -> Vec<Digest> {
                self.0.digests()
            }

            /// Puts the plugin on trial in service.
            pub(crate) fn promote(&self) -> Result<Arc<Bearer>, Error> {
                self.0.promote()
            }

            /// Ends a canary or a shadow.
            pub(crate) fn stop_trial(&self) -> Result<Arc<Bearer>, Error> {
                self.0.stop_trial()
            }

            pub(crate) fn roll_back(&self, to: Option<Generation>) -> Result<Arc<Bearer>, Error> {
                self.0.roll_back(to)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("bearer", &self.bearer()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use slot;

slot!(
    /// The slot of allocation policies. Its calls take up to seconds: call it on a thread of its own.
    AllocationSlot,
    AllocationPolicy
);
slot!(
    /// A slot of routing policies. Its call takes microseconds: call it inline.
    RoutingSlot,
    RoutingPolicy
);
slot!(
    /// The slot of queueing policies. Its call takes microseconds: call it inline.
    QueueingSlot,
    QueueingPolicy
);

impl AllocationSlot {
    /// Places one model.
    pub fn allocate(&self, problem: &Problem) -> Result<Decision<Allocated>, Error> {
        let decided = self.0.decide("allocate", |warm| allocate(warm, problem), |allocated: &Allocated| Some(problem.cost_ms(&allocated.proposal.replicas)));
        witness(&self.0, &decided, true, || Question::Allocate(Arc::new(problem.clone())), |allocated| Reply::Proposal(allocated.proposal.clone()));
        decided
    }

    /// Asks what would be proposed if the problem were this one, for people who want to know: it is neither recorded nor kept for
    /// rehearsals, and nothing follows from it. A failure is a strike as always.
    pub fn suppose(&self, problem: &Problem) -> Result<Decision<Allocated>, Error> {
        self.0.decide("allocate", |warm| allocate(warm, problem), |_: &Allocated| None)
    }

    /// Whether the plan in force should be made again.
    pub fn review(&self, observation: &Observation) -> Result<Decision<Verdict>, Error> {
        let decided = self.0.decide("review", |warm| policy::AllocationPolicy::review(warm, observation).map(Ok), |_| None);
        witness(&self.0, &decided, true, || Question::Review(Arc::new(observation.clone())), |verdict| Reply::Verdict(verdict.clone()));
        decided
    }
}

impl RoutingSlot {
    /// Whether nobody has chosen another plugin than the built-in one: it serves, and nothing is on trial beside it.
    pub fn is_untouched(&self) -> bool {
        self.0.is_untouched()
    }

    /// Picks the path of one request. The instance that answers is first told what it does not know of the snapshot.
    pub fn route(&self, snapshot: &RoutingSnapshot, request: &RouteRequest) -> Result<Decision<Path>, Error> {
        let decided = self.0.decide("route", |warm| route(warm, snapshot, request), |path: &Path| Some(snapshot.path_time(request, path.segments()).0));
        let question = || Question::Route { snapshot: snapshot.clone(), request: request.clone() };
        witness(&self.0, &decided, is_kept(request.ordinal), question, |path| Reply::Path(path.segments().to_vec()));
        decided
    }
}

impl QueueingSlot {
    /// Ranks or refuses one arrival. With no plugin in the slot, or one that fails, requests wait in the order in which they
    /// came and are refused when the line is full.
    pub fn admit(&self, arrival: &Arrival) -> Result<Decision<f64>, Error> {
        let Some(version) = self.0.current() else {
            return Ok(Decision { answer: in_order(arrival), by: self.nobody(), took: std::time::Duration::ZERO, fallback: None });
        };
        let decided = self.0.decide("admit", |warm| admit(warm, arrival), |_| None);
        witness(&self.0, &decided, is_kept(arrival.ordinal), || Question::Admit(arrival.clone()), |rank| Reply::Rank(*rank));
        match decided {
            Err(error) if !version.tenant.program.fails_closed() => match error.fault() {
                crate::error::Fault::InService { fault, .. } => {
                    let fallback = Some(fault.clone());
                    Ok(Decision { answer: in_order(arrival), by: self.nobody(), took: std::time::Duration::ZERO, fallback })
                }
                _ => Err(error),
            },
            decided => decided,
        }
    }

    fn nobody(&self) -> Arc<Bearer> {
        Arc::new(Bearer { slot: self.0.name.clone(), plugin: "arrival-order".into(), digest: Digest([0; 32]), generation: Generation(0) })
    }
}

/// The host's own order: that of arrival.
fn in_order(arrival: &Arrival) -> Result<f64, Refusal> {
    let depth: u64 = arrival.classes.iter().map(|class| u64::from(class.depth)).sum();
    if depth < u64::from(arrival.depth_max) {
        return Ok(arrival.now.0);
    }
    Err(Refusal { reason: format!("{depth} requests are waiting, at most {} may", arrival.depth_max), nearest: None, short: Default::default() })
}
