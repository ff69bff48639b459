//! Makes the devices of this process: asks the adapters what there is, measures what it can do, and starts a compute thread
//! for each offer. Called once, by the central, or by a process that joins one.

mod accelerators;
pub mod engines;
pub mod hop;

use std::{collections::BTreeMap, sync::Arc};

use host_core::{
    cost::CostModel,
    device::{Device, Offer},
    ids::{DeviceId, OfferId, SiteName},
    profile::{ComputeSpeed, DeviceProfile, Fluctuation, Pace},
    units::Bytes,
};
use host_engine::Engines;
use host_plugin::PluginHost;

use self::accelerators::Found;
use crate::{
    clock::Clock,
    config::{self, Config},
    convert::target_name,
    device::{Compute, ComputeSettings},
    error::{Error, Fault},
    machine::{self, Machine},
    metrics::Metrics,
    pulse::LocalDevice,
};

/// Share of the machine's memory that devices without a figure of their own may take together.
const MEMORY_SHARE: f64 = 0.5;
/// The label that says what a device simulates.
const PROFILE_LABEL: &str = "profile";

/// The attribute by which an adapter says what the shards must be converted for that it runs.
const NEEDS_ARTEFACTS: &str = "needs-artefacts";

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
    let found = accelerators::find(config, plugins, engines)?;
    let ids = config.local_devices.iter().map(|device| DeviceId::parse(&device.id).map_err(Error::from)).collect::<Result<Vec<_>, _>>()?;
    let equal_part = memory_of_each(config);
    let (clock, machine) = (Clock::start(), machine::labels());
    let mut started = Vec::with_capacity(ids.len());
    for ((settings, id), found) in config.local_devices.iter().zip(&ids).zip(&found) {
        let others: Vec<DeviceId> = ids.iter().filter(|other| *other != id).cloned().collect();
        let profile = config.profile_of(settings);
        let own_memory = own_memory(config, settings);
        let place = Place { settings, profile, id, own_memory, memory: own_memory.unwrap_or(equal_part), others: &others, machine: &machine };
        started.push(start_device(config, &place, found, &clock, metrics)?);
    }
    Ok(started)
}

/// What one device gets of the machine.
struct Place<'a> {
    settings: &'a config::LocalDevice,
    profile: Option<&'a DeviceProfile>,
    id: &'a DeviceId,
    /// The most that an accelerator with memory of its own may use, where config or profile name it.
    own_memory: Option<Bytes>,
    /// What it may use of the machine's.
    memory: Bytes,
    others: &'a [DeviceId],
    /// What the machine says of itself.
    machine: &'a BTreeMap<String, String>,
}

fn start_device(config: &Config, place: &Place<'_>, found: &[Found], clock: &Clock, metrics: &Arc<Metrics>) -> Result<Started, Error> {
    let mut offers = Vec::with_capacity(found.len());
    let mut computes = Vec::with_capacity(found.len());
    for found in found {
        let pace = pace(place.id, place.settings, place.profile, &found.cost)?;
        let offer = offer(place, found, &pace)?;
        let compute = Compute::start(ComputeSettings {
            offer: OfferId { device: place.id.clone(), accelerator: offer.accelerator.clone() },
            adapter: found.adapter.clone(),
            adapter_offer: found.index,
            pace,
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
fn offer(place: &Place<'_>, found: &Found, pace: &Pace) -> Result<Offer, Error> {
    let probed = &found.offer;
    let named = place.profile.and_then(|profile| profile.accelerator.clone());
    let roles = place.profile.map_or(probed.roles, |profile| profile.roles.both(probed.roles));
    if roles.is_none() {
        let reason = format!("its profile and adapter/{} have no role in common", probed.accelerator);
        return Err(Fault::Simulation { device: place.id.clone(), reason }.into());
    }
    Ok(Offer {
        accelerator: named.unwrap_or_else(|| found.name.clone()),
        adapter: probed.accelerator.clone(),
        memory_pool: found.pool,
        memory: probed.memory.map_or(place.memory, |memory| place.own_memory.map_or(memory, |own| memory.min(own))),
        weight_factor: probed.weight_factor,
        fixed: probed.fixed,
        roles,
        cost: found.cost.slowed(pace.nominal()),
        shares_cores_with: place.others.to_vec(),
        element_types: probed.element_types.iter().map(ToString::to_string).collect(),
        needs_artefacts: probed.attributes.iter().find(|(name, _)| name == NEEDS_ARTEFACTS).map(|(_, target)| target_name(target)),
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

/// What the device itself says, or else its profile.
fn own_memory(config: &Config, device: &config::LocalDevice) -> Option<Bytes> {
    device.memory_bytes.map(Bytes).or_else(|| config.profile_of(device)?.memory)
}

/// What each device gets that has no figure of its own.
fn memory_of_each(config: &Config) -> Bytes {
    let sharing = config.local_devices.iter().filter(|device| own_memory(config, device).is_none()).count().max(1);
    Bytes(Machine::new().memory_bytes()).scaled(MEMORY_SHARE / sharing as f64)
}
