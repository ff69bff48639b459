//! Makes the devices of this process: asks the adapters what there is, measures what it can do, and starts a compute thread
//! for each offer. Called once, by the central.

use std::sync::Arc;

use host_core::{
    cost::CostModel,
    device::{Device, Offer},
    ids::{AcceleratorName, DeviceId, OfferId, SiteName},
    units::{Bytes, Millis},
};
use host_engine::Engines;
use host_plugin::{AdapterOffer, AdapterSlot, PluginHost};

use crate::{
    config::{self, Config},
    device::{Compute, ComputeSettings},
    error::Error,
    machine::Machine,
    metrics::Metrics,
    pulse::LocalDevice,
};

/// The adapters that local devices are asked about.
const ADAPTERS: [&str; 1] = ["cpu"];
/// The engine that devices are measured with.
const ENGINE: &str = "tract";
/// Share of the machine's memory that devices without a figure of their own may take together.
const MEMORY_SHARE: f64 = 0.5;

/// A device of this process, ready to join.
#[derive(Debug)]
pub struct Started {
    /// What it says of itself.
    pub device: Device,
    /// What beats for it.
    pub local: LocalDevice,
}

/// Starts every device that the config names. Calibration takes about a tenth of a second for each: not for an async thread.
pub fn start_devices(config: &Config, plugins: &PluginHost, engines: &Engines, metrics: &Arc<Metrics>) -> Result<Vec<Started>, Error> {
    let mut found: Vec<(Arc<AdapterSlot>, u32, AdapterOffer)> = Vec::new();
    for kind in ADAPTERS {
        let adapter = plugins.adapter(kind)?;
        let offers = adapter.probe()?;
        found.extend((0_u32..).zip(offers).map(|(index, offer)| (adapter.clone(), index, offer)));
    }
    let cost = calibrate(config, engines)?;
    let ids = config.local_devices.iter().map(|device| DeviceId::parse(&device.id).map_err(Error::from)).collect::<Result<Vec<_>, _>>()?;
    let memory = memory_of_each(config);
    let mut started = Vec::with_capacity(ids.len());
    for (settings, id) in config.local_devices.iter().zip(&ids) {
        let others: Vec<DeviceId> = ids.iter().filter(|other| *other != id).cloned().collect();
        let memory = settings.memory_bytes.map_or(memory, Bytes);
        let place = Place { settings, id, cost, memory, others: &others };
        started.push(start_device(config, &place, &found, metrics)?);
    }
    Ok(started)
}

/// What one device gets of the machine.
struct Place<'a> {
    settings: &'a config::LocalDevice,
    id: &'a DeviceId,
    cost: CostModel,
    memory: Bytes,
    others: &'a [DeviceId],
}

fn start_device(config: &Config, place: &Place<'_>, found: &[(Arc<AdapterSlot>, u32, AdapterOffer)], metrics: &Arc<Metrics>) -> Result<Started, Error> {
    let mut offers = Vec::with_capacity(found.len());
    let mut computes = Vec::with_capacity(found.len());
    for (adapter, index, probed) in found {
        let accelerator = AcceleratorName::parse(&probed.accelerator)?;
        let offer = Offer {
            accelerator: accelerator.clone(),
            adapter: probed.accelerator.clone(),
            memory_pool: probed.memory_pool,
            memory: probed.memory.map_or(place.memory, |memory| memory.min(place.memory)),
            weight_factor: probed.weight_factor,
            fixed: probed.fixed,
            roles: probed.roles,
            cost: place.cost.slowed(place.settings.slowdown),
            shares_cores_with: place.others.to_vec(),
            element_types: probed.element_types.iter().map(ToString::to_string).collect(),
        };
        offers.push(offer);
        let compute = Compute::start(ComputeSettings {
            offer: OfferId { device: place.id.clone(), accelerator },
            adapter: adapter.clone(),
            adapter_offer: *index,
            slowdown: place.settings.slowdown,
            queue_depth_max: config.requests.stage_jobs_max,
            metrics: metrics.clone(),
        })?;
        computes.push(Arc::new(compute));
    }
    let device = Device { id: place.id.clone(), site: SiteName::parse(&place.settings.site)?, labels: place.settings.labels.clone(), offers };
    device.check()?;
    Ok(Started { local: LocalDevice { id: place.id.clone(), computes }, device })
}

/// What each device takes while the others compute too: devices of one process share its cores.
fn calibrate(config: &Config, engines: &Engines) -> Result<CostModel, Error> {
    let engine = engines.get(ENGINE)?;
    Ok(host_engine::calibrate_together(engine.as_ref(), config.local_devices.len(), Millis(config.calibration_ms as f64))?)
}

fn memory_of_each(config: &Config) -> Bytes {
    let sharing = config.local_devices.iter().filter(|device| device.memory_bytes.is_none()).count().max(1);
    Bytes(Machine::new().memory_bytes()).scaled(MEMORY_SHARE / sharing as f64)
}
