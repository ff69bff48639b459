//! Devices as people ask for them: what the cluster knows of each, put into the admin socket's words.

mod advice;
mod explain;
mod history;

use host_core::{
    cluster::{Cluster, DeviceCensus, DeviceRecord, ShardState},
    ids::DeviceId,
    link::{Endpoint, KnownLink},
    units::{Bytes, Millis},
};
use host_wire::{admin, peer::LoadProgress};

pub use advice::Advice;
pub use explain::explain;
pub use history::{expected, history};

use crate::{peer::Attending, store::Restraint};

/// Every device that joined since the host started and was not removed, sorted by id. `now` is by the clock of the cluster's events.
pub fn devices(cluster: &Cluster, attending: &Attending, now: Millis) -> Vec<admin::Device> {
    // Both are sorted by id, and neither leaves one out.
    cluster
        .devices()
        .values()
        .zip(&cluster.census(now).devices)
        .map(|(record, counted)| admin::Device { links: links(cluster, &record.device.id), ..device(record, counted, attending) })
        .collect()
}

/// How a device reaches the central and the others whose lease runs.
fn links(cluster: &Cluster, device: &DeviceId) -> Vec<admin::Link> {
    let own = Endpoint::Device(device.clone());
    let is_there = |link: &KnownLink<'_>| match link.target {
        Endpoint::Central => true,
        Endpoint::Device(id) => cluster.devices().get(id).is_some_and(DeviceRecord::is_alive),
    };
    let shown = |link: KnownLink<'_>| {
        let back = if *link.target == Endpoint::Central { cluster.links().link(&Endpoint::Central, &own) } else { None };
        admin::Link::from(link).with_back(back)
    };
    cluster.links().from_end(&own).filter(is_there).map(shown).collect()
}

fn device(record: &DeviceRecord, counted: &DeviceCensus, attending: &Attending) -> admin::Device {
    let ready = record.shards.iter().filter(|(_, held)| held.state == ShardState::Ready);
    let attendance = attending.get(&record.device.id);
    let mut device = admin::Device {
        state: record.state().to_string(),
        restraint: Restraint::from(record.duty()).shown(),
        drained: record.is_drained(),
        // `as` saturates, which is what is wanted here.
        lease_age_ms: Some(counted.lease_age.0 as u64),
        address: attendance.as_ref().and_then(|attendance| attendance.address.clone()),
        release: attendance.map(|attendance| attendance.release.clone()),
        labels: record.labels(),
        pressures: record.pressures.into(),
        shards: ready.map(|((_, shard), _)| shard.to_string()).collect(),
        ..admin::Device::from(&record.device)
    };
    for offer in &mut device.offers {
        let held = record.shards.iter().filter(|((accelerator, _), _)| accelerator.as_str() == offer.accelerator);
        offer.used_bytes = held.map(|(_, held)| held.need).sum::<Bytes>().0;
    }
    device
}

/// How far a device is with a shard.
pub fn load(device: &DeviceId, load: &LoadProgress) -> admin::ShardLoad {
    admin::ShardLoad {
        device: device.to_string(),
        accelerator: load.at.accelerator.to_string(),
        shard: load.at.shard.to_string(),
        bytes: load.bytes.0,
        bytes_total: load.bytes_total.0,
    }
}
