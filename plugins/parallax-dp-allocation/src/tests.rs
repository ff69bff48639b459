//! The policy against what Parallax itself computed, its known defects, and its properties on generated problems.

use proptest::prelude::*;
use shardhost_sdk::{
    testing::{even_problem, generated},
    uniform::{Held, Member, Room, join, water_fill},
};

use super::*;

#[path = "../../../tests/vectors/parallax.rs"]
mod vectors;

fn policy(dynamic: bool) -> ParallaxDp {
    ParallaxDp { dynamic, ..ParallaxDp::default() }
}

/// Members whose room is the same in every place.
fn members(rooms: &[i64]) -> Vec<Member> {
    let room = |plain| Room { plain, first: plain, last: plain, whole: plain };
    (0..).zip(rooms).map(|(offer, &plain)| Member { offer, room: room(plain), rate: 1.0, memory_bytes: 1.0 }).collect()
}

/// Chains of members with these rooms.
fn found(rooms: &[i64], blocks: i64) -> Result<Vec<Vec<usize>>, Stopped> {
    search::chains(&members(rooms), blocks, i64::MAX, 1_000_000)
}

/// Offer, first block and one past the last of each stage.
type Chain = Vec<(u32, u32, u32)>;

fn stages(problem: &Problem) -> Result<Vec<Chain>, Refusal> {
    let proposal = policy(false).allocate(problem)?;
    Ok(proposal.replicas.iter().map(|replica| replica.stages.iter().map(|stage| (stage.offer, stage.start, stage.end)).collect()).collect())
}

/// What the algorithm answers for members and rooms alone.
fn held(members: &[Member], blocks: i64, dynamic: bool) -> Result<Vec<Held>, Stopped> {
    let mut held = Vec::new();
    for chain in search::chains(members, blocks, i64::MAX, 1_000_000)? {
        let mut next = 0;
        for (member, count) in water_fill(members, &chain, blocks).map_err(|unfilled| Stopped::Short { missing: unfilled.missing })? {
            held.push(Held { member, start: next, end: next + count });
            next += count;
        }
    }
    if dynamic {
        held.extend(join(members, blocks, &held));
    }
    Ok(held)
}

fn written(held: &[Held], members: usize) -> vectors::Placed {
    let mut placed = vec![None; members];
    for held in held {
        let block = |index| u32::try_from(index).expect("few");
        placed[held.member] = (held.end > held.start).then_some((block(held.start), block(held.end)));
    }
    placed
}

#[test]
fn rooms_alone_give_what_parallax_answers() {
    assert!(vectors::cases("dp").iter().any(|case| case.dynamic));
    for case in vectors::cases("dp").into_iter().chain(vectors::rejected()) {
        let answer = held(&case.members(), case.blocks.into(), case.dynamic).map(|held| written(&held, case.types.len()));
        assert_eq!(answer, if case.ok { Ok(case.placed()) } else { Err(Stopped::Short { missing: case.missing() }) }, "{case:?}");
    }
}

#[test]
fn problems_give_what_parallax_answers() {
    for case in vectors::cases("dp").into_iter().chain(vectors::rejected()) {
        let problem = case.problem();
        match policy(case.dynamic).allocate(&problem) {
            Ok(proposal) => {
                assert!(case.ok, "{case:?}");
                assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(()));
                let mut placed = case.written(&proposal.replicas);
                // What no plan can say stands beside it.
                if case.dynamic {
                    assert_eq!(proposal.attributes, [("left-over".to_owned(), "d0000/cpu [0..6)".to_owned())]);
                    placed[0] = Some((0, 6));
                }
                assert_eq!(placed, case.placed(), "{case:?}");
            }
            Err(refusal) => {
                assert!(!case.ok, "{case:?}: {refusal:?}");
                let text = format!("{} of the {} blocks of m@1 find no room", case.missing(), case.blocks);
                assert!(refusal.reason.starts_with(&text) && refusal.short_bytes > 0.0 && refusal.nearest.is_some(), "{refusal:?}");
            }
        }
    }
}

#[test]
fn pools_that_hold_the_model_with_the_small_device_in_the_middle_are_refused() {
    // Defect, kept: water-filling puts the smallest device last, where its room is less by the output head.
    let cases = vectors::rejected();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let problem = case.problem();
        assert!(stages(&problem).is_err());
        assert!(Ranges::new(&problem).prove(case.in_order()).is_ok(), "{case:?}");
    }
}

#[test]
fn results_depend_on_join_order() {
    // Defect, kept: the same five devices hold another plan when they join in the opposite order.
    let problem = vectors::cases("dp").into_iter().find(|case| case.blocks == 14).expect("there is one").problem();
    let mut turned = problem.clone();
    turned.offers.iter_mut().for_each(|offer| offer.joined = 4 - offer.joined);
    let (one, other) = (stages(&problem).expect("it fits"), stages(&turned).expect("it fits"));
    assert_ne!(one, other);
}

#[test]
fn many_replicas_of_few_stages_are_preferred() {
    // 40 + 20 + 10 twice beats 40 + 40, or 4 / 6 would be less than 1 / 2.
    assert_eq!(found(&[40, 40, 20, 20, 10, 10], 70), Ok(vec![vec![0, 2, 4], vec![1, 3, 5]]));
    // One replica of one stage scores 1; two of three stages in all 4/3.
    assert_eq!(found(&[6, 3, 3], 6), Ok(vec![vec![0], vec![1, 2]]));
    // Of equal scores the smaller number: 1 / 1 against 4 / 4.
    assert_eq!(found(&[6, 2, 2, 2], 6), Ok(vec![vec![0]]));
}

#[test]
fn skipping_goes_before_taking_and_the_first_open_replica_before_others() {
    assert_eq!(found(&[6, 6], 8), Ok(vec![vec![0, 1]]));
    // Any of the first two with the last makes two stages; the one that joined later is taken, because skipping is tried first.
    assert_eq!(found(&[4, 4, 4], 8), Ok(vec![vec![1, 2]]));
}

#[test]
fn rooms_of_the_ends_decide_what_closes_a_replica() {
    let mut pool = members(&[4, 4, 1]);
    pool[1].room.last = 3;
    assert_eq!(search::chains(&pool, 8, 9, 1_000), Ok(vec![vec![0, 1, 2]]));
    // The first member closes a replica without a look at the head: kept as it is, and refused when the plan is proved.
    pool[0].room = Room { plain: 9, first: 8, last: 8, whole: 7 };
    assert_eq!(search::chains(&pool, 8, 1, 1_000), Ok(vec![vec![0]]));
}

#[test]
fn too_little_room_is_said_in_blocks() {
    assert_eq!(found(&[3, 4], 9), Err(Stopped::Short { missing: 2 }));
    assert_eq!(found(&[], 9), Err(Stopped::Short { missing: 9 }));
}

#[test]
fn a_search_that_takes_too_many_steps_is_refused_in_words() {
    let offers: Vec<(f64, f64)> = (0..1000).map(|index| (3.0 + f64::from(index % 5), 1.0 + f64::from(index % 7))).collect();
    let refusal = stages(&even_problem(24, &offers)).expect_err("it is exponential");
    assert!(refusal.reason.contains("replicas of m@1 on 1000 offers for") && refusal.reason.contains("steps_max"), "{}", refusal.reason);
    let mut short = ParallaxDp { steps_max: 3, ..policy(false) };
    assert!(short.allocate(&even_problem(4, &[(4.0, 1.0); 2])).expect_err("3 steps are few").reason.contains("for 3 steps"));
}

#[test]
fn settings_are_read_and_wrong_ones_refused_by_name() {
    assert_eq!(ParallaxDp::configure(""), Ok(ParallaxDp::default()));
    assert_eq!(ParallaxDp::configure(r#"{"steps_max": 9, "dynamic": true}"#), Ok(ParallaxDp { dynamic: true, steps_max: 9 }));
    assert!(ParallaxDp::configure(r#"{"steps_max": 0}"#).expect_err("none").contains("steps_max"));
    assert!(ParallaxDp::configure(r#"{"alpha": 2}"#).expect_err("unknown").contains("alpha"));
}

#[test]
fn the_placement_limits_replicas() {
    let mut problem = even_problem(4, &[(4.0, 1.0), (4.0, 1.0), (4.0, 1.0)]);
    assert_eq!(stages(&problem).map(|replicas| replicas.len()), Ok(3));
    problem.placement.replicas_max = 2;
    assert_eq!(stages(&problem).map(|replicas| replicas.len()), Ok(2));
}

#[test]
fn a_plan_is_made_again_only_where_there_is_none_that_holds() {
    let mut problem = even_problem(4, &[(4.0, 1.0)]);
    let observed = |problem: &Problem| Observation { problem: problem.clone(), stages: Vec::new(), pressure_max: 0.9, pressure_mean: 0.1, arrival_ms: 1.0 };
    assert!(matches!(policy(false).review(&observed(&problem)), Verdict::Replan(reason) if reason.contains("0 replicas")));
    problem.current = policy(false).allocate(&problem).expect("it fits").replicas;
    assert_eq!(policy(false).review(&observed(&problem)), Verdict::Keep);
}

/// The most k²/s of any way to give members to replicas in the order of joining, by trying all of them: each member is
/// idle or in one of the replicas, which are told apart by their first members.
fn best_score(rooms: &[i64], blocks: i64) -> Option<(u64, u64)> {
    fn try_all(rooms: &[i64], blocks: i64, lacks: &mut Vec<i64>, stages: u64, best: &mut Option<(u64, u64)>) {
        let Some((&room, rest)) = rooms.split_first() else {
            let replicas = lacks.len() as u64;
            if replicas > 0 && lacks.iter().all(|&lacks| lacks <= 0) && best.is_none_or(|(square, most)| replicas * replicas * most > square * stages) {
                *best = Some((replicas * replicas, stages));
            }
            return;
        };
        try_all(rest, blocks, lacks, stages, best);
        for place in (0..lacks.len()).filter(|&place| lacks[place] > 0).collect::<Vec<_>>() {
            lacks[place] -= room;
            try_all(rest, blocks, lacks, stages + 1, best);
            lacks[place] += room;
        }
        lacks.push(blocks - room);
        try_all(rest, blocks, lacks, stages + 1, best);
        lacks.pop();
    }
    let mut best = None;
    try_all(rooms, blocks, &mut Vec::new(), 0, &mut best);
    best
}

proptest! {
    #[test]
    fn no_way_to_give_members_to_replicas_scores_more(rooms in prop::collection::vec(1_i64..9, 1..8), blocks in 1_i64..14) {
        let score = found(&rooms, blocks).ok().map(|chains| {
            let (replicas, stages) = (chains.len() as u64, chains.iter().map(Vec::len).sum::<usize>() as u64);
            (replicas * replicas, stages)
        });
        match (score, best_score(&rooms, blocks)) {
            (Some((square, stages)), Some((best_square, best_stages))) => prop_assert_eq!(square * best_stages, best_square * stages),
            (score, best) => prop_assert_eq!(score, best),
        }
    }

    #[test]
    fn chains_hold_the_model_and_no_member_is_in_two(rooms in prop::collection::vec(1_i64..9, 1..9), blocks in 1_i64..14) {
        let mut used = Vec::new();
        for chain in found(&rooms, blocks).unwrap_or_default() {
            prop_assert!(chain.iter().map(|&member| rooms[member]).sum::<i64>() >= blocks);
            used.extend(chain);
        }
        let count = used.len();
        used.sort_unstable();
        used.dedup();
        prop_assert_eq!(used.len(), count);
    }
}

#[test]
fn a_good_part_of_the_generated_problems_is_placed_and_a_good_part_refused() {
    let placed = (0..1_000).filter(|&seed| policy(false).allocate(&generated(seed)).is_ok()).count();
    assert!((100..900).contains(&placed), "{placed} of 1000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_answer_is_a_plan_that_the_host_accepts_or_a_sound_refusal(seed in any::<u64>(), dynamic in any::<bool>()) {
        let problem = generated(seed);
        let mut policy = ParallaxDp { dynamic, steps_max: 100_000 };
        let answer = policy.allocate(&problem);
        match &answer {
            Ok(proposal) => prop_assert_eq!(Ranges::new(&problem).check(&proposal.replicas), Ok(())),
            Err(refusal) => {
                prop_assert!(!refusal.reason.is_empty() && refusal.short_bytes.is_finite() && refusal.short_bytes >= 0.0);
                prop_assert!(refusal.nearest.is_none_or(|offer| (offer as usize) < problem.offers.len()));
            }
        }
        prop_assert_eq!(policy.allocate(&problem), answer);
    }
}
