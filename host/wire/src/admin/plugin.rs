//! Plugins: installing, listing, rolling back.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An installed or built-in plugin.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// The version that it says it has.
    pub version: String,
    /// What it says it does.
    pub description: String,
    /// Its licence.
    pub licence: String,
    /// The interfaces that it exports: `allocation`, `routing`, `queueing`, `adapter`.
    pub kinds: Vec<String>,
    /// SHA-256 of its file.
    pub digest: String,
    /// Where it came from.
    pub source: String,
    /// Whether it is part of the host.
    pub built_in: bool,
    /// The slots that it serves.
    pub slots: Vec<String>,
    /// Size of its file.
    pub component_bytes: u64,
}

/// What is in a slot.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Slot {
    /// Its name: `allocation`, `routing`, `routing/NAME`, `queueing`, `adapter/KIND`.
    pub slot: String,
    /// The plugin in it.
    pub plugin: String,
    /// Counts what the slot has held.
    pub generation: u64,
    /// SHA-256 of the plugin's file.
    pub digest: String,
    /// Whether the built-in serves.
    pub built_in: bool,
    /// Answered calls.
    pub calls: u64,
    /// Failures in service.
    pub strikes: u64,
    /// Requests that the built-in answered instead.
    pub fallbacks: u64,
}

/// Something to install.
#[derive(Clone, PartialEq, Debug)]
pub struct Install {
    /// What.
    pub component: Component,
    /// Where it came from: a path or an address.
    pub source: String,
    /// The slot to bind; without it, what its manifest says, or the only one that fits.
    pub slot: Option<String>,
    /// Its configuration, as JSON.
    pub config: Option<String>,
    /// The text of the `plugin.toml` that lies beside it.
    pub manifest: Option<String>,
}

/// Where the component of an installation is.
#[derive(Clone, PartialEq, Debug)]
pub enum Component {
    /// The bytes of a file.
    Bytes(Bytes),
    /// A plugin that is part of the host or was installed before, by name.
    Named(String),
}

/// The query of `POST /plugins`; the body is the component, and empty where `name` says it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InstallQuery {
    /// Where it came from.
    pub source: String,
    /// A plugin that is part of the host or was installed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The slot to bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Its configuration, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The text of the `plugin.toml` that lies beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

/// The query of `POST /plugins/rollback`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RollbackQuery {
    /// The slot.
    pub slot: String,
    /// The generation to go back to; without it, the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// What an installation or a roll back led to.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Installed {
    /// The plugin's name.
    pub plugin: String,
    /// The slot that it is in.
    pub slot: String,
    /// The slot's generation now.
    pub generation: u64,
    /// SHA-256 of its file.
    pub digest: String,
    /// The plugin that was there before.
    pub replaced: Option<String>,
    /// Reading, compiling, rehearsing and preparing.
    pub prepare_ms: f64,
    /// The swap itself.
    pub swap_ms: f64,
    /// How it did on known problems.
    pub rehearsal: Option<Rehearsal>,
}

/// How a plugin did on known problems before it was swapped in.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Calls that it answered.
    pub calls: u32,
    /// Time that one call in a hundred of its main function exceeds; 0 for a plugin without one.
    pub call_us_p99: f64,
    /// Questions among them that the host was really asked before.
    pub recorded: u32,
    /// The most memory that it had.
    pub memory_bytes: u64,
    /// Against the plugin that it replaces.
    pub compared: Option<Compared>,
}

/// A new plugin beside the one in service, on the same recorded and synthetic problems.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Compared {
    /// The one in service.
    pub with: String,
    /// Problems that both were asked.
    pub questions: u32,
    /// Problems that both answer alike, to the last bit.
    pub same: u32,
    /// Refusals of the new one.
    pub refused: u32,
    /// Refusals of the one in service.
    pub refused_before: u32,
    /// Failures of the one in service; the new one has none.
    pub failed_before: u32,
    /// Worth of the new plans as a part of the worth of those of the one in service; above 1 is better.
    pub value_ratio: Option<f64>,
    /// Time that one call in a hundred of the new one exceeds.
    pub call_us_p99: f64,
    /// The same of the one in service.
    pub call_us_p99_before: f64,
    /// The most memory of the new one.
    pub memory_bytes: u64,
    /// The most memory of the one in service.
    pub memory_bytes_before: u64,
}

/// One generation of a slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Generation {
    /// The slot.
    pub slot: String,
    /// Its number.
    pub generation: u64,
    /// The plugin.
    pub plugin: String,
    /// SHA-256 of the plugin's file.
    pub digest: String,
    /// `installed`, `rolled_back`, `strikes`, `retried`.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}
