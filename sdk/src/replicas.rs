//! What policies share that send a request to a whole replica: the complete replicas of each model, the work on the way to
//! them, and how to choose among those that tie. Nothing here chooses for them.

use crate::{
    routing::{Refusal, RouteRequest, ServedModel, Topology},
    topology::ReplicaPath,
};

/// Two values closer than this share of the larger one tie, so that rounding does not decide.
const TIE_RATIO: f64 = 1e-9;

/// A topology with the complete replicas of each of its models.
#[derive(Debug)]
pub struct Replicas {
    topology: Topology,
    models: Vec<Vec<ReplicaPath>>,
}

impl Replicas {
    /// Those of a topology. As much work as the topology is large: for `set_topology`, not for `route`.
    pub fn of(topology: Topology) -> Self {
        Self { models: topology.models.iter().map(ServedModel::replicas).collect(), topology }
    }

    /// The topology that they are of.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Each model with its replicas, in the topology's order.
    pub fn by_model(&self) -> impl Iterator<Item = (&ServedModel, &[ReplicaPath])> {
        self.topology.models.iter().zip(self.models.iter().map(Vec::as_slice))
    }

    /// For each model, parallel to its replicas: who they are, as `rendezvous` needs it.
    pub fn identities(&self) -> Vec<Vec<u64>> {
        let of = |model: &ServedModel, replica: &ReplicaPath| self.topology.replica_identity(model, &replica.segments);
        self.by_model().map(|(model, replicas)| replicas.iter().map(|replica| of(model, replica)).collect()).collect()
    }

    /// The model that a request is for, and its complete replicas by the plan's number: at least one. Refuses an index that
    /// names no model, and a model without a complete replica.
    pub fn of_request(&self, request: &RouteRequest) -> Result<(&ServedModel, &[ReplicaPath]), Refusal> {
        let model = self.topology.model(request)?;
        let replicas = &self.models[request.model as usize];
        if replicas.is_empty() {
            return Err(Refusal::because(format!("model {} has no complete replica, {} segments are ready", model.id, model.segments.len())));
        }
        Ok((model, replicas))
    }
}

impl Default for Replicas {
    fn default() -> Self {
        Self::of(Topology::empty())
    }
}

impl ServedModel {
    /// Milliseconds of one request over a path on which nothing else is.
    pub fn idle_ms(&self, path: &[u32]) -> f64 {
        path.iter().map(|&index| self.segments[index as usize].run_ms).sum()
    }

    /// Milliseconds of work on a path with one more request: each segment runs for every request that was sent there and is
    /// not answered, and for the new one. `outstanding` counts requests by segment; one that it lacks has none.
    pub fn work_ms(&self, path: &[u32], outstanding: &[u32]) -> f64 {
        let waiting = |index: u32| f64::from(outstanding.get(index as usize).copied().unwrap_or(0));
        path.iter().map(|&index| (waiting(index) + 1.0) * self.segments[index as usize].run_ms).sum()
    }
}

/// Keeps the candidates of the least value, those that tie with it included, in their order. A value that is no number counts
/// as infinite: what is not known never wins.
pub fn keep_least<T>(candidates: &mut Vec<T>, value: impl Fn(&T) -> f64) {
    let values: Vec<f64> = candidates.iter().map(|candidate| known(value(candidate))).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let mut values = values.into_iter();
    candidates.retain(|_| values.next().is_some_and(|value| ties(value, least)));
}

/// Whether a value is the least one, but for rounding.
pub fn ties(value: f64, least: f64) -> bool {
    value <= least + least.abs() * TIE_RATIO
}

/// The one whose turn it is. The ordinal of a request is the only way to take turns. `None` of no candidates.
pub fn in_turn<T>(candidates: &[T], ordinal: u32) -> Option<&T> {
    candidates.get((ordinal as usize).checked_rem(candidates.len())?)
}

fn known(value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Segment;

    fn model() -> ServedModel {
        let segment = |replica, stage: u32, run_ms| Segment { device: 0, replica, stage, start: stage, end: stage + 1, run_ms, divisible: false };
        let segments = vec![segment(0, 0, 1.0), segment(0, 1, 2.0), segment(1, 0, 4.0)];
        ServedModel { id: "m@1".into(), blocks: 2, border_bytes: vec![0.0; 2], segments }
    }

    fn request(model: u32) -> RouteRequest {
        RouteRequest { model, ordinal: 0, random: 0.0, sequence_key: 0, input_bytes: 0.0, outstanding: Vec::new() }
    }

    #[test]
    fn a_request_finds_the_complete_replicas_of_its_model_or_words() {
        let empty = ServedModel { segments: vec![model().segments.remove(2)], ..model() };
        let replicas = Replicas::of(Topology { models: vec![model(), empty], ..Topology::empty() });
        let found = |index| replicas.of_request(&request(index)).map(|(_, found)| found.len()).map_err(|refusal| refusal.reason);
        assert_eq!(found(0), Ok(1));
        assert_eq!(found(1), Err("model m@1 has no complete replica, 1 segments are ready".into()));
        assert_eq!(found(2), Err("model 2 is not in topology 0, which has 2 models".into()));
    }

    #[test]
    fn work_counts_what_is_on_the_way_and_the_new_request() {
        assert_eq!(model().idle_ms(&[0, 1]), 3.0);
        assert_eq!(model().work_ms(&[0, 1], &[2, 1]), 7.0);
        assert_eq!(model().work_ms(&[0, 1], &[]), 3.0);
    }

    #[test]
    fn the_least_are_kept_with_those_that_rounding_parts_and_without_what_is_unknown() {
        let least = |values: &[f64]| {
            let mut kept: Vec<usize> = (0..values.len()).collect();
            keep_least(&mut kept, |&index| values[index]);
            kept
        };
        assert_eq!(least(&[3.0, 0.3, 0.1 + 0.2, 0.31]), [1, 2]);
        assert_eq!(least(&[f64::NAN, 5.0, f64::INFINITY]), [1]);
        assert_eq!(least(&[f64::NAN, f64::INFINITY]), [0, 1]);
        assert_eq!(least(&[]), [0; 0]);
    }

    #[test]
    fn turns_go_round() {
        assert_eq!([0, 1, 2, 0x7fff_ffff].map(|ordinal| in_turn(&['a', 'b'], ordinal)), [Some(&'a'), Some(&'b'), Some(&'a'), Some(&'b')]);
        assert_eq!(in_turn::<u8>(&[], 1), None);
    }
}
