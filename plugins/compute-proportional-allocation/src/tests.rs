//! The policy on small pools, and its properties on generated problems.

use proptest::prelude::*;
use shardhost_sdk::testing::{MIB, even_problem, generated};

use super::*;

fn policy() -> ComputeProportional {
    ComputeProportional::default()
}

fn stages(problem: &Problem) -> Result<Vec<(u32, u32, u32)>, Refusal> {
    let proposal = policy().allocate(problem)?;
    Ok(proposal.replicas[0].stages.iter().map(|stage| (stage.offer, stage.start, stage.end)).collect())
}

/// What workers get that take all they are asked to, up to their room.
fn dealt(rates: &[f64], central: f64, blocks: u32, room: &[u32]) -> Vec<u32> {
    let mut taken = vec![0; rates.len()];
    shares::deal(rates, central, blocks, |worker, share| {
        taken[worker] = share.min(room[worker]);
        taken[worker]
    });
    taken
}

#[test]
fn shares_follow_the_speed_beside_the_central() {
    struct Case {
        rates: &'static [f64],
        central: f64,
        blocks: u32,
        room: &'static [u32],
        taken: &'static [u32],
    }
    let cases = [
        // Half of all speed is the central's.
        Case { rates: &[10.0], central: 10.0, blocks: 32, room: &[99], taken: &[16] },
        Case { rates: &[30.0, 20.0, 10.0], central: 20.0, blocks: 24, room: &[99; 3], taken: &[9, 6, 3] },
        // What one lacks room for goes to those after it, the rest to the central.
        Case { rates: &[30.0, 20.0, 10.0], central: 20.0, blocks: 24, room: &[3, 99, 99], taken: &[3, 10, 5] },
        Case { rates: &[30.0, 20.0, 10.0], central: 20.0, blocks: 24, room: &[3, 3, 3], taken: &[3, 3, 3] },
        // One at least, while there are blocks.
        Case { rates: &[1000.0, 1.0, 1.0], central: 1.0, blocks: 10, room: &[99; 3], taken: &[10, 0, 0] },
        Case { rates: &[60.0, 20.0, 1.0, 1.0], central: 20.0, blocks: 10, room: &[99; 4], taken: &[6, 2, 0, 0] },
        Case { rates: &[60.0, 1.0, 1.0, 38.0], central: 1.0, blocks: 10, room: &[99; 4], taken: &[6, 1, 1, 2] },
        Case { rates: &[], central: 1.0, blocks: 10, room: &[], taken: &[] },
        Case { rates: &[1.0], central: 1e9, blocks: 10, room: &[9], taken: &[0] },
    ];
    for Case { rates, central, blocks, room, taken } in cases {
        assert_eq!(dealt(rates, central, blocks, room), taken, "{blocks} blocks by {rates:?} and {central}");
    }
}

#[test]
fn the_fastest_come_first_and_the_central_takes_the_rest() {
    // Speeds of 1, 1/2 and 1/4, the first being the central's: 4/7, 2/7 and 1/7 of 14 blocks.
    assert_eq!(stages(&even_problem(14, &[(14.0, 1.0), (14.0, 4.0), (14.0, 2.0)])), Ok(vec![(2, 0, 4), (1, 4, 6), (0, 6, 14)]));
}

#[test]
fn the_central_is_the_first_that_joined_or_the_one_that_the_settings_name() {
    let mut problem = even_problem(14, &[(14.0, 1.0), (14.0, 4.0), (14.0, 2.0)]);
    problem.offers.iter_mut().zip([2, 1, 0]).for_each(|(offer, joined)| offer.joined = joined);
    assert_eq!(stages(&problem), Ok(vec![(0, 0, 8), (1, 8, 10), (2, 10, 14)]));
    let mut named = ComputeProportional::configure(r#"{"central": "d0001"}"#).expect("it is a setting");
    let last = named.allocate(&problem).expect("it fits").replicas[0].stages.last().copied();
    assert_eq!(last, Some(Stage { offer: 1, start: 12, end: 14 }));
    let mut absent = ComputeProportional::configure(r#"{"central": "pi"}"#).expect("it is a setting");
    assert_eq!(absent.allocate(&problem).expect_err("no such device").reason, "the setting central names device pi, which is not among the 3 of the pool");
    assert!(ComputeProportional::configure(r#"{"master": "pi"}"#).expect_err("unknown").contains("master"));
}

#[test]
fn memory_caps_a_share_and_a_central_without_room_is_refused_with_the_missing_bytes() {
    let mut problem = even_problem(12, &[(9.0, 1.0), (3.0, 1.0)]);
    assert_eq!(stages(&problem), Ok(vec![(1, 0, 3), (0, 3, 12)]));
    problem.offers[0].memory_bytes = 7.0 * MIB;
    let refusal = stages(&problem).expect_err("9 blocks are left, 7 fit");
    assert_eq!((refusal.nearest, refusal.short_bytes), (Some(0), 2.0 * MIB));
    assert_eq!(refusal.reason, "blocks [3..12) of m@1 need 9437184 bytes on d0000/cpu, it has 7340032");
}

#[test]
fn workers_without_room_are_passed_over_and_stages_are_limited_to_the_fastest() {
    let mut problem = even_problem(12, &[(12.0, 1.0), (0.5, 0.5), (12.0, 1.0), (12.0, 1.0)]);
    assert_eq!(stages(&problem), Ok(vec![(2, 0, 5), (3, 5, 10), (0, 10, 12)]));
    problem.placement.stages_max = 1;
    assert_eq!(stages(&problem), Ok(vec![(0, 0, 12)]));
    problem.offers[0].memory_bytes = 0.0;
    assert!(stages(&problem).is_err());
    assert!(stages(&even_problem(3, &[])).is_err());
}

#[test]
fn a_thousand_devices_are_placed() {
    let offers: Vec<(f64, f64)> = (0..1000).map(|index| (3.0 + f64::from(index % 5), 1.0 + f64::from(index % 7))).collect();
    let problem = even_problem(48, &offers);
    let proposal = policy().allocate(&problem).expect("it fits");
    assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(()));
}

#[test]
fn a_plan_is_made_again_only_where_there_is_none_that_holds() {
    let mut problem = even_problem(4, &[(4.0, 1.0)]);
    let observed = |problem: &Problem| Observation { problem: problem.clone(), stages: Vec::new(), pressure_max: 0.9, pressure_mean: 0.1, arrival_ms: 1.0 };
    assert!(matches!(policy().review(&observed(&problem)), Verdict::Replan(reason) if reason.contains("0 replicas")));
    problem.current = policy().allocate(&problem).expect("it fits").replicas;
    assert_eq!(policy().review(&observed(&problem)), Verdict::Keep);
}

proptest! {
    #[test]
    fn shares_of_workers_with_room_are_all_that_the_central_does_not_get(mut rates in prop::collection::vec(0.1_f64..100.0, 1..12), central in 0.1_f64..100.0, blocks in 1_u32..80) {
        rates.sort_by(|a, b| b.total_cmp(a));
        let taken = dealt(&rates, central, blocks, &vec![u32::MAX; rates.len()]);
        let sum: f64 = rates.iter().sum();
        let exact = sum / (sum + central) * f64::from(blocks);
        prop_assert!((f64::from(taken.iter().sum::<u32>()) - exact).abs() <= 0.5, "{taken:?} of {exact}");
        // Within one block, the faster gets no less.
        prop_assert!(taken.windows(2).all(|pair| pair[0] + 1 >= pair[1]), "{taken:?}");
    }
}

#[test]
fn a_good_part_of_the_generated_problems_is_placed_and_a_good_part_refused() {
    let placed = (0..1_000).filter(|&seed| policy().allocate(&generated(seed)).is_ok()).count();
    assert!((100..900).contains(&placed), "{placed} of 1000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_answer_is_a_plan_that_the_host_accepts_or_a_sound_refusal(seed in any::<u64>()) {
        let problem = generated(seed);
        let answer = policy().allocate(&problem);
        match &answer {
            Ok(proposal) => prop_assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(())),
            Err(refusal) => {
                prop_assert!(!refusal.reason.is_empty() && refusal.short_bytes.is_finite() && refusal.short_bytes >= 0.0);
                prop_assert!(refusal.nearest.is_none_or(|offer| (offer as usize) < problem.offers.len()));
            }
        }
        prop_assert_eq!(policy().allocate(&problem), answer);
    }
}
