//! The pool in figures: devices by state, what they have, and what of it is taken.

use std::collections::BTreeMap;

use super::{Cluster, DeviceRecord};
use crate::{
    device::DeviceState,
    ids::{AcceleratorName, DeviceId, OfferId},
    shard::ShardId,
    units::{Bytes, Millis},
};

/// How much there is of something, over the devices whose lease runs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Supply<T> {
    /// All of it.
    pub total: T,
    /// What the plan in force counts on and what shards hold, in whatever state their device is.
    pub reserved: T,
    /// What new work could be given: what is not reserved of devices that take work.
    pub available: T,
}

/// A device in the census.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceCensus {
    /// Its id.
    pub id: DeviceId,
    /// Where it is in its life.
    pub state: DeviceState,
    /// Since its last sign of life, on the time that leases run on. Its lease is over when this is longer than the lease.
    pub lease_age: Millis,
    /// Each memory pool counted once.
    pub memory: Supply<Bytes>,
    /// 10^9 floating point operations per second, as calibrated. An accelerator is reserved as a whole once the plan has a
    /// stage on it. One whose time does not depend on the work counts nothing.
    pub gflops: Supply<f64>,
}

/// The whole pool in figures.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Census {
    /// How many devices are in each state; states without a device are not in it.
    pub states: BTreeMap<DeviceState, u32>,
    /// Over all devices whose lease runs.
    pub memory: Supply<Bytes>,
    /// Over all devices whose lease runs, in 10^9 floating point operations per second.
    pub gflops: Supply<f64>,
    /// Every device that is not forgotten, sorted by id.
    pub devices: Vec<DeviceCensus>,
}

impl Cluster {
    /// Counts the pool. `now` is by the same clock as the events.
    pub fn census(&self, now: Millis) -> Census {
        let planned = self.plan().plan().shards();
        let now = self.time.at(now, &self.settings);
        let mut census = Census::default();
        for record in self.devices.values() {
            let stages: Vec<&(OfferId, ShardId)> = planned.iter().filter(|(offer, _)| offer.device == record.device.id).collect();
            let device = DeviceCensus {
                id: record.device.id.clone(),
                state: record.state(),
                lease_age: Millis((now - record.seen).0.max(0.0)),
                memory: self.memory(record, &stages),
                gflops: gflops(record, &stages),
            };
            *census.states.entry(device.state).or_default() += 1;
            if record.is_alive() {
                census.memory.add(device.memory);
                census.gflops.add(device.gflops);
            }
            census.devices.push(device);
        }
        census
    }

    fn memory(&self, record: &DeviceRecord, stages: &[&(OfferId, ShardId)]) -> Supply<Bytes> {
        let mut pools: BTreeMap<u32, (Bytes, Bytes)> = BTreeMap::new();
        for offer in &record.device.offers {
            pools.entry(offer.memory_pool).or_insert((offer.memory, record.held_in_pool(offer.memory_pool)));
        }
        for (offer, shard) in stages.iter().filter(|(offer, shard)| record.shard(offer, shard).is_none()) {
            let pool = record.offer(&offer.accelerator).and_then(|offer| pools.get_mut(&offer.memory_pool));
            if let Some((_, taken)) = pool {
                *taken += super::record::need(&self.models, &record.device, &offer.accelerator, shard);
            }
        }
        let mut supply = Supply::default();
        for (total, taken) in pools.into_values() {
            let reserved = taken.min(total);
            let available = if record.takes_work() { total - reserved } else { Bytes::ZERO };
            supply.add(Supply { total, reserved, available });
        }
        supply
    }
}

fn gflops(record: &DeviceRecord, stages: &[&(OfferId, ShardId)]) -> Supply<f64> {
    let mut supply = Supply::default();
    for offer in record.device.offers.iter().filter(|offer| offer.cost.gflop_ms > 0.0) {
        let total = 1e3 / offer.cost.gflop_ms;
        let works = |accelerator: &AcceleratorName| stages.iter().any(|(stage, _)| stage.accelerator == *accelerator);
        let reserved = if works(&offer.accelerator) { total } else { 0.0 };
        let available = if record.takes_work() { total - reserved } else { 0.0 };
        supply.add(Supply { total, reserved, available });
    }
    supply
}

impl<T: std::ops::Add<Output = T> + Copy> Supply<T> {
    fn add(&mut self, other: Self) {
        self.total = self.total + other.total;
        self.reserved = self.reserved + other.reserved;
        self.available = self.available + other.available;
    }
}
