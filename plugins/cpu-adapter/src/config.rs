//! The settings of this plugin.

use serde::Deserialize;
use shardhost_sdk::adapter::{Attribute, PlainConfig};

/// From the slot's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The engine to use, `auto` among them; without it, the host's default one of those that compute on the CPU.
    pub engine: Option<String>,
    /// Threads that one run may use; without it, the engine's default.
    pub threads: Option<u32>,
}

impl PlainConfig for Config {
    const ACCELERATOR: &'static str = "cpu";
    /// All CPU engines compute in the machine's own memory.
    const MEMORY_POOL: u32 = 0;

    fn read(json: &str) -> Result<Self, String> {
        let json = if json.trim().is_empty() { "{}" } else { json };
        let config: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        match config.threads {
            Some(0) => Err("threads is 0, it must be 1 or more".to_owned()),
            _ => Ok(config),
        }
    }

    fn engine(&self) -> Option<&str> {
        self.engine.as_deref()
    }

    fn attempts(&self) -> Vec<Vec<Attribute>> {
        vec![self.threads.map(|threads| ("threads".to_owned(), threads.to_string())).into_iter().collect()]
    }
}
