//! Devices and their offers, as people ask for them.

use std::collections::BTreeMap;

use host_core::{cost::CostModel, device};
use serde::{Deserialize, Serialize};

use super::Link;

/// A device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Its site.
    pub site: String,
    /// `ready`, `away`, `cordoned`, `draining`, `damped` or `lost`.
    pub state: String,
    /// What people call it by.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub offers: Vec<Offer>,
    /// How hard it works.
    pub pressures: Pressures,
    /// The shards that it holds ready, such as `digits@1[0..3)`.
    pub shards: Vec<String>,
    /// How it reaches others, the central first.
    #[serde(default)]
    pub links: Vec<Link>,
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
    /// State, pressures, used memory, shards and links are not the device's own to know; they start empty.
    fn from(device: &device::Device) -> Self {
        Self {
            id: device.id.to_string(),
            site: device.site.to_string(),
            state: String::new(),
            labels: device.labels.clone(),
            offers: device.offers.iter().map(Offer::from).collect(),
            pressures: Pressures::default(),
            shards: Vec::new(),
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
