//! Fills devices from the fastest to the slowest: each takes as many blocks as fit, until the model is placed. One
//! replica. Simple on purpose: what a better plan is worth shows when it is compared with this one.
//!
//! It never goes back on a choice, so it refuses some models that another policy would place.

use shardhost_sdk::{
    allocation::{AllocationPolicy, Observation, Problem, Proposal, Refusal, Replica, Stage, Verdict},
    export_allocation, no_settings,
    problem::{Ledger, Ranges},
};

/// The policy. It has no settings and remembers nothing.
#[derive(Debug)]
pub struct Greedy;

impl AllocationPolicy for Greedy {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("greedy-allocation", config).map(|()| Self)
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let ranges = Ranges::new(problem);
        let order = ranges.fastest_first();
        let mut ledger = Ledger::new(&ranges);
        let mut stages: Vec<Stage> = Vec::new();
        let mut next = 0;
        while next < ranges.blocks() {
            let unused = |offer: &&u32| stages.iter().all(|stage| stage.offer != **offer);
            let found = order.iter().filter(unused).find_map(|&offer| longest(&ranges, &ledger, offer, next, stages.len()));
            let stage = found.ok_or_else(|| ranges.shortfall(next))?;
            ledger.place(&stage);
            next = stage.end;
            stages.push(stage);
        }
        Ok(Proposal { replicas: vec![Replica { stages }], bound: 0.0, attributes: Vec::new() })
    }

    fn review(&mut self, observed: &Observation) -> Verdict {
        Ranges::new(&observed.problem).verdict()
    }
}

/// The longest range from `start` on that an offer can take as the stage after `placed` others.
fn longest(ranges: &Ranges<'_>, ledger: &Ledger<'_, '_>, offer: u32, start: u32, placed: usize) -> Option<Stage> {
    let limits = &ranges.problem().placement;
    let count = u32::try_from(placed).ok()? + 1;
    // Each further stage that the placement asks for needs a block of its own.
    let end_max = ranges.blocks().checked_sub(limits.stages_min.saturating_sub(count)).filter(|&end| end > start)?;
    let end_min = if count >= limits.stages_max { ranges.blocks() } else { start + 1 };
    let takes = |end: &u32| {
        let enough = *end < ranges.blocks() || count >= limits.stages_min;
        enough && ranges.fits(offer, start, *end) && ranges.need(offer, start, *end) <= ledger.remaining(offer)
    };
    (end_min..=end_max).rev().find(takes).map(|end| Stage { offer, start, end })
}

export_allocation!(Greedy);

#[cfg(test)]
mod tests;
