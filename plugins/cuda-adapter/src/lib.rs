//! Runs shards on NVIDIA's GPUs through engine `cuda`, which is ONNX Runtime with its CUDA provider. The engine refuses what would be left
//! to the CPU; this adapter offers the GPU with its own memory and hands its settings on.

use shardhost_sdk::{adapter::PlainAdapter, export_adapter};

pub mod config;

use config::Config;

/// The adapter with the host's engines.
pub type CudaAdapter = PlainAdapter<Config>;

export_adapter!(CudaAdapter);

#[cfg(test)]
mod tests;
