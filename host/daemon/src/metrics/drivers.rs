//! How driver processes are, read from those who watch over them when somebody asks.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use host_driver::DriverState;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use super::pool::family;

/// Gives the state of each driver by its engine.
type Source = Box<dyn Fn() -> Vec<(String, DriverState)> + Send + Sync>;

/// What is counted of a driver process.
type Count = fn(&DriverState) -> u64;

/// Where they are read; nowhere before a host has its engines.
#[derive(Clone, Default)]
pub(super) struct Drivers(Arc<OnceLock<Source>>);

impl fmt::Debug for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drivers").field(&self.0.get().is_some()).finish()
    }
}

impl Drivers {
    /// The first one stays: a host has one set of engines.
    pub(super) fn read_from(&self, source: impl Fn() -> Vec<(String, DriverState)> + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(source));
    }
}

impl Collector for Drivers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(source) = self.0.get() else { return Ok(()) };
        let drivers = source();
        let numbers = |of: fn(&DriverState) -> u64| drivers.iter().map(move |(engine, state)| (engine.as_str(), of(state)));
        family(&mut encoder, "driver_memory_bytes", "Memory of an engine's driver process beside mapped files", "engine", numbers(|state| state.memory_bytes))?;
        let counters: [(&str, &str, Count); 3] = [
            ("driver_starts", "Driver processes started for an engine", |state| state.starts),
            ("driver_calls", "Runs asked of an engine's driver process", |state| state.calls),
            ("driver_retries", "Runs and loads made again because a driver process died", |state| state.retries),
        ];
        for (name, help, of) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (engine, count) in numbers(of) {
                ConstCounter::new(count).encode(family.encode_family(&[("engine", engine)])?)?;
            }
        }
        let mut family = encoder.encode_descriptor("driver_deaths", "Driver processes that died, by cause", None, MetricType::Counter)?;
        for (engine, state) in &drivers {
            for (cause, count) in &state.deaths {
                ConstCounter::new(*count).encode(family.encode_family(&[("engine", engine.as_str()), ("cause", *cause)])?)?;
            }
        }
        Ok(())
    }
}
