//! Plugins: installing, listing, rolling back.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An installed or built-in plugin.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Whether another one was installed under its name since. Shown as long as it serves.
    #[serde(default)]
    pub is_earlier: bool,
    /// The version that it says it has.
    pub version: String,
    /// What it says it does.
    pub description: String,
    /// Its licence.
    pub licence: String,
    /// The interfaces that it exports: `allocation`, `routing`, `queueing`, `adapter`.
    pub kinds: Vec<String>,
    /// The worlds of the contract that it implements, in the same order: `allocation-policy`, `shard-adapter`.
    pub worlds: Vec<String>,
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
    /// Whether it may serve.
    pub enabled: bool,
    /// The version of the contract that it was built for; several, with commas between, in one that cannot run.
    pub contract: String,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The trusted key that signed it; empty if nobody did.
    pub signer: String,
    /// What it asks for beyond the host's defaults, and whether the host grants it.
    pub asks: Vec<Asked>,
    /// The limits that it gets, by the names of their settings; none for one that cannot run.
    pub limits: Vec<(String, u64)>,
    /// Why this host cannot run it; empty if it can.
    pub unfit: String,
}

/// A resource that a plugin's manifest asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Asked {
    /// What: `memory_bytes_max`, `call_ms_max`, `instances`.
    pub what: String,
    /// How much it asks for.
    pub asked: u64,
    /// The most that the host grants.
    pub granted_max: u64,
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
    /// A plugin that is tried beside the one in service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// How a plugin does beside the one in service.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Trial {
    /// `canary`, `shadow` or `probation`.
    pub kind: String,
    /// The plugin beside the one in service: on probation, the one before it.
    pub plugin: String,
    /// Its generation.
    pub generation: u64,
    /// The share of requests that it answers.
    pub share: f64,
    /// Questions that both answered.
    pub questions: u32,
    /// Questions that both answered alike.
    pub agreed: u32,
    /// What the answers of the judged plugin cost, as a multiple of the other's; 0 while nothing had a cost.
    pub cost_ratio: f64,
}

/// What a plugin in a slot did since it came there.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SlotStats {
    /// The slot.
    pub slot: String,
    /// The plugin in it; empty for an empty slot.
    pub plugin: String,
    /// The slot's generation.
    pub generation: u64,
    /// Calls, failed ones included.
    pub calls: u64,
    /// Honest refusals.
    pub refusals: u64,
    /// Failures by kind: `trap`, `late`, `memory`, `invalid`, `over_budget`.
    pub strikes: Vec<(String, u64)>,
    /// Requests that the built-in answered instead.
    pub fallbacks: u64,
    /// Mean time of a call.
    pub call_us_mean: f64,
    /// The most linear memory that any instance had.
    pub memory_bytes: u64,
    /// Tensor bytes that went through the guest's memory.
    pub copied_bytes: u64,
    /// Milliseconds until a plugin that was rolled back is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<f64>,
    /// A plugin that is tried beside the one in service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// A line that a plugin wrote, or that the host wrote about it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogLine {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The slot.
    pub slot: String,
    /// The plugin.
    pub plugin: String,
    /// `debug`, `info`, `warn`, `error`; `host` for what the host says of it.
    pub level: String,
    /// The text.
    pub line: String,
}

/// One line of the audit log: a step that somebody had done to a plugin.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuditLine {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who: `user 1000` at the admin socket, `config`, `folder`, or `host` for what happened by itself.
    pub who: String,
    /// What was asked: `install`, `rollback`, `uninstall`, `enable`, `disable`, `promote`, `stop-trial`.
    pub action: String,
    /// How far it came: `asked`, `fetched`, `verified`, `granted`, `compiled`, `rehearsed`, `stored`, `swapped`, `recorded`, `failed`.
    pub step: String,
    /// The plugin, or where it comes from while its name is not known.
    pub plugin: String,
    /// SHA-256 of its file, once it is known.
    pub digest: String,
    /// The slot, once it is known.
    pub slot: String,
    /// More: who signed it, what it was granted, why it failed.
    pub detail: String,
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
    /// The text of the minisign signature that lies beside it.
    pub signature: Option<String>,
    /// The digest that it must have.
    pub digest: Option<String>,
    /// How it enters its slot.
    pub entry: Entry,
}

/// How a plugin enters its slot.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Entry {
    /// It serves, and goes again by itself if it decides worse than the one before.
    #[default]
    Probation,
    /// It serves and stays.
    Settled,
    /// It answers this share of the requests.
    Canary(f64),
    /// It is compared and answers nothing.
    Shadow,
}

/// Where the component of an installation is.
#[derive(Clone, PartialEq, Debug)]
pub enum Component {
    /// The bytes of a file.
    Bytes(Bytes),
    /// Where the host finds it: an https URL or an OCI reference.
    Remote(String),
    /// A plugin that is part of the host or was installed before, by name.
    Named(String),
}

/// The query of `POST /plugins`; the body is the component, and empty where `name` or `remote` says it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
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
    /// An https URL or an OCI reference that the host fetches it from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The text of the minisign signature that lies beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The digest that it must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The share of requests that it answers as a canary, above 0 and up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<f64>,
    /// Whether it is only compared.
    #[serde(default)]
    pub shadow: bool,
    /// Whether it stays even if it decides worse than the one before.
    #[serde(default)]
    pub accept_worse: bool,
}

impl InstallQuery {
    /// How the plugin enters its slot; none if what the query says contradicts itself.
    pub fn entry(&self) -> Option<Entry> {
        match (self.canary, self.shadow, self.accept_worse) {
            (Some(share), false, false) if share > 0.0 && share <= 1.0 => Some(Entry::Canary(share)),
            (None, true, false) => Some(Entry::Shadow),
            (None, false, true) => Some(Entry::Settled),
            (None, false, false) => Some(Entry::Probation),
            _ => None,
        }
    }
}

/// The query of what is done to a plugin by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PluginQuery {
    /// The plugin.
    pub plugin: String,
    /// Newest lines that are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// The query of what is done to a slot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SlotQuery {
    /// The slot.
    pub slot: String,
}

/// What became of a plugin that was uninstalled, enabled or disabled.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Changed {
    /// The plugin.
    pub plugin: String,
    /// Slots that hold something else now, and what.
    pub slots: Vec<(String, String)>,
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
    /// What kind of trial it is on instead of serving, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<String>,
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
    /// Whether it had passed a rehearsal before; then it was asked recorded questions only, and the p99 is of that time.
    #[serde(default)]
    pub is_known: bool,
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
