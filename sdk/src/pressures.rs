//! The newest pressure of each device of a topology, and what it means that a device says nothing. Used by routing policies
//! that look at pressures.

use crate::routing::{Pressure, ServedModel, Topology};

/// By device. Made anew for each topology, because indexes of devices belong to one.
#[derive(Debug, Default)]
pub struct DevicePressures {
    devices: Vec<Option<Pressure>>,
    spoken: bool,
}

impl DevicePressures {
    /// None of any device yet.
    pub fn of(topology: &Topology) -> Self {
        Self { devices: vec![None; topology.devices.len()], spoken: false }
    }

    /// Takes news. Those of devices that the topology does not have are dropped.
    pub fn note(&mut self, pressures: Vec<Pressure>) {
        for pressure in pressures {
            if let Some(known) = self.devices.get_mut(pressure.device as usize) {
                (*known, self.spoken) = (Some(pressure), true);
            }
        }
    }

    /// That of one device, if it has said anything.
    pub fn get(&self, device: u32) -> Option<&Pressure> {
        self.devices.get(device as usize)?.as_ref()
    }

    /// Whether a device says nothing while others do. It may just have failed: then nothing is on its way to it either, and
    /// whoever takes silence for leisure sends it everything.
    pub fn is_silent(&self, device: u32) -> bool {
        self.spoken && self.get(device).is_none()
    }

    /// Whether a path leads over a silent device.
    pub fn any_silent(&self, model: &ServedModel, path: &[u32]) -> bool {
        path.iter().any(|&index| self.is_silent(model.segments[index as usize].device))
    }

    /// The highest load of the devices of a path. Infinite where one of them is silent or the load is no number, 0 while no
    /// device has said anything.
    pub fn highest(&self, model: &ServedModel, path: &[u32], load: impl Fn(&Pressure) -> f64) -> f64 {
        let of = |device: u32| match self.get(device) {
            Some(pressure) => Some(load(pressure)).filter(|load| !load.is_nan()).unwrap_or(f64::INFINITY),
            None if self.spoken => f64::INFINITY,
            None => 0.0,
        };
        path.iter().map(|&index| of(model.segments[index as usize].device)).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Device, Segment};

    fn pressure(device: u32, cpu: f64) -> Pressure {
        Pressure { device, cpu, memory: 0.0, accelerator: 0.0, bandwidth: 0.0, latency_ms: 0.0 }
    }

    #[test]
    fn a_device_that_says_nothing_while_others_do_is_taken_for_the_busiest() {
        let device = |id: &str| Device { id: id.into(), site: 0, attributes: Vec::new() };
        let segment = |device| Segment { device, replica: 0, stage: 0, start: 0, end: 1, run_ms: 1.0, divisible: false };
        let model = ServedModel { id: "m@1".into(), blocks: 1, border_bytes: vec![0.0], segments: (0..3).map(segment).collect() };
        let mut pressures = DevicePressures::of(&Topology { devices: ["a", "b", "c"].map(device).to_vec(), ..Topology::empty() });
        let highest = |pressures: &DevicePressures, path: &[u32]| pressures.highest(&model, path, |pressure| pressure.cpu);
        assert_eq!((highest(&pressures, &[0, 1]), pressures.is_silent(0)), (0.0, false));
        pressures.note(vec![pressure(0, 0.2), pressure(1, 0.7), pressure(77, 1.0)]);
        assert_eq!((highest(&pressures, &[0]), highest(&pressures, &[0, 1])), (0.2, 0.7));
        assert_eq!((highest(&pressures, &[0, 2]), pressures.is_silent(2)), (f64::INFINITY, true));
        assert!(pressures.any_silent(&model, &[0, 2]) && !pressures.any_silent(&model, &[0, 1]));
        pressures.note(vec![pressure(2, f64::NAN)]);
        assert_eq!((highest(&pressures, &[2]), pressures.is_silent(2)), (f64::INFINITY, false));
    }
}
