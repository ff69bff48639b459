//! Settings whose values are more than a number, a text or a path, as they are read from file, environment and flags.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{AllowUnsigned, LogFormat, RegistryLogin, SlotBinding, settings::structured};
use crate::shelf;

/// One key, or a list of them.
pub(super) fn keys(field: &mut Vec<String>, value: &Value) -> Result<(), String> {
    let read = match structured(value) {
        Value::Array(keys) => keys.into_iter().map(|key| key.as_str().map(str::to_owned).ok_or("it must list keys as text")).collect::<Result<_, _>>()?,
        Value::String(key) => vec![key],
        _ => return Err("it must be a minisign public key, or a list of them".into()),
    };
    match read.iter().find(|key| !shelf::is_key(key)) {
        Some(key) => Err(format!("`{key}` is no minisign public key: it is the second line of a .pub file")),
        None => {
            *field = read;
            Ok(())
        }
    }
}

pub(super) fn allow_unsigned(field: &mut AllowUnsigned, value: &Value) -> Result<(), String> {
    let known = [AllowUnsigned::Never, AllowUnsigned::Files, AllowUnsigned::Always];
    let found = known.into_iter().find(|known| value.as_str() == Some(known.word()));
    *field = found.ok_or("it must be never, files or always")?;
    Ok(())
}

/// By the registry's address: username and password.
pub(super) fn registries(field: &mut BTreeMap<String, RegistryLogin>, value: &Value) -> Result<(), String> {
    *field = serde_json::from_value(structured(value)).map_err(|error| format!("it must name username and password for each registry: {error}"))?;
    Ok(())
}

pub(super) fn log_format(field: &mut LogFormat, value: &Value) -> Result<(), String> {
    *field = match value.as_str() {
        Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        _ => return Err("it must be text or json".into()),
    };
    Ok(())
}

/// By slot: a plugin's name or path, or an object with `plugin` and `config`.
pub(super) fn slots(field: &mut BTreeMap<String, SlotBinding>, value: &Value) -> Result<(), String> {
    let Value::Object(entries) = structured(value) else {
        return Err("it must name a plugin for each slot, such as routing: round-robin-routing".into());
    };
    let mut slots = BTreeMap::new();
    for (slot, entry) in entries {
        host_plugin::SlotName::parse(&slot).map_err(|error| error.to_string())?;
        let binding = match entry {
            Value::String(plugin) => SlotBinding { plugin, digest: None, config: None },
            entry => serde_json::from_value(entry).map_err(|error| format!("slot `{slot}`: {error}"))?,
        };
        slots.insert(slot, binding);
    }
    *field = slots;
    Ok(())
}
