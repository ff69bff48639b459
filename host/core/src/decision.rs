//! What a policy was asked and what it answered, as one value: for recordings, replays and rehearsals.

use std::sync::Arc;

use crate::{
    ids::Generation,
    policy::{Answer, Arrival, Observation, Verdict},
    problem::{Problem, Proposal},
    topology::{RouteRequest, RoutingSnapshot},
};

/// Everything that one decision may depend on.
#[derive(Clone, Debug)]
pub enum Question {
    /// Place a model.
    Allocate(Arc<Problem>),
    /// Say whether a plan should be made again.
    Review(Arc<Observation>),
    /// Find a path.
    Route {
        /// What can be served, and how hard the devices work.
        snapshot: RoutingSnapshot,
        /// The request to route.
        request: RouteRequest,
    },
    /// Rank an arrival.
    Admit(Arrival),
}

impl Question {
    /// The function of the contract that it is put to.
    pub fn function(&self) -> &'static str {
        match self {
            Self::Allocate(_) => "allocate",
            Self::Review(_) => "review",
            Self::Route { .. } => "route",
            Self::Admit(_) => "admit",
        }
    }
}

/// The decision itself.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Of `allocate`.
    Proposal(Proposal),
    /// Of `review`.
    Verdict(Verdict),
    /// Of `route`: indexes of segments.
    Path(Vec<u32>),
    /// Of `admit`.
    Rank(f64),
}

impl Reply {
    /// Whether both are the same to the last bit.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Proposal(one), Self::Proposal(two)) => one.replicas == two.replicas && one.bound.to_bits() == two.bound.to_bits(),
            (Self::Verdict(one), Self::Verdict(two)) => one == two,
            (Self::Path(one), Self::Path(two)) => one == two,
            (Self::Rank(one), Self::Rank(two)) => one.to_bits() == two.to_bits(),
            _ => false,
        }
    }
}

/// One decision as it was taken: who was asked what, and what came out.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts the decisions of a host; a number that is missing is a decision that was not recorded.
    pub ordinal: u64,
    /// The slot that was asked.
    pub slot: String,
    /// The plugin that answered: the one in service, or the built-in one in its place.
    pub plugin: String,
    /// The slot's generation that it served as.
    pub generation: Generation,
    /// SHA-256 of the plugin's file.
    pub digest: String,
    /// Why the plugin in service did not answer.
    pub fallback: Option<String>,
    /// What was asked.
    pub question: Question,
    /// What was answered.
    pub answer: Answer<Reply>,
}

/// Whether two answers are the same to the last bit. Failures are the same if they are of one kind: their texts may name
/// amounts of time and memory.
pub fn is_same_answer(one: &Answer<Reply>, two: &Answer<Reply>) -> bool {
    match (one, two) {
        (Ok(Ok(one)), Ok(Ok(two))) => one.is_same(two),
        (Ok(Err(one)), Ok(Err(two))) => one == two,
        (Err(one), Err(two)) => one.kind == two.kind,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Refusal;
    use crate::units::Bytes;

    #[test]
    fn answers_are_the_same_only_to_the_last_bit() {
        let refused = |reason: &str| Ok(Err(Refusal { reason: reason.to_owned(), nearest: None, short: Bytes(0) }));
        let rank = |rank| Ok(Ok(Reply::Rank(rank)));
        assert!(is_same_answer(&rank(0.1), &rank(0.1)) && is_same_answer(&refused("full"), &refused("full")));
        assert!(!is_same_answer(&rank(0.1), &rank(0.1 + f64::EPSILON)) && !is_same_answer(&rank(0.0), &rank(-0.0)));
        assert!(!is_same_answer(&rank(0.0), &refused("full")) && !is_same_answer(&refused("full"), &refused("no")));
        assert!(!Reply::Path(vec![0]).is_same(&Reply::Path(vec![1])) && !Reply::Path(vec![]).is_same(&Reply::Rank(0.0)));
    }
}
