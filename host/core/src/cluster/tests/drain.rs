//! What people ask of devices: to be cordoned, drained and removed, and called by other labels.

use super::*;

fn asked(event: fn(DeviceId) -> Event, name: &str) -> Event {
    event(device_id(name))
}

const CORDON: fn(DeviceId) -> Event = |device| Event::CordonAsked { device };
const UNCORDON: fn(DeviceId) -> Event = |device| Event::UncordonAsked { device };
const DRAIN: fn(DeviceId) -> Event = |device| Event::DrainAsked { device };
const UNDRAIN: fn(DeviceId) -> Event = |device| Event::UndrainAsked { device };
const REMOVE: fn(DeviceId) -> Event = |device| Event::RemoveAsked { device };

fn drained(effects: &[Effect]) -> Vec<String> {
    effects.iter().filter_map(|effect| if let Effect::Drained { device } = effect { Some(device.to_string()) } else { None }).collect()
}

fn removed(effects: &[Effect]) -> Vec<String> {
    effects.iter().filter_map(|effect| if let Effect::Removed { device } = effect { Some(device.to_string()) } else { None }).collect()
}

#[test]
fn what_serves_goes_on_until_its_successor_is_ready() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    let effects = cluster.apply(asked(DRAIN, "a"));
    let (ticket, problem) = question(&effects).expect("draining asks for another plan");
    let effects = cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) });
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
    assert_eq!(costly(&effects), ["load b m@1[0..4)"]);
    let effects = settle(&mut cluster, effects);
    assert_eq!(costly(&effects), ["load b m@1[0..4)", "unload a m@1[0..4)"]);
    assert_eq!((served(&cluster, "m"), drained(&effects)), (vec!["b[0..4)".to_owned()], vec!["a".to_owned()]));
    assert!(cluster.devices()[&device_id("a")].is_drained());
}

#[test]
fn a_draining_device_serves_on_where_no_other_can_until_one_joins() {
    let mut cluster = pool(&[("a", 4), ("b", 1)], &[("m", 4)]);
    let effects = after(&mut cluster, asked(DRAIN, "a"));
    assert_eq!((drained(&effects), served(&cluster, "m")), (vec![], vec!["a[0..4)".to_owned()]));
    let effects = after(&mut cluster, joined("c", 3, vec![], 0.0));
    assert_eq!((drained(&effects), served(&cluster, "m")), (vec!["a".to_owned()], vec!["b[0..1)".to_owned(), "c[1..4)".to_owned()]));
    assert_eq!(drained(&after(&mut cluster, Event::Tick { now: Millis(100.0) })), [""; 0], "it is said once");
}

#[test]
fn only_models_on_a_draining_device_are_placed_again() {
    let mut cluster = pool(&[("a", 4), ("b", 8)], &[("m", 4), ("n", 4)]);
    let effects = after(&mut cluster, asked(DRAIN, "a"));
    assert_eq!(costly(&effects), ["solve m@1", "load b m@1[0..4)", "unload a m@1[0..4)"]);
}

#[test]
fn a_cordoned_device_keeps_what_it_serves_and_gets_nothing_new() {
    let mut cluster = pool(&[("a", 4), ("b", 8)], &[("m", 2)]);
    assert_eq!(costly(&after(&mut cluster, asked(CORDON, "a"))), [""; 0]);
    after(&mut cluster, added("n", 2));
    after(&mut cluster, Event::ReplanAsked);
    assert_eq!(state(&cluster, "a"), Some(DeviceState::Cordoned));
    assert_eq!((served(&cluster, "m"), served(&cluster, "n")), (vec!["a[0..2)".to_owned(), "b[0..2)".to_owned()], vec!["b[0..2)".to_owned()]));
    after(&mut cluster, asked(UNCORDON, "a"));
    assert_eq!((state(&cluster, "a"), served(&cluster, "n")), (Some(DeviceState::Ready), vec!["a[0..2)".to_owned()]));
}

#[test]
fn a_model_with_as_many_replicas_as_it_may_have_is_not_asked_about() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[]);
    let placement = Placement { replicas_max: 1, ..Placement::default() };
    after(&mut cluster, Event::ModelAdded { profile: uniform_model("m", 4), placement });
    after(&mut cluster, asked(CORDON, "a"));
    assert_eq!(costly(&after(&mut cluster, Event::ReplanAsked)), [""; 0]);
    assert_eq!((served(&cluster, "m"), cluster.is_planning()), (vec!["a[0..4)".to_owned()], false));
}

#[test]
fn memory_that_a_kept_replica_takes_is_not_given_away_twice() {
    let mut cluster = pool(&[("a", 2), ("b", 3)], &[("m", 4)]);
    assert_eq!(served(&cluster, "m"), ["a[0..2)", "b[2..4)"]);
    after(&mut cluster, asked(CORDON, "a"));
    after(&mut cluster, joined("c", 3, vec![], 0.0));
    assert_eq!(served(&cluster, "m"), ["a[0..2)", "b[2..4)", "b[0..1)", "c[1..4)"]);
}

#[test]
fn a_cordoned_device_that_lost_its_shards_is_planned_around() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    after(&mut cluster, asked(CORDON, "a"));
    after(&mut cluster, away("a"));
    let effects = after(&mut cluster, joined("a", 4, vec![], 100.0));
    assert_eq!(reasons(&effects)[0], "a/cpu gets nothing new and does not hold m@1[0..4)");
    assert_eq!((state(&cluster, "a"), served(&cluster, "m")), (Some(DeviceState::Cordoned), vec!["b[0..4)".to_owned()]));
}

#[test]
fn what_was_asked_of_a_device_outlives_its_connection_and_its_lease() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    after(&mut cluster, asked(DRAIN, "a"));
    after(&mut cluster, asked(CORDON, "b"));
    for name in ["a", "b"] {
        after(&mut cluster, Event::Left { device: device_id(name) });
        after(&mut cluster, joined(name, 4, vec![], 10.0));
    }
    assert_eq!((state(&cluster, "a"), state(&cluster, "b")), (Some(DeviceState::Draining), Some(DeviceState::Cordoned)));
    after(&mut cluster, asked(UNDRAIN, "a"));
    assert_eq!((state(&cluster, "a"), served(&cluster, "m")), (Some(DeviceState::Ready), vec!["a[0..4)".to_owned()]));
}

#[test]
fn only_what_was_asked_can_be_undone() {
    let mut cluster = pool(&[("a", 4)], &[]);
    assert_eq!(rejections(&cluster.apply(asked(UNCORDON, "a"))), ["device a is ready, it cannot be uncordoned"]);
    after(&mut cluster, asked(DRAIN, "a"));
    assert_eq!(rejections(&cluster.apply(asked(UNCORDON, "a"))), ["device a is draining, it cannot be uncordoned"]);
    assert_eq!(rejections(&cluster.apply(asked(CORDON, "x"))), ["device x is not known"]);
}

#[test]
fn a_removed_device_gives_its_work_away_and_is_forgotten() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    let effects = after(&mut cluster, asked(REMOVE, "a"));
    assert_eq!(costly(&effects), ["solve m@1", "load b m@1[0..4)", "unload a m@1[0..4)"]);
    assert_eq!((removed(&effects), state(&cluster, "a"), served(&cluster, "m")), (vec!["a".to_owned()], None, vec!["b[0..4)".to_owned()]));
    after(&mut cluster, joined("a", 4, vec![], 10.0));
    assert_eq!(cluster.devices()[&device_id("a")].joined, 2, "it joins as a stranger");
}

#[test]
fn a_removed_device_does_not_wait_for_work_that_no_other_can_do() {
    let mut cluster = pool(&[("a", 4), ("b", 1)], &[("m", 4), ("n", 1)]);
    let effects = after(&mut cluster, asked(REMOVE, "a"));
    assert_eq!((removed(&effects), served(&cluster, "m")), (vec![], vec!["a[0..4)".to_owned()]));
    let effects = pass(&mut cluster, &["a", "b"], 500, 500);
    assert_eq!((removed(&effects), served(&cluster, "m")), (vec!["a".to_owned()], vec![]));
    assert_eq!(reasons(&effects), ["removed a"]);
    assert!(!cluster.plan().plan().shards().iter().any(|(offer, _)| offer.device == device_id("a")));
}

#[test]
fn a_device_that_is_not_here_is_removed_at_once() {
    for gone in [away("a"), Event::Left { device: device_id("a") }] {
        let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
        after(&mut cluster, gone);
        let effects = after(&mut cluster, asked(REMOVE, "a"));
        assert_eq!((removed(&effects), state(&cluster, "a"), served(&cluster, "m")), (vec!["a".to_owned()], None, vec!["b[0..4)".to_owned()]));
    }
}

#[test]
fn a_device_that_goes_while_it_is_being_removed_is_not_waited_for() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    let effects = cluster.apply(asked(REMOVE, "a"));
    assert_eq!((removed(&effects), state(&cluster, "a")), (vec![], Some(DeviceState::Draining)));
    assert_eq!(removed(&cluster.apply(away("a"))), ["a"]);
}

#[test]
fn a_removal_can_be_taken_back_while_work_moves() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    let effects = cluster.apply(asked(REMOVE, "a"));
    cluster.apply(asked(UNDRAIN, "a"));
    settle(&mut cluster, effects);
    assert_eq!(state(&cluster, "a"), Some(DeviceState::Ready));
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A device joins that calls itself by these labels.
fn joins_as(cluster: &mut Cluster, own: &[(&str, &str)], now: f64) {
    let device = crate::device::Device { labels: labels(own), ..device("a", Bytes::mib(4)) };
    after(cluster, Event::Joined { device, held: vec![], now: Millis(now) });
}

#[test]
fn labels_that_people_gave_stay_when_the_device_comes_back_and_win_over_its_own() {
    let mut cluster = pool(&[], &[]);
    joins_as(&mut cluster, &[("rack", "b"), ("unit", "cpu")], 0.0);
    let called = |cluster: &Cluster| cluster.devices()[&device_id("a")].labels();
    for given in [&[("room", "attic")][..], &[("rack", "c")]] {
        cluster.apply(Event::Labelled { device: device_id("a"), labels: labels(given) });
    }
    assert_eq!(called(&cluster), labels(&[("rack", "c"), ("unit", "cpu")]), "what was given last is all that was given");
    after(&mut cluster, away("a"));
    joins_as(&mut cluster, &[("unit", "npu"), ("rack", "d")], 10.0);
    assert_eq!(called(&cluster), labels(&[("rack", "c"), ("unit", "npu")]));
    let unknown = Event::Labelled { device: device_id("x"), labels: BTreeMap::new() };
    assert_eq!(rejections(&cluster.apply(unknown)), ["device x is not known"]);
}

#[test]
fn a_device_that_does_even_less_is_not_asked_to_do_more() {
    use Duty::{Cordoned, Draining, Full, Leaving};
    type Order = fn(Duty) -> Duty;
    let cases: [(Order, [Duty; 4]); 2] = [(Duty::cordoned, [Cordoned, Cordoned, Draining, Leaving]), (Duty::drained, [Draining, Draining, Draining, Leaving])];
    for (asked, expected) in cases {
        assert_eq!([Full, Cordoned, Draining, Leaving].map(asked), expected);
    }
    assert_eq!([Full, Cordoned, Draining, Leaving].map(Duty::uncordoned), [None, Some(Full), None, None]);
    assert_eq!([Full, Cordoned, Draining, Leaving].map(Duty::undrained), [None, None, Some(Full), Some(Full)]);
}
