//! Places a model as the greedy allocator of Parallax does (arXiv 2509.26182, GradientHQ/parallax): replicas one after
//! another from devices in the order in which they joined, each split by water-filling. It is here to be compared with,
//! so what is known to go wrong there goes wrong here: the plan depends on the order of joining, and a pool whose only
//! chain has a small device in the middle is refused. What it proposes still always fits.

mod chains;

use serde::Deserialize;
use shardhost_sdk::{
    allocation::{AllocationPolicy, Observation, Problem, Proposal, Refusal, Verdict},
    export_allocation,
    problem::Ranges,
    uniform::Uniform,
};

/// The policy, which is its settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParallaxGreedy {
    /// Whether devices that no replica uses join what is there.
    pub dynamic: bool,
}

impl AllocationPolicy for ParallaxGreedy {
    fn configure(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        serde_json::from_str(config).map_err(|error| error.to_string())
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let ranges = Ranges::new(problem);
        let uniform = Uniform::new(&ranges);
        let replicas_max = problem.placement.replicas_max as usize;
        let chains = chains::chains(uniform.members(), uniform.blocks(), replicas_max).map_err(|missing| uniform.short(missing))?;
        let mut replicas = uniform.filled(&chains)?;
        let attributes = if self.dynamic { uniform.join(&mut replicas) } else { Vec::new() };
        Ok(Proposal { replicas, bound: 0.0, attributes })
    }

    fn review(&mut self, observed: &Observation) -> Verdict {
        Ranges::new(&observed.problem).verdict()
    }
}

export_allocation!(ParallaxGreedy);

#[cfg(test)]
mod tests;
