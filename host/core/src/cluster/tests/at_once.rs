//! Events that happen at one moment.

use super::*;

fn joins(names: &[&str]) -> Vec<Event> {
    names.iter().map(|name| Event::Joined { device: device(name, Bytes::mib(4)), held: Vec::new(), now: Millis(0.0) }).collect()
}

fn asked(effects: &[Effect]) -> Vec<usize> {
    let devices = |effect: &Effect| if let Effect::Solve { problem, .. } = effect { Some(problem.devices.len()) } else { None };
    effects.iter().filter_map(devices).collect()
}

#[test]
fn devices_that_join_together_are_planned_with_together() {
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
    let mut events = vec![added("m", 2)];
    events.extend(joins(&["a", "b", "c"]));
    assert_eq!(asked(&cluster.apply_all(events)), [3]);
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
    cluster.apply(added("m", 2));
    let one_by_one: Vec<usize> = joins(&["a", "b", "c"]).into_iter().flat_map(|event| asked(&cluster.apply(event))).collect();
    assert_eq!(one_by_one, [1], "the first one is asked about alone, and the answer is waited for");
}

#[test]
fn one_event_that_is_not_accepted_keeps_no_other_from_its_effects() {
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
    let mut events = joins(&["a", "a", "b"]);
    events.push(added("m", 2));
    let effects = cluster.apply_all(events);
    let rejected = effects.iter().filter(|effect| matches!(effect, Effect::Rejected { .. })).count();
    assert_eq!((rejected, asked(&effects)), (1, vec![2]));
}

#[test]
fn what_was_measured_between_two_ticks_is_looked_at_in_the_second() {
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
    cluster.apply_all(joins(&["a"]));
    assert!(cluster.apply(Event::Tick { now: Millis(500.0) }).is_empty());
    assert!(!cluster.stirred);
    let pressures = Pressures { latency: Millis(4.0), ..Pressures::default() };
    cluster.apply(Event::Heartbeat { device: device_id("a"), pressures, now: Millis(900.0) });
    assert!(cluster.stirred, "a way that was not known before is news");
    cluster.apply(Event::Tick { now: Millis(1_000.0) });
    assert!(!cluster.stirred);
}
