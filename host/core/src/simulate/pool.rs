//! Devices as they really are: whether they are there, what they hold, what they compute. What the cluster believes of them is
//! its own business.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    draws::{Draws, Purpose},
    scenario::{FleetDevice, RunTimes, Scenario},
};
use crate::{
    cost::CostModel,
    device::Pressures,
    ids::{DeviceId, OfferId},
    model::Work,
    shard::ShardId,
    units::{Bytes, Millis},
};

/// One row at one stage.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub request: u64,
    pub run: u32,
    pub position: usize,
    pub shard: Arc<ShardId>,
    pub work: Work,
}

/// What a device did.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Deeds {
    /// Time that it computed.
    pub busy_ms: f64,
    /// Time that it was on: cut off it goes on computing what it has.
    pub on_ms: f64,
    /// Time that it was connected.
    pub present_ms: f64,
    /// Rows.
    pub runs: u64,
    /// Times that it failed, left or was cut off.
    pub endings: u64,
    /// Bytes of shards that it fetched.
    pub fetched: Bytes,
}

/// A device.
#[derive(Debug)]
pub(super) struct SimulatedDevice {
    pub offer: OfferId,
    /// What its runs really cost.
    cost: CostModel,
    /// Switched on.
    pub powered: bool,
    /// With connections.
    pub linked: bool,
    /// Whether it is gone without anybody having heard of it.
    pub unheard: bool,
    /// Counts connections: what was being loaded over an earlier one comes to nothing.
    pub session: u32,
    /// Counts its processes: what an earlier one computed comes to nothing.
    pub process: u32,
    pub held: BTreeSet<ShardId>,
    pub cache: Cache,
    /// When its loader is free.
    pub loader_free: Millis,
    queue: VecDeque<Job>,
    running: Option<(Job, Millis)>,
    draws: Draws,
    /// Expected time of all requests on it.
    pub outstanding_ms: f64,
    /// Run times since the last heartbeat, by shard: sum and count.
    measured: BTreeMap<ShardId, (f64, u32)>,
    /// Busy since the last heartbeat.
    beat_busy_ms: f64,
    pub deeds: Deeds,
    /// Since when it is connected.
    pub since: Millis,
    /// Since when it is on, or counted.
    pub on_since: Millis,
}

/// Files of shards on a device, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct Cache {
    files: VecDeque<(ShardId, Bytes)>,
    bytes: Bytes,
}

/// All devices.
#[derive(Debug)]
pub(super) struct Pool {
    pub devices: Vec<SimulatedDevice>,
    indexes: BTreeMap<DeviceId, usize>,
    /// Devices that hold a shard ready.
    holders: BTreeMap<ShardId, BTreeSet<usize>>,
}

impl Pool {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let device = |(index, device): (usize, &FleetDevice)| SimulatedDevice::new(scenario, index, device);
        let indexes = scenario.devices.iter().enumerate().map(|(index, device)| (device.device.id.clone(), index)).collect();
        Self { devices: scenario.devices.iter().enumerate().map(device).collect(), indexes, holders: BTreeMap::new() }
    }

    pub(super) fn index(&self, id: &DeviceId) -> Option<usize> {
        self.indexes.get(id).copied()
    }

    /// Whoever holds a shard and is connected; of several the first at a site, or the first of all.
    pub(super) fn holder(&self, shard: &ShardId, near: impl Fn(usize) -> bool, but: usize) -> Option<usize> {
        let there = || self.holders.get(shard).into_iter().flatten().copied().filter(|&index| index != but && self.devices[index].is_connected());
        there().find(|&index| near(index)).or_else(|| there().next())
    }

    pub(super) fn hold(&mut self, device: usize, shard: ShardId) {
        self.holders.entry(shard.clone()).or_default().insert(device);
        self.devices[device].held.insert(shard);
    }

    pub(super) fn drop_shard(&mut self, device: usize, shard: &ShardId) {
        if let Some(holders) = self.holders.get_mut(shard) {
            holders.remove(&device);
        }
        self.devices[device].held.remove(shard);
    }

    /// Everything in memory is gone.
    pub(super) fn forget(&mut self, device: usize) {
        for shard in std::mem::take(&mut self.devices[device].held) {
            if let Some(holders) = self.holders.get_mut(&shard) {
                holders.remove(&device);
            }
        }
        let gone = &mut self.devices[device];
        gone.queue.clear();
        gone.running = None;
        gone.measured.clear();
    }
}

impl SimulatedDevice {
    fn new(scenario: &Scenario, index: usize, fleet: &FleetDevice) -> Self {
        let settings = &scenario.settings;
        let error = settings.calibration_error_ratio * (2.0 * Draws::new(settings.seed, Purpose::Calibration, index).uniform() - 1.0);
        // Scenarios have proved that there is one.
        let offer = &fleet.device.offers[0];
        Self {
            offer: fleet.device.offer_id(offer),
            cost: offer.cost.slowed(1.0 + error),
            powered: false,
            linked: true,
            unheard: false,
            session: 0,
            process: 0,
            held: BTreeSet::new(),
            cache: Cache::default(),
            loader_free: Millis::ZERO,
            queue: VecDeque::new(),
            running: None,
            draws: Draws::new(settings.seed, Purpose::Runs, index),
            outstanding_ms: 0.0,
            measured: BTreeMap::new(),
            beat_busy_ms: 0.0,
            deeds: Deeds::default(),
            since: Millis::ZERO,
            on_since: Millis::ZERO,
        }
    }

    /// Whether it can be spoken to.
    pub(super) fn is_connected(&self) -> bool {
        self.powered && self.linked
    }

    /// Takes a row in. True if it should start to compute at once.
    pub(super) fn take_in(&mut self, job: Job) -> bool {
        self.queue.push_back(job);
        self.running.is_none()
    }

    /// Starts the next row that somebody waits for, and says when it will be done.
    pub(super) fn start(&mut self, now: Millis, speed: f64, times: RunTimes, wanted: impl Fn(&Job) -> bool) -> Option<Millis> {
        if self.running.is_some() {
            return None;
        }
        while let Some(job) = self.queue.pop_front() {
            if !wanted(&job) {
                continue;
            }
            let mean = self.cost.predict(job.work).0 / speed;
            let run = match times {
                RunTimes::Fixed => mean,
                RunTimes::Exponential => self.draws.exponential(mean),
            };
            self.running = Some((job, now));
            return Some(now + Millis(run));
        }
        None
    }

    /// Ends the row that it is at, and notes what it took.
    pub(super) fn finish(&mut self, now: Millis) -> Option<Job> {
        let (job, began) = self.running.take()?;
        let took = (now - began).0;
        self.deeds.busy_ms += took;
        self.deeds.runs += 1;
        self.beat_busy_ms += took;
        let measured = self.measured.entry(job.shard.as_ref().clone()).or_default();
        (measured.0, measured.1) = (measured.0 + took, measured.1 + 1);
        Some(job)
    }

    /// How hard it worked for the last while, and the mean run times of its shards.
    pub(super) fn beat(&mut self, interval: Millis) -> (Pressures, Vec<(ShardId, Millis, u32)>) {
        let accelerator = (std::mem::take(&mut self.beat_busy_ms) / interval.0).clamp(0.0, 1.0);
        let means = std::mem::take(&mut self.measured).into_iter().map(|(shard, (sum, count))| (shard, Millis(sum / f64::from(count)), count)).collect();
        (Pressures { accelerator, ..Pressures::default() }, means)
    }

    /// Time that the row which runs now has computed by now.
    pub(super) fn at_work(&self, now: Millis) -> f64 {
        self.running.as_ref().map_or(0.0, |(_, began)| (now - *began).0)
    }
}

impl Cache {
    /// Whether a file is there; then it is the one that was used last.
    pub(super) fn touch(&mut self, shard: &ShardId) -> bool {
        let Some(index) = self.files.iter().position(|(known, _)| known == shard) else { return false };
        let file = self.files.remove(index);
        self.files.extend(file);
        true
    }

    /// Keeps a file, and drops those that were used longest ago where that is too much.
    pub(super) fn keep(&mut self, shard: ShardId, size: Bytes, bytes_max: Bytes) {
        self.files.push_back((shard, size));
        self.bytes += size;
        while self.bytes > bytes_max
            && let Some((_, dropped)) = self.files.pop_front()
        {
            self.bytes = self.bytes - dropped;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{model_id, range};

    #[test]
    fn a_cache_drops_what_was_used_longest_ago() {
        let shard = |end| ShardId { model: model_id("m"), range: range(0, end) };
        let mut cache = Cache::default();
        (1..=2).for_each(|end| cache.keep(shard(end), Bytes(40), Bytes(100)));
        assert!(cache.touch(&shard(1)));
        cache.keep(shard(3), Bytes(40), Bytes(100));
        assert_eq!([1, 2, 3].map(|end| cache.touch(&shard(end))), [true, false, true]);
    }
}
