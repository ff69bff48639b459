//! Small devices and models for this crate's tests.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    cost::CostModel,
    device::{Device, Offer, Roles},
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId, SiteName},
    model::{Block, ModelProfile},
    plan::{Replica, Stage},
    shard::BlockRange,
    units::Bytes,
};

pub(crate) fn device_id(name: &str) -> DeviceId {
    DeviceId::parse(name).expect("a good name")
}

pub(crate) fn site(name: &str) -> SiteName {
    SiteName::parse(name).expect("a good name")
}

pub(crate) fn model_id(name: &str) -> ModelId {
    ModelId { name: ModelName::parse(name).expect("a good name"), version: 1 }
}

pub(crate) fn offer_id(device: &str) -> OfferId {
    OfferId { device: device_id(device), accelerator: AcceleratorName::parse("cpu").expect("a good name") }
}

pub(crate) fn range(start: u32, end: u32) -> BlockRange {
    BlockRange::new(start, end).expect("not empty")
}

/// A device with one CPU offer that takes weights as they are.
pub(crate) fn device(name: &str, memory: Bytes) -> Device {
    let offer = Offer {
        accelerator: offer_id(name).accelerator,
        adapter: "cpu".into(),
        memory_pool: 0,
        memory,
        weight_factor: 1.0,
        fixed: Bytes::ZERO,
        roles: Roles::ALL,
        cost: CostModel { gflop_ms: 1.0, weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.0 },
        shares_cores_with: Vec::new(),
        element_types: vec!["fp32".into()],
        needs_artefacts: None,
    };
    Device { id: device_id(name), site: site("here"), labels: BTreeMap::new(), offers: vec![offer] }
}

/// Blocks of 1 GFLOP and 1 MiB each, with 1 KiB between them.
pub(crate) fn uniform_model(name: &str, blocks: usize) -> Arc<ModelProfile> {
    let block = Block { flops: 1e9, weights: Bytes::mib(1), border: Bytes(1024), ..Block::default() };
    Arc::new(ModelProfile::new(model_id(name), vec![block; blocks], Vec::new(), Bytes(1024)).expect("a sound model"))
}

/// A chain of `(device, start, end)`.
pub(crate) fn replica(stages: &[(&str, u32, u32)]) -> Replica {
    Replica { stages: stages.iter().map(|&(device, start, end)| Stage { offer: offer_id(device), range: range(start, end) }).collect() }
}
