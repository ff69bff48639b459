//! `host status`.

use host_core::units::{Bytes, Millis};
use host_wire::admin::{Blobs, ModelState, ShardLoad, Slot, Status};

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
        ("devices", status.devices.join(", ")),
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

fn slot_row(slot: &Slot) -> [String; 6] {
    let plugin = if slot.built_in { format!("{} (built in)", slot.plugin) } else { slot.plugin.clone() };
    [slot.slot.clone(), plugin, slot.generation.to_string(), slot.calls.to_string(), slot.strikes.to_string(), slot.fallbacks.to_string()]
}
