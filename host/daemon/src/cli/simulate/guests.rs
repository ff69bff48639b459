//! Plugins as the policies of a simulation: each is compiled and started as for `host plugin bench`, and asked on one instance, or
//! on a fresh one after it has failed.

use std::sync::Arc;

use host_core::{
    decision::{Question, Reply},
    policy::{AllocationPolicy, Answer, Arrival, Observation, PolicyFault, QueueingPolicy, Refusal, RoutingPolicy, StrikeKind, Verdict},
    problem::{Problem, Proposal},
    topology::{RouteRequest, RoutingSnapshot},
};
use host_plugin::Replayer;

/// A plugin that answers.
pub(super) struct Guest<'a>(pub Replayer<'a>);

impl Guest<'_> {
    /// What keeps an instance from starting is a failure of the plugin.
    fn ask(&mut self, question: &Question) -> Answer<Reply> {
        self.0.answer(question).unwrap_or_else(|error| Err(PolicyFault { kind: StrikeKind::Trap, message: error.to_string() }))
    }
}

/// The decision, if it is one of the kind that was asked for.
fn as_asked<T>(answer: Answer<Reply>, read: impl FnOnce(Reply) -> Option<T>) -> Answer<T> {
    match answer? {
        Ok(reply) => read(reply).map(Ok).ok_or_else(|| PolicyFault::invalid("it answered another question than it was asked".to_owned())),
        Err(refusal) => Ok(Err::<T, Refusal>(refusal)),
    }
}

impl AllocationPolicy for Guest<'_> {
    fn allocate(&mut self, problem: &Problem) -> Answer<Proposal> {
        as_asked(self.ask(&Question::Allocate(Arc::new(problem.clone()))), |reply| match reply {
            Reply::Proposal(proposal) => Some(proposal),
            _ => None,
        })
    }

    fn review(&mut self, observation: &Observation) -> Result<Verdict, PolicyFault> {
        let answer = as_asked(self.ask(&Question::Review(Arc::new(observation.clone()))), |reply| match reply {
            Reply::Verdict(verdict) => Some(verdict),
            _ => None,
        });
        // A refusal to review changes nothing.
        answer.map(|verdict| verdict.unwrap_or(Verdict::Keep))
    }
}

impl RoutingPolicy for Guest<'_> {
    fn route(&mut self, snapshot: &RoutingSnapshot, request: &RouteRequest) -> Answer<Vec<u32>> {
        as_asked(self.ask(&Question::Route { snapshot: snapshot.clone(), request: request.clone() }), |reply| match reply {
            Reply::Path(path) => Some(path),
            _ => None,
        })
    }
}

impl QueueingPolicy for Guest<'_> {
    fn admit(&mut self, arrival: &Arrival) -> Answer<f64> {
        as_asked(self.ask(&Question::Admit(arrival.clone())), |reply| match reply {
            Reply::Rank(rank) => Some(rank),
            _ => None,
        })
    }
}
