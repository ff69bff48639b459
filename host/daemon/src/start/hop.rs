//! What it costs to hand an activation from one device of this process to another: a message between two threads. Tensors
//! are shared, so bytes cost nothing.

use std::{collections::BTreeMap, sync::mpsc::sync_channel};

use host_core::{
    ids::DeviceId,
    link::{Links, Speed},
    units::Millis,
};

use crate::clock;

/// Messages there and back, of which the median counts.
const ROUNDS: usize = 65;
/// Assumed where no second thread can be had to measure with.
const UNMEASURED: Millis = Millis(0.02);

/// Links between every two devices of this process, all of one measured speed.
pub fn links_between(devices: &[DeviceId]) -> Links {
    let speed = Speed { latency: measure().unwrap_or(UNMEASURED), bytes_per_ms: f64::INFINITY };
    let pairs = devices.iter().flat_map(|source| devices.iter().map(move |target| (source.clone(), target.clone())));
    let measured: BTreeMap<(DeviceId, DeviceId), Speed> = pairs.filter(|(source, target)| source != target).map(|pair| (pair, speed)).collect();
    Links { measured, ..Links::default() }
}

/// Half the median time of a message to a thread and back.
fn measure() -> Option<Millis> {
    let (there, arrives) = sync_channel::<()>(1);
    let (back, returns) = sync_channel::<()>(1);
    let echo = std::thread::Builder::new().name("measure hop".to_owned()).spawn(move || while arrives.recv().is_ok() && back.send(()).is_ok() {});
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = clock::now();
        there.send(()).ok()?;
        returns.recv().ok()?;
        times.push(started.elapsed());
    }
    drop(there);
    // The thread ends with its channel; a panic there would only have cost the measurement.
    let _ = echo.ok()?.join();
    times.sort_unstable();
    times.get(ROUNDS / 2).map(|round| Millis(round.as_secs_f64() * 1e3 / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_devices_are_linked_and_none_with_itself() {
        let ids: Vec<DeviceId> = ["a", "b", "c"].iter().map(|name| DeviceId::parse(name).expect("a name")).collect();
        let links = links_between(&ids);
        assert_eq!(links.measured.len(), 6);
        assert!(links.measured.values().all(|speed| speed.latency.0 > 0.0 && speed.latency.0.is_finite()));
    }
}
