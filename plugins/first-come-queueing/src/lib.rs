//! Requests wait in the order in which they came. Those that could not be answered in time, and those for which there is no
//! room, are turned away at once.

use shardhost_sdk::{
    export_queueing, no_settings,
    queueing::{Arrival, Decision, QueueingPolicy, Refusal},
};

/// The policy. It has no settings and remembers nothing.
#[derive(Clone, Copy, Debug)]
pub struct FirstCome;

impl QueueingPolicy for FirstCome {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("first-come-queueing", config).map(|()| Self)
    }

    fn admit(&mut self, arrival: &Arrival) -> Decision {
        let waiting = arrival.waiting();
        if waiting >= u64::from(arrival.depth_max) {
            return Decision::Refuse(Refusal::because(format!("{waiting} requests are waiting, at most {} may", arrival.depth_max)));
        }
        match arrival.too_late_behind(waiting as f64) {
            Some(refusal) => Decision::Refuse(refusal),
            None => Decision::Admit(rank(arrival)),
        }
    }
}

/// The time. Another policy, in whose place this one came, may have let some wait with larger ranks; nobody goes before them.
fn rank(arrival: &Arrival) -> f64 {
    let waiting = arrival.classes.iter().filter(|class| class.depth > 0 && class.last_rank.is_finite());
    waiting.map(|class| class.last_rank).fold(arrival.now_ms, f64::max)
}

export_queueing!(FirstCome);

#[cfg(test)]
mod tests {
    use host_core::{
        turns::{TurnLimits, Turns},
        units::Millis,
    };
    use proptest::prelude::*;
    use shardhost_sdk::queueing::{ClassState, TURN_MS};

    use super::*;

    fn arrival(now_ms: f64, classes: &[(u32, f64)]) -> Arrival {
        let classes = classes.iter().map(|&(depth, last_rank)| ClassState { depth, last_rank }).collect();
        let attributes = vec![(TURN_MS.to_owned(), "4".to_owned())];
        Arrival { ordinal: 0, class: 0, now_ms, deadline_ms: 30.0, expected_ms: 5.0, classes, depth_max: 100, attributes }
    }

    fn rank_of(arrival: &Arrival) -> f64 {
        match FirstCome.admit(arrival) {
            Decision::Admit(rank) => rank,
            Decision::Refuse(refusal) => panic!("{}", refusal.reason),
        }
    }

    fn reason(arrival: &Arrival) -> Option<String> {
        if let Decision::Refuse(refusal) = FirstCome.admit(arrival) { Some(refusal.reason) } else { None }
    }

    #[test]
    fn a_full_line_and_one_that_is_too_long_turn_away_at_once() {
        let full = Arrival { depth_max: 3, deadline_ms: 0.0, ..arrival(1.0, &[(2, 0.0), (1, 0.0)]) };
        assert_eq!(reason(&full).as_deref(), Some("3 requests are waiting, at most 3 may"));
        assert_eq!(reason(&arrival(1.0, &[(6, 0.0)])), None);
        assert_eq!(reason(&arrival(1.0, &[(7, 0.0)])).as_deref(), Some("the answer takes 5.0 ms after 28.0 ms in the line, the client waits 30.0 ms"));
    }

    #[test]
    fn who_waits_already_is_not_overtaken_whatever_ranks_another_policy_gave() {
        assert_eq!(rank_of(&arrival(10.0, &[(1, 1e6), (0, 1e9)])), 1e6);
        assert_eq!(rank_of(&arrival(10.0, &[(1, -4.0)])), 10.0);
    }

    #[test]
    fn it_has_no_settings() {
        assert!(FirstCome::configure("{}").is_ok() && FirstCome::configure(r#"{"ageing_ms":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn everyone_is_served_in_the_order_of_arrival(arrivals in prop::collection::vec((0_u32..3, 0.0_f64..5.0), 1..100)) {
            let mut turns = Turns::new(TurnLimits { running_max: 0, waiting_max: 100, classes: 3 });
            let mut now = 0.0;
            for (number, &(class, pause)) in arrivals.iter().enumerate() {
                now += pause;
                let asked = turns.arrival(class, Millis(now), Millis(1e9), Millis(1.0));
                let classes: Vec<_> = asked.classes.iter().map(|class| (class.depth, class.last_rank)).collect();
                let rank = rank_of(&Arrival { class, deadline_ms: 0.0, ..arrival(now, &classes) });
                turns.wait(class, rank, Millis(1e9), number).expect("there is room");
            }
            let order: Vec<_> = std::iter::from_fn(|| turns.pass_on(Millis(now))).collect();
            prop_assert_eq!(order, (0..arrivals.len()).collect::<Vec<_>>());
        }
    }
}
