//! A device whose connection is cut: nothing is routed to it, what was planned for it waits, and it comes back to its place.

use super::*;

#[test]
fn a_device_that_is_back_in_time_goes_on_without_a_new_plan() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    let number = cluster.plan().plan().number;
    let effects = after(&mut cluster, away("a"));
    assert_eq!((state(&cluster, "a"), served(&cluster, "m")), (Some(DeviceState::Away), vec![]));
    assert_eq!(costly(&effects), [""; 0]);
    let effects = after(&mut cluster, joined("a", 4, vec![held("m", 0, 4)], 1_000.0));
    assert_eq!((state(&cluster, "a"), served(&cluster, "m")), (Some(DeviceState::Ready), vec!["a[0..4)".to_owned()]));
    assert_eq!(costly(&effects), [""; 0]);
    assert_eq!((cluster.plan().plan().number, cluster.devices()[&device_id("a")].joined), (number, 0));
}

#[test]
fn what_a_device_no_longer_holds_is_loaded_and_what_nobody_needs_is_dropped() {
    let mut cluster = pool(&[("a", 8)], &[("m", 4), ("n", 2)]);
    after(&mut cluster, away("a"));
    let effects = cluster.apply(joined("a", 8, vec![held("m", 0, 4), held("o", 0, 1)], 100.0));
    assert_eq!(costly(&effects), ["unload a o@1[0..1)"], "a shard of unknown size may take all the memory that there is");
    assert_eq!((served(&cluster, "m"), served(&cluster, "n")), (vec!["a[0..4)".to_owned()], vec![]));
    assert_eq!(costly(&settle(&mut cluster, effects)), ["unload a o@1[0..1)", "load a n@1[0..2)"]);
    assert_eq!(served(&cluster, "n"), ["a[0..2)"]);
}

#[test]
fn a_device_that_stays_away_is_lost_when_its_lease_is_over() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    after(&mut cluster, away("a"));
    pass(&mut cluster, &["b"], 500, 1_500);
    assert_eq!((state(&cluster, "a"), served(&cluster, "m")), (Some(DeviceState::Away), vec![]));
    let effects = pass(&mut cluster, &["b"], 2_000, 2_000);
    assert_eq!((state(&cluster, "a"), served(&cluster, "m")), (Some(DeviceState::Lost), vec!["b[0..4)".to_owned()]));
    assert_eq!(reasons(&effects), ["lost a", "lost a"]);
}

#[test]
fn a_model_waits_with_its_next_plan_for_a_device_that_may_come_back() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4), ("n", 4)]);
    assert_eq!((served(&cluster, "m"), served(&cluster, "n")), (vec!["a[0..4)".to_owned()], vec!["b[0..4)".to_owned()]));
    after(&mut cluster, away("a"));
    let effects = after(&mut cluster, Event::ReplanAsked);
    assert_eq!(costly(&effects), ["solve n@1"]);
    assert!(cluster.is_planning());
    let effects = after(&mut cluster, joined("a", 4, vec![held("m", 0, 4)], 100.0));
    assert_eq!(costly(&effects), ["solve m@1"]);
    assert_eq!((served(&cluster, "m"), cluster.is_planning()), (vec!["a[0..4)".to_owned()], false));
}

#[test]
fn a_model_that_did_not_fit_while_a_device_was_away_is_tried_again() {
    let mut cluster = pool(&[("a", 4)], &[]);
    after(&mut cluster, away("a"));
    after(&mut cluster, added("m", 4));
    assert!(cluster.models()[&model_id("m")].refusal.is_some());
    after(&mut cluster, joined("a", 4, vec![], 100.0));
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
}

#[test]
fn a_device_that_comes_back_with_less_is_planned_for_what_it_has() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    after(&mut cluster, away("a"));
    let effects = after(&mut cluster, joined("a", 1, vec![], 100.0));
    assert_eq!(reasons(&effects)[0], "device a joined");
    assert_eq!(served(&cluster, "m"), ["a[0..1)", "b[1..4)"]);
}

#[test]
fn a_load_that_the_cut_ended_is_asked_for_again() {
    let mut cluster = pool(&[("a", 4)], &[]);
    let (ticket, problem) = question(&cluster.apply(added("m", 4))).expect("a new model is asked about");
    assert_eq!(costly(&cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) })), ["load a m@1[0..4)"]);
    cluster.apply(away("a"));
    let effects = after(&mut cluster, joined("a", 4, vec![], 100.0));
    assert_eq!(costly(&effects), ["load a m@1[0..4)"]);
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
}

#[test]
fn an_ended_connection_has_nothing_to_say() {
    let mut cluster = pool(&[("a", 4)], &[("m", 4)]);
    after(&mut cluster, away("a"));
    let heartbeat = Event::Heartbeat { device: device_id("a"), pressures: Pressures::default(), now: Millis(9.0) };
    assert_eq!(rejections(&cluster.apply(heartbeat)), ["device a is away: its connection is cut"]);
    assert_eq!(rejections(&cluster.apply(away("a"))), [""; 0], "that it is away is known");
    assert_eq!(rejections(&cluster.apply(away("x"))), ["device x is not known"]);
}

#[test]
fn a_lost_device_is_planned_around_and_comes_back_to_its_place() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    pass(&mut cluster, &["b"], 500, 2_000);
    assert_eq!((state(&cluster, "a"), served(&cluster, "m")), (Some(DeviceState::Lost), vec!["b[0..4)".to_owned()]));
    let effects = cluster.apply(joined("a", 4, vec![held("m", 0, 4)], 2_100.0));
    assert_eq!(costly(&effects), ["solve m@1"], "what it holds is kept until it is known where the model goes");
    assert_eq!(costly(&settle(&mut cluster, effects)), ["solve m@1", "unload b m@1[0..4)"]);
    assert_eq!((cluster.devices()[&device_id("a")].joined, served(&cluster, "m")), (0, vec!["a[0..4)".to_owned()]));
}

#[test]
fn what_a_lost_device_could_not_load_it_may_be_given_when_it_comes_back() {
    let mut cluster = pool(&[("a", 4)], &[]);
    let (ticket, problem) = question(&cluster.apply(added("m", 4))).expect("a new model is asked about");
    cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) });
    let shard = ShardId { model: model_id("m"), range: range(0, 4) };
    after(&mut cluster, Event::LoadFailed { offer: offer_id("a"), shard, reason: "the disk is full".into() });
    after(&mut cluster, Event::Left { device: device_id("a") });
    after(&mut cluster, joined("a", 4, vec![], 100.0));
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
}
