//! The pool in figures, as `host status` shows it.

use std::collections::BTreeMap;

use host_core::cluster;
use serde::{Deserialize, Serialize};

/// The whole pool. What devices have is counted of those whose lease runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Census {
    /// Every device that has joined since the host started and was not removed.
    pub devices_total: u32,
    /// How many of them are `ready`, `away`, `cordoned`, `draining`, `damped` or `lost`; states without a device are not in it.
    pub states: BTreeMap<String, u32>,
    /// Memory, in bytes.
    pub memory_bytes: Supply<u64>,
    /// Computing power, in 10^9 floating point operations per second, as calibrated.
    pub gflops: Supply<f64>,
    /// Requests that have their turn.
    pub requests_running: u32,
    /// Requests that wait for theirs.
    pub requests_waiting: u32,
    /// Each device, sorted by id.
    pub devices: Vec<DeviceCensus>,
}

/// How much there is of something.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Supply<T> {
    /// All of it.
    pub total: T,
    /// What the plan counts on and what shards hold.
    pub reserved: T,
    /// What new work could be given: what is not reserved of devices that take work.
    pub available: T,
}

/// A device in the census.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceCensus {
    /// Its id.
    pub id: String,
    /// As in `Census::states`.
    pub state: String,
    /// Since its last sign of life, in milliseconds.
    pub lease_age_ms: u64,
    /// Its memory, in bytes.
    pub memory_bytes: Supply<u64>,
    /// Its computing power, in 10^9 floating point operations per second.
    pub gflops: Supply<f64>,
}

impl From<&cluster::Census> for Census {
    /// The requests are not the cluster's to know; they start at 0.
    fn from(census: &cluster::Census) -> Self {
        Self {
            devices_total: census.states.values().sum(),
            states: census.states.iter().map(|(state, count)| (state.to_string(), *count)).collect(),
            memory_bytes: Supply::of(census.memory, |memory| memory.0),
            gflops: Supply::of(census.gflops, finite),
            requests_running: 0,
            requests_waiting: 0,
            devices: census.devices.iter().map(DeviceCensus::from).collect(),
        }
    }
}

impl From<&cluster::DeviceCensus> for DeviceCensus {
    fn from(device: &cluster::DeviceCensus) -> Self {
        Self {
            id: device.id.to_string(),
            state: device.state.to_string(),
            // `as` saturates, which is what is wanted here.
            lease_age_ms: device.lease_age.0 as u64,
            memory_bytes: Supply::of(device.memory, |memory| memory.0),
            gflops: Supply::of(device.gflops, finite),
        }
    }
}

impl<T> Supply<T> {
    fn of<S>(supply: cluster::Supply<S>, read: impl Fn(S) -> T) -> Self {
        Self { total: read(supply.total), reserved: read(supply.reserved), available: read(supply.available) }
    }
}

/// A device may claim to take no time at all; JSON has no number for what follows from that.
fn finite(gflops: f64) -> f64 {
    if gflops.is_nan() { 0.0 } else { gflops.clamp(0.0, f64::MAX) }
}

#[cfg(test)]
mod tests {
    use host_core::{
        device::DeviceState,
        ids::DeviceId,
        units::{Bytes, Millis},
    };

    use super::*;

    #[test]
    fn a_census_goes_through_json_whatever_a_device_claims() {
        let memory = cluster::Supply { total: Bytes(8), reserved: Bytes(3), available: Bytes(5) };
        let gflops = cluster::Supply { total: f64::INFINITY, reserved: 2.5, available: f64::NAN };
        let device = cluster::DeviceCensus { id: DeviceId::parse("a").expect("a name"), state: DeviceState::Away, lease_age: Millis(750.9), memory, gflops };
        let states = BTreeMap::from([(DeviceState::Away, 1), (DeviceState::Ready, 2)]);
        let census = Census::from(&cluster::Census { states, memory, gflops, devices: vec![device] });
        assert_eq!((census.devices_total, census.states["ready"], census.states["away"]), (3, 2, 1));
        assert_eq!(census.memory_bytes, Supply { total: 8, reserved: 3, available: 5 });
        assert_eq!((census.devices[0].lease_age_ms, census.devices[0].gflops), (750, Supply { total: f64::MAX, reserved: 2.5, available: 0.0 }));
        let text = serde_json::to_string(&census).expect("it is JSON");
        assert_eq!(serde_json::from_str::<Census>(&text).expect("it reads back"), census);
    }
}
