//! Gives every device a part of the model as large as its share of the speed, as cake does (evilsocket/cake, its default
//! sharding): one replica, the fastest device first, each within its memory; what is left is for the central's device, at
//! the end of the chain. It is here to be compared with. Where the central's device does not hold what is left the
//! reference gives blocks out of order to others, which is no chain: this refuses.

mod shares;

use serde::Deserialize;
use shardhost_sdk::{
    allocation::{AllocationPolicy, Observation, Problem, Proposal, Refusal, Stage, Verdict},
    export_allocation,
    problem::{Ledger, Ranges},
    uniform::{join_order, rate},
};

/// The policy, which is its settings.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeProportional {
    /// The id of the central's device; without it, the device that joined first.
    pub central: Option<String>,
}

impl AllocationPolicy for ComputeProportional {
    fn configure(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        serde_json::from_str(config).map_err(|error| error.to_string())
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let ranges = Ranges::new(problem);
        let order = join_order(&ranges);
        let central = self.central(&ranges, &order)?;
        let mut workers: Vec<u32> = order.into_iter().filter(|&offer| offer != central).collect();
        // The sort is stable: equals stay in the order of joining.
        workers.sort_by(|&a, &b| rate(&ranges, b).total_cmp(&rate(&ranges, a)));
        workers.truncate((problem.placement.stages_max as usize).saturating_sub(1));
        let replica = ranges.prove(stages(&ranges, &workers, central))?;
        Ok(Proposal { replicas: vec![replica], bound: 0.0, attributes: Vec::new() })
    }

    fn review(&mut self, observed: &Observation) -> Verdict {
        Ranges::new(&observed.problem).verdict()
    }
}

impl ComputeProportional {
    /// The fastest offer of the central's device.
    fn central(&self, ranges: &Ranges<'_>, order: &[u32]) -> Result<u32, Refusal> {
        let first = order.first().ok_or_else(|| ranges.shortfall(0))?;
        let devices = &ranges.problem().devices;
        let device = match &self.central {
            None => ranges.offer(*first).device,
            Some(name) => {
                let index = devices.iter().position(|device| device.id == *name).and_then(|index| u32::try_from(index).ok());
                index
                    .ok_or_else(|| Refusal::because(format!("the setting central names device {name}, which is not among the {} of the pool", devices.len())))?
            }
        };
        let offers = order.iter().copied().filter(|&offer| ranges.offer(offer).device == device);
        let fastest = offers.rev().max_by(|&a, &b| rate(ranges, a).total_cmp(&rate(ranges, b)));
        fastest.ok_or_else(|| Refusal::because(format!("the central's device {} offers nothing to {}", devices[device as usize].id, ranges.problem().model)))
    }
}

/// The workers' stages and the central's, each worker with as much of its share as it holds.
fn stages(ranges: &Ranges<'_>, workers: &[u32], central: u32) -> Vec<Stage> {
    let rates: Vec<f64> = workers.iter().map(|&worker| rate(ranges, worker)).collect();
    let mut ledger = Ledger::new(ranges);
    let mut stages: Vec<Stage> = Vec::new();
    let mut next = 0;
    shares::deal(&rates, rate(ranges, central), ranges.blocks(), |worker, share| {
        let stage = |count: u32| Stage { offer: workers[worker], start: next, end: next + count };
        let fits = |stage: &Stage| ranges.fits(stage.offer, stage.start, stage.end) && ledger.place(stage);
        let Some(stage) = (1..=share).rev().map(stage).find(fits) else { return 0 };
        next = stage.end;
        stages.push(stage);
        stage.end - stage.start
    });
    if next < ranges.blocks() {
        stages.push(Stage { offer: central, start: next, end: ranges.blocks() });
    }
    stages
}

export_allocation!(ComputeProportional);

#[cfg(test)]
mod tests;
