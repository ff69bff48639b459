//! The settings of this plugin.

use serde::Deserialize;

/// From the slot's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The engine to use, `auto` among them; without it, the host's default one of those that compute on the CPU.
    pub engine: Option<String>,
    /// Threads that one run may use; without it, the engine's default.
    pub threads: Option<u32>,
}

impl Config {
    /// Reads JSON; the error names the line and the field.
    pub fn read(json: &str) -> Result<Self, String> {
        let json = if json.trim().is_empty() { "{}" } else { json };
        let config: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        match config.threads {
            Some(0) => Err("threads is 0, it must be 1 or more".to_owned()),
            _ => Ok(config),
        }
    }
}
