//! `host device`.

use clap::Subcommand;
use host_core::units::{Bytes, Millis};
use host_wire::admin::{Device, Link, Offer};

use super::{Global, client::Admin, screen::Screen};
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
    device.links.iter().try_for_each(|link| screen.line(&format!("link      {}", described(link))))?;
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

/// `to b: 0.21 ms, 840.0 MB/s`
fn described(link: &Link) -> String {
    let bandwidth = |bytes_per_s: f64| format!("{:.1} MB/s", bytes_per_s / 1e6);
    let figures = [
        link.latency_ms.map(|latency| Millis(latency).to_string()),
        link.bytes_per_s.map(bandwidth),
        link.bytes_per_s_back.map(|bytes| format!("{} back", bandwidth(bytes))),
    ];
    let figures = figures.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let other = link.device.as_deref().unwrap_or("the central");
    let way = if link.relayed { " over the central, because it cannot reach it" } else { "" };
    format!("to {other}{way}: {figures}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_one_line_for_people() {
        let direct = Link { device: None, relayed: false, latency_ms: Some(0.21), bytes_per_s: Some(84e7), bytes_per_s_back: Some(7.96e8) };
        let relayed = Link { device: Some("b".into()), relayed: true, bytes_per_s_back: None, ..direct.clone() };
        let local = Link { bytes_per_s: None, relayed: false, ..relayed.clone() };
        assert_eq!(described(&direct), "to the central: 0.21 ms, 840.0 MB/s, 796.0 MB/s back");
        assert_eq!(described(&relayed), "to b over the central, because it cannot reach it: 0.21 ms, 840.0 MB/s");
        assert_eq!(described(&local), "to b: 0.21 ms");
    }
}
