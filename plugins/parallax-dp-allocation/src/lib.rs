//! Places a model as the dynamic-programming allocator of Parallax does (arXiv 2509.26182, GradientHQ/parallax): for each
//! number of replicas k it finds s, the fewest stages that make them, and takes the k with the largest k²/s; each replica
//! is then split by water-filling. It is here to be compared with, so what is known to go wrong there goes wrong here:
//! the search is exponential, and a pool whose only chain has a small device in the middle is refused. What it proposes
//! still always fits, and a search that grows too long ends with a refusal.

mod search;

use serde::Deserialize;
use shardhost_sdk::{
    allocation::{AllocationPolicy, Observation, Problem, Proposal, Refusal, Verdict},
    export_allocation,
    problem::Ranges,
    uniform::Uniform,
};

use search::Stopped;

/// The policy, which is its settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParallaxDp {
    /// Whether devices that no replica uses join what is there.
    pub dynamic: bool,
    /// Most steps of the search: for each state, the ways on times the replicas that are open in it, a few at least.
    pub steps_max: u64,
}

impl Default for ParallaxDp {
    fn default() -> Self {
        Self { dynamic: false, steps_max: 2_000_000 }
    }
}

impl AllocationPolicy for ParallaxDp {
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
        let uniform = Uniform::new(&ranges);
        let replicas_max = i64::from(problem.placement.replicas_max);
        let chains = search::chains(uniform.members(), uniform.blocks(), replicas_max, self.steps_max).map_err(|stopped| match stopped {
            Stopped::Short { missing } => uniform.short(missing),
            Stopped::Long { replicas } => Refusal::because(format!(
                "parallax-dp-allocation looked for {replicas} replicas of {} on {} offers for {} steps, as many as steps_max allows",
                problem.model,
                uniform.members().len(),
                self.steps_max
            )),
        })?;
        let mut replicas = uniform.filled(&chains)?;
        let attributes = if self.dynamic { uniform.join(&mut replicas) } else { Vec::new() };
        Ok(Proposal { replicas, bound: 0.0, attributes })
    }

    fn review(&mut self, observed: &Observation) -> Verdict {
        Ranges::new(&observed.problem).verdict()
    }
}

export_allocation!(ParallaxDp);

#[cfg(test)]
mod tests;
