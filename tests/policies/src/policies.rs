//! The policies that are compared. Another one is a dependency and a line in [`policies`].

use shardhost_sdk::allocation::{AllocationPolicy, Problem, Proposal, Refusal};

/// A policy with its name. Each call starts a fresh one without settings.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The plugin's name.
    pub name: &'static str,
    place: fn(&Problem) -> Result<Proposal, Refusal>,
}

impl Policy {
    const fn of<P: AllocationPolicy>(name: &'static str) -> Self {
        Self { name, place: place::<P> }
    }

    /// What the policy proposes.
    pub fn place(&self, problem: &Problem) -> Result<Proposal, Refusal> {
        (self.place)(problem)
    }
}

fn place<P: AllocationPolicy>(problem: &Problem) -> Result<Proposal, Refusal> {
    P::configure("{}").map_err(Refusal::because)?.allocate(problem)
}

/// The default policy.
pub const BALANCED: Policy = Policy::of::<balanced_allocation::Balanced>("balanced-allocation");

/// What throughput on larger pools is compared with.
pub const PARALLAX_GREEDY: Policy = Policy::of::<parallax_greedy_allocation::ParallaxGreedy>("parallax-greedy-allocation");

/// All of them, the default one first.
pub fn policies() -> Vec<Policy> {
    vec![
        BALANCED,
        PARALLAX_GREEDY,
        Policy::of::<parallax_dp_allocation::ParallaxDp>("parallax-dp-allocation"),
        Policy::of::<min_sum_dp_allocation::MinSumDp>("min-sum-dp-allocation"),
        Policy::of::<greedy_allocation::Greedy>("greedy-allocation"),
        Policy::of::<memory_proportional_allocation::MemoryProportional>("memory-proportional-allocation"),
        Policy::of::<compute_proportional_allocation::ComputeProportional>("compute-proportional-allocation"),
    ]
}
