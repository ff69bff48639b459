//! Gives every device a part of the model as large as its share of the free memory, as exo does (exo-explore/exo,
//! `allocate_layers_proportionally`): one replica over all devices, in the order in which they joined, however slow they
//! are. It is here to be compared with.

mod shares;

use shardhost_sdk::{
    allocation::{AllocationPolicy, Observation, Problem, Proposal, Refusal, Verdict},
    export_allocation, no_settings,
    problem::Ranges,
    uniform::Uniform,
};

/// The policy. It has no settings and remembers nothing.
#[derive(Debug)]
pub struct MemoryProportional;

impl AllocationPolicy for MemoryProportional {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("memory-proportional-allocation", config).map(|()| Self)
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let ranges = Ranges::new(problem);
        let uniform = Uniform::new(&ranges);
        let most = problem.placement.stages_max.min(ranges.blocks()) as usize;
        let taking_part = roomiest(&uniform, most);
        if taking_part.is_empty() {
            return Err(uniform.short(uniform.blocks()));
        }
        let free: Vec<f64> = taking_part.iter().map(|&member| uniform.members()[member].memory_bytes).collect();
        let counts: Vec<(usize, i64)> = taking_part.into_iter().zip(shares::shares(&free, uniform.blocks())).collect();
        let replica = ranges.prove(uniform.stages(&counts))?;
        Ok(Proposal { replicas: vec![replica], bound: 0.0, attributes: Vec::new() })
    }

    fn review(&mut self, observed: &Observation) -> Verdict {
        Ranges::new(&observed.problem).verdict()
    }
}

/// So many members with the most memory, in the order of joining: all of them, unless stages or blocks are fewer.
fn roomiest(uniform: &Uniform<'_, '_>, most: usize) -> Vec<usize> {
    let memory = |member: usize| uniform.members()[member].memory_bytes;
    let mut members: Vec<usize> = (0..uniform.members().len()).collect();
    members.sort_by(|&a, &b| memory(b).total_cmp(&memory(a)).then(a.cmp(&b)));
    members.truncate(most);
    members.sort_unstable();
    members
}

export_allocation!(MemoryProportional);

#[cfg(test)]
mod tests;
