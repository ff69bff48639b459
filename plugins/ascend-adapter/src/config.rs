//! The settings of this plugin.

use std::collections::BTreeMap;

use serde::Deserialize;
use shardhost_sdk::adapter::converted::{Layout, Settings};

use crate::ENGINES;

/// Most sets of lengths; each is a graph that ONNX Runtime compiles and keeps.
const BUCKETS_MAX: usize = 64;

/// From the slot's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The engine to use; without it `acl`, and `cann` for shards that were not converted.
    pub engine: Option<String>,
    /// Which of the machine's NPUs; without it, the first.
    pub device_id: Option<u32>,
    /// The chip, such as `ascend310p`, whose converted shards are loaded; without it, the one that the engine finds.
    pub target: Option<String>,
    /// `nchw` or `nhwc`: the order of axes in which graphs take pictures; without it, that in which their shapes fit.
    pub layout: Option<String>,
    /// Symbols that are padded whatever the rules say, because the model masks them.
    pub masked: Vec<String>,
    /// Lengths of symbols to pad to, for `cann`, which compiles a graph for each length that it meets.
    pub buckets: Vec<BTreeMap<String, u32>>,
    /// Further options of the engine.
    pub options: BTreeMap<String, String>,
}

impl Config {
    /// Reads JSON; the error names the line and the field.
    pub fn read(json: &str) -> Result<Self, String> {
        let json = if json.trim().is_empty() { "{}" } else { json };
        let config: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if let Some(engine) = config.engine.as_deref().filter(|engine| !ENGINES.contains(engine)) {
            return Err(format!("engine is `{engine}`, there are {}", ENGINES.join(", ")));
        }
        if config.buckets.len() > BUCKETS_MAX {
            return Err(format!("there are {} buckets, at most {BUCKETS_MAX} are possible", config.buckets.len()));
        }
        match config.buckets.iter().flatten().find(|(_, length)| **length == 0) {
            Some((symbol, _)) => Err(format!("a bucket has {symbol} = 0, it must be 1 or more")),
            None => Ok(config),
        }
    }

    /// What the adapter makes of them.
    pub fn settings(self) -> Result<Settings, String> {
        let named = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
        let own = [named("device_id", self.device_id.map(|id| id.to_string())), named("target", self.target.clone())];
        Ok(Settings {
            engine: self.engine,
            layout: Layout::read(self.layout.as_deref())?,
            attributes: named("target", self.target).into_iter().collect(),
            options: own.into_iter().flatten().chain(self.options).collect(),
            masked: self.masked,
            buckets: self.buckets,
        })
    }
}
