//! Small readers that say what is wrong with a field.

use host_core::{
    error::Error as CoreError,
    ids::{AcceleratorName, DeviceId, ModelId, ModelName},
    shard::{BlockRange, ShardId},
};

use super::pb;
use crate::error::{Error, Fault};

/// A field that must be there.
pub(super) fn needed<T>(field: Option<T>, what: &'static str) -> Result<T, Error> {
    field.ok_or_else(|| Fault::Missing { what }.into())
}

/// At most so many of something.
pub(super) fn at_most<T>(items: &[T], max: usize, what: &'static str) -> Result<(), Error> {
    if items.len() <= max { Ok(()) } else { Err(Fault::TooMany { what, count: items.len(), max }.into()) }
}

pub(super) fn named(error: CoreError) -> Error {
    Fault::Domain(error).into()
}

pub(super) fn device(text: &str) -> Result<DeviceId, Error> {
    DeviceId::parse(text).map_err(named)
}

pub(super) fn accelerator(text: &str) -> Result<AcceleratorName, Error> {
    AcceleratorName::parse(text).map_err(named)
}

pub(super) fn model(name: &str, version: u32) -> Result<ModelId, Error> {
    Ok(ModelId { name: ModelName::parse(name).map_err(named)?, version })
}

pub(super) fn range(start: u32, end: u32) -> Result<BlockRange, Error> {
    BlockRange::new(start, end).map_err(named)
}

pub(super) fn shard(shard: &pb::Shard) -> Result<ShardId, Error> {
    Ok(ShardId { model: model(&shard.model, shard.version)?, range: range(shard.start, shard.end)? })
}

pub(super) fn finite(value: f64, what: &'static str) -> Result<f64, Error> {
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(named(host_core::error::Fault::Number { what, value }.into())) }
}
