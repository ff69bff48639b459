//! What the engines of a host do with the shards that it holds.

use serde::{Deserialize, Serialize};

/// The query of `GET /models/NAME`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ModelQuery {
    /// Whether engines that were not measured on the model's shards are measured now.
    #[serde(default)]
    pub measure: bool,
    /// Threads that a run may use then; 1 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// What came out when an engine was measured on a shard, on this host's processor.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ShardEngine {
    /// The shard's blocks: `[0..4)`.
    pub blocks: String,
    /// The engine.
    pub engine: String,
    /// Version of the library behind it.
    pub version: String,
    /// Threads that one run used.
    pub threads: usize,
    /// Figures of an engine whose answers agree with the golden ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<EngineFigures>,
    /// Why it is not taken for the shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// Figures of an engine on a shard.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct EngineFigures {
    /// One run on the golden inputs, the median of some.
    pub run_ms: f64,
    /// Loading, with the check against the golden answers.
    pub load_ms: f64,
    /// What the loaded shard holds.
    pub memory_bytes: u64,
    /// Largest difference from a golden output, as a part of its largest value.
    pub difference: f64,
}
