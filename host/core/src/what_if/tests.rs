use super::*;
use crate::{
    cluster::{Cluster, ClusterSettings, Event},
    ids::PlanNumber,
    link::Links,
    problem::{Objective, ProposedStage},
    testing::{device, device_id, model_id, uniform_model},
};

/// A device by name, how many times slower than 1 ms a block, and how many MiB.
type Made = (&'static str, f64, u64);

fn problem(devices: &[Made], blocks: usize, placement: Placement) -> Problem {
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0)).with_links(Links::default());
    for &(name, slow, memory) in devices {
        let mut device = device(name, Bytes::mib(memory));
        device.offers[0].cost = device.offers[0].cost.slowed(slow);
        cluster.apply(Event::Joined { device, held: Vec::new(), now: Millis(0.0) });
    }
    cluster.apply(Event::ModelAdded { profile: uniform_model("m", blocks), placement });
    cluster.problem(&model_id("m")).expect("the model is known")
}

/// A policy that finds the best chain of a small problem by trying every cut of every order of two offers, and every single offer.
fn best_chain(problem: &Problem) -> Option<Vec<ProposedReplica>> {
    let (offers, blocks) = (u32::try_from(problem.offers.len()).expect("few"), problem.model.whole().end());
    let mut found: Vec<ProposedReplica> = (0..offers).map(|offer| vec![ProposedStage { offer, start: 0, end: blocks }]).collect();
    for first in 0..offers {
        for second in (0..offers).filter(|&second| second != first) {
            let chain = |cut| vec![ProposedStage { offer: first, start: 0, end: cut }, ProposedStage { offer: second, start: cut, end: blocks }];
            found.extend((1..blocks).map(chain));
        }
    }
    let fits = |replica: &ProposedReplica| problem.check(&crate::problem::Proposal { replicas: vec![replica.clone()], bound: 0.0 }).is_ok();
    let value = |replica: &ProposedReplica| problem.worth(std::slice::from_ref(replica)).value(problem.placement.objective);
    found.into_iter().filter(fits).max_by(|a, b| value(a).total_cmp(&value(b))).map(|best| vec![best])
}

fn helps(problem: &Problem, placement: Placement) -> Vec<(String, f64)> {
    let what_if = WhatIf { problem, placement, asks_max: 100 };
    let helps = what_if.helps(|id| problem.offers.iter().find(|offer| offer.id == *id).expect("known").capacity.memory, |problem| Ok(best_chain(problem)));
    helps.into_iter().map(|help| (help.change.to_string(), (help.gain * 1e3).round() / 1e3)).collect()
}

fn placement(objective: Objective) -> Placement {
    Placement { objective, ..Placement::default() }
}

#[test]
fn one_more_of_the_fast_kind_helps_most_where_devices_are_the_bottleneck() {
    let by_throughput = placement(Objective::Throughput);
    let mut problem = problem(&[("fast", 1.0, 64), ("slow", 8.0, 64)], 8, by_throughput);
    problem.current = vec![vec![ProposedStage { offer: 0, start: 0, end: 8 }]];
    let found = helps(&problem, by_throughput);
    // Two fast ones take half of the eight blocks each; the slow one takes one of them, in the time of eight.
    assert_eq!(found[0], ("one more device like fast".to_owned(), 1.0));
    assert!(found.iter().all(|(change, _)| !change.contains("like slow") && !change.contains("anew")), "{found:?}");
}

#[test]
fn more_memory_helps_most_where_the_fast_device_is_too_small_for_all_of_it() {
    let by_latency = placement(Objective::Latency);
    let mut problem = problem(&[("large", 6.0, 64), ("small", 1.0, 4)], 8, by_latency);
    problem.within_site.latency = Millis(0.0);
    problem.current = vec![vec![ProposedStage { offer: 0, start: 0, end: 4 }, ProposedStage { offer: 1, start: 4, end: 8 }]];
    let found = helps(&problem, by_latency);
    assert_eq!(found[0], ("8 MiB for it on small instead of 4 MiB".to_owned(), 2.501));
}

#[test]
fn a_faster_link_helps_where_the_way_takes_longer_than_the_work() {
    let by_latency = placement(Objective::Latency);
    let mut problem = problem(&[("a", 1.0, 4), ("b", 1.0, 4)], 8, by_latency);
    problem.within_site = Speed { latency: Millis(80.0), bytes_per_ms: 1e9 };
    problem.current = vec![vec![ProposedStage { offer: 0, start: 0, end: 4 }, ProposedStage { offer: 1, start: 4, end: 8 }]];
    let found = helps(&problem, by_latency);
    let link = found.iter().find(|(change, _)| change == "a link ten times as fast from a to b").expect("it helps");
    assert!((link.1 - (88.0 / 16.0 - 1.0)).abs() < 0.01, "{found:?}");
    assert!(found[0].0.contains("memory") || found[0].0.contains("on a") || found[0].0.contains("on b"), "one device that holds all needs no way: {found:?}");
}

#[test]
fn what_makes_a_model_fit_at_all_is_named_where_there_is_no_plan() {
    let problem = problem(&[("a", 1.0, 5)], 8, Placement::default());
    let found = helps(&problem, Placement::default());
    assert!(found.contains(&("one more device like a".to_owned(), f64::INFINITY)), "{found:?}");
    assert!(found.iter().all(|(change, _)| change != "placing it anew"));
}

#[test]
fn a_plan_that_was_kept_for_what_is_loaded_is_told_that_placing_anew_would_help() {
    let mut problem = problem(&[("fast", 1.0, 64), ("slow", 4.0, 64)], 8, placement(Objective::Latency));
    problem.current = vec![vec![ProposedStage { offer: 1, start: 0, end: 8 }]];
    assert_eq!(helps(&problem, placement(Objective::Latency)), [("placing it anew".to_owned(), 3.0)]);
}

#[test]
fn devices_of_one_kind_are_tried_once_and_no_more_is_asked_than_may_be() {
    let problem = problem(&[("a", 1.0, 4), ("b", 1.05, 4), ("c", 3.0, 4)], 8, Placement::default());
    let asked = |asks_max: u32, enough_after: usize| {
        let mut asked: Vec<usize> = Vec::new();
        let what_if = WhatIf { problem: &problem, placement: Placement::default(), asks_max };
        what_if.helps(
            |_| Bytes::mib(4),
            |problem| {
                asked.push(problem.offers.len());
                if asked.len() > enough_after { Err(Enough) } else { Ok(None) }
            },
        );
        asked
    };
    // Anew, two kinds in turn with the memory of three devices; nothing is in force, so there are no links.
    assert_eq!(asked(100, 100), [3, 4, 3, 4, 3, 3]);
    assert_eq!(asked(2, 100), [3, 4]);
    assert_eq!(asked(100, 2).len(), 3);
    assert!(asked(0, 100).is_empty());
}

#[test]
fn an_additional_device_is_empty_and_reached_like_the_one_that_it_is_like() {
    let mut problem = problem(&[("a", 1.0, 4), ("b", 1.0, 4)], 8, Placement::default());
    let slow = Speed { latency: Millis(7.0), bytes_per_ms: 1.0 };
    problem.links = vec![ProblemLink { source: 0, target: 1, speed: slow }];
    problem.placement.replicas_max = 2;
    let changed = problem.changed(&Change::Device(device_id("a")), Placement::default(), |_| Bytes::mib(9));
    let ids: Vec<String> = changed.offers.iter().map(|offer| offer.id.to_string()).collect();
    assert_eq!(ids, ["a/cpu", "a-twin1/cpu", "b/cpu"], "sorted by id");
    assert_eq!((changed.offers[1].capacity.memory, changed.offers[0].capacity.memory), (Bytes::mib(9), Bytes::mib(4)));
    assert_eq!((changed.speed(1, 2), changed.speed(0, 2)), (slow, slow));
    assert_eq!(changed.placement.replicas_max, 3);
    let again = changed.changed(&Change::Device(device_id("a")), Placement::default(), |_| Bytes::mib(9));
    assert_eq!(again.offers.len(), 4);
}
