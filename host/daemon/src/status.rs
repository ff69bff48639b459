//! Devices as people ask for them: what the cluster knows of each, put into the admin socket's words.

use host_core::{
    cluster::{Cluster, DeviceRecord, ShardState},
    ids::DeviceId,
    link::{Endpoint, KnownLink},
    units::Bytes,
};
use host_wire::admin;

/// Every device that ever joined, sorted by id.
pub fn devices(cluster: &Cluster) -> Vec<admin::Device> {
    cluster.devices().values().map(|record| admin::Device { links: links(cluster, &record.device.id), ..device(record) }).collect()
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

fn device(record: &DeviceRecord) -> admin::Device {
    let ready = record.shards.iter().filter(|(_, held)| held.state == ShardState::Ready);
    let mut device = admin::Device {
        state: record.state().to_string(),
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
