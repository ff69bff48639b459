//! How long models have no replica, and whether that had to be.

use super::world::World;
use crate::{ids::ModelId, problem::Problem, shard::BlockRange, units::Millis};

/// Of one model.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Availability {
    pub without: Millis,
    pub avoidable: Millis,
    /// Replicas times milliseconds.
    pub replica_ms: f64,
    replicas: usize,
    /// Whether there is memory for one, while there is none.
    possible: bool,
    since: Millis,
    /// Whether it counts.
    counting: bool,
}

impl Availability {
    pub(super) fn begin(&mut self) {
        self.counting = true;
    }

    pub(super) fn end(&mut self) {
        self.counting = false;
    }

    /// Goes on to a moment as it was until then.
    fn pass(&mut self, now: Millis) {
        let passed = now - self.since;
        self.since = now;
        if !self.counting {
            return;
        }
        self.replica_ms += passed.0 * self.replicas as f64;
        if self.replicas == 0 {
            self.without = self.without + passed;
            if self.possible {
                self.avoidable = self.avoidable + passed;
            }
        }
    }
}

impl World<'_, '_> {
    /// Notes what is served from this moment on.
    pub(super) fn note_availability(&mut self) {
        for (model, availability) in self.scenario.models.iter().zip(&mut self.availability) {
            let id: &ModelId = model.profile.id();
            availability.pass(self.now);
            availability.replicas = self.serving.replicas(id);
            availability.possible = availability.replicas == 0 && self.cluster.problem(id).is_some_and(|problem| has_memory(&problem));
        }
    }
}

/// Whether the offers of a problem, largest first and each filled as far as it goes, hold the model. Where this says yes there is
/// a plan, roles and placement aside.
fn has_memory(problem: &Problem) -> bool {
    let mut offers: Vec<_> = problem.offers.iter().map(|offer| &offer.capacity).collect();
    offers.sort_by_key(|offer| std::cmp::Reverse(offer.memory));
    let blocks = problem.model.whole().end();
    let mut next = 0;
    for offer in offers {
        let fits = |end: u32| BlockRange::new(next, end).is_ok_and(|range| offer.need(&problem.model, range) <= offer.memory);
        // What is needed grows with the range, so the largest end is found by halving.
        let (mut low, mut high) = (next, blocks);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        next = low;
        if next == blocks {
            return true;
        }
    }
    false
}
