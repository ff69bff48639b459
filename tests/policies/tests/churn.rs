//! Plans in force while devices come and go: what stays where it is, and how much is loaded.

use shardhost_policy_tests::{
    churn::{joined, left, loaded_bytes},
    policies::BALANCED,
    pools::{Machine, Pool, Random},
    quality::throughput,
};
use shardhost_sdk::allocation::{Objective, Problem};

/// A pool of 30 devices with a plan in force.
fn in_force(seed: u64) -> (Pool, Problem) {
    let mut random = Random::new(seed);
    let pool = Pool::large(&mut random, 30, 24, seed.is_multiple_of(2));
    let mut problem = pool.problem(Objective::Throughput);
    problem.within_site.bytes_per_ms = 110_000.0;
    problem.current = BALANCED.place(&problem).expect("it fits").replicas;
    (pool, problem)
}

#[test]
fn an_answer_that_comes_back_as_the_plan_in_force_stays() {
    for seed in 0..6 {
        let (pool, problem) = in_force(seed);
        assert!(throughput(&pool, &problem.current).is_ok());
        assert_eq!(BALANCED.place(&problem).expect("it fits").replicas, problem.current, "seed {seed}");
    }
}

#[test]
fn so_it_does_where_a_plan_is_not_made_anew_each_time() {
    for (seed, objective) in [(20, Objective::Throughput), (21, Objective::Balanced), (22, Objective::Latency)] {
        let mut problem = Pool::large(&mut Random::new(seed), 300, 24, seed == 21).problem(objective);
        problem.current = BALANCED.place(&problem).expect("it fits").replicas;
        assert_eq!(BALANCED.place(&problem).expect("it fits").replicas, problem.current, "seed {seed}");
    }
}

#[test]
fn a_device_that_leaves_costs_little_more_than_what_it_held() {
    for seed in 0..6 {
        let (_, mut problem) = in_force(seed);
        // A device that could take the place of any other.
        problem = joined(&problem, &Machine { block_ms: 0.3, most: 24 });
        for gone in [0, 7, 15, 29] {
            let after = left(&problem, gone);
            let held: f64 = problem
                .current
                .iter()
                .flat_map(|replica| &replica.stages)
                .filter(|stage| stage.offer == gone)
                .map(|stage| f64::from(stage.end - stage.start))
                .sum();
            let proposal = BALANCED.place(&after).expect("it fits");
            let loaded = loaded_bytes(&after, &proposal.replicas) / problem.blocks[0].weight_bytes;
            assert!(after.current.iter().all(|replica| proposal.replicas.contains(replica)), "seed {seed}, {gone} left: the rest stays");
            assert!(loaded <= 1.2 * held, "seed {seed}, {gone} left with {held} blocks, {loaded} are loaded");
        }
    }
}

/// The fewest blocks that have to be loaded for a replica of these offers alone; none if there is no such replica.
fn fewest_blocks(problem: &Problem, free: &[u32]) -> Option<u32> {
    let blocks = problem.blocks.len() as u32;
    let most = |offer: u32| (problem.offers[offer as usize].memory_bytes / problem.blocks[0].weight_bytes) as u32;
    let holds = |offer: u32, range: String| problem.offers[offer as usize].attributes.contains(&("holds".to_owned(), range));
    // By the offers that are used, and how far these reach.
    let mut reached = vec![vec![None; blocks as usize + 1]; 1 << free.len()];
    reached[0][0] = Some(0);
    for used in 0..reached.len() {
        for start in 0..blocks {
            let Some(loaded) = reached[used][start as usize] else { continue };
            for (place, &offer) in free.iter().enumerate().filter(|(place, _)| used & (1 << place) == 0) {
                for end in start + 1..=blocks.min(start + most(offer)) {
                    let more = if holds(offer, format!("{start}..{end}")) { 0 } else { end - start };
                    let known = &mut reached[used | (1 << place)][end as usize];
                    *known = Some(known.map_or(loaded + more, |known: u32| known.min(loaded + more)));
                }
            }
        }
    }
    reached.iter().filter_map(|row| row[blocks as usize]).min()
}

#[test]
fn what_makes_good_a_loss_loads_little_more_than_anything_would() {
    let mut regained = 0;
    for seed in 0..150 {
        let mut random = Random::new(1_000 + seed);
        let count = random.between(4, 8);
        let machines = (0..count).map(|_| Machine { block_ms: random.scale(0.5, 2.0), most: random.between(3, 12) }).collect();
        let mut problem = Pool::free(12, machines).problem(Objective::Throughput);
        let Ok(proposal) = BALANCED.place(&problem) else { continue };
        problem.current = proposal.replicas;
        for gone in 0..count {
            let after = left(&problem, gone);
            let left_over = after.current.len();
            let Ok(proposal) = BALANCED.place(&after) else { continue };
            let loaded = loaded_bytes(&after, &proposal.replicas) / problem.blocks[0].weight_bytes;
            if left_over == 0 || after.offers.iter().all(|offer| offer.attributes.is_empty()) {
                continue;
            }
            let in_use = |offer: &u32| after.current.iter().flat_map(|replica| &replica.stages).any(|stage| stage.offer == *offer);
            let free: Vec<u32> = (0..count - 1).filter(|offer| !in_use(offer)).collect();
            if proposal.replicas.len() <= left_over {
                let lost: u32 =
                    problem.current.iter().flat_map(|replica| &replica.stages).filter(|stage| stage.offer == gone).map(|stage| stage.end - stage.start).sum();
                assert!(
                    loaded < 1.2 * f64::from(lost) + 0.5,
                    "seed {seed}, {gone} left with {lost} blocks: {loaded} are loaded, and no replica comes back: {:?}",
                    proposal.replicas
                );
            } else if let Some(fewest) = fewest_blocks(&after, &free) {
                regained += 1;
                let most = 1.2 * f64::from(fewest);
                assert!(loaded < most + 0.5, "seed {seed}, {gone} left: {loaded} blocks are loaded, {fewest} would do: {:?}", proposal.replicas);
            }
        }
    }
    assert!(regained > 20, "{regained} replicas came back");
}

#[test]
fn a_device_that_comes_and_goes_ends_with_a_plan_that_stays() {
    let (_, problem) = in_force(9);
    let mut now = problem;
    for _ in 0..3 {
        now = joined(&now, &Machine { block_ms: 0.5, most: 12 });
        now.current = BALANCED.place(&now).expect("it fits").replicas;
        assert_eq!(BALANCED.place(&now).expect("it fits").replicas, now.current, "after it came");
        now = left(&now, now.devices.len() as u32 - 1);
        now.current = BALANCED.place(&now).expect("it fits").replicas;
        now.offers.iter_mut().for_each(|offer| offer.attributes.clear());
        let settled = BALANCED.place(&now).expect("it fits").replicas;
        now.current = settled;
        assert_eq!(BALANCED.place(&now).expect("it fits").replicas, now.current, "after it went");
    }
}

#[test]
fn a_device_that_comes_moves_no_more_than_pays() {
    for (seed, devices) in [(0, 30), (1, 30), (2, 30), (3, 300), (4, 300)] {
        let mut problem = Pool::large(&mut Random::new(seed), devices, 24, seed % 2 == 0).problem(Objective::Throughput);
        problem.within_site.bytes_per_ms = 110_000.0;
        problem.current = BALANCED.place(&problem).expect("it fits").replicas;
        // It holds what a usual one does.
        let mut after = joined(&problem, &Machine { block_ms: 1.0, most: 6 });
        let all = problem.current.len() as f64 * 24.0;
        let moved = |after: &Problem| loaded_bytes(after, &BALANCED.place(after).expect("it fits").replicas) / problem.blocks[0].weight_bytes;
        let freely = moved(&after);
        // A block takes a second of ten minutes: who gains a tenth may load 60.
        after.within_site.bytes_per_ms = problem.blocks[0].weight_bytes / 1_000.0;
        let rarely = moved(&after);
        assert!(rarely <= freely && rarely <= 60.0 && freely < all, "seed {seed}, {devices} devices: {freely} or {rarely} of {all} blocks are loaded");
    }
}
