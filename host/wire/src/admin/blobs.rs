//! Files that hosts fetch by digest, as people ask for them.

use serde::{Deserialize, Serialize};

/// A shard whose files a device fetches now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ShardLoad {
    /// The device.
    pub device: String,
    /// The accelerator that it is for.
    pub accelerator: String,
    /// The shard, such as `digits@1[0..3)`.
    pub shard: String,
    /// What is there of its files, in bytes.
    pub bytes: u64,
    /// All that they have, in bytes.
    pub bytes_total: u64,
}

/// What a device keeps of what it fetched, and where that came from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Blobs {
    /// Files in the cache.
    pub files: u64,
    /// Bytes that the cache takes, those included that a transfer has reserved.
    pub bytes: u64,
    /// Most bytes that it takes.
    pub bytes_max: u64,
    /// Bytes that are in use and stay.
    pub pinned_bytes: u64,
    /// Bytes that came from the central since the host started.
    pub from_central_bytes: u64,
    /// Bytes that came from peers since the host started.
    pub from_peers_bytes: u64,
}
