//! Runs shards on Ascend NPUs: those that were converted through the engine `acl`, others through `cann`, which is ONNX Runtime's
//! provider and compiles them itself. Both have fixed shapes; a run pads to the smallest that fits. Tensors are changed where they are:
//! no byte of them enters the guest.

use shardhost_sdk::{
    adapter::{
        Call, Engine, EngineError, Fit, HostEngine, Offer, Refusal, ShardAdapter,
        converted::{Accelerator, Converted},
        operations::Operations,
    },
    export_adapter,
};

pub mod config;
mod operators;

use config::Config;

/// Engines that drive it, the first choice first.
pub const ENGINES: [&str; 2] = ["acl", "cann"];

const ACCELERATOR: Accelerator =
    Accelerator { kind: "ascend", engines: &ENGINES, converted: &["acl"], operators: &operators::OPERATORS, toolkit: "ONNX Runtime's CANN provider" };

/// The adapter; `E` is a double in tests.
#[derive(Debug)]
pub struct AscendAdapter<E: Operations = HostEngine>(Converted<E>);

impl<E: Operations> ShardAdapter for AscendAdapter<E> {
    type Engine = E;

    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self(Converted::new(ACCELERATOR, Config::read(config)?.settings()?)))
    }

    fn probe(&mut self) -> Vec<Offer> {
        self.0.probe()
    }

    fn load(&mut self, shard: <E as Engine>::ShardFile, offer: u32) -> Result<Fit, Refusal> {
        self.0.load(&shard, offer)
    }

    fn run(&mut self, _call: &Call, inputs: Vec<<E as Engine>::Tensor>) -> Result<Vec<<E as Engine>::Tensor>, EngineError> {
        self.0.run(inputs)
    }
}

export_adapter!(AscendAdapter);

#[cfg(test)]
mod tests;
