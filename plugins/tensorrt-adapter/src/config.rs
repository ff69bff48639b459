//! The settings of this plugin.

use std::collections::BTreeMap;

use serde::Deserialize;
use shardhost_sdk::adapter::{Attribute, PlainConfig};

/// Whether 32-bit floats may be computed as 16-bit ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fp16 {
    /// Where the shard's golden answers come out near enough; it takes building each engine twice where they do not.
    Auto,
    /// Always; a shard whose answers are too far off is refused.
    Always,
    /// Never.
    #[default]
    Never,
}

/// From the slot's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which GPU, from 0; without it, the engine's own choice.
    pub device_id: Option<u16>,
    /// Bytes that one shard may use as workspace; without it, what TensorRT takes.
    pub memory_limit: Option<u64>,
    /// 16-bit floats.
    pub fp16: Fp16,
    /// The least, the best and the largest length of each symbol in the shapes of inputs. A shard with an open length that is not here is
    /// refused.
    pub profiles: BTreeMap<String, [u32; 3]>,
    /// Folder on the device for engines that were built; without it each is built whenever its shard is loaded.
    pub engine_cache: Option<String>,
}

impl PlainConfig for Config {
    const ACCELERATOR: &'static str = "tensorrt";
    /// The GPU's own memory, which it shares with what CUDA's provider has there.
    const MEMORY_POOL: u32 = 1;

    fn read(json: &str) -> Result<Self, String> {
        let json = if json.trim().is_empty() { "{}" } else { json };
        let config: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if config.memory_limit == Some(0) {
            return Err("memory_limit is 0, it must be 1 byte or more".to_owned());
        }
        let unsorted = config.profiles.iter().find(|(_, lengths)| !lengths.is_sorted());
        if let Some((symbol, [min, best, max])) = unsorted {
            return Err(format!("profiles.{symbol} is [{min}, {best}, {max}], it must be the least, the best and the largest length in this order"));
        }
        // The engine takes them as one text, in which these mean something.
        match config.profiles.keys().find(|symbol| symbol.contains(['=', ',', '/'])) {
            Some(symbol) => Err(format!("profiles has a length `{symbol}`: names with `=`, `,` or `/` cannot be told to the engine")),
            None => Ok(config),
        }
    }

    fn attempts(&self) -> Vec<Vec<Attribute>> {
        let tries: &[bool] = match self.fp16 {
            Fp16::Auto => &[true, false],
            Fp16::Always => &[true],
            Fp16::Never => &[false],
        };
        tries.iter().map(|&fp16| self.options(fp16)).collect()
    }
}

impl Config {
    fn options(&self, fp16: bool) -> Vec<Attribute> {
        let range = |(symbol, [min, best, max]): (&String, &[u32; 3])| format!("{symbol}={min}/{best}/{max}");
        let profiles = self.profiles.iter().map(range).collect::<Vec<_>>().join(",");
        let named = [
            ("device_id", self.device_id.map(|id| id.to_string())),
            ("memory_limit", self.memory_limit.map(|bytes| bytes.to_string())),
            ("fp16", Some(fp16.to_string())),
            ("profiles", Some(profiles).filter(|text| !text.is_empty())),
            ("engine_cache", self.engine_cache.clone()),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}
