//! `host status`.

use host_core::units::{Bytes, Millis};
use host_wire::admin::{Blobs, Census, DeviceCensus, ModelState, ShardLoad, Slot, Status};

use super::{Global, client::Admin, screen::Screen};
use crate::error::Error;

pub(super) async fn status(global: &Global, screen: &mut Screen) -> Result<(), Error> {
    let status: Status = Admin::find(global)?.get("/status").await?;
    if screen.is_json() {
        return screen.json(&status);
    }
    let model = |model: &ModelState| {
        let state = if model.ready { "ready".to_owned() } else { format!("not ready: {}", model.reason) };
        format!("{}@{} {state}", model.name, model.version)
    };
    let lines = [
        ("host", format!("{} {}, pid {}, up {}", status.version, status.state, status.pid, Millis(status.uptime_ms as f64))),
        ("http", status.http.as_ref().map_or_else(|| "closed".to_owned(), |address| format!("http://{address}"))),
        ("join", status.join.clone().unwrap_or_else(|| "closed".to_owned())),
        ("data", status.data.clone()),
        ("plan", status.plan.to_string()),
        ("devices", status.census.as_ref().map_or_else(|| status.devices.join(", "), devices)),
        ("models", status.models.iter().map(model).collect::<Vec<_>>().join(", ")),
    ];
    for (name, value) in lines {
        screen.line(&format!("{name:8}  {value}"))?;
    }
    for skipped in &status.skipped {
        screen.line(&format!("skipped   {}: {}", skipped.folder, skipped.reason))?;
    }
    for shard in &status.loads {
        screen.line(&format!("loading   {} on {}", load(shard), shard.device))?;
    }
    if let Some(blobs) = &status.blobs {
        screen.line(&format!("cache     {}", cache(blobs)))?;
    }
    if let Some(census) = &status.census {
        pool(screen, census)?;
    }
    screen.line("")?;
    let rows: Vec<[String; 6]> = status.slots.iter().map(slot_row).collect();
    screen.table(["slot", "plugin", "generation", "calls", "strikes", "fallbacks"], &rows)
}

/// How far a shard is that a device loads.
pub(super) fn load(load: &ShardLoad) -> String {
    format!("{} for {}: {} of {}", load.shard, load.accelerator, Bytes(load.bytes), Bytes(load.bytes_total))
}

fn cache(blobs: &Blobs) -> String {
    let Blobs { files, bytes, bytes_max, pinned_bytes, from_central_bytes, from_peers_bytes } = *blobs;
    let (bytes, bytes_max, pinned) = (Bytes(bytes), Bytes(bytes_max), Bytes(pinned_bytes));
    let (central, peers) = (Bytes(from_central_bytes), Bytes(from_peers_bytes));
    format!("{files} files, {bytes} of {bytes_max}, {pinned} in use; {central} came from the central, {peers} from peers")
}

/// How many there are, and in which states.
fn devices(census: &Census) -> String {
    let states: Vec<String> = census.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if states.is_empty() { "0".to_owned() } else { format!("{}: {}", census.devices_total, states.join(", ")) }
}

fn pool(screen: &mut Screen, census: &Census) -> Result<(), Error> {
    let (memory, gflops) = (census.memory_bytes, census.gflops);
    let lines = [
        ("requests", format!("{} running, {} waiting", census.requests_running, census.requests_waiting)),
        ("memory", format!("{}, {} reserved, {} available", Bytes(memory.total), Bytes(memory.reserved), Bytes(memory.available))),
        ("compute", format!("{:.1} GFLOP/s, {:.1} reserved, {:.1} available", gflops.total, gflops.reserved, gflops.available)),
    ];
    for (name, value) in lines {
        screen.line(&format!("{name:8}  {value}"))?;
    }
    if census.devices.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    let rows: Vec<[String; 5]> = census.devices.iter().map(device_row).collect();
    screen.table(["device", "state", "lease age", "memory reserved", "GFLOP/s reserved"], &rows)
}

fn device_row(device: &DeviceCensus) -> [String; 5] {
    let (memory, gflops) = (device.memory_bytes, device.gflops);
    [
        device.id.clone(),
        device.state.clone(),
        Millis(device.lease_age_ms as f64).to_string(),
        format!("{} of {}", Bytes(memory.reserved), Bytes(memory.total)),
        format!("{:.1} of {:.1}", gflops.reserved, gflops.total),
    ]
}

fn slot_row(slot: &Slot) -> [String; 6] {
    let plugin = if slot.built_in { format!("{} (built in)", slot.plugin) } else { slot.plugin.clone() };
    [slot.slot.clone(), plugin, slot.generation.to_string(), slot.calls.to_string(), slot.strikes.to_string(), slot.fallbacks.to_string()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use host_wire::admin::Supply;

    use super::*;

    #[test]
    fn devices_are_counted_by_state_and_shown_with_what_is_taken_of_them() {
        let mut census = Census { devices_total: 3, states: BTreeMap::from([("lost".to_owned(), 1), ("ready".to_owned(), 2)]), ..Census::default() };
        assert_eq!(devices(&census), "3: 1 lost, 2 ready");
        (census.devices_total, census.states) = (0, BTreeMap::new());
        assert_eq!(devices(&census), "0");
        let device = DeviceCensus {
            id: "a".into(),
            state: "ready".into(),
            lease_age_ms: 1_250,
            memory_bytes: Supply { total: 8 << 30, reserved: 3 << 20, available: 0 },
            gflops: Supply { total: 20.5, reserved: 0.0, available: 20.5 },
        };
        assert_eq!(device_row(&device), ["a", "ready", "1.25 s", "3 MiB of 8 GiB", "0.0 of 20.5"]);
    }
}
