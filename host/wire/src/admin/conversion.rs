//! What is said of conversions and of what they made.

use serde::{Deserialize, Serialize};

/// The query of `POST /models/NAME/convert`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConvertQuery {
    /// `rknn:rk3588`, `ascend:Ascend310P3` or `tensorrt`.
    pub target: String,
    /// `batch=1,sequence=64,128`: every combination is a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<String>,
    /// `0..3,3..7`; without it those that a plan gives to such accelerators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<String>,
    /// Whether each result is run in the tool's simulator and compared.
    #[serde(default)]
    pub check: bool,
}

/// The query of `GET /conversions/NUMBER`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConversionQuery {
    /// Lines before this one are known already.
    #[serde(default)]
    pub from: u64,
}

/// The query of `GET /artefacts`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ArtefactQuery {
    /// Of this model alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A conversion that runs or has ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Conversion {
    /// Tells it from others of this host.
    pub number: u64,
    /// What is converted: `digits@1`.
    pub model: String,
    /// What for.
    pub target: String,
    /// `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// Why it failed; empty where it did not.
    pub reason: String,
    /// Artefacts that it made.
    pub made: u32,
    /// Artefacts that were there already.
    pub kept: u32,
    /// What it and its tools said, from the line that was asked for on, as far as that is kept.
    pub lines: Vec<String>,
    /// The number of the line after those.
    pub next: u64,
}

/// Something that a vendor's tool made of a shard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Artefact {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// First block.
    pub start: u32,
    /// One past the last block.
    pub end: u32,
    /// What it was made for.
    pub target: String,
    /// The shapes that it takes: `pixels:1x1x8x8`.
    pub bucket: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of it.
    pub digest: String,
    /// SHA-256 of the shard's file that it was made of.
    pub shard: String,
    /// When, in milliseconds since 1970.
    pub made_at_ms: u64,
}
