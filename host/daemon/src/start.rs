//! Makes the devices of this process: asks the adapters what there is, measures what it can do, and starts a compute thread
//! for each offer. Called once, by the central.

use std::{collections::BTreeMap, sync::Arc};

use host_core::{
    cost::CostModel,
    device::{Device, Offer},
    ids::{AcceleratorName, DeviceId, OfferId, SiteName},
    profile::{ComputeSpeed, DeviceProfile, Fluctuation, Pace},
    units::{Bytes, Millis},
};
use host_engine::Engines;
use host_plugin::{AdapterOffer, AdapterSlot, PluginHost};

use crate::{
    clock::Clock,
    config::{self, Config},
    device::{Compute, ComputeSettings},
    error::{Error, Fault},
    machine::{self, Machine},
    metrics::Metrics,
    pulse::LocalDevice,
};

/// The adapters that local devices are asked about.
const ADAPTERS: [&str; 1] = ["cpu"];
/// Share of the machine's memory that devices without a figure of their own may take together.
const MEMORY_SHARE: f64 = 0.5;
/// The label that says what a device simulates.
const PROFILE_LABEL: &str = "profile";

/// An adapter, which of its offers, and what that one is.
type Probed = (Arc<AdapterSlot>, u32, AdapterOffer);

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
    let mut found: Vec<Probed> = Vec::new();
    for kind in ADAPTERS {
        let adapter = plugins.adapter(kind)?;
        let offers = adapter.probe()?;
        for (index, offer) in (0_u32..).zip(offers) {
            if found.iter().any(|(_, _, other)| other.accelerator == offer.accelerator) {
                tracing::warn!(adapter = kind, accelerator = %offer.accelerator, offer = index, "a device offers each accelerator once; this one is left out");
                continue;
            }
            found.push((adapter.clone(), index, offer));
        }
    }
    let cost = calibrate(config, engines)?;
    let ids = config.local_devices.iter().map(|device| DeviceId::parse(&device.id).map_err(Error::from)).collect::<Result<Vec<_>, _>>()?;
    let equal_part = memory_of_each(config);
    let (clock, machine) = (Clock::start(), machine::labels());
    let mut started = Vec::with_capacity(ids.len());
    for (settings, id) in config.local_devices.iter().zip(&ids) {
        let others: Vec<DeviceId> = ids.iter().filter(|other| *other != id).cloned().collect();
        let profile = config.profile_of(settings);
        let memory = own_memory(config, settings).unwrap_or(equal_part);
        let place = Place { settings, profile, id, pace: pace(id, settings, profile, &cost)?, cost, memory, others: &others, machine: &machine };
        // A simulated device has one accelerator, whatever else this machine could drive.
        let found = if profile.is_some() { &found[..found.len().min(1)] } else { &found[..] };
        started.push(start_device(config, &place, found, &clock, metrics)?);
    }
    Ok(started)
}

/// What one device gets of the machine.
struct Place<'a> {
    settings: &'a config::LocalDevice,
    profile: Option<&'a DeviceProfile>,
    id: &'a DeviceId,
    pace: Pace,
    cost: CostModel,
    memory: Bytes,
    others: &'a [DeviceId],
    /// What the machine says of itself.
    machine: &'a BTreeMap<String, String>,
}

fn start_device(config: &Config, place: &Place<'_>, found: &[Probed], clock: &Clock, metrics: &Arc<Metrics>) -> Result<Started, Error> {
    let mut offers = Vec::with_capacity(found.len());
    let mut computes = Vec::with_capacity(found.len());
    for (adapter, index, probed) in found {
        let offer = offer(place, probed)?;
        let compute = Compute::start(ComputeSettings {
            offer: OfferId { device: place.id.clone(), accelerator: offer.accelerator.clone() },
            adapter: adapter.clone(),
            adapter_offer: *index,
            pace: place.pace,
            clock: clock.clone(),
            queue_depth_max: config.requests.stage_jobs_max,
            metrics: metrics.clone(),
        })?;
        offers.push(offer);
        computes.push(Arc::new(compute));
    }
    let mut labels = place.settings.labels.clone();
    // A simulated device is not this machine.
    let own = place.profile.map_or_else(|| place.machine.clone(), |profile| BTreeMap::from([(PROFILE_LABEL.to_owned(), profile.name.clone())]));
    for (label, value) in own {
        labels.entry(label).or_insert(value);
    }
    let device = Device { id: place.id.clone(), site: SiteName::parse(&place.settings.site)?, labels, offers };
    device.check()?;
    Ok(Started { local: LocalDevice { id: place.id.clone(), computes }, device })
}

/// What the adapter says, where the profile says nothing else.
fn offer(place: &Place<'_>, probed: &AdapterOffer) -> Result<Offer, Error> {
    let named = place.profile.and_then(|profile| profile.accelerator.clone());
    let roles = place.profile.map_or(probed.roles, |profile| profile.roles.both(probed.roles));
    if roles.is_none() {
        let reason = format!("its profile and adapter/{} have no role in common", probed.accelerator);
        return Err(Fault::Simulation { device: place.id.clone(), reason }.into());
    }
    Ok(Offer {
        accelerator: named.map_or_else(|| AcceleratorName::parse(&probed.accelerator), Ok)?,
        adapter: probed.accelerator.clone(),
        memory_pool: probed.memory_pool,
        memory: probed.memory.map_or(place.memory, |memory| memory.min(place.memory)),
        weight_factor: probed.weight_factor,
        fixed: probed.fixed,
        roles,
        cost: place.cost.slowed(place.pace.nominal()),
        shares_cores_with: place.others.to_vec(),
        element_types: probed.element_types.iter().map(ToString::to_string).collect(),
    })
}

/// How fast a device computes: what it says itself, or else what its profile says.
fn pace(id: &DeviceId, settings: &config::LocalDevice, profile: Option<&DeviceProfile>, machine: &CostModel) -> Result<Pace, Error> {
    let fluctuation = profile.map_or(Fluctuation::NONE, |profile| profile.fluctuation);
    let compute = settings.slowdown.map(ComputeSpeed::Slowdown).or(profile.map(|profile| profile.compute)).unwrap_or(ComputeSpeed::Slowdown(1.0));
    let slowdown = compute.slowdown(machine);
    if slowdown > Pace::SLOWDOWN_MAX {
        return Err(Fault::Simulation { device: id.clone(), reason: too_slow(slowdown) }.into());
    }
    if slowdown < 1.0 {
        let times_faster = 1.0 / slowdown;
        tracing::warn!(device = %id, times_faster, "the profile is faster than this machine, so the device is as fast as it; a profile_time_ratio that many times larger keeps proportions");
    }
    Ok(Pace::new(slowdown, fluctuation))
}

fn too_slow(slowdown: f64) -> String {
    let most = Pace::SLOWDOWN_MAX;
    if slowdown.is_finite() {
        return format!(
            "it would be {slowdown:.0} times slower than this machine, at most {most} are possible; raise compute.gflops or lower profile_time_ratio"
        );
    }
    "the calibration could not tell how many GFLOP/s this machine does; raise calibration_ms, or let the profile say compute.slowdown".to_owned()
}

/// What each device takes while the others compute too: devices of one process share its cores.
fn calibrate(config: &Config, engines: &Engines) -> Result<CostModel, Error> {
    if config.local_devices.is_empty() {
        return Ok(CostModel::UNCALIBRATED);
    }
    let engine = engines.calibrating()?;
    Ok(host_engine::calibrate_together(engine.as_ref(), config.local_devices.len(), Millis(config.calibration_ms as f64))?)
}

/// What the device itself says, or else its profile.
fn own_memory(config: &Config, device: &config::LocalDevice) -> Option<Bytes> {
    device.memory_bytes.map(Bytes).or_else(|| config.profile_of(device)?.memory)
}

/// What each device gets that has no figure of its own.
fn memory_of_each(config: &Config) -> Bytes {
    let sharing = config.local_devices.iter().filter(|device| own_memory(config, device).is_none()).count().max(1);
    Bytes(Machine::new().memory_bytes()).scaled(MEMORY_SHARE / sharing as f64)
}
