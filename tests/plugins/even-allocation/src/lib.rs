//! Gives every device about as many operations, however fast it is: what plans are held against that know how fast devices are.
//! One replica, its stages on the offers in the order of their ids. For measurements only.

use shardhost_sdk::{
    allocation::{AllocationPolicy, Problem, Proposal, Refusal, Replica, Stage},
    export_allocation, no_settings,
    problem::Ranges,
};

/// The policy. It has no settings and remembers nothing.
#[derive(Debug)]
pub struct Even;

impl AllocationPolicy for Even {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("even-allocation", config).map(|()| Self)
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let ranges = Ranges::new(problem);
        let count = ranges.offers().min(ranges.blocks()).min(problem.placement.stages_max);
        let ends = ends(problem, count);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let stages: Vec<Stage> = (0..).zip(starts).zip(&ends).map(|((offer, start), &end)| Stage { offer, start, end }).collect();
        let replicas = vec![Replica { stages }];
        match ranges.check(&replicas) {
            Ok(()) => Ok(Proposal { replicas, bound: 0.0, attributes: Vec::new() }),
            Err(broken) => Err(Refusal::because(format!("an even split is no plan for {}: {broken}", problem.model))),
        }
    }
}

/// Where each of so many parts ends: at the border that lies nearest to its share of the operations, with a block left for each
/// part to come.
fn ends(problem: &Problem, count: u32) -> Vec<u32> {
    let mut done = vec![0.0];
    let mut total = 0.0;
    for block in &problem.blocks {
        total += block.flops;
        done.push(total);
    }
    let blocks = u32::try_from(problem.blocks.len()).unwrap_or(u32::MAX);
    let mut ends: Vec<u32> = Vec::new();
    for part in 1..count {
        let share = total * f64::from(part) / f64::from(count);
        let first = ends.last().map_or(1, |end| end + 1);
        let apart = |end: &u32| (done[*end as usize] - share).abs();
        ends.extend((first..=blocks - (count - part)).min_by(|one, other| apart(one).total_cmp(&apart(other))));
    }
    ends.extend((count > 0).then_some(blocks));
    ends
}

export_allocation!(Even);
