//! Devices and their offers, as people ask for them.

use std::collections::BTreeMap;

use host_core::{cost::CostModel, device};
use serde::{Deserialize, Serialize};

use super::{Link, ShardLoad};
use crate::labels::Edits;

/// A device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Its site.
    pub site: String,
    /// `ready`, `away`, `cordoned`, `draining`, `damped` or `lost`. A device that has enrolled and was not there since the host
    /// started is lost too.
    pub state: String,
    /// What people asked of it, `cordoned`, `draining` or `leaving`; it holds also while the device is away or lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restraint: Option<String>,
    /// Whether it was asked to give its work away, and nothing is left on it.
    #[serde(default)]
    pub drained: bool,
    /// Since its last sign of life, in milliseconds; none if there was none since the host started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_age_ms: Option<u64>,
    /// Where its peers reach it, `HOST:PORT`; none where nobody has to, or while it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The release that it runs, while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What people call it by, its own labels included.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub offers: Vec<Offer>,
    /// How hard it works.
    pub pressures: Pressures,
    /// The shards that it holds ready, such as `digits@1[0..3)`.
    pub shards: Vec<String>,
    /// The shards whose files it fetches now.
    #[serde(default)]
    pub loads: Vec<ShardLoad>,
    /// How it reaches others, the central first.
    #[serde(default)]
    pub links: Vec<Link>,
}

/// What a person asks of a device: the body of `POST /devices/ID`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceOrder {
    /// Keep what it serves, and get nothing new.
    Cordon,
    /// Get work again.
    Uncordon,
    /// Give its work away.
    Drain,
    /// Get work again; one that was to be removed stays.
    Undrain,
    /// Give its work away and be forgotten. Its certificates count no more.
    Remove,
    /// Be called by other labels.
    Label(Edits),
}

/// What has become of a device that something was asked of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ordered {
    /// Its id.
    pub device: String,
    /// As in `Device::state`, or `removed`.
    pub state: String,
    /// As in `Device::restraint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restraint: Option<String>,
    /// What it is called by.
    pub labels: BTreeMap<String, String>,
    /// Whether the host remembers it when it starts again. What is asked of the devices inside the host's own process ends with it.
    pub kept: bool,
}

/// An accelerator of a device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Its name within the device.
    pub accelerator: String,
    /// The adapter slot that drives it, without `adapter/`.
    pub adapter: String,
    /// What its memory pool can hold.
    pub memory_bytes: u64,
    /// What the plan in force takes of it.
    pub used_bytes: u64,
    /// Bytes in memory for one byte of weights.
    pub weight_factor: f64,
    /// Bytes that each shard takes besides.
    pub fixed_bytes: u64,
    /// Element types that it computes.
    pub element_types: Vec<String>,
    /// Calibrated milliseconds per unit of work.
    pub cost: Cost,
    /// Devices that computed at the same time when this one was calibrated, because they share its cores.
    pub shares_cores_with: Vec<String>,
    /// What shards must be converted for to run on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_artefacts: Option<String>,
}

/// The four coefficients of the cost model.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// For 10^9 floating point operations.
    pub gflop_ms: f64,
    /// For 10^6 bytes of weights.
    pub weight_mb_ms: f64,
    /// For 10^6 bytes of activations.
    pub activation_mb_ms: f64,
    /// For a run of nothing.
    pub fixed_ms: f64,
}

/// How hard a device works; ratios but for the latency.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Pressures {
    /// CPU time in use.
    pub cpu: f64,
    /// Memory in use.
    pub memory: f64,
    /// Time that the accelerator is busy.
    pub accelerator: f64,
    /// Network bandwidth in use.
    pub bandwidth: f64,
    /// Round trip to the central.
    pub latency_ms: f64,
}

impl From<&device::Device> for Device {
    /// What the device itself does not know of itself starts empty.
    fn from(device: &device::Device) -> Self {
        Self {
            id: device.id.to_string(),
            site: device.site.to_string(),
            state: String::new(),
            restraint: None,
            drained: false,
            lease_age_ms: None,
            address: None,
            release: None,
            labels: device.labels.clone(),
            offers: device.offers.iter().map(Offer::from).collect(),
            pressures: Pressures::default(),
            shards: Vec::new(),
            loads: Vec::new(),
            links: Vec::new(),
        }
    }
}

impl From<&device::Offer> for Offer {
    fn from(offer: &device::Offer) -> Self {
        Self {
            accelerator: offer.accelerator.to_string(),
            adapter: offer.adapter.clone(),
            memory_bytes: offer.memory.0,
            used_bytes: 0,
            weight_factor: offer.weight_factor,
            fixed_bytes: offer.fixed.0,
            element_types: offer.element_types.clone(),
            cost: offer.cost.into(),
            shares_cores_with: offer.shares_cores_with.iter().map(ToString::to_string).collect(),
            needs_artefacts: offer.needs_artefacts.clone(),
        }
    }
}

impl From<CostModel> for Cost {
    fn from(cost: CostModel) -> Self {
        Self { gflop_ms: cost.gflop_ms, weight_mb_ms: cost.weight_mb_ms, activation_mb_ms: cost.activation_mb_ms, fixed_ms: cost.fixed_ms }
    }
}

impl From<device::Pressures> for Pressures {
    fn from(pressures: device::Pressures) -> Self {
        Self {
            cpu: pressures.cpu,
            memory: pressures.memory,
            accelerator: pressures.accelerator,
            bandwidth: pressures.bandwidth,
            latency_ms: pressures.latency.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_word_or_a_word_with_labels() {
        let edits = Edits::from([("room".to_owned(), Some("attic".to_owned())), ("rack".to_owned(), None)]);
        let cases = [
            ("\"cordon\"", DeviceOrder::Cordon),
            ("\"remove\"", DeviceOrder::Remove),
            (r#"{"label":{"rack":null,"room":"attic"}}"#, DeviceOrder::Label(edits)),
        ];
        for (text, order) in cases {
            assert_eq!(serde_json::from_str::<DeviceOrder>(text).expect(text), order);
            assert_eq!(serde_json::to_string(&order).expect("it is JSON"), text);
        }
        assert!(serde_json::from_str::<DeviceOrder>("\"explode\"").is_err());
    }
}
