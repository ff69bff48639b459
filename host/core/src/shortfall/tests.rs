use proptest::prelude::*;

use super::*;
use crate::{
    cluster::{Cluster, ClusterSettings, Event},
    device::Roles,
    ids::PlanNumber,
    problem::{Exclusion, Placement, Proposal},
    shard::ShardId,
    testing::{device, model_id, offer_id, range, uniform_model},
    units::Millis,
};

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// Devices of so many MiB, and a model of so many blocks of 1 MiB.
fn problem(memories: &[u64], blocks: usize) -> Problem {
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
    for (name, &memory) in NAMES.iter().zip(memories) {
        cluster.apply(Event::Joined { device: device(name, Bytes::mib(memory)), held: Vec::new(), now: Millis(0.0) });
    }
    cluster.apply(Event::ModelAdded { profile: uniform_model("m", blocks), placement: Placement::default() });
    cluster.problem(&model_id("m")).expect("the model is known")
}

/// Sets the roles of one offer.
fn with_roles(mut problem: Problem, offer: usize, [head, body, tail]: [bool; 3]) -> Problem {
    problem.offers[offer].capacity.roles = Roles { head, body, tail };
    problem
}

fn said(problem: &Problem) -> Option<String> {
    problem.shortfall().map(|shortfall| shortfall.to_string())
}

#[test]
fn memory_that_is_missing_is_named_with_the_device_that_lacks_least() {
    let expected = "short of 2 MiB on a: 10 of 12 blocks find room, a/cpu has 7 MiB for this model and is nearest to being enough";
    assert_eq!(said(&problem(&[7, 3], 12)).as_deref(), Some(expected));
    let shortfall = problem(&[7, 3], 12).shortfall().expect("it does not fit");
    assert_eq!((shortfall.constraint(), shortfall.nearest()), ("memory", Some((&offer_id("a"), Bytes::mib(2)))));
    assert_eq!(said(&problem(&[7, 5], 12)), None);
}

#[test]
fn a_device_that_could_not_use_more_memory_is_not_named() {
    let body_only = with_roles(problem(&[7, 3], 12), 0, [false, true, false]);
    assert_eq!(body_only.shortfall().expect("it does not fit").nearest().map(|(offer, _)| offer.clone()), Some(offer_id("b")));
}

#[test]
fn each_constraint_that_is_not_memory_is_named() {
    assert_eq!(problem(&[], 4).shortfall(), Some(Shortfall::NoOffers));
    let no_tail = with_roles(with_roles(problem(&[9, 9], 4), 0, [true, true, false]), 1, [true, true, false]);
    assert_eq!(said(&no_tail).as_deref(), Some("none of 2 offers takes the tail of a chain"));
    let no_head = with_roles(with_roles(problem(&[9, 9], 4), 0, [false, true, true]), 1, [false, true, true]);
    assert_eq!(no_head.shortfall(), Some(Shortfall::Role { role: "head", offers: 2 }));
    let mut spread = problem(&[9, 0, 0], 4);
    spread.placement.stages_min = 2;
    assert_eq!(said(&spread).as_deref(), Some("placement.stages_min is 2, but 1 offers can hold a block"));
    // Two heads that are no tails, a tail without memory: no memory on a head helps, but on the tail it does.
    let heads = with_roles(with_roles(problem(&[9, 0], 4), 0, [true, false, false]), 1, [false, false, true]);
    assert_eq!(heads.shortfall().expect("nowhere for the tail").nearest(), Some((&offer_id("b"), Bytes::mib(1))));
}

#[test]
fn refused_loads_that_leave_no_chain_are_the_reason() {
    let mut problem = problem(&[4], 4);
    problem.placement.stages_max = 1;
    let shard = ShardId { model: model_id("m"), range: range(0, 4) };
    problem.exclusions.push(Exclusion { offer: offer_id("a"), shard, reason: "no".into() });
    assert_eq!(problem.shortfall(), Some(Shortfall::Exclusions { count: 1 }));
    problem.exclusions[0].offer = offer_id("b");
    assert_eq!(problem.shortfall(), None);
}

#[test]
fn the_only_order_in_which_it_fits_is_found() {
    let mut problem = problem(&[2, 2, 2], 6);
    problem = with_roles(problem, 0, [false, false, true]);
    problem = with_roles(problem, 1, [false, true, false]);
    assert_eq!(said(&problem), None);
    problem.placement.stages_max = 2;
    assert_eq!(problem.shortfall().expect("one stage too many").constraint(), "memory");
}

#[test]
fn offers_of_one_pool_do_not_count_its_memory_twice() {
    let mut problem = problem(&[4, 4], 8);
    assert_eq!(said(&problem), None);
    problem.offers[1].device = 0;
    assert_eq!(problem.shortfall().and_then(|shortfall| shortfall.nearest().map(|(_, short)| short)), Some(Bytes::mib(4)));
}

#[test]
fn what_each_offer_could_hold_is_said() {
    let rooms = with_roles(problem(&[7, 3], 12), 1, [true, false, false]).rooms();
    assert_eq!((rooms[0].blocks, rooms[0].free, rooms[0].whole), (7, Bytes::mib(7), Bytes::mib(12)));
    assert_eq!((rooms[1].blocks, rooms[1].missing_roles.clone()), (3, vec!["body", "tail"]));
}

#[test]
fn more_offers_than_are_tried_in_every_order_are_filled_by_size() {
    assert_eq!(said(&problem(&[1; 12], 12)), None);
    let shortfall = problem(&[1; 12], 14).shortfall().expect("two blocks too many");
    assert_eq!(shortfall.nearest().map(|(_, short)| short), Some(Bytes::mib(2)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With what is said to be missing there is a chain, and filling offers finds none where one is said to be missing.
    #[test]
    fn what_is_missing_is_enough_and_is_missing(memories in prop::collection::vec(0_u64..6, 1..5), blocks in 1_usize..14) {
        let problem = problem(&memories, blocks);
        let total: u64 = memories.iter().sum();
        match problem.shortfall() {
            None => prop_assert!(total >= blocks as u64),
            Some(Shortfall::Memory { nearest, short, .. }) => {
                prop_assert!(total < blocks as u64);
                let mut roomier = problem.clone();
                let index = roomier.offers.iter().position(|offer| offer.id == nearest).expect("it is one of them");
                roomier.offers[index].capacity.memory += short;
                prop_assert_eq!(roomier.shortfall(), None);
                prop_assert_eq!(short, Bytes::mib(blocks as u64 - total));
            }
            Some(other) => prop_assert!(false, "{other}"),
        }
        let fitting = Proposal { replicas: vec![vec![crate::problem::ProposedStage { offer: 0, start: 0, end: u32::try_from(blocks).expect("few") }]], bound: 0.0 };
        prop_assert!(problem.check(&fitting).is_err() || problem.shortfall().is_none());
    }
}
