//! Runs shards on the CPU through an engine of the host. Offers each engine that computes there, loads a shard with the
//! one that was chosen, and hands tensors on as they come: no byte of them enters the guest.

use shardhost_sdk::{adapter::PlainAdapter, export_adapter};

pub mod config;

use config::Config;

/// The adapter with the host's engines.
pub type CpuAdapter = PlainAdapter<Config>;

export_adapter!(CpuAdapter);

#[cfg(test)]
mod tests;
