//! `host device`.

mod orders;

use clap::{Args, Subcommand};
use host_core::{
    ids::DeviceId,
    units::{Bytes, Millis},
};
use host_wire::{
    admin::{Device, DeviceOrder, Link, Offer},
    labels,
};

use super::{Global, client::Admin, screen::Screen, status, token::time_ms};
use crate::error::Error;

/// How long a drain is waited for when nobody says.
const WAIT_DEFAULT: &str = "10m";

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// List devices with what they offer
    List,
    /// Show one device
    Show {
        /// Its id
        device: String,
    },
    /// Have a device give its work to others; what it serves goes on until they are ready
    Drain(DrainArgs),
    /// Let a device have work again that gives it away; one that was to be removed stays
    Undrain {
        /// Its id
        device: String,
    },
    /// Let a device keep what it serves, and give it nothing new
    Cordon {
        /// Its id
        device: String,
    },
    /// Let a cordoned device have work again
    Uncordon {
        /// Its id
        device: String,
    },
    /// Have a device give its work to others, then forget it; to join again it needs a new token
    Remove {
        /// Its id
        device: String,
    },
    /// Call a device by other labels
    Label {
        /// Its id
        device: String,
        /// KEY=VALUE gives a label, KEY- takes one away
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, Option<String>)>,
    },
}

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// Its id
    device: String,
    /// Return when nothing is left on it; --wait=TIME says how long at most, such as 90s or 1h [default: 10m]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = WAIT_DEFAULT, value_parser = time_ms)]
    wait: Option<u64>,
}

fn label(word: &str) -> Result<(String, Option<String>), String> {
    labels::read(word).map_err(|error| error.to_string())
}

pub(super) async fn device(global: &Global, screen: &mut Screen, command: DeviceCommand) -> Result<(), Error> {
    let admin = Admin::find(global)?;
    let (device, order, wait_ms) = match command {
        DeviceCommand::List => {
            let devices: Vec<Device> = admin.get("/devices").await?;
            return if screen.is_json() { screen.json(&devices) } else { list(screen, &devices) };
        }
        DeviceCommand::Show { device } => {
            let found: Device = admin.get(&path(&device)?).await?;
            return if screen.is_json() { screen.json(&found) } else { show(screen, &found) };
        }
        DeviceCommand::Drain(DrainArgs { device, wait }) => (device, DeviceOrder::Drain, wait),
        DeviceCommand::Undrain { device } => (device, DeviceOrder::Undrain, None),
        DeviceCommand::Cordon { device } => (device, DeviceOrder::Cordon, None),
        DeviceCommand::Uncordon { device } => (device, DeviceOrder::Uncordon, None),
        DeviceCommand::Remove { device } => (device, DeviceOrder::Remove, None),
        DeviceCommand::Label { device, labels } => (device, DeviceOrder::Label(labels::together(labels)?), None),
    };
    orders::give(&admin, screen, &path(&device)?, &order, wait_ms).await
}

/// Where a device is asked about. An id has no characters that mean something there.
fn path(device: &str) -> Result<String, Error> {
    Ok(format!("/devices/{}", DeviceId::parse(device)?))
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
    let bare = |device: &Device| {
        let unknown = || "-".to_owned();
        [device.id.clone(), device.site.clone(), device.state.clone(), unknown(), unknown(), unknown(), String::new()]
    };
    let rows_of = |device: &Device| match device.offers.as_slice() {
        [] => vec![bare(device)],
        offers => offers.iter().map(|offer| row(device, offer)).collect(),
    };
    let rows: Vec<[String; 7]> = devices.iter().flat_map(rows_of).collect();
    screen.table(["device", "site", "state", "accelerator", "memory", "busy", "shards"], &rows)
}

/// Where it is in its life, and what people asked of it if that does not say it.
fn state(device: &Device) -> String {
    match &device.restraint {
        Some(_) if device.drained => "drained".to_owned(),
        Some(restraint) if *restraint != device.state => format!("{}, {restraint}", device.state),
        _ => device.state.clone(),
    }
}

fn ms(age: u64) -> Millis {
    Millis(age as f64)
}

fn show(screen: &mut Screen, device: &Device) -> Result<(), Error> {
    let labels: Vec<String> = device.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let pressures = &device.pressures;
    screen.line(&format!("device    {} ({}), site {}", device.id, state(device), if device.site.is_empty() { "unknown" } else { &device.site }))?;
    screen.line(&format!("seen      {}", device.lease_age_ms.map_or_else(|| "not since the host started".to_owned(), |age| format!("{} ago", ms(age)))))?;
    screen.line(&format!("peers     {}", device.address.as_deref().unwrap_or("no address")))?;
    if let Some(release) = &device.release {
        screen.line(&format!("release   {release}"))?;
    }
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
        if let Some(target) = &offer.needs_artefacts {
            screen.line(&format!("runs      what was converted for {target}, and nothing else"))?;
        }
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
