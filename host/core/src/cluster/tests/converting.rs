//! Offers that run nothing but what was converted for them are used for that, and for nothing else.

use super::*;
use crate::{device::Device, shard::BlockRange};

const TARGET: &str = "rknn:rk3588";

/// A device whose only offer runs what was converted.
fn npu(name: &str, mib: u64) -> Event {
    let mut device: Device = device(name, Bytes::mib(mib));
    device.offers[0].needs_artefacts = Some(TARGET.into());
    Event::Joined { device, held: vec![], now: Millis(0.0) }
}

fn converted(model: &str, ranges: &[(u32, u32)]) -> Event {
    let ranges: BTreeSet<BlockRange> = ranges.iter().map(|&(start, end)| range(start, end)).collect();
    Event::Converted { model: model_id(model), converted: BTreeMap::from([(TARGET.to_owned(), ranges)]) }
}

fn offers(problem: &Problem) -> Vec<&str> {
    problem.offers.iter().map(|offer| offer.id.device.as_str()).collect()
}

#[test]
fn a_device_without_artefacts_is_left_out_until_there_are_some_and_the_model_is_placed_again_then() {
    let mut cluster = pool(&[("a", 9)], &[]);
    after(&mut cluster, npu("n", 9));
    let (_, problem) = question(&cluster.apply(added("m", 4))).expect("a new model is asked about");
    assert_eq!(offers(&problem), ["a"]);
    let said: Vec<String> = cluster.left_out(&model_id("m")).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["n/cpu is left out: no artefacts of m@1 for rknn:rk3588"]);

    let mut cluster = pool(&[("a", 9)], &[("m", 4)]);
    after(&mut cluster, npu("n", 9));
    let (ticket, problem) = question(&cluster.apply(converted("m", &[(1, 4), (3, 4)]))).expect("it is placed again");
    assert_eq!(offers(&problem), ["a", "n"]);
    let ruled_out: BTreeSet<BlockRange> = problem.exclusions.iter().map(|exclusion| exclusion.shard.range).collect();
    assert_eq!((ruled_out.len(), ruled_out.contains(&range(1, 4)), ruled_out.contains(&range(3, 4))), (8, false, false));
    assert!(problem.exclusions.iter().all(|exclusion| exclusion.offer == offer_id("n")));
    let stage = |offer, start, end| ProposedStage { offer, start, end };
    let proposal = Proposal { replicas: vec![vec![stage(0, 0, 1), stage(1, 1, 4)]], bound: 0.0 };
    let effects = cluster.apply(Event::Solved { ticket, outcome: Ok(proposal) });
    assert_eq!(reasons(&effects), ["shards of m@1 were converted"]);
    settle(&mut cluster, effects);
    assert_eq!((served(&cluster, "m").join(" "), cluster.left_out(&model_id("m"))), ("a[0..1) n[1..4)".to_owned(), vec![]));
}

#[test]
fn a_range_that_was_not_converted_is_refused() {
    let mut cluster = pool(&[("a", 9)], &[("m", 4)]);
    after(&mut cluster, npu("n", 9));
    let (_, problem) = question(&cluster.apply(converted("m", &[(0, 4)]))).expect("it is placed again");
    let whole = Proposal { replicas: vec![vec![ProposedStage { offer: 1, start: 0, end: 4 }]], bound: 0.0 };
    assert!(problem.check(&whole).is_ok());
    let halves = [ProposedStage { offer: 1, start: 0, end: 2 }, ProposedStage { offer: 0, start: 2, end: 4 }];
    let error = problem.check(&Proposal { replicas: vec![halves.to_vec()], bound: 0.0 }).expect_err("half of it was not converted");
    assert_eq!(error.to_string(), "shard m@1[0..2) was refused by n/cpu before: it was not converted for rknn:rk3588");
}

#[test]
fn what_is_converted_may_be_said_before_the_model_is_known_and_what_is_worth_converting_can_be_asked() {
    let mut cluster = pool(&[], &[]);
    after(&mut cluster, npu("n", 9));
    let effects = cluster.apply(added("m", 4));
    let refused = effects.iter().find_map(|effect| if let Effect::Refused { refusal, .. } = effect { Some(refusal.reason.clone()) } else { None });
    assert_eq!(refused.as_deref(), Some("m@1 waits for a device: n/cpu is left out: no artefacts of m@1 for rknn:rk3588"));
    let supposed = cluster.problem_as_if_converted(&model_id("m"), TARGET).expect("the model is known");
    assert_eq!((offers(&supposed), supposed.exclusions.len()), (vec!["n"], 0));

    let mut cluster = pool(&[], &[]);
    after(&mut cluster, npu("n", 9));
    cluster.apply(converted("m", &[(0, 4)]));
    after(&mut cluster, added("m", 4));
    assert_eq!(served(&cluster, "m"), ["n[0..4)"]);
}

#[test]
fn a_load_that_was_refused_is_tried_again_once_the_shard_was_converted_anew() {
    let mut cluster = pool(&[("a", 9)], &[("m", 4)]);
    after(&mut cluster, npu("n", 9));
    let (ticket, problem) = question(&cluster.apply(converted("m", &[(0, 4)]))).expect("it is placed again");
    cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 1) });
    let shard = ShardId { model: model_id("m"), range: range(0, 4) };
    let effects = cluster.apply(Event::LoadFailed { offer: offer_id("n"), shard, reason: "its artefact is damaged".into() });
    let (ticket, problem) = question(&effects).expect("the plan goes round it");
    assert!(problem.exclusions.iter().any(|exclusion| exclusion.reason == "its artefact is damaged"));
    let effects = cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) });
    settle(&mut cluster, effects);
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
    let (_, problem) = question(&cluster.apply(converted("m", &[(0, 4)]))).expect("it is placed again");
    assert!(problem.exclusions.iter().all(|exclusion| exclusion.reason != "its artefact is damaged"));
}

#[test]
fn a_model_with_more_ranges_than_a_problem_may_name_is_planned_without_the_device() {
    let mut cluster = Cluster::new(ClusterSettings { unconverted_max: 5, ..ClusterSettings::default() }, PlanNumber(0));
    after(&mut cluster, npu("n", 9));
    after(&mut cluster, added("m", 4));
    after(&mut cluster, converted("m", &[(0, 4)]));
    let said: Vec<String> = cluster.left_out(&model_id("m")).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["n/cpu is left out: more than 5 ranges of m@1 would have to be named as not converted for rknn:rk3588"]);
}
