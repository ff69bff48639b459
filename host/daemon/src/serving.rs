//! What can be served right now, for requests: the topology that routing policies see, and behind each of its segments the
//! seat that holds it. Swapped whole when the cluster says so; a request keeps the one it started with.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use host_core::{
    ids::{DeviceId, ModelId, OfferId, PlanNumber},
    shard::ShardId,
    topology::{Path, PressureTable, RoutingSnapshot, Segment, ServedModel, Topology},
    units::Millis,
};
use tokio::sync::watch;

use crate::passage::{Hop, Seat};

/// What is served by now, where requests look and wait. Written by the control loop alone.
#[derive(Debug)]
pub struct Served {
    current: ArcSwap<Serving>,
    /// Models that have a replica or are about to get one.
    hopeful: ArcSwap<BTreeSet<ModelId>>,
    changed: watch::Sender<()>,
}

impl Default for Served {
    fn default() -> Self {
        Self { current: ArcSwap::default(), hopeful: ArcSwap::default(), changed: watch::Sender::new(()) }
    }
}

impl Served {
    /// What is served now.
    pub fn load(&self) -> arc_swap::Guard<Arc<Serving>> {
        self.current.load()
    }

    /// The same, to be kept.
    pub fn load_full(&self) -> Arc<Serving> {
        self.current.load_full()
    }

    /// Serves this from now on.
    pub fn store(&self, serving: Serving) {
        self.current.store(Arc::new(serving));
        self.changed.send_replace(());
    }

    /// Says for which models it is worth waiting.
    pub fn hope(&self, models: BTreeSet<ModelId>) {
        if **self.hopeful.load() != models {
            self.hopeful.store(Arc::new(models));
            self.changed.send_replace(());
        }
    }

    /// Waits until a model has a replica. False if it is not about to get one.
    pub async fn wait_for(&self, model: &ModelId) -> bool {
        let mut changed = self.changed.subscribe();
        loop {
            if self.load().model(model).is_some() {
                return true;
            }
            if !self.hopeful.load().contains(model) {
                return false;
            }
            // The sender is part of `self`.
            let _ = changed.changed().await;
        }
    }

    /// Waits until routes may lead elsewhere than by this topology.
    pub async fn differs_from(&self, topology: &Arc<Topology>) {
        let mut changed = self.changed.subscribe();
        while Arc::ptr_eq(&self.load().snapshot().topology, topology) {
            let _ = changed.changed().await;
        }
    }
}

/// Requests that were sent to a segment and are not answered yet.
#[derive(Clone, Debug, Default)]
pub struct Outstanding(Arc<AtomicU32>);

/// Counts one request on every segment of its path for as long as it lives.
#[derive(Debug, Default)]
pub struct OnTheWay(Vec<Outstanding>);

/// One model's share of what is served, parallel to its segments in the topology.
#[derive(Debug)]
struct Seats {
    /// What the fastest replica is expected to take for one request.
    expected: Millis,
    /// None where the stage is gone already.
    hops: Vec<Option<Hop>>,
    outstanding: Vec<Outstanding>,
}

/// A topology with what is behind it.
#[derive(Debug, Default)]
pub struct Serving {
    snapshot: RoutingSnapshot,
    seats: Vec<Seats>,
    /// Counters outlive a topology, so that a plan that keeps a segment keeps its count.
    counters: HashMap<(OfferId, ShardId), Outstanding>,
}

impl Serving {
    /// The next topology. A segment whose seat is unknown has just gone: the topology after this says so, and a
    /// request that is routed there meanwhile is routed again.
    pub fn next(&self, topology: Arc<Topology>, seats_of: impl Fn(&OfferId) -> Option<Seat>, reads: impl Fn(&ShardId) -> Arc<[usize]>) -> Self {
        let mut counters = HashMap::new();
        let mut seats = Vec::with_capacity(topology.models.len());
        for model in &topology.models {
            let mut of_model = Seats { expected: fastest(model), hops: Vec::new(), outstanding: Vec::new() };
            for segment in &model.segments {
                let key = (segment.offer().clone(), ShardId { model: model.id.clone(), range: segment.range() });
                let counter = self.counters.get(&key).cloned().unwrap_or_default();
                let hop = seats_of(segment.offer()).map(|seat| Hop { reads: reads(&key.1), shard: key.1.clone(), position: segment.position, seat });
                of_model.hops.push(hop);
                of_model.outstanding.push(counter.clone());
                counters.insert(key, counter);
            }
            seats.push(of_model);
        }
        // Pressures name devices by index in the topology: the old ones mean nothing now.
        let pressures = PressureTable { number: self.snapshot.pressures.number + 1, devices: Vec::new() };
        Self { snapshot: RoutingSnapshot { topology, pressures: Arc::new(pressures) }, seats, counters }
    }

    /// The same with other pressures.
    pub fn with_pressures(&self, pressures: Arc<PressureTable>) -> Self {
        let seats =
            self.seats.iter().map(|seats| Seats { expected: seats.expected, hops: seats.hops.clone(), outstanding: seats.outstanding.clone() }).collect();
        Self { snapshot: RoutingSnapshot { topology: self.snapshot.topology.clone(), pressures }, seats, counters: self.counters.clone() }
    }

    /// The plan that is served.
    pub fn plan(&self) -> PlanNumber {
        self.snapshot.topology.plan
    }

    /// What routing policies are given.
    pub fn snapshot(&self) -> &RoutingSnapshot {
        &self.snapshot
    }

    /// The model's index in the topology, if a replica of it is ready.
    pub fn model(&self, id: &ModelId) -> Option<u32> {
        self.snapshot.topology.model(id)
    }

    /// What one request to the model is expected to take, by the cost model; 0 if no replica of it is ready.
    pub fn expected(&self, id: &ModelId) -> Millis {
        let seats = self.model(id).and_then(|index| self.seats.get(index as usize));
        seats.map_or(Millis::ZERO, |seats| seats.expected)
    }

    /// How many requests are on each segment of a model.
    pub fn outstanding(&self, model: u32) -> Vec<u32> {
        let seats = self.seats.get(model as usize);
        seats.map(|seats| seats.outstanding.iter().map(|counter| counter.0.load(Ordering::Relaxed)).collect()).unwrap_or_default()
    }

    /// Whether a replica of a model is ready that does not use this device.
    pub fn serves_without(&self, model: &ModelId, device: &DeviceId) -> bool {
        let Some(served) = self.model(model).and_then(|index| self.snapshot.topology.models.get(index as usize)) else { return false };
        let without = served.segments.iter().map(|segment| segment.replica).collect::<BTreeSet<_>>();
        let with: BTreeSet<u32> = served.segments.iter().filter(|segment| segment.offer().device == *device).map(|segment| segment.replica).collect();
        without.difference(&with).next().is_some()
    }

    /// The last stages of a replica that does not use this device in them, from the one on that begins at a block; of several, those
    /// with the fewest requests. Counted as on the way.
    pub fn take_from(&self, model: &ModelId, block: u32, without: &DeviceId) -> Option<(Vec<Hop>, OnTheWay)> {
        let index = self.model(model)?;
        let served = self.snapshot.topology.models.get(index as usize)?;
        let segments = || (0_u32..).zip(&served.segments);
        let heads = segments().filter(|(_, segment)| segment.range().start() == block);
        let tails = heads.map(|(_, head)| segments().filter(move |(_, next)| next.replica == head.replica && next.position >= head.position));
        let tails = tails.map(|tail| tail.collect::<Vec<_>>()).filter(|tail| tail.iter().all(|(_, segment)| segment.offer().device != *without));
        let outstanding = self.outstanding(index);
        let busy = |tail: &Vec<(u32, &Segment)>| tail.iter().filter_map(|(index, _)| outstanding.get(*index as usize)).sum::<u32>();
        let best = tails.min_by_key(busy)?;
        let seats = self.seats.get(index as usize)?;
        seats.take(best.into_iter().map(|(index, _)| index))
    }

    /// The stages of a path, counted as on the way. None if one of them is gone, or the path is of another topology.
    pub fn take(&self, model: u32, path: &Path) -> Option<(Vec<Hop>, OnTheWay)> {
        self.seats.get(model as usize)?.take(path.segments().iter().copied())
    }
}

impl Seats {
    fn take(&self, segments: impl Iterator<Item = u32> + Clone) -> Option<(Vec<Hop>, OnTheWay)> {
        let hops = segments.clone().map(|index| self.hops.get(index as usize).cloned().flatten()).collect::<Option<Vec<_>>>()?;
        let counters: Vec<Outstanding> = segments.filter_map(|index| self.outstanding.get(index as usize).cloned()).collect();
        for counter in &counters {
            counter.0.fetch_add(1, Ordering::Relaxed);
        }
        Some((hops, OnTheWay(counters)))
    }
}

/// The shortest time through any replica.
fn fastest(model: &ServedModel) -> Millis {
    let mut replicas: BTreeMap<u32, f64> = BTreeMap::new();
    for segment in &model.segments {
        *replicas.entry(segment.replica).or_default() += segment.run.0;
    }
    Millis(replicas.into_values().min_by(f64::total_cmp).unwrap_or(0.0))
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        for counter in &self.0 {
            counter.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
