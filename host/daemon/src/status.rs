//! Devices as people ask for them: what the cluster knows of each, put into the admin socket's words.

use host_core::{
    cluster::{Cluster, DeviceRecord, ShardState},
    ids::DeviceId,
    units::Bytes,
};
use host_wire::{admin, peer::LoadProgress};

/// Every device that ever joined, sorted by id.
pub fn devices(cluster: &Cluster) -> Vec<admin::Device> {
    cluster.devices().values().map(device).collect()
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
