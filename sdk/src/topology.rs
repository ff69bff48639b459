//! Arithmetic over a topology: which segments form complete replicas, and what they have to do. Used by routing policies.

use std::collections::BTreeMap;

use crate::routing::{Refusal, RouteRequest, ServedModel, Speed, Topology};

/// The segments of one replica of the plan that form a path: every block once, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaPath {
    /// The plan's number for the replica.
    pub replica: u32,
    /// Indexes into the model's segments, in order.
    pub segments: Vec<u32>,
}

impl Topology {
    /// A topology that serves nothing.
    pub fn empty() -> Self {
        let speed = Speed { latency_ms: 0.0, bytes_per_ms: f64::INFINITY };
        Self { number: 0, models: Vec::new(), devices: Vec::new(), links: Vec::new(), within_site: speed, between_sites: speed }
    }

    /// The model that a request is for. Refuses an index that names none.
    pub fn model(&self, request: &RouteRequest) -> Result<&ServedModel, Refusal> {
        let refuse = || Refusal::because(format!("model {} is not in topology {}, which has {} models", request.model, self.number, self.models.len()));
        self.models.get(request.model as usize).ok_or_else(refuse)
    }
}

impl ServedModel {
    /// The complete replicas, by the plan's number. A replica with a stage that is not ready is not among them.
    pub fn replicas(&self) -> Vec<ReplicaPath> {
        let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (index, segment) in (0_u32..).zip(&self.segments) {
            groups.entry(segment.replica).or_default().push(index);
        }
        groups.into_iter().filter_map(|(replica, segments)| self.complete(replica, segments)).collect()
    }

    fn complete(&self, replica: u32, mut segments: Vec<u32>) -> Option<ReplicaPath> {
        let segment = |index: u32| &self.segments[index as usize];
        segments.sort_by_key(|&index| (segment(index).stage, index));
        let mut next = 0;
        for &index in &segments {
            if segment(index).start != next || segment(index).end <= next {
                return None;
            }
            next = segment(index).end;
        }
        (next == self.blocks && next > 0).then_some(ReplicaPath { replica, segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Segment;

    fn segment(replica: u32, stage: u32, start: u32, end: u32) -> Segment {
        Segment { device: 0, replica, stage, start, end, run_ms: 1.0, divisible: false }
    }

    #[test]
    fn only_replicas_that_cover_every_block_in_order_are_complete() {
        let segments = vec![segment(0, 1, 2, 4), segment(0, 0, 0, 2), segment(1, 0, 0, 2), segment(2, 0, 0, 3), segment(2, 1, 2, 4), segment(5, 0, 0, 4)];
        let model = ServedModel { id: "m@1".into(), blocks: 4, border_bytes: vec![0.0; 4], segments };
        let replicas: Vec<_> = model.replicas().into_iter().map(|path| (path.replica, path.segments)).collect();
        assert_eq!(replicas, [(0, vec![1, 0]), (5, vec![5])]);
    }
}
