//! What can be served right now, for requests: the topology that routing policies see, and behind each of its segments the
//! seat that holds it. Swapped whole when the cluster says so; a request keeps the one it started with.

mod demand;

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
    units::{Bytes, Millis},
    ways::{self, Way},
};
use tokio::sync::watch;

pub use demand::Demand;

use crate::passage::{Hop, Seat};

/// What is served by now, where requests look and wait. Written by the control loop alone.
#[derive(Debug)]
pub struct Served {
    current: ArcSwap<Serving>,
    /// Models that have a replica or are about to get one.
    hopeful: ArcSwap<BTreeSet<ModelId>>,
    /// How many requests come.
    demand: Demand,
    changed: watch::Sender<()>,
}

impl Default for Served {
    fn default() -> Self {
        Self { current: ArcSwap::default(), hopeful: ArcSwap::default(), demand: Demand::default(), changed: watch::Sender::new(()) }
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

    /// Where requests are counted when they arrive.
    pub fn demand(&self) -> &Demand {
        &self.demand
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

/// What was sent to a segment and is not answered yet.
#[derive(Clone, Debug, Default)]
pub struct Outstanding(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU32,
    rows: AtomicU32,
}

/// Counts one request on every segment of its path for as long as it lives.
#[derive(Debug, Default)]
pub struct OnTheWay {
    segments: Vec<Outstanding>,
    rows: u32,
}

/// What each accelerator has to do: the run time of each of its segments, with what was sent there.
type Loads = HashMap<OfferId, Vec<(Millis, Outstanding)>>;

/// One model's share of what is served, parallel to its segments in the topology.
#[derive(Clone, Debug)]
struct Seats {
    /// What the fastest replica is expected to take for one request.
    expected: Millis,
    /// Whether several replicas lead over one stage.
    shares_stages: bool,
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
    loads: Arc<Loads>,
}

impl Serving {
    /// The next topology. A segment whose seat is unknown has just gone: the topology after this says so, and a
    /// request that is routed there meanwhile is routed again.
    pub fn next(&self, topology: Arc<Topology>, seats_of: impl Fn(&OfferId) -> Option<Seat>, reads: impl Fn(&ShardId) -> Arc<[usize]>) -> Self {
        let mut counters: HashMap<(OfferId, ShardId), Outstanding> = HashMap::new();
        let mut loads = Loads::new();
        let mut seats = Vec::with_capacity(topology.models.len());
        for model in &topology.models {
            let mut of_model = Seats { expected: fastest(model), shares_stages: false, hops: Vec::new(), outstanding: Vec::new() };
            for segment in &model.segments {
                let key = (segment.offer().clone(), ShardId { model: model.id.clone(), range: segment.range() });
                // Replicas that share a stage share its count.
                let counter = counters.get(&key).or_else(|| self.counters.get(&key)).cloned().unwrap_or_default();
                let hop = seats_of(segment.offer()).map(|seat| Hop { reads: reads(&key.1), shard: key.1.clone(), position: segment.position, seat });
                of_model.hops.push(hop);
                of_model.outstanding.push(counter.clone());
                if counters.insert(key, counter.clone()).is_none() {
                    loads.entry(segment.offer().clone()).or_default().push((segment.run, counter));
                } else {
                    of_model.shares_stages = true;
                }
            }
            seats.push(of_model);
        }
        // Pressures name devices by index in the topology: the old ones mean nothing now.
        let pressures = PressureTable { number: self.snapshot.pressures.number + 1, devices: Vec::new() };
        Self { snapshot: RoutingSnapshot { topology, pressures: Arc::new(pressures) }, seats, counters, loads: Arc::new(loads) }
    }

    /// The same with other pressures.
    pub fn with_pressures(&self, pressures: Arc<PressureTable>) -> Self {
        let snapshot = RoutingSnapshot { topology: self.snapshot.topology.clone(), pressures };
        Self { snapshot, seats: self.seats.clone(), counters: self.counters.clone(), loads: self.loads.clone() }
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

    /// Whether replicas of a model share stages, so that each of its stages may be on many ways.
    pub fn shares_stages(&self, model: u32) -> bool {
        self.seats.get(model as usize).is_some_and(|seats| seats.shares_stages)
    }

    /// How many requests are on each segment of a model.
    pub fn outstanding(&self, model: u32) -> Vec<u32> {
        let seats = self.seats.get(model as usize);
        seats.map(|seats| seats.outstanding.iter().map(|counter| counter.0.requests.load(Ordering::Relaxed)).collect()).unwrap_or_default()
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
        let segments: Vec<u32> = best.into_iter().map(|(index, _)| index).collect();
        Some((self.hops_of(index, &segments)?, self.count_of(index, &segments, 1)))
    }

    /// A path with the devices that it leads over.
    pub fn way(&self, model: u32, path: Path) -> Option<Way> {
        Some(Way::of(self.snapshot.topology.models.get(model as usize)?, path))
    }

    /// The replicas that a request may take instead of a way, the best first; see `ways::detours`.
    pub fn detours(&self, model: u32, chosen: &Way, tried: &BTreeSet<DeviceId>) -> Vec<Way> {
        let Some(served) = self.snapshot.topology.models.get(model as usize) else { return Vec::new() };
        let mut detours = ways::detours(served, &self.outstanding(model), chosen, tried);
        detours.retain(|way| self.hops(model, &way.path).is_some());
        detours
    }

    /// A replica over fewer of the devices that were tried in vain than a way, if one is ready.
    pub fn untried(&self, model: u32, chosen: &Way, tried: &BTreeSet<DeviceId>) -> Option<Way> {
        if tried.is_empty() {
            return None;
        }
        ways::untried(self.snapshot.topology.models.get(model as usize)?, &self.outstanding(model), chosen, tried)
    }

    /// The stages of a path. None if one of them is gone, or the path is of another topology.
    pub fn hops(&self, model: u32, path: &Path) -> Option<Vec<Hop>> {
        self.hops_of(model, path.segments())
    }

    fn hops_of(&self, model: u32, segments: &[u32]) -> Option<Vec<Hop>> {
        let seats = self.seats.get(model as usize)?;
        segments.iter().map(|&index| seats.hops.get(index as usize).cloned().flatten()).collect()
    }

    /// Counts a request of so many rows as on its way over a path.
    pub fn count(&self, model: u32, path: &Path, rows: usize) -> OnTheWay {
        self.count_of(model, path.segments(), rows)
    }

    fn count_of(&self, model: u32, segments: &[u32], rows: usize) -> OnTheWay {
        let seats = self.seats.get(model as usize);
        let segment = |&index: &u32| seats.and_then(|seats| seats.outstanding.get(index as usize).cloned());
        let on_the_way = OnTheWay { segments: segments.iter().filter_map(segment).collect(), rows: u32::try_from(rows).unwrap_or(u32::MAX) };
        for Outstanding(counts) in &on_the_way.segments {
            counts.requests.fetch_add(1, Ordering::Relaxed);
            counts.rows.fetch_add(on_the_way.rows, Ordering::Relaxed);
        }
        on_the_way
    }

    /// What a request of so many rows, whose inputs have so many bytes together, is expected to take over a path on which it is
    /// counted: all that is to be computed on the path's accelerators by now, whatever it is for, and what sending its rows takes.
    pub fn expected_on(&self, model: u32, path: &Path, rows: usize, input: Bytes) -> Millis {
        let topology = &self.snapshot.topology;
        let Some(served) = topology.models.get(model as usize) else { return Millis::ZERO };
        let offers: BTreeSet<&OfferId> = path.segments().iter().filter_map(|&index| Some(served.segments.get(index as usize)?.offer())).collect();
        let loads = offers.into_iter().filter_map(|offer| self.loads.get(offer)).flatten();
        let computing: Millis = loads.map(|(run, Outstanding(counts))| Millis(run.0 * f64::from(counts.rows.load(Ordering::Relaxed)))).sum();
        let rows = rows.max(1) as u64;
        let sending = ways::sending_time(topology, served, path, Bytes(input.0 / rows));
        computing + Millis(sending.0 * rows as f64)
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
        for Outstanding(counts) in &self.segments {
            counts.requests.fetch_sub(1, Ordering::Relaxed);
            counts.rows.fetch_sub(self.rows, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
