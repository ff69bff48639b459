//! Runs shards on NVIDIA's GPUs through engine `tensorrt`, which is ONNX Runtime with its TensorRT provider. The engine refuses what would be
//! left to the CPU and lengths that it was not prepared for; this adapter offers the GPU with its own memory, hands its settings on,
//! and lets 16-bit floats go where the shard's golden answers allow them.

use shardhost_sdk::{adapter::PlainAdapter, export_adapter};

pub mod config;

use config::Config;

/// The adapter with the host's engines.
pub type TensorRtAdapter = PlainAdapter<Config>;

export_adapter!(TensorRtAdapter);

#[cfg(test)]
mod tests;
