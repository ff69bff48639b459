//! Heartbeats of the devices inside this process: how hard each works, and what its stages were measured to take.

use std::{sync::Arc, time::Duration};

use host_core::{cluster::Event, device::Pressures, ids::DeviceId};
use tokio::sync::mpsc;

use crate::{
    clock::{self, Clock},
    device::Compute,
    machine::Machine,
    serving::Demand,
};

/// A device in this process, as far as its pulse goes.
#[derive(Debug)]
pub struct LocalDevice {
    /// Its id.
    pub id: DeviceId,
    /// Its compute threads.
    pub computes: Vec<Arc<Compute>>,
}

/// What compute threads did since it was last asked.
#[derive(Debug)]
pub struct Load {
    busy: Duration,
    at: std::time::Instant,
}

impl Load {
    /// From now on.
    pub fn of<'a>(computes: impl Iterator<Item = &'a Arc<Compute>>) -> Self {
        Self { busy: computes.map(|compute| compute.busy()).sum(), at: clock::now() }
    }

    /// How hard the device and its machine work.
    pub fn pressures<'a>(&mut self, machine: &mut Machine, computes: impl Iterator<Item = &'a Arc<Compute>> + Clone) -> Pressures {
        let (cpu, memory) = machine.load();
        let count = computes.clone().count().max(1) as f64;
        let before = std::mem::replace(self, Self::of(computes));
        let accelerator = ratio((self.busy - before.busy).as_secs_f64(), (self.at - before.at).as_secs_f64() * count);
        Pressures { cpu, memory, accelerator, ..Pressures::default() }
    }
}

/// A number that tells this process from others, drawn when it is first asked for.
pub fn process_number() -> u64 {
    static NUMBER: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    });
    *NUMBER
}

/// Beats until the control loop is gone, and tells it how many requests came in between.
pub async fn beat(devices: Vec<LocalDevice>, interval: Duration, clock: Clock, demand: Demand, events: mpsc::WeakSender<Event>) {
    let mut machine = Machine::new();
    let mut busy: Vec<Duration> = devices.iter().map(busy_of).collect();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(events) = events.upgrade() else { return };
        let (cpu, memory) = machine.load();
        let now = clock.millis();
        for (device, before) in devices.iter().zip(&mut busy) {
            let total = busy_of(device);
            let computes = device.computes.len().max(1) as f64;
            let accelerator = ratio((total - *before).as_secs_f64(), interval.as_secs_f64() * computes);
            *before = total;
            let heartbeat = Event::Heartbeat { device: device.id.clone(), pressures: Pressures { cpu, memory, accelerator, ..Pressures::default() }, now };
            if events.send(heartbeat).await.is_err() {
                return;
            }
            for event in measurements(device) {
                if events.send(event).await.is_err() {
                    return;
                }
            }
        }
        for (model, requests) in demand.take() {
            if events.send(Event::Requested { model, requests, now }).await.is_err() {
                return;
            }
        }
        if events.send(Event::Tick { now }).await.is_err() {
            return;
        }
    }
}

fn measurements(device: &LocalDevice) -> Vec<Event> {
    let of_compute = |compute: &Arc<Compute>| {
        let offer = compute.handle().offer.clone();
        compute.take_runs().into_iter().map(move |(shard, run, runs)| Event::Measured { offer: offer.clone(), shard, run, runs }).collect::<Vec<_>>()
    };
    device.computes.iter().flat_map(of_compute).collect()
}

fn busy_of(device: &LocalDevice) -> Duration {
    device.computes.iter().map(|compute| compute.busy()).sum()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 }
}
