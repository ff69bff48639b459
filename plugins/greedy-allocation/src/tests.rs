//! The policy on small pools, and its properties on generated ones.

use proptest::prelude::*;
use shardhost_sdk::allocation::{Block, Cost, Device, Objective, Offer, Placement, Roles, Speed};

use super::*;

const MIB: f64 = 1_048_576.0;

/// Blocks of 1 GFLOP and 1 MiB; offers by `(memory in MiB, ms per GFLOP)`.
fn problem(blocks: usize, offers: &[(u32, f64)], stages_min: u32, stages_max: u32) -> Problem {
    let block = Block { flops: 1e9, weight_bytes: MIB, activation_bytes: 0.0, border_bytes: 1024.0, kv_bytes_per_token: 0.0, workspace_bytes: 0.0 };
    let offer = |(index, &(memory, gflop_ms)): (u32, &(u32, f64))| Offer {
        id: format!("d{index}/cpu"),
        device: index,
        memory_pool: 0,
        memory_bytes: f64::from(memory) * MIB,
        weight_factor: 1.0,
        fixed_bytes: 0.0,
        roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
        cost: Cost { gflop_ms, weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.0 },
        busy_ratio: 0.0,
        joined: index,
        attributes: Vec::new(),
    };
    let speed = Speed { latency_ms: 0.1, bytes_per_ms: 100_000.0 };
    Problem {
        model: "m@1".into(),
        blocks: vec![block; blocks],
        shared_weights: Vec::new(),
        input_bytes: 0.0,
        sequences: 1,
        tokens: 0,
        devices: (0..offers.len()).map(|index| Device { id: format!("d{index}"), site: 0, attributes: Vec::new() }).collect(),
        offers: (0..).zip(offers).map(offer).collect(),
        links: Vec::new(),
        within_site: speed,
        between_sites: speed,
        placement: Placement { objective: Objective::Balanced, stages_min, stages_max, replicas_max: 1 },
        current: Vec::new(),
        horizon_ms: 60_000.0,
        exclusions: Vec::new(),
        attributes: Vec::new(),
    }
}

fn stages(problem: &Problem) -> Result<Vec<(u32, u32, u32)>, Refusal> {
    let proposal = Greedy.allocate(problem)?;
    Ok(proposal.replicas[0].stages.iter().map(|stage| (stage.offer, stage.start, stage.end)).collect())
}

#[test]
fn the_fastest_device_takes_all_that_fits_and_the_next_the_rest() {
    assert_eq!(stages(&problem(6, &[(3, 2.0), (4, 1.0), (9, 5.0)], 1, 3)), Ok(vec![(1, 0, 4), (0, 4, 6)]));
}

#[test]
fn room_is_left_for_the_stages_that_the_placement_asks_for() {
    assert_eq!(stages(&problem(6, &[(9, 2.0), (9, 1.0), (9, 5.0)], 3, 3)), Ok(vec![(1, 0, 4), (0, 4, 5), (2, 5, 6)]));
}

#[test]
fn a_last_stage_that_must_end_the_model_skips_devices_that_cannot() {
    assert_eq!(stages(&problem(6, &[(1, 2.0), (4, 1.0), (9, 5.0)], 1, 2)), Ok(vec![(1, 0, 4), (2, 4, 6)]));
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_missing_bytes() {
    let refusal = stages(&problem(6, &[(2, 2.0), (3, 1.0)], 1, 2)).expect_err("5 of 6 blocks fit");
    assert!(refusal.reason.starts_with("blocks [3..6) of m@1 found no place"), "{}", refusal.reason);
    assert_eq!((refusal.nearest, refusal.short_bytes), (Some(1), 0.0));
}

proptest! {
    #[test]
    fn every_proposal_is_one_that_the_host_accepts(blocks in 1_usize..20, offers in prop::collection::vec((1_u32..24, 0.5_f64..9.0), 1..8), stages_min in 1_u32..4, stages_max in 1_u32..8) {
        let most = u32::try_from(blocks.min(offers.len())).expect("few");
        let stages_min = stages_min.min(most);
        let problem = problem(blocks, &offers, stages_min, stages_max.clamp(stages_min, most));
        if let Ok(proposal) = Greedy.allocate(&problem) {
            prop_assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(()));
            prop_assert_eq!(Greedy.allocate(&problem), Ok(proposal));
        }
    }
}
