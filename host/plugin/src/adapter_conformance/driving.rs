//! Loading and running one shard through an adapter, with what happens as a verdict.

use std::sync::Arc;

use host_engine::{Golden, Shard};

use super::Verdict;
use crate::{
    adapter::{Fit, RunCall, run},
    program::Program,
    workbench::fresh,
    world::{ShardAdapter, Warm},
};

/// The number that inputs of golden answers start from. Runs start from others.
pub(super) const GOLDEN_SEED: u64 = 1;
/// One for each run of a specimen.
pub(super) const SEEDS: [u64; 3] = [2, 3, 4];

/// An adapter and the offer that it is to load on. Threads share it.
#[derive(Clone, Copy)]
pub(super) struct Driving<'a> {
    pub(super) program: &'a Program<ShardAdapter>,
    pub(super) offer: u32,
}

impl Driving<'_> {
    /// Loads a shard with an instance of its own, which is gone when it is dropped.
    pub(super) fn load(&self, shard: &Arc<Shard>) -> Result<(Warm<ShardAdapter>, Fit), Verdict> {
        let mut warm = fresh(self.program).map_err(|fault| Verdict::Wrong(fault.to_string()))?;
        match warm.load(Arc::clone(shard), self.offer) {
            Ok(Ok(fit)) => Ok((warm, fit)),
            Ok(Err(refusal)) if refusal.reason.trim().is_empty() => Err(Verdict::Wrong("it refuses to load without a reason".to_owned())),
            Ok(Err(refusal)) => Err(Verdict::Refused(refusal.reason)),
            Err(fault) => Err(Verdict::Wrong(format!("load: {fault}"))),
        }
    }

    /// Runs a loaded shard and gives the largest difference from the golden answers, as a part of the largest value of an output.
    pub(super) fn run(warm: &mut Warm<ShardAdapter>, shard: &Shard, golden: &Golden) -> Result<f64, Verdict> {
        let call = RunCall { batch: 1, ..RunCall::default() };
        let answer = run(warm, &call, golden.inputs.clone(), &shard.outputs);
        warm.guest_mut().handles.forget_tensors();
        match answer {
            Ok(Ok(outputs)) => golden.compare(&shard.outputs, &outputs).map_err(|error| Verdict::Wrong(error.to_string())),
            Ok(Err(failure)) if failure.message.trim().is_empty() => Err(Verdict::Wrong("it fails to run without a reason".to_owned())),
            Ok(Err(failure)) => Err(Verdict::Refused(failure.message)),
            Err(fault) => Err(Verdict::Wrong(format!("run: {fault}"))),
        }
    }
}
