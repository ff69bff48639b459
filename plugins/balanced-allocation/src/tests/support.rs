//! Problems for the tests of this crate.

use shardhost_sdk::{
    allocation::{AllocationPolicy, Block, Cost, Device, Objective, Offer, Placement, Problem, Proposal, Roles, Speed},
    problem::Ranges,
};

use crate::{Balanced, score::Score};

pub const MIB: f64 = 1_048_576.0;
pub const FREE: Speed = Speed { latency_ms: 0.0, bytes_per_ms: f64::INFINITY };

pub fn offer(index: u32, memory_mib: f64, gflop_ms: f64) -> Offer {
    Offer {
        id: format!("d{index}/cpu"),
        device: index,
        memory_pool: 0,
        memory_bytes: memory_mib * MIB,
        weight_factor: 1.0,
        fixed_bytes: 0.0,
        roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
        cost: Cost { gflop_ms, weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.0 },
        busy_ratio: 0.0,
        joined: index,
        attributes: Vec::new(),
    }
}

/// Blocks of 1 MiB with the given GFLOP; offers by `(memory in MiB, ms per GFLOP)`; links that cost nothing.
pub fn problem(gflops: &[f64], offers: &[(f64, f64)], objective: Objective) -> Problem {
    let block = |gflop: &f64| Block {
        flops: gflop * 1e9,
        weight_bytes: MIB,
        activation_bytes: 0.0,
        border_bytes: 1024.0,
        kv_bytes_per_token: 0.0,
        workspace_bytes: 0.0,
    };
    let count = u32::try_from(offers.len()).expect("few offers");
    Problem {
        model: "m@1".into(),
        blocks: gflops.iter().map(block).collect(),
        shared_weights: Vec::new(),
        input_bytes: 0.0,
        sequences: 1,
        tokens: 0,
        devices: (0..count).map(|index| Device { id: format!("d{index}"), site: 0, attributes: Vec::new() }).collect(),
        offers: (0..).zip(offers).map(|(index, &(memory, speed))| offer(index, memory, speed)).collect(),
        links: Vec::new(),
        within_site: FREE,
        between_sites: FREE,
        placement: Placement { objective, stages_min: 1, stages_max: count.max(1), replicas_max: count.max(1) },
        current: Vec::new(),
        horizon_ms: 600_000.0,
        exclusions: Vec::new(),
        attributes: Vec::new(),
    }
}

/// Asserts that a plan holds, and is no better than its bound says that any can be; a bound of 0 says nothing.
pub fn check_proposal(problem: &Problem, proposal: &Proposal) {
    let ranges = Ranges::new(problem);
    assert_eq!(ranges.check(&proposal.replicas), Ok(()));
    let (score, bound) = (Score::of(&ranges, &proposal.replicas), proposal.bound);
    match problem.placement.objective {
        Objective::Latency => assert!(bound <= score.latency_ms * 1.000_001, "{bound} above {}", score.latency_ms),
        _ => assert!(bound == 0.0 || bound >= score.throughput * 0.999_999, "{bound} below {}", score.throughput),
    }
}

pub fn plan(problem: &Problem) -> Vec<Vec<(u32, u32, u32)>> {
    let proposal = Balanced::default().allocate(problem).expect("it fits");
    assert_eq!(Ranges::new(problem).check(&proposal.replicas), Ok(()));
    proposal.replicas.iter().map(|replica| replica.stages.iter().map(|stage| (stage.offer, stage.start, stage.end)).collect()).collect()
}
