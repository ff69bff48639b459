//! What is asked of devices: sent to the host, and said when it has come about.

use std::time::Duration;

use host_core::units::Millis;
use host_wire::admin::{Device, DeviceOrder, Ordered};

use super::super::{client::Admin, screen::Screen};
use crate::{admin::OrderFault, clock, error::Error};

/// How often a device that drains is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Gives an order for the device at this path, and waits so long for a drain to end if somebody wants that.
pub(super) async fn give(admin: &Admin, screen: &mut Screen, path: &str, order: &DeviceOrder, wait_ms: Option<u64>) -> Result<(), Error> {
    let body = serde_json::to_vec(order).expect("wire types are written to memory, which cannot fail");
    let ordered: Ordered = admin.post(path, &(), body).await?;
    let Some(wait_ms) = wait_ms else {
        return if screen.is_json() { screen.json(&ordered) } else { screen.line(&sentence(order, &ordered)) };
    };
    if !screen.is_json() {
        screen.line(&sentence(order, &ordered))?;
    }
    let drained = wait(admin, path, Duration::from_millis(wait_ms)).await?;
    if screen.is_json() { screen.json(&drained) } else { screen.line(&format!("device {} is drained, it may be switched off", drained.id)) }
}

/// Looks until nothing is left on the device.
async fn wait(admin: &Admin, path: &str, longest: Duration) -> Result<Device, Error> {
    let began = clock::now();
    loop {
        let device: Device = admin.get(path).await?;
        if is_drained(&device)? {
            return Ok(device);
        }
        if began.elapsed() >= longest {
            let left = if device.shards.is_empty() { "what it unloads".to_owned() } else { device.shards.join(", ") };
            return Err(OrderFault::NotDrained { device: device.id, waited: Millis(longest.as_secs_f64() * 1e3), left }.into());
        }
        tokio::time::sleep(LOOK_EVERY.min(longest)).await;
    }
}

/// Whether a device is drained by now. The error says why it will not be.
fn is_drained(device: &Device) -> Result<bool, Error> {
    let ended = |reason| Error::from(OrderFault::DrainEnded { device: device.id.clone(), state: device.state.clone(), reason });
    if !matches!(device.restraint.as_deref(), Some("draining" | "leaving")) {
        return Err(ended("somebody took that back"));
    }
    if device.state == "lost" {
        return Err(ended("what it served went elsewhere when its lease ended"));
    }
    Ok(device.drained)
}

/// What a person reads who gave an order.
fn sentence(order: &DeviceOrder, ordered: &Ordered) -> String {
    let Ordered { device, state, restraint, labels, kept } = ordered;
    let said = if let DeviceOrder::Label(_) = order {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("device {device} has {}", if labels.is_empty() { "no labels".to_owned() } else { format!("labels {}", labels.join(", ")) })
    } else {
        let held_to = restraint.as_deref().filter(|restraint| restraint != state);
        match held_to {
            Some("leaving") => format!("device {device} is {state}, and is removed once its work has gone elsewhere"),
            Some(restraint) => format!("device {device} is {state}, and {restraint} when it comes back"),
            None if state == "removed" => format!("device {device} is removed; to join again it needs a new token"),
            None => format!("device {device} is {state}"),
        }
    };
    if *kept { said } else { format!("{said}, until this host stops") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use host_wire::admin::Pressures;

    use super::*;

    fn ordered(state: &str, restraint: Option<&str>) -> Ordered {
        let labels = BTreeMap::from([("rack".to_owned(), "b".to_owned()), ("room".to_owned(), "attic".to_owned())]);
        Ordered { device: "a".into(), state: state.into(), restraint: restraint.map(str::to_owned), labels, kept: true }
    }

    #[test]
    fn a_person_reads_what_has_become_of_the_device() {
        let label = || DeviceOrder::Label(BTreeMap::new());
        let cases = [
            (DeviceOrder::Cordon, ordered("cordoned", Some("cordoned")), "device a is cordoned"),
            (DeviceOrder::Cordon, ordered("draining", Some("draining")), "device a is draining"),
            (DeviceOrder::Uncordon, ordered("ready", None), "device a is ready"),
            (DeviceOrder::Drain, ordered("lost", Some("draining")), "device a is lost, and draining when it comes back"),
            (DeviceOrder::Remove, ordered("draining", Some("leaving")), "device a is draining, and is removed once its work has gone elsewhere"),
            (DeviceOrder::Remove, ordered("removed", None), "device a is removed; to join again it needs a new token"),
            (label(), ordered("away", None), "device a has labels rack=b, room=attic"),
            (label(), Ordered { labels: BTreeMap::new(), ..ordered("away", None) }, "device a has no labels"),
            (DeviceOrder::Drain, Ordered { kept: false, ..ordered("draining", Some("draining")) }, "device a is draining, until this host stops"),
        ];
        for (order, ordered, expected) in cases {
            assert_eq!(sentence(&order, &ordered), expected);
        }
    }

    #[test]
    fn a_drain_is_waited_for_until_it_is_over_or_will_never_be() {
        let device = |state: &str, restraint: Option<&str>, drained| Device {
            id: "a".into(),
            site: "here".into(),
            state: state.into(),
            restraint: restraint.map(str::to_owned),
            drained,
            lease_age_ms: None,
            address: None,
            release: None,
            labels: BTreeMap::new(),
            offers: Vec::new(),
            pressures: Pressures::default(),
            shards: Vec::new(),
            loads: Vec::new(),
            links: Vec::new(),
        };
        let cases = [
            (device("draining", Some("draining"), false), Ok(false)),
            (device("away", Some("draining"), false), Ok(false)),
            (device("draining", Some("draining"), true), Ok(true)),
            (device("ready", None, false), Err("device a is ready and not drained: somebody took that back")),
            (device("lost", Some("draining"), false), Err("device a is lost and not drained: what it served went elsewhere when its lease ended")),
        ];
        for (device, expected) in cases {
            assert_eq!(is_drained(&device).map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        }
    }
}
