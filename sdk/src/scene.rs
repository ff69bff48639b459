//! Small topologies, requests and pressures, for the tests of routing policies.

use crate::routing::{Device, Pressure, RouteRequest, Segment, ServedModel, Topology};

/// One model, `m@1`, in whole replicas: for each its stages, of one block each, as device and run time in milliseconds. All
/// replicas have as many stages as the first. The devices are `d0`, `d1` and so on, on one site, with links that cost nothing.
pub fn whole_replicas(replicas: &[&[(u32, f64)]]) -> Topology {
    let mut segments = Vec::new();
    for (replica, stages) in (0_u32..).zip(replicas) {
        for (stage, &(device, run_ms)) in (0_u32..).zip(*stages) {
            segments.push(Segment { device, replica, stage, start: stage, end: stage + 1, run_ms, divisible: false });
        }
    }
    let blocks = replicas.first().map_or(0, |stages| stages.len());
    let devices = segments.iter().map(|segment| segment.device + 1).max().unwrap_or(0);
    let model = ServedModel { id: "m@1".into(), blocks: u32::try_from(blocks).unwrap_or(u32::MAX), border_bytes: vec![0.0; blocks], segments };
    Topology { models: vec![model], devices: (0..devices).map(|index| device(&format!("d{index}"))).collect(), ..Topology::empty() }
}

/// A device of the first site.
pub fn device(id: &str) -> Device {
    Device { id: id.into(), site: 0, attributes: Vec::new() }
}

/// The first request of the first model, of no sequence and without bytes, with so many requests on the way by segment.
pub fn request(outstanding: &[u32]) -> RouteRequest {
    RouteRequest { model: 0, ordinal: 0, random: 0.0, sequence_key: 0, input_bytes: 0.0, outstanding: outstanding.to_vec() }
}

/// A device that computes for this share of its time and does nothing else.
pub fn pressure(device: u32, cpu: f64) -> Pressure {
    Pressure { device, cpu, memory: 0.0, accelerator: 0.0, bandwidth: 0.0, latency_ms: 0.0 }
}
