//! Runs shards on the CPU through an engine of the host: the one that its configuration names, or the host's default one. Loads a
//! shard with it, and hands tensors on as they come: no byte of them enters the guest.

use shardhost_sdk::{adapter::PlainAdapter, export_adapter};

pub mod config;

use config::Config;

/// The adapter with the host's engines.
pub type CpuAdapter = PlainAdapter<Config>;

export_adapter!(CpuAdapter);

#[cfg(test)]
mod tests;
