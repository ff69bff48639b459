//! The settings of this plugin.

use std::collections::BTreeMap;

use serde::Deserialize;
use shardhost_sdk::adapter::converted::{Layout, Settings};

/// Cores of the NPU as `rknn_core_mask` of the RKNN API names them, without its prefix.
const CORE_MASKS: [&str; 7] = ["auto", "0", "1", "2", "0_1", "0_1_2", "all"];

/// From the slot's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The cores that compute; without it, the library chooses.
    pub core_mask: Option<String>,
    /// The chip, such as `rk3588`, whose converted shards are loaded; without it, the one that the engine finds.
    pub target: Option<String>,
    /// `nchw` or `nhwc`: the order of axes in which graphs take pictures; without it, that in which their shapes fit.
    pub layout: Option<String>,
    /// Symbols that are padded whatever the rules say, because the model masks them.
    pub masked: Vec<String>,
    /// Further options of the engine.
    pub options: BTreeMap<String, String>,
}

impl Config {
    /// Reads JSON; the error names the line and the field.
    pub fn read(json: &str) -> Result<Self, String> {
        let json = if json.trim().is_empty() { "{}" } else { json };
        let config: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if let Some(mask) = config.core_mask.as_deref().filter(|mask| !CORE_MASKS.contains(mask)) {
            return Err(format!("core_mask is `{mask}`, there are {}", CORE_MASKS.join(", ")));
        }
        Ok(config)
    }

    /// What the adapter makes of them.
    pub fn settings(self) -> Result<Settings, String> {
        let named = |name: &str, value: &Option<String>| value.clone().map(|value| (name.to_owned(), value));
        let own = [named("core_mask", &self.core_mask), named("target", &self.target)];
        Ok(Settings {
            engine: None,
            layout: Layout::read(self.layout.as_deref())?,
            attributes: named("target", &self.target).into_iter().collect(),
            options: own.into_iter().flatten().chain(self.options).collect(),
            masked: self.masked,
            buckets: Vec::new(),
        })
    }
}
