//! Runs shards on the NPU of Rockchip chips through the engine `rknn`. Shards are converted before, each for fixed shapes; a run pads
//! to the smallest of them that fits. Tensors are changed where they are: no byte of them enters the guest.

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
pub const ENGINES: [&str; 1] = ["rknn"];

const ACCELERATOR: Accelerator =
    Accelerator { kind: "rknn", engines: &ENGINES, converted: &ENGINES, operators: &operators::OPERATORS, toolkit: "RKNN-Toolkit2 2.1.0" };

/// The adapter; `E` is a double in tests.
#[derive(Debug)]
pub struct RknnAdapter<E: Operations = HostEngine>(Converted<E>);

impl<E: Operations> ShardAdapter for RknnAdapter<E> {
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

export_adapter!(RknnAdapter);

#[cfg(test)]
mod tests;
