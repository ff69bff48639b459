use host_core::{
    turns::{TurnLimits, Turns},
    units::Millis,
};
use proptest::prelude::*;
use shardhost_sdk::queueing::{ClassState, TURN_MS};

use super::*;

fn arrival(now_ms: f64, deadline_ms: f64, classes: &[(u32, f64)]) -> Arrival {
    let classes = classes.iter().map(|&(depth, last_rank)| ClassState { depth, last_rank }).collect();
    let attributes = vec![(TURN_MS.to_owned(), "4".to_owned())];
    Arrival { ordinal: 0, class: 0, now_ms, deadline_ms, expected_ms: 5.0, classes, depth_max: 100, attributes }
}

fn rank(arrival: &Arrival) -> f64 {
    match Deadline::default().admit(arrival) {
        Decision::Admit(rank) => rank,
        Decision::Refuse(refusal) => panic!("{}", refusal.reason),
    }
}

fn reason(arrival: &Arrival) -> Option<String> {
    if let Decision::Refuse(refusal) = Deadline::default().admit(arrival) { Some(refusal.reason) } else { None }
}

#[test]
fn the_nearest_deadline_goes_first_and_who_names_none_has_the_default_one() {
    assert!(rank(&arrival(0.0, 900.0, &[])) > rank(&arrival(50.0, 800.0, &[])));
    assert_eq!(rank(&arrival(7.0, 0.0, &[])), 30_007.0);
}

#[test]
fn who_would_be_late_behind_those_before_it_is_turned_away() {
    // Their deadlines lie between 1000 and 1200, one turn in 4 ms.
    let line = [(20, 1_200.0)];
    assert_eq!(reason(&arrival(1_000.0, 300.0, &line)), None);
    assert_eq!(reason(&arrival(1_000.0, 20.0, &line)), None, "most of them go after it");
    assert_eq!(
        reason(&arrival(1_000.0, 100.0, &[(60, 1_200.0)])).as_deref(),
        Some("the answer takes 5.0 ms after 120.0 ms in the line, the client waits 100.0 ms")
    );
    let full = Arrival { depth_max: 20, ..arrival(1_000.0, 300.0, &line) };
    assert_eq!(reason(&full).as_deref(), Some("20 requests are waiting, at most 20 may"));
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    assert_eq!(Deadline::configure(r#"{"patience_ms":-1}"#), Err("patience_ms is -1, it must be 0 or more".into()));
    assert_eq!(Deadline::configure(r#"{"patience_ms":5}"#).map(|read| read.rank(&arrival(1.0, 0.0, &[]))), Ok(6.0));
    assert!(Deadline::configure(r#"{"patience":1}"#).is_err_and(|reason| reason.contains("patience")));
}

/// Whether all are answered in time in this order, one after another; each is a time to serve and a deadline.
fn in_time(order: &[(u32, u32)]) -> bool {
    let mut now = 0;
    order.iter().all(|(takes, deadline)| {
        now += takes;
        now <= *deadline
    })
}

/// Whether there is any order in which all are in time.
fn possible(done: &mut Vec<(u32, u32)>, left: &[(u32, u32)]) -> bool {
    if left.is_empty() {
        return in_time(done);
    }
    (0..left.len()).any(|next| {
        let mut others = left.to_vec();
        done.push(others.remove(next));
        let found = possible(done, &others);
        done.pop();
        found
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn all_are_answered_in_time_wherever_any_order_does_that(requests in prop::collection::vec((1_u32..10, 1_u32..40), 1..7)) {
        let mut turns = Turns::new(TurnLimits { running_max: 0, waiting_max: 100, classes: 1 });
        for &(takes, deadline) in &requests {
            let asked = Arrival { expected_ms: 0.0, ..arrival(0.0, f64::from(deadline), &[(turns.depth(), 0.0)]) };
            let rank = rank(&Arrival { attributes: Vec::new(), ..asked });
            turns.wait(0, rank, Millis(1e9), (takes, deadline)).expect("there is room");
        }
        let order: Vec<_> = std::iter::from_fn(|| turns.pass_on(Millis(0.0))).collect();
        prop_assert_eq!(in_time(&order), possible(&mut Vec::new(), &requests), "{:?}", order);
    }
}
