//! What requests go by: the topology that the cluster published last, the device behind each of its segments, and how many
//! requests are on each. Built anew with each topology, so that a request costs no search over devices.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::pool::Pool;
use crate::{
    device::Pressures,
    ids::{DeviceId, ModelId, OfferId},
    shard::ShardId,
    topology::{Path, PressureTable, RoutingSnapshot, ServedModel, Topology},
    units::{Bytes, Millis},
    ways::{self, Way},
};

/// Pressures that differ by less are the same to a routing policy, as in the host.
const PRESSURE_STEP: f64 = 0.02;

/// What is behind a segment.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// Index of the device in the fleet.
    pub device: usize,
    /// Which count is its.
    pub counter: usize,
    /// What the plan reckons with.
    pub run: Millis,
    /// What runs there.
    pub shard: Arc<ShardId>,
    /// Bytes that go on from there.
    pub border: Bytes,
}

#[derive(Debug, Default)]
struct Served {
    seats: Vec<Seat>,
    /// What the fastest replica takes.
    expected: Millis,
}

/// The present topology and the counts.
#[derive(Debug, Default)]
pub(super) struct Serving {
    snapshot: RoutingSnapshot,
    served: Vec<Served>,
    counters: BTreeMap<(OfferId, ShardId), usize>,
    counts: Vec<u32>,
}

impl Serving {
    /// Serves another topology from now on. Counts go on: a request keeps the way that it was given.
    pub(super) fn store(&mut self, topology: Arc<Topology>, pool: &Pool) {
        self.served = topology.models.iter().map(|model| self.behind(model, pool)).collect();
        // Pressures name devices by index in the topology: the old ones mean nothing now.
        let pressures = PressureTable { number: self.snapshot.pressures.number + 1, devices: Vec::new() };
        self.snapshot = RoutingSnapshot { topology, pressures: Arc::new(pressures) };
    }

    fn behind(&mut self, model: &ServedModel, pool: &Pool) -> Served {
        let mut replicas: BTreeMap<u32, f64> = BTreeMap::new();
        let mut seats = Vec::with_capacity(model.segments.len());
        for segment in &model.segments {
            let shard = ShardId { model: model.id.clone(), range: segment.range() };
            let counts = &mut self.counts;
            let counter = *self.counters.entry((segment.offer().clone(), shard.clone())).or_insert_with(|| {
                counts.push(0);
                counts.len() - 1
            });
            let border = model.borders.get(segment.range().end().saturating_sub(1) as usize).copied().unwrap_or(Bytes::ZERO);
            let device = pool.index(&segment.offer().device).unwrap_or(usize::MAX);
            seats.push(Seat { device, counter, run: segment.run, shard: Arc::new(shard), border });
            *replicas.entry(segment.replica).or_default() += segment.run.0;
        }
        Served { seats, expected: Millis(replicas.into_values().min_by(f64::total_cmp).unwrap_or(0.0)) }
    }

    /// Tells routing how hard devices work, if that changed by more than it jitters.
    pub(super) fn press(&mut self, of: impl Fn(&DeviceId) -> Option<Pressures>) {
        let devices: Vec<(u32, Pressures)> = (0..).zip(&self.snapshot.topology.devices).filter_map(|(index, device)| Some((index, of(&device.id)?))).collect();
        let known = &self.snapshot.pressures.devices;
        let moved = |(new, old): (&(u32, Pressures), &(u32, Pressures))| new.0 != old.0 || new.1.differs(&old.1, PRESSURE_STEP);
        if devices.len() != known.len() || devices.iter().zip(known).any(moved) {
            self.snapshot.pressures = Arc::new(PressureTable { number: self.snapshot.pressures.number + 1, devices });
        }
    }

    pub(super) fn snapshot(&self) -> &RoutingSnapshot {
        &self.snapshot
    }

    /// The model's index in the topology, if a replica of it is ready.
    pub(super) fn model(&self, id: &ModelId) -> Option<u32> {
        self.snapshot.topology.model(id)
    }

    /// What one request to the model is expected to take.
    pub(super) fn expected(&self, id: &ModelId) -> Millis {
        self.model(id).and_then(|index| self.served.get(index as usize)).map_or(Millis::ZERO, |served| served.expected)
    }

    pub(super) fn outstanding(&self, model: u32) -> Vec<u32> {
        let seats = self.served.get(model as usize).map_or(&[][..], |served| &served.seats);
        seats.iter().map(|seat| self.counts[seat.counter]).collect()
    }

    pub(super) fn served(&self, model: u32) -> Option<&ServedModel> {
        self.snapshot.topology.models.get(model as usize)
    }

    pub(super) fn seats(&self, model: u32, path: &Path) -> Vec<Seat> {
        let seats = self.served.get(model as usize).map_or(&[][..], |served| &served.seats);
        path.segments().iter().filter_map(|&index| seats.get(index as usize).cloned()).collect()
    }

    pub(super) fn way(&self, model: u32, path: Path) -> Option<Way> {
        Some(Way::of(self.served(model)?, path))
    }

    pub(super) fn untried(&self, model: u32, chosen: &Way, tried: &BTreeSet<DeviceId>) -> Option<Way> {
        if tried.is_empty() {
            return None;
        }
        ways::untried(self.served(model)?, &self.outstanding(model), chosen, tried)
    }

    pub(super) fn detours(&self, model: u32, chosen: &Way, tried: &BTreeSet<DeviceId>) -> Vec<Way> {
        self.served(model).map(|served| ways::detours(served, &self.outstanding(model), chosen, tried)).unwrap_or_default()
    }

    /// The complete replica with the least work on its way: what answers where the policy fails.
    pub(super) fn least_work(&self, model: u32) -> Option<Path> {
        let nothing = Way { path: self.served(model)?.check(&self.first_replica(model)?).ok()?, devices: Arc::from([]) };
        self.detours(model, &nothing, &BTreeSet::new()).into_iter().next().map(|way| way.path)
    }

    fn first_replica(&self, model: u32) -> Option<Vec<u32>> {
        let segments = &self.served(model)?.segments;
        let first = segments.first()?.replica;
        Some((0..).zip(segments).filter(|(_, segment)| segment.replica == first).map(|(index, _)| index).collect())
    }

    pub(super) fn sending_time(&self, model: u32, path: &Path, input: Bytes) -> Millis {
        self.served(model).map_or(Millis::ZERO, |served| ways::sending_time(&self.snapshot.topology, served, path, input))
    }

    pub(super) fn count(&mut self, counter: usize) {
        self.counts[counter] += 1;
    }

    pub(super) fn uncount(&mut self, counter: usize) {
        self.counts[counter] = self.counts[counter].saturating_sub(1);
    }

    /// Whether a request is on its way over a shard of an offer, or is about to be.
    pub(super) fn is_used(&self, offer: &OfferId, shard: &ShardId) -> bool {
        self.counters.get(&(offer.clone(), shard.clone())).is_some_and(|&counter| self.counts[counter] > 0)
    }

    /// Complete replicas of each model that is served.
    pub(super) fn replicas(&self, id: &ModelId) -> usize {
        let segments = self.model(id).and_then(|index| self.served(index)).map_or(&[][..], |served| &served.segments);
        segments.last().map_or(0, |last| last.replica as usize + 1)
    }
}
