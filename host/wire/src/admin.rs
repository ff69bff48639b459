//! What the command line and a running host say to each other over the admin socket.

mod blobs;
mod census;
mod conversion;
mod device;
mod engine;
mod link;
mod plan;
mod plugin;
mod token;

use serde::{Deserialize, Serialize};

pub use blobs::{Blobs, ShardLoad};
pub use census::{Census, DeviceCensus, Supply};
pub use conversion::{Artefact, ArtefactQuery, Conversion, ConversionQuery, ConvertQuery};
pub use device::{Cost, Device, DeviceOrder, Offer, Ordered, Pressures};
pub use engine::{EngineFigures, ModelQuery, ShardEngine};
pub use link::Link;
pub use plan::{
    ExpectedModel, ExplainQuery, ExplainedReplica, ExplainedStage, Explanation, Help, Plan, PlanPolicy, PlanRecord, PlannedModel, PredictionError, Refused,
    Replica, Room, Stage,
};
pub use plugin::{
    Asked, AuditLine, Changed, Compared, Component, Entry, Generation, Install, InstallQuery, Installed, LogLine, Plugin, PluginQuery, Rehearsal,
    RollbackQuery, Slot, SlotQuery, SlotStats, Trial,
};
pub use token::{NewToken, RevokeQuery, Token, TokenQuery};

use crate::oip::TensorMetadata;

/// The answer of `GET /status`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The host's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// `starting`, `ready` or `draining`; of a device `attending` or `looking for its central`.
    pub state: String,
    /// Since it started.
    pub uptime_ms: u64,
    /// Where clients reach it; none while no port is open.
    pub http: Option<String>,
    /// Where devices join it; none while nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<String>,
    /// The central that it has joined as a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub central: Option<String>,
    /// Where other hosts reach this device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<String>,
    /// Its data directory.
    pub data: String,
    /// The plan in force.
    pub plan: u64,
    /// Every loaded model.
    pub models: Vec<ModelState>,
    /// Folders that were skipped, and why.
    pub skipped: Vec<Skipped>,
    /// Ids of the devices.
    pub devices: Vec<String>,
    /// The pool in figures; none of a device, which knows no pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census: Option<Census>,
    /// What is in which slot.
    pub slots: Vec<Slot>,
    /// Requests that have devices to themselves now.
    #[serde(default)]
    pub reservations: usize,
    /// Shards whose files devices in other processes fetch now.
    #[serde(default)]
    pub loads: Vec<ShardLoad>,
    /// What this device keeps of what it fetched; none of a central.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<Blobs>,
}

/// The query of `GET /plan/history` and `GET /plugins/generations`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HistoryQuery {
    /// How many of the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Of this slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
}

/// The query of `POST /models/NAME/split`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SplitQuery {
    /// Block numbers with commas between them: `2,5` makes three shards.
    pub cuts: String,
    /// Absolute path of the folder that gets the files.
    pub folder: String,
}

/// Whether one version of a model can be used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelState {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Whether requests are answered.
    pub ready: bool,
    /// Why not.
    pub reason: String,
}

/// A folder under the models folder that is not served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// The folder.
    pub folder: String,
    /// Why.
    pub reason: String,
}

/// A model as `host model show` prints it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Whether requests are answered.
    pub ready: bool,
    /// Pieces that it may be cut into at most.
    pub blocks: u32,
    /// All its weights.
    pub weight_bytes: u64,
    /// Largest leading dimension of a request; 0 where the shapes say it all.
    pub max_batch_size: u32,
    /// What it takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
    /// Names of its classes.
    pub labels: Vec<String>,
    /// What engines did with its shards on this host, as far as they were measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<ShardEngine>,
}
