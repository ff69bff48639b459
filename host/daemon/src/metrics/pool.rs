//! The figures of the pool, which are taken when somebody reads them. What is not in the pool any more is not shown any more.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use host_wire::admin::{Census, Supply};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

/// The last census; none before the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<Option<Census>>>);

impl Pool {
    pub(super) fn set(&self, census: Census) {
        // The census is whole between any two statements.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(census);
    }
}

impl Collector for Pool {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let census = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(census) = census else { return Ok(()) };
        let states = census.states.iter().map(|(state, count)| (state.as_str(), *count));
        family(&mut encoder, "devices", "Devices of the pool, by where they are in their life", "state", states)?;
        let ages = census.devices.iter().map(|device| (device.id.as_str(), device.lease_age_ms as f64 / 1e3));
        family(&mut encoder, "lease_age_seconds", "Time since the last sign of life of a device", "device", ages)?;
        let memory = parts(census.memory_bytes);
        family(&mut encoder, "pool_memory_bytes", "Memory of the devices whose lease runs, all of it and what is taken of it", "part", memory)?;
        let flops = parts(census.gflops).map(|(part, gflops)| (part, gflops * 1e9));
        family(&mut encoder, "pool_flops", "Floating point operations per second of the devices whose lease runs, as calibrated", "part", flops)
    }
}

/// What people call the parts of a supply.
fn parts<T>(supply: Supply<T>) -> impl Iterator<Item = (&'static str, T)> {
    [("total", supply.total), ("reserved", supply.reserved), ("available", supply.available)].into_iter()
}

/// One gauge for each value of a label.
pub(super) fn family<'a, N: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (&'a str, N)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (of, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&[(label, of)])?)?;
    }
    Ok(())
}
