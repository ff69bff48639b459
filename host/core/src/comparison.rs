//! Whether one policy decides worse than another, judged on the same questions. What a decision costs is computed, not
//! measured: the two are compared before any request has suffered, and noise cannot decide.

use crate::{
    problem::{Objective, Problem, ProposedReplica},
    topology::{RouteRequest, RoutingSnapshot},
    units::{Bytes, Millis},
};

/// When a policy counts as worse.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ComparisonPolicy {
    /// Questions that both must have answered before anything is concluded.
    pub questions_min: u32,
    /// A policy whose answers cost more than this many times the other's is worse.
    pub cost_ratio_max: f64,
}

impl Default for ComparisonPolicy {
    fn default() -> Self {
        Self { questions_min: 20, cost_ratio_max: 1.05 }
    }
}

/// Answers of two policies to the same questions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Comparison {
    /// Questions that both answered.
    pub questions: u32,
    /// Questions that both answered alike.
    pub agreed: u32,
    /// Cost of all answers of the one that is judged, in milliseconds.
    pub own_ms: f64,
    /// Cost of all answers of the other, in milliseconds.
    pub other_ms: f64,
}

impl Comparison {
    /// Notes one question. Costs are those of both answers in milliseconds, where they can be computed: own first.
    pub fn note(&mut self, agreed: bool, costs: Option<(f64, f64)>) {
        self.questions = self.questions.saturating_add(1);
        self.agreed = self.agreed.saturating_add(u32::from(agreed));
        if let Some((own, other)) = costs.filter(|(own, other)| own.is_finite() && other.is_finite()) {
            self.own_ms += own;
            self.other_ms += other;
        }
    }

    /// What the answers cost, as a multiple of the other's; none while nothing had a cost.
    pub fn cost_ratio(&self) -> Option<f64> {
        (self.other_ms > 0.0).then(|| self.own_ms / self.other_ms)
    }

    /// How much worse the judged policy is, once that is certain enough.
    pub fn worse(&self, policy: &ComparisonPolicy) -> Option<f64> {
        self.cost_ratio().filter(|&ratio| self.questions >= policy.questions_min && ratio > policy.cost_ratio_max)
    }
}

impl RoutingSnapshot {
    /// What a path of a model costs: half of a round trip from the central to its first device where that one has said how long it
    /// takes, then each segment runs after what is on its way there already, and each hop takes its time. The bytes of the inputs
    /// take the same time to every device, as far as is known. The indexes must have passed `check`; others count nothing.
    pub fn path_time(&self, request: &RouteRequest, path: &[u32]) -> Millis {
        let Some(model) = self.topology.models.get(request.model as usize) else { return Millis::ZERO };
        let segments: Vec<_> = path.iter().filter_map(|&index| Some((index, model.segments.get(index as usize)?))).collect();
        let waiting = |index: u32| request.outstanding.get(index as usize).copied().unwrap_or(0);
        let runs: f64 = segments.iter().map(|(index, segment)| segment.run.0 * f64::from(1 + waiting(*index))).sum();
        let hop = |pair: &[(u32, &crate::topology::Segment)]| {
            let size = model.borders.get(pair[0].1.range().end() as usize - 1).copied().unwrap_or(Bytes::ZERO);
            self.topology.speed(pair[0].1.device, pair[1].1.device).time(size).0
        };
        let latency = |device: u32| self.pressures.devices.iter().find(|(known, _)| *known == device).map(|(_, pressures)| pressures.latency.0 / 2.0);
        let entry = segments.first().and_then(|(_, segment)| latency(segment.device)).unwrap_or(0.0);
        Millis(entry + runs + segments.windows(2).map(hop).sum::<f64>())
    }
}

impl Problem {
    /// What replicas cost by the problem's objective, in milliseconds: the mean time of a request for `latency`, else the time
    /// between two answers of all replicas together. The replicas must have passed `check`.
    pub fn cost_ms(&self, replicas: &[ProposedReplica]) -> f64 {
        match self.placement.objective {
            Objective::Latency => replicas.iter().map(|replica| self.predict(replica).latency().0).sum::<f64>() / replicas.len().max(1) as f64,
            Objective::Throughput | Objective::Balanced => 1.0 / self.throughput(replicas),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        device::Pressures,
        plan::Stage,
        testing::{model_id, offer_id, range},
        topology::{PressureTable, Segment, ServedModel, Topology},
    };

    #[test]
    fn a_policy_is_worse_only_after_enough_questions_and_by_enough() {
        let policy = ComparisonPolicy::default();
        let after = |questions: u32, own: f64| {
            let mut comparison = Comparison::default();
            (0..questions).for_each(|_| comparison.note(false, Some((own, 1.0))));
            comparison.worse(&policy)
        };
        assert_eq!(after(19, 2.0), None);
        assert_eq!(after(20, 2.0), Some(2.0));
        assert_eq!(after(1000, 1.05), None);
        assert_eq!(after(1000, 0.5), None);
    }

    #[test]
    fn questions_without_a_cost_are_counted_and_decide_nothing() {
        let mut comparison = Comparison::default();
        comparison.note(true, None);
        comparison.note(true, Some((f64::INFINITY, 1.0)));
        assert_eq!((comparison.questions, comparison.agreed, comparison.cost_ratio()), (2, 2, None));
    }

    #[test]
    fn a_path_costs_its_runs_behind_what_waits_there() {
        let segment = |start, end, run| Segment {
            stage: Stage { offer: offer_id("a"), range: range(start, end) },
            device: 0,
            replica: 0,
            position: 0,
            run: Millis(run),
            divisible: false,
        };
        let segments = vec![segment(0, 1, 2.0), segment(1, 2, 3.0)];
        let model = ServedModel { id: model_id("m"), blocks: 2, borders: vec![Bytes(8); 2], segments };
        let topology = Topology { models: vec![model], ..Topology::default() };
        let mut snapshot = RoutingSnapshot { topology: Arc::new(topology), ..RoutingSnapshot::default() };
        let mut request = RouteRequest { model: 0, ordinal: 0, random: 0.0, sequence_key: 0, input: Bytes(1), outstanding: vec![0, 2] };
        let hop = snapshot.topology.speed(0, 0).time(Bytes(8)).0;
        assert_eq!(snapshot.path_time(&request, &[0, 1]).0, 2.0 + 9.0 + hop);
        request.outstanding = Vec::new();
        assert_eq!(snapshot.path_time(&request, &[1]).0, 3.0);
        assert_eq!(snapshot.path_time(&request, &[7]).0, 0.0);
        let pressures = Pressures { latency: Millis(4.0), ..Pressures::default() };
        snapshot.pressures = Arc::new(PressureTable { number: 1, devices: vec![(0, pressures)] });
        assert_eq!(snapshot.path_time(&request, &[1]).0, 2.0 + 3.0, "the inputs come half of a round trip");
    }
}
