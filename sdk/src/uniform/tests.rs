//! Rooms, chains and water-filling on small pools, and their properties on generated ones.

use super::*;
use crate::{
    allocation::{Block, Problem, SharedWeight},
    testing::{MIB, block, even_problem, generated, offer, problem},
};

const LAYER_BYTES: f64 = 3_211_591_680.0;
const EMBEDDING_BYTES: f64 = 1_158_266_880.0;

fn rooms(problem: &Problem) -> Vec<(i64, i64, i64, i64)> {
    let ranges = Ranges::new(problem);
    let rooms = Uniform::new(&ranges).members().iter().map(|member| member.room).collect::<Vec<_>>();
    rooms.iter().map(|room| (room.plain, room.first, room.last, room.whole)).collect()
}

/// Members of this room, whatever place they take.
fn members(rooms: &[(i64, f64)]) -> Vec<Member> {
    let room = |plain| Room { plain, first: plain, last: plain, whole: plain };
    (0..).zip(rooms).map(|(offer, &(plain, rate))| Member { offer, room: room(plain), rate, memory_bytes: plain as f64 }).collect()
}

/// Blocks of a model whose first one holds an embedding and whose last one an output head.
fn layers(count: usize) -> Vec<Block> {
    let mut blocks = vec![block(LAYER_BYTES); count];
    blocks[0].weight_bytes += EMBEDDING_BYTES;
    blocks[count - 1].weight_bytes += EMBEDDING_BYTES;
    blocks
}

#[test]
fn room_is_counted_in_blocks_of_the_middle_beside_what_the_ends_have_more() {
    // Half the memory of cards of 80, 40, 32 and 24 GiB; the rooms that Parallax itself computes for this model.
    let half = |index: u32, gib: f64| offer(index, gib / 2.0 * 1024.0 * MIB, 1.0);
    let problem = problem(layers(36), vec![half(0, 80.0), half(1, 40.0), half(2, 32.0), half(3, 24.0)]);
    assert_eq!(rooms(&problem), [(13, 13, 13, 12), (6, 6, 6, 5), (5, 4, 4, 4), (4, 3, 3, 3)]);
}

#[test]
fn weights_that_both_ends_read_take_room_once_where_both_are() {
    let mut problem = problem(vec![block(MIB); 6], vec![offer(0, 8.0 * MIB, 1.0)]);
    problem.shared_weights = vec![SharedWeight { bytes: 2.0 * MIB, blocks: vec![0, 5] }];
    assert_eq!(rooms(&problem), [(8, 6, 6, 6)]);
}

#[test]
fn cache_workspace_weight_factor_and_fixed_part_leave_less_room() {
    let mut problem = even_problem(4, &[(8.0, 1.0)]);
    problem.offers[0].fixed_bytes = MIB;
    assert_eq!(rooms(&problem)[0].0, 7);
    problem.blocks[2].workspace_bytes = 1.5 * MIB;
    assert_eq!(rooms(&problem)[0].0, 5);
    problem.offers[0].weight_factor = 2.0;
    assert_eq!(rooms(&problem)[0].0, 2);
    problem.blocks.iter_mut().for_each(|block| block.kv_bytes_per_token = 1024.0);
    (problem.sequences, problem.tokens) = (4, 256);
    assert_eq!(rooms(&problem)[0].0, 1);
}

#[test]
fn blocks_without_weights_fit_in_any_number() {
    let ample = rooms(&problem(vec![block(0.0); 3], vec![offer(0, MIB, 1.0)]))[0];
    assert!(ample.0 > 1_000_000 && ample.3 > 1_000_000, "{ample:?}");
}

#[test]
fn members_are_the_fastest_offers_of_their_pools_in_the_order_of_joining() {
    let mut problem = even_problem(4, &[(8.0, 1.0), (8.0, 2.0), (8.0, 1.0), (0.5, 1.0), (8.0, 1.0)]);
    problem.offers[2].device = 1; // A faster one in the pool of offer 1.
    problem.offers[4].roles = Roles::BODY;
    problem.offers[0].joined = 9;
    let ranges = Ranges::new(&problem);
    assert_eq!(join_order(&ranges), [2, 3, 4, 0]);
    let members: Vec<u32> = Uniform::new(&ranges).members().iter().map(|member| member.offer).collect();
    assert_eq!(members, [2, 0], "offer 3 holds no block, offer 4 takes no end");
}

#[test]
fn blocks_are_split_by_speed_within_the_room_and_by_largest_fraction() {
    struct Case {
        blocks: i64,
        types: &'static [&'static str],
        counts: &'static [i64],
    }
    // What the tests of Parallax expect, in descending order of room.
    let cases = [
        Case { blocks: 21, types: &["80", "5090", "4090"], counts: &[13, 5, 3] },
        Case { blocks: 15, types: &["80", "5090"], counts: &[11, 4] },
        Case { blocks: 20, types: &["80", "5090", "4090"], counts: &[12, 5, 3] },
        Case { blocks: 25, types: &["80", "5090", "4090", "4090"], counts: &[13, 5, 4, 3] },
        Case { blocks: 29, types: &["4090", "80", "5090", "5090", "4090"], counts: &[13, 5, 5, 3, 3] },
        Case { blocks: 8, types: &["5090", "5090"], counts: &[4, 4] },
        Case { blocks: 7, types: &["40", "5090"], counts: &[5, 2] },
    ];
    let member = |name: &&str| {
        let (gib, tflops) = match *name {
            "80" => (80.0, 312.0),
            "40" => (40.0, 312.0),
            "5090" => (32.0, 165.0),
            _ => (24.0, 82.6),
        };
        let problem = problem(layers(36), vec![offer(0, gib / 2.0 * 1024.0 * MIB, 1.0 / tflops)]);
        let ranges = Ranges::new(&problem);
        Uniform::new(&ranges).members()[0]
    };
    for case in cases {
        let members: Vec<Member> = case.types.iter().map(member).collect();
        let chain: Vec<usize> = (0..members.len()).collect();
        let counts = water_fill(&members, &chain, case.blocks).map(|counts| counts.into_iter().map(|(_, count)| count).collect::<Vec<_>>());
        // One case of the reference is one of a set of counts.
        let mut sorted = counts.clone().expect("there is room");
        sorted.sort_by_key(|&count| std::cmp::Reverse(count));
        assert_eq!(sorted, case.counts, "{} blocks on {:?}: {counts:?}", case.blocks, case.types);
    }
}

#[test]
fn ties_of_fractions_go_to_the_first_in_the_chain() {
    assert_eq!(water_fill(&members(&[(4, 1.0), (4, 1.0), (4, 1.0)]), &[2, 0, 1], 7), Ok(vec![(2, 3), (0, 2), (1, 2)]));
}

#[test]
fn a_chain_with_too_little_room_is_refused_with_what_is_missing() {
    assert_eq!(water_fill(&members(&[(4, 1.0), (6, 1.0)]), &[0, 1], 13), Err(Unfilled { member: 1, missing: 3 }));
    let mut members = members(&[(4, 1.0), (6, 1.0)]);
    members[0].room.last = -1;
    assert_eq!(water_fill(&members, &[0, 1], 2), Err(Unfilled { member: 0, missing: 2 }));
    assert_eq!(water_fill(&members, &[], 2), Err(Unfilled { member: 0, missing: 2 }));
}

#[test]
fn water_filling_places_every_block_once_within_the_room() {
    let mut filled = 0;
    for seed in 0..2_000 {
        let problem = generated(seed);
        let ranges = Ranges::new(&problem);
        let uniform = Uniform::new(&ranges);
        let chain: Vec<usize> = (0..uniform.members().len()).collect();
        if let Ok(counts) = water_fill(uniform.members(), &chain, uniform.blocks()) {
            filled += 1;
            assert_eq!(counts.iter().map(|(_, count)| count).sum::<i64>(), uniform.blocks(), "seed {seed}");
            for (place, &(member, count)) in counts.iter().enumerate() {
                let room = uniform.members()[member].room;
                let room = if place == 0 { room.first } else { room.plain.max(room.last) };
                assert!((0..=room).contains(&count), "seed {seed}: {count} of {room}");
            }
        }
    }
    assert!(filled > 200, "only {filled} problems had room");
}

#[test]
fn a_replica_that_does_not_fit_takes_only_itself_down() {
    let mut problem = even_problem(4, &[(4.0, 1.0), (4.0, 1.0)]);
    problem.exclusions = vec![crate::allocation::Exclusion { offer: 0, start: 0, end: 4, reason: "it failed".into() }];
    let ranges = Ranges::new(&problem);
    let uniform = Uniform::new(&ranges);
    let replicas = uniform.filled(&[vec![0], vec![1]]).expect("the second fits");
    assert_eq!(replicas, [Replica { stages: vec![Stage { offer: 1, start: 0, end: 4 }] }]);
    let refusal = uniform.filled(&[vec![0]]).expect_err("it was refused before");
    assert!(refusal.reason.contains("does not take [0..4)"), "{}", refusal.reason);
    assert_eq!((refusal.nearest, refusal.short_bytes), (Some(0), 0.0));
}

#[test]
fn unequal_blocks_that_do_not_fit_are_refused_with_the_missing_bytes() {
    let mut blocks = vec![block(MIB); 6];
    blocks[1].weight_bytes = 5.0 * MIB;
    let problem = problem(blocks, vec![offer(0, 6.0 * MIB, 1.0), offer(1, 6.0 * MIB, 1.0)]);
    let ranges = Ranges::new(&problem);
    let uniform = Uniform::new(&ranges);
    let refusal = uniform.filled(&[vec![0, 1]]).expect_err("3 blocks of 2 MiB are 7 MiB here");
    assert_eq!((refusal.nearest, refusal.short_bytes), (Some(0), MIB));
    assert_eq!(refusal.reason, "blocks [0..3) of m@1 need 7340032 bytes on d0000/cpu, it has 6291456");
}

#[test]
fn want_of_room_names_the_offer_with_the_most_and_the_missing_bytes() {
    let problem = even_problem(12, &[(2.0, 1.0), (3.0, 1.0)]);
    let ranges = Ranges::new(&problem);
    let refusal = Uniform::new(&ranges).short(7);
    assert_eq!((refusal.nearest, refusal.short_bytes), (Some(1), 7.0 * MIB));
    assert_eq!(refusal.reason, "7 of the 12 blocks of m@1 find no room in a chain of 2 offers: d0001/cpu would need 7340032 bytes more");
    let nobody = even_problem(12, &[]);
    let ranges = Ranges::new(&nobody);
    assert!(Uniform::new(&ranges).short(12).reason.contains("there is no offer"));
}

#[test]
fn those_left_over_join_where_the_least_memory_is() {
    // Members of 8, 4 and 4 blocks hold a model of 12; the first block of the pair has the least memory for each.
    let held = [Held { member: 0, start: 0, end: 8 }, Held { member: 1, start: 8, end: 12 }];
    let mut members = members(&[(8, 1.0), (4, 1.0), (5, 1.0), (3, 1.0)]);
    members[1].memory_bytes = 2.0;
    assert_eq!(join(&members, 12, &held), [Held { member: 2, start: 8, end: 12 }, Held { member: 3, start: 0, end: 3 }]);
    members[2].room.last = 0;
    assert_eq!(join(&members, 12, &held), [Held { member: 3, start: 8, end: 11 }], "the other has no room for the head");
}

#[test]
fn who_joins_with_the_blocks_of_a_stage_makes_another_replica() {
    let mut problem = even_problem(12, &[(8.0, 1.0), (4.0, 1.0), (5.0, 1.0), (3.0, 1.0)]);
    // Less memory for each block of the second stage, as it is on a device that other models use.
    problem.offers[1].memory_bytes -= 0.1 * MIB;
    problem.blocks[11].weight_bytes = 0.5 * MIB;
    problem.blocks.iter_mut().take(11).for_each(|block| block.weight_bytes = 0.9 * MIB);
    let ranges = Ranges::new(&problem);
    let uniform = Uniform::new(&ranges);
    let stage = |offer, start, end| Stage { offer, start, end };
    let mut replicas = vec![Replica { stages: vec![stage(0, 0, 8), stage(1, 8, 12)] }];
    let left_over = uniform.join(&mut replicas);
    assert_eq!(replicas[1..], [Replica { stages: vec![stage(0, 0, 8), stage(2, 8, 12)] }]);
    assert_eq!(left_over, [("left-over".to_owned(), "d0003/cpu [0..3)".to_owned())]);
    assert_eq!(ranges.check(&replicas), Ok(()));
}
