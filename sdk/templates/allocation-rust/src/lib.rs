//! {{name}}: fills the offers from the fastest to the slowest, each with as many blocks as fit, until the model is placed.
//! One replica, no second thoughts. What does not fit is refused in words.
//!
//! The same problem must always give the same answer: no clock, no randomness, nothing kept between calls.

use shardhost_sdk::{
    allocation::{AllocationPolicy, Problem, Proposal, Refusal, Replica, Stage},
    export_allocation, no_settings,
    problem::{Ledger, Ranges},
};

/// The policy. It has no settings and remembers nothing.
#[derive(Debug)]
pub struct Policy;

impl AllocationPolicy for Policy {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("{{name}}", config).map(|()| Self)
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        // `Ranges` knows what a range of blocks needs and takes, `Ledger` what is left of each offer's memory. Both compute as
        // the host does when it checks the answer.
        let ranges = Ranges::new(problem);
        let mut ledger = Ledger::new(&ranges);
        let order = ranges.fastest_first();
        let mut stages: Vec<Stage> = Vec::new();
        let mut start = 0;
        while start < ranges.blocks() {
            let unused = |offer: &&u32| stages.iter().all(|stage| stage.offer != **offer);
            let found = order.iter().filter(unused).find_map(|&offer| longest(&ranges, &ledger, offer, start, stages.len()));
            let stage = found.ok_or_else(|| ranges.shortfall(start))?;
            ledger.place(&stage);
            start = stage.end;
            stages.push(stage);
        }
        Ok(Proposal { replicas: vec![Replica { stages }], bound: 0.0, attributes: Vec::new() })
    }
}

/// The longest range from `start` on that an offer can take as the stage after `placed` others.
fn longest(ranges: &Ranges<'_>, ledger: &Ledger<'_, '_>, offer: u32, start: u32, placed: usize) -> Option<Stage> {
    let limits = &ranges.problem().placement;
    let count = u32::try_from(placed).ok()? + 1;
    // Each further stage that the placement asks for needs a block of its own.
    let end_max = ranges.blocks().saturating_sub(limits.stages_min.saturating_sub(count));
    let end_min = if count >= limits.stages_max { ranges.blocks() } else { start + 1 };
    let takes = |end: &u32| ranges.fits(offer, start, *end) && ranges.need(offer, start, *end) <= ledger.remaining(offer);
    (end_min..=end_max).rev().find(takes).map(|end| Stage { offer, start, end })
}

export_allocation!(Policy);

#[cfg(test)]
mod tests {
    use shardhost_sdk::allocation::{Block, Cost, Device, Objective, Offer, Placement, Roles, Speed};

    use super::*;

    /// Four blocks of 100 bytes, and an offer for each memory size, the first one fastest.
    fn problem(memory_bytes: &[f64]) -> Problem {
        let block = Block { flops: 1e9, weight_bytes: 100.0, activation_bytes: 0.0, border_bytes: 10.0, kv_bytes_per_token: 0.0, workspace_bytes: 0.0 };
        let offer = |(index, memory_bytes): (u32, f64)| Offer {
            id: format!("d{index}/cpu"),
            device: index,
            memory_pool: 0,
            memory_bytes,
            weight_factor: 1.0,
            fixed_bytes: 0.0,
            roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
            cost: Cost { gflop_ms: 1.0 + f64::from(index), weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.0 },
            busy_ratio: 0.0,
            joined: index,
            attributes: Vec::new(),
        };
        let offers: Vec<_> = (0_u32..).zip(memory_bytes.iter().copied()).map(offer).collect();
        let speed = Speed { latency_ms: 1.0, bytes_per_ms: 1e6 };
        Problem {
            model: "m@1".into(),
            blocks: vec![block; 4],
            shared_weights: Vec::new(),
            input_bytes: 10.0,
            sequences: 1,
            tokens: 1,
            devices: offers.iter().map(|offer| Device { id: offer.id.clone(), site: 0, attributes: Vec::new() }).collect(),
            offers,
            links: Vec::new(),
            within_site: speed,
            between_sites: speed,
            placement: Placement { objective: Objective::Balanced, stages_min: 1, stages_max: 4, replicas_max: 1 },
            current: Vec::new(),
            horizon_ms: 1e6,
            exclusions: Vec::new(),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn the_fastest_offer_takes_what_fits_and_the_next_one_the_rest() {
        let problem = problem(&[300.0, 300.0]);
        let proposal = Policy.allocate(&problem).unwrap();
        assert_eq!(proposal.replicas[0].stages, [Stage { offer: 0, start: 0, end: 3 }, Stage { offer: 1, start: 3, end: 4 }]);
        assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_is_missing() {
        let refusal = Policy.allocate(&problem(&[150.0, 50.0])).unwrap_err();
        assert_eq!(refusal.reason, "blocks [1..4) of m@1 found no place: they need 300 bytes on d0/cpu, it has 150");
    }
}
