//! The settings of this plugin.

use serde::Deserialize;
use shardhost_sdk::adapter::{Attribute, PlainConfig};

/// From the slot's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which GPU, from 0; without it, the engine's own choice.
    pub device_id: Option<u16>,
    /// Bytes of its memory that one shard may use; without it, all.
    pub memory_limit: Option<u64>,
}

impl PlainConfig for Config {
    const ACCELERATOR: &'static str = "cuda";
    /// The GPU's own memory, which it shares with what TensorRT has there.
    const MEMORY_POOL: u32 = 1;

    fn read(json: &str) -> Result<Self, String> {
        let json = if json.trim().is_empty() { "{}" } else { json };
        let config: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        match config.memory_limit {
            Some(0) => Err("memory_limit is 0, it must be 1 byte or more".to_owned()),
            _ => Ok(config),
        }
    }

    fn attempts(&self) -> Vec<Vec<Attribute>> {
        let device = self.device_id.map(|id| ("device_id".to_owned(), id.to_string()));
        let limit = self.memory_limit.map(|bytes| ("memory_limit".to_owned(), bytes.to_string()));
        vec![device.into_iter().chain(limit).collect()]
    }
}
