use proptest::prelude::*;
use shardhost_sdk::queueing::{ClassState, SERVED_RANK, TURN_MS};

use super::*;

const SERVED: f64 = 1_000.0;

/// An arrival in a line where so many of each class wait, the last of each as far back as its weight says.
fn arrival(class: u32, depths: &[u32]) -> Arrival {
    let policy = Priority::default();
    let state = |(class, &depth): (u32, &u32)| ClassState { depth, last_rank: SERVED + f64::from(depth) / policy.weight(class) };
    let attributes = [(SERVED_RANK, SERVED), (TURN_MS, 1.0)].map(|(name, number)| (name.to_owned(), number.to_string())).to_vec();
    let classes = (0..).zip(depths).map(state).collect();
    Arrival { ordinal: 0, class, now_ms: 5_000.0, deadline_ms: 0.0, expected_ms: 5.0, classes, depth_max: 100, attributes }
}

fn rank_by(policy: &mut Priority, arrival: &Arrival) -> f64 {
    match policy.admit(arrival) {
        Decision::Admit(rank) => rank,
        Decision::Refuse(refusal) => panic!("{}", refusal.reason),
    }
}

fn rank(arrival: &Arrival) -> f64 {
    rank_by(&mut Priority::default(), arrival)
}

fn reason(arrival: &Arrival) -> Option<String> {
    if let Decision::Refuse(refusal) = Priority::default().admit(arrival) { Some(refusal.reason) } else { None }
}

#[test]
fn the_urgent_go_before_those_who_wait_already() {
    let line = [0, 20, 20];
    assert!(rank(&arrival(0, &line)) < SERVED + 1.0 / 8.0, "before the first of class 1");
    assert!(rank(&arrival(1, &line)) < rank(&arrival(2, &line)));
    assert!(rank(&arrival(1, &line)) > SERVED + 20.0 / 8.0, "behind its own class");
}

#[test]
fn whatever_was_before_the_urgent_of_those_who_come_to_an_empty_line_go_first() {
    let since = |class: u32, last_rank: f64| {
        let mut arrival = arrival(class, &[0, 0, 0]);
        arrival.classes[class as usize].last_rank = last_rank;
        rank(&arrival) - SERVED
    };
    for last_rank in [SERVED - 50.0, SERVED, SERVED + 700.0] {
        assert_eq!([0, 1, 2].map(|class| since(class, last_rank)), [1.0 / 64.0, 1.0 / 8.0, 1.0]);
    }
}

#[test]
fn the_places_of_other_classes_are_left_to_them() {
    assert_eq!(reason(&arrival(2, &[0, 0, 79])), None);
    assert_eq!(reason(&arrival(2, &[0, 0, 80])).as_deref(), Some("80 requests are waiting, priority 3 may be one of 80"));
    assert_eq!(reason(&arrival(0, &[80, 0, 0])).as_deref(), Some("80 requests are waiting, priority 1 may be one of 80"));
    assert_eq!(reason(&arrival(0, &[9, 0, 80])), None, "a flood of the others leaves the urgent their ten");
    assert_eq!(reason(&arrival(1, &[10, 9, 80])), None);
    assert!((0..3).all(|class| reason(&arrival(class, &[10, 10, 80])).is_some()), "full is full");
}

#[test]
fn a_line_of_one_takes_every_class() {
    for class in 0..3 {
        assert_eq!(reason(&Arrival { depth_max: 1, ..arrival(class, &[0, 0, 0]) }), None);
    }
}

#[test]
fn who_would_be_late_is_turned_away_by_what_its_class_gets() {
    // One turn in 1 ms. Of class 2 ten wait: alone they are over in 10 ms, beside class 1 each waits for eight others.
    let waits = |deadline_ms, depths| reason(&Arrival { deadline_ms, ..arrival(2, depths) });
    assert_eq!(waits(20.0, &[0, 0, 10]), None);
    assert_eq!(waits(20.0, &[0, 1, 10]).as_deref(), Some("the answer takes 5.0 ms after 117.6 ms in the line, the client waits 20.0 ms"));
    let hopeless = Arrival { deadline_ms: 4.0, ..arrival(0, &[0, 0, 0]) };
    assert_eq!(reason(&hopeless).as_deref(), Some("the answer takes 5.0 ms, the client waits 4.0 ms"));
}

#[test]
fn beyond_its_ageing_a_class_goes_as_fast_as_the_most_urgent() {
    let mut policy = Priority { ageing_ms: 730.0, ..Priority::default() };
    // With everyone waiting, virtual time goes on by one in 64 + 8 + 1 turns of 1 ms.
    let behind = |policy: &mut Priority, depth| rank_by(policy, &arrival(2, &[1, 1, depth])) - SERVED;
    assert_eq!(behind(&mut policy, 9), 10.0);
    assert_eq!(behind(&mut policy, 73), 11.0);
}

#[test]
fn a_host_that_says_nothing_of_its_line_has_requests_wait_behind_all_others() {
    let silent = Arrival { attributes: Vec::new(), ..arrival(0, &[3, 0, 40]) };
    assert!(rank(&silent) > SERVED + 40.0);
}

#[test]
fn ranks_of_another_policy_do_no_lasting_harm() {
    let mut spoilt = arrival(0, &[1, 0, 1]);
    spoilt.attributes[0].1 = "1e300".to_owned();
    spoilt.classes[0].last_rank = -1e300;
    assert!((0.0..1.0).contains(&rank(&spoilt)));
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let cases = [
        (r#"{"weights":[]}"#, "weights has 0 entries, it must have 1 to 64"),
        (r#"{"weights":[2,0]}"#, "weights has 0, each must be from 0.001 to 1000000"),
        (r#"{"ageing_ms":-1}"#, "ageing_ms is -1, it must be from 0 to 1000000000"),
        (r#"{"deadline_ms":1e10}"#, "deadline_ms is 10000000000, it must be from 0 to 1000000000"),
        (r#"{"deadline_ratio":1}"#, "deadline_ratio is 1, it must be 0 or more and below 1"),
        (r#"{"wait_ratio":-0.5}"#, "wait_ratio is -0.5, it must be from 0 to 1000"),
        (r#"{"reserved_ratio":1}"#, "reserved_ratio is 1, it must be 0 or more and below 1"),
    ];
    for (config, reason) in cases {
        assert_eq!(Priority::configure(config), Err(reason.to_owned()));
    }
    assert!(Priority::configure(r#"{"aging_ms":1}"#).is_err_and(|reason| reason.contains("aging_ms")));
    assert_eq!(Priority::configure("").as_ref(), Ok(&Priority::default()));
    assert_eq!(Priority::configure(r#"{"weights":[3]}"#).map(|read| (read.weight(0), read.weight(9))), Ok((3.0, 3.0)));
}

proptest! {
    #[test]
    fn among_equals_the_nearer_deadline_goes_first(class in 0_u32..3, depths in prop::array::uniform3(0_u32..25), one in 1e3_f64..1e7, other in 1e3_f64..1e7) {
        let mut asked = Arrival { expected_ms: 0.0, ..arrival(class, &depths) };
        // Where nothing is known of the pace, nobody is late.
        asked.attributes.truncate(1);
        let with = |deadline_ms| rank(&Arrival { deadline_ms, ..asked.clone() });
        prop_assume!((one - other).abs() > 1.0);
        prop_assert_eq!(with(one) < with(other), one < other);
        prop_assert!(with(other) < with(0.0), "no deadline is the farthest");
    }

    #[test]
    fn nobody_gets_behind_more_than_its_class_or_its_ageing(class in 0_u32..3, depths in prop::array::uniform3(0_u32..30), ageing_ms in 0.0_f64..1e4) {
        let mut policy = Priority { ageing_ms, ..Priority::default() };
        let asked = arrival(class, &depths);
        let behind = rank_by(&mut policy, &asked) - SERVED;
        let place = f64::from(depths[class as usize]) + 1.0;
        // Later requests of the most urgent class go before it until they have had so many turns.
        prop_assert!(behind >= 0.0 && behind <= place / policy.weight(class) + 1e-9);
        prop_assert!(behind <= ageing_ms / policy.backlog(&asked) + place / policy.weight_max() + 1e-9, "{}", behind);
    }

    #[test]
    fn a_place_is_refused_only_if_it_is_another_class_s_or_there_is_none(class in 0_u32..3, depths in prop::array::uniform3(0_u32..60), depth_max in 0_u32..200) {
        let asked = Arrival { depth_max, ..arrival(class, &depths) };
        let own = depth_max / 10;
        let kept: u32 = (0..3).filter(|other| *other != class).map(|other| own.saturating_sub(depths[other as usize])).sum();
        let waiting: u32 = depths.iter().sum();
        prop_assert_eq!(reason(&asked).is_none(), waiting + kept < depth_max);
    }
}
