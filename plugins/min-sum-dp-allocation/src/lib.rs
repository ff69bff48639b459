//! Cuts a model over the devices in the order in which they joined, so that the sum of what the stages take is least: by
//! dynamic programming over blocks and devices. One replica, of the first so many devices; none is skipped. The textbook
//! way to cut a chain, here to be compared with: the least sum is not the least bottleneck, and the order of joining
//! decides who takes part.

mod cuts;

use serde::Deserialize;
use shardhost_sdk::{
    allocation::{AllocationPolicy, Observation, Problem, Proposal, Refusal, Verdict},
    export_allocation,
    problem::Ranges,
    uniform::join_order,
};

/// The policy, which is its settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MinSumDp {
    /// Most ranges of blocks that are tried on devices: a model of L blocks has L·(L+1)/2 for each device.
    pub steps_max: u64,
}

impl Default for MinSumDp {
    fn default() -> Self {
        Self { steps_max: 10_000_000 }
    }
}

impl AllocationPolicy for MinSumDp {
    fn configure(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        let read: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if read.steps_max == 0 {
            return Err("steps_max is 0, it must be 1 or more".to_owned());
        }
        Ok(read)
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let ranges = Ranges::new(problem);
        let mut order: Vec<u32> = join_order(&ranges).into_iter().filter(|&offer| holds_a_block(&ranges, offer)).collect();
        order.truncate(problem.placement.stages_max as usize);
        let (blocks, offers) = (u64::from(ranges.blocks()), order.len() as u64);
        let steps = (blocks * (blocks + 1) / 2).saturating_mul(offers);
        if steps > self.steps_max {
            let (model, most) = (&problem.model, self.steps_max);
            return Err(Refusal::because(format!("cutting {model} over {offers} offers takes {steps} steps, steps_max is {most}")));
        }
        let stages = cuts::least_sum(&ranges, &order).map_err(|reached| {
            if reached < ranges.blocks() {
                return ranges.shortfall(reached);
            }
            let (model, stages_min) = (&problem.model, problem.placement.stages_min);
            Refusal::because(format!("the first {offers} offers hold {model}, but not in {stages_min} stages or more"))
        })?;
        let replica = ranges.prove(stages)?;
        Ok(Proposal { replicas: vec![replica], bound: 0.0, attributes: Vec::new() })
    }

    fn review(&mut self, observed: &Observation) -> Verdict {
        Ranges::new(&observed.problem).verdict()
    }
}

/// Whether there is any block that an offer could hold alone.
fn holds_a_block(ranges: &Ranges<'_>, offer: u32) -> bool {
    (0..ranges.blocks()).any(|block| ranges.fits(offer, block, block + 1))
}

export_allocation!(MinSumDp);

#[cfg(test)]
mod tests;
