//! Links that are measured while the pool works.

use super::*;
use crate::{
    link::{Endpoint, Reach, Speed},
    testing::site,
};

fn end(name: &str) -> Endpoint {
    Endpoint::Device(device_id(name))
}

fn measured(source: &str, target: &str, reach: Reach) -> Event {
    Event::LinkMeasured { source: end(source), target: end(target), reach }
}

fn at(latency_ms: f64, bytes_per_ms: f64) -> Reach {
    Reach::Direct(Speed { latency: Millis(latency_ms), bytes_per_ms })
}

fn latency(cluster: &Cluster, source: &str, target: &str) -> Option<f64> {
    cluster.topology().links.measured.get(&(device_id(source), device_id(target))).map(|speed| speed.latency.0)
}

#[test]
fn routing_knows_a_measured_link_and_the_plan_stays() {
    let mut cluster = pool(&[("a", 2), ("b", 2)], &[("m", 4)]);
    let effects = after(&mut cluster, measured("a", "b", at(7.0, 100.0)));
    assert_eq!((costly(&effects), latency(&cluster, "a", "b")), (vec![], Some(7.0)));
    let effects = after(&mut cluster, measured("a", "b", at(8.0, 100.0)));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Serve { .. })), "a small change is not worth telling");
}

#[test]
fn a_pair_that_cannot_reach_each_other_is_planned_around_and_relayed() {
    let mut cluster = pool(&[("a", 2), ("b", 2)], &[("m", 4), ("n", 1)]);
    for (source, target) in [(end("a"), Endpoint::Central), (Endpoint::Central, end("b"))] {
        after(&mut cluster, Event::LinkMeasured { source, target, reach: at(5.0, 100.0) });
    }
    let effects = after(&mut cluster, measured("a", "b", Reach::Unreachable));
    assert_eq!((costly(&effects), latency(&cluster, "a", "b")), (vec!["solve m@1".to_owned()], Some(10.0)));
    assert_eq!(costly(&after(&mut cluster, measured("a", "b", Reach::Unreachable))), [""; 0], "it is known already");
    assert_eq!(costly(&after(&mut cluster, measured("b", "a", Reach::Unreachable))), [""; 0], "nothing is sent this way");
    pass(&mut cluster, &["a", "b"], 500, 60_000);
    let effects = after(&mut cluster, measured("a", "b", at(1.0, 100.0)));
    assert_eq!((costly(&effects), latency(&cluster, "a", "b")), (vec!["solve m@1".to_owned(), "solve n@1".to_owned()], Some(1.0)));
}

#[test]
fn heartbeats_tell_how_far_the_central_is() {
    let mut cluster = pool(&[("a", 2), ("b", 2)], &[("m", 4)]);
    after(&mut cluster, measured("a", "b", Reach::Unreachable));
    for (name, round_trip) in [("a", 6.0), ("b", 10.0)] {
        let pressures = Pressures { latency: Millis(round_trip), ..Pressures::default() };
        cluster.apply(Event::Heartbeat { device: device_id(name), pressures, now: Millis(400.0) });
    }
    let effects = cluster.apply(Event::Tick { now: Millis(500.0) });
    assert!(matches!(&effects[..], [Effect::Serve { .. }]), "the next tick says so");
    assert_eq!(latency(&cluster, "a", "b"), Some(8.0));
}

#[test]
fn the_next_problem_holds_what_was_measured() {
    let mut cluster = pool(&[("a", 2), ("b", 2)], &[("m", 4)]);
    after(&mut cluster, measured("b", "a", at(7.0, 100.0)));
    let problem = cluster.problem(&model_id("m")).expect("the model is known");
    assert_eq!(problem.speed(1, 0), Speed { latency: Millis(7.0), bytes_per_ms: 100.0 });
    assert_eq!(problem.speed(0, 1), Speed::WITHIN_SITE);
}

#[test]
fn routing_is_told_of_links_between_devices_that_serve_and_of_no_others() {
    let mut cluster = pool(&[("a", 4), ("b", 4), ("c", 4)], &[("m", 4)]);
    for (source, target) in [("a", "b"), ("b", "c"), ("c", "a")] {
        after(&mut cluster, measured(source, target, at(1.0, 1.0)));
    }
    assert!(cluster.topology().links.measured.is_empty());
    assert_eq!(cluster.topology().devices.len(), 1);
}

#[test]
fn links_of_a_device_that_is_not_here_or_is_forgotten_are_not_kept() {
    let mut cluster = pool(&[("a", 2), ("b", 2)], &[("m", 4)]);
    assert_eq!(rejections(&cluster.apply(measured("a", "x", at(1.0, 1.0)))), ["device x is not known"]);
    after(&mut cluster, measured("a", "b", at(7.0, 1.0)));
    after(&mut cluster, Event::RemoveAsked { device: device_id("b") });
    pass(&mut cluster, &["a", "b"], 500, 500);
    after(&mut cluster, joined("b", 2, vec![], 0.0));
    assert_eq!((served(&cluster, "m").len(), latency(&cluster, "a", "b")), (2, None));
}

#[test]
fn sites_and_given_links_are_what_is_known_before_anything_is_measured() {
    let (a, b) = (device_id("a"), device_id("b"));
    let given = Speed { latency: Millis(0.5), bytes_per_ms: 9.0 };
    let links = Links { measured: BTreeMap::from([((a, b), given)]), ..Links::default() };
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0)).with_links(links);
    let mut far = device("b", Bytes::mib(2));
    far.site = site("there");
    after(&mut cluster, joined("a", 2, vec![], 0.0));
    after(&mut cluster, Event::Joined { device: far, held: vec![], now: Millis(0.0) });
    after(&mut cluster, added("m", 4));
    assert_eq!((cluster.topology().speed(0, 1), cluster.topology().speed(1, 0)), (given, Speed::BETWEEN_SITES));
}
