//! `host status`.

use host_core::units::Millis;
use host_wire::admin::{ModelState, Slot, Status};

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
    screen.line("")?;
    let rows: Vec<[String; 6]> = status.slots.iter().map(slot_row).collect();
    screen.table(["slot", "plugin", "generation", "calls", "strikes", "fallbacks"], &rows)
}

fn slot_row(slot: &Slot) -> [String; 6] {
    let plugin = if slot.built_in { format!("{} (built in)", slot.plugin) } else { slot.plugin.clone() };
    [slot.slot.clone(), plugin, slot.generation.to_string(), slot.calls.to_string(), slot.strikes.to_string(), slot.fallbacks.to_string()]
}
