//! `host device`.

use clap::Subcommand;
use host_core::units::Bytes;
use host_wire::admin::{Device, Offer};

use super::{Global, client::Admin, screen::Screen, status};
use crate::error::{Error, Fault};

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// List devices with what they offer
    List,
    /// Show one device
    Show {
        /// Its id
        device: String,
    },
}

pub(super) async fn device(global: &Global, screen: &mut Screen, command: DeviceCommand) -> Result<(), Error> {
    let devices: Vec<Device> = Admin::find(global)?.get("/devices").await?;
    match command {
        DeviceCommand::List if screen.is_json() => screen.json(&devices),
        DeviceCommand::List => list(screen, &devices),
        DeviceCommand::Show { device } => {
            let known = || devices.iter().map(|device| device.id.as_str()).collect::<Vec<_>>().join(", ");
            let missing = || Error::from(Fault::Unknown { what: "device", name: device.clone(), known: known() });
            let found = devices.iter().find(|known| known.id == device).ok_or_else(missing)?;
            if screen.is_json() { screen.json(found) } else { show(screen, found) }
        }
    }
}

fn list(screen: &mut Screen, devices: &[Device]) -> Result<(), Error> {
    let row = |device: &Device, offer: &Offer| {
        let memory = format!("{} of {}", Bytes(offer.used_bytes), Bytes(offer.memory_bytes));
        let shards = device.shards.join(" ");
        [
            device.id.clone(),
            device.site.clone(),
            device.state.clone(),
            offer.accelerator.clone(),
            memory,
            format!("{:.0} %", device.pressures.accelerator * 100.0),
            shards,
        ]
    };
    let rows: Vec<[String; 7]> = devices.iter().flat_map(|device| device.offers.iter().map(|offer| row(device, offer)).collect::<Vec<_>>()).collect();
    screen.table(["device", "site", "state", "accelerator", "memory", "busy", "shards"], &rows)
}

fn show(screen: &mut Screen, device: &Device) -> Result<(), Error> {
    let labels: Vec<String> = device.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let pressures = &device.pressures;
    screen.line(&format!("device    {} ({}), site {}", device.id, device.state, device.site))?;
    screen.line(&format!("labels    {}", labels.join(", ")))?;
    screen.line(&format!(
        "pressure  cpu {:.0} %, memory {:.0} %, accelerator {:.0} %",
        pressures.cpu * 100.0,
        pressures.memory * 100.0,
        pressures.accelerator * 100.0
    ))?;
    screen.line(&format!("shards    {}", device.shards.join(", ")))?;
    for load in &device.loads {
        screen.line(&format!("loading   {}", status::load(load)))?;
    }
    for offer in &device.offers {
        let cost = &offer.cost;
        screen.line("")?;
        screen.line(&format!("offer     {} (adapter/{})", offer.accelerator, offer.adapter))?;
        screen.line(&format!("memory    {} of {} in use", Bytes(offer.used_bytes), Bytes(offer.memory_bytes)))?;
        screen.line(&format!("weights   {} bytes for each byte, {} for each shard besides", offer.weight_factor, Bytes(offer.fixed_bytes)))?;
        screen.line(&format!("types     {}", offer.element_types.join(", ")))?;
        screen.line(&format!(
            "cost      {:.3} ms per GFLOP, {:.4} ms per MB of weights, {:.4} ms per MB of activations, {:.4} ms per run",
            cost.gflop_ms, cost.weight_mb_ms, cost.activation_mb_ms, cost.fixed_ms
        ))?;
        if !offer.shares_cores_with.is_empty() {
            screen.line(&format!("cores     shared with {}, and measured while they computed too", offer.shares_cores_with.join(", ")))?;
        }
    }
    Ok(())
}
