//! Lets urgent requests go first, and nobody wait for ever. A request is ranked as if it had come later, by a fixed time for
//! each class above its own: among requests that come together the more urgent goes first, and one that has waited long
//! enough goes before any that comes now. The last places in the line are kept for the urgent, so that a flood of the
//! others cannot shut them out. A rank depends on the arrival alone, so every instance of this plugin agrees on it.

use serde::Deserialize;
use shardhost_sdk::{
    export_queueing,
    queueing::{Arrival, Decision, QueueingPolicy, Refusal},
};

/// The policy, which is its settings.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Priority {
    /// How much earlier a request must have come, in milliseconds, to go before one of the next more urgent class.
    pub ageing_ms: f64,
    /// The share of the line, below 1, that each class leaves to those above it.
    pub reserved_ratio: f64,
}

impl Default for Priority {
    fn default() -> Self {
        Self { ageing_ms: 2_000.0, reserved_ratio: 0.1 }
    }
}

impl QueueingPolicy for Priority {
    fn configure(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        let read: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if !(read.ageing_ms.is_finite() && read.ageing_ms >= 0.0) {
            return Err(format!("ageing_ms is {}, it must be 0 or more", read.ageing_ms));
        }
        if !(0.0..1.0).contains(&read.reserved_ratio) {
            return Err(format!("reserved_ratio is {}, it must be 0 or more and below 1", read.reserved_ratio));
        }
        Ok(read)
    }

    fn admit(&mut self, arrival: &Arrival) -> Decision {
        let waiting: u64 = arrival.classes.iter().map(|class| u64::from(class.depth)).sum();
        let places = self.places(arrival);
        if waiting >= places {
            let reason = format!("{waiting} requests are waiting, priority {} may be one of {places}", u64::from(arrival.class) + 1);
            return Decision::Refuse(Refusal::because(reason));
        }
        if arrival.deadline_ms > 0.0 && arrival.expected_ms > arrival.deadline_ms {
            let reason = format!("the answer takes {:.1} ms, the client waits {:.1} ms", arrival.expected_ms, arrival.deadline_ms);
            return Decision::Refuse(Refusal::because(reason));
        }
        Decision::Admit(arrival.now_ms + f64::from(arrival.class) * self.ageing_ms)
    }
}

impl Priority {
    /// How long the line may be before this class is turned away. One place stays, or a small line would never take it.
    fn places(&self, arrival: &Arrival) -> u64 {
        let share = (1.0 - self.reserved_ratio).powi(i32::try_from(arrival.class).unwrap_or(i32::MAX));
        let places = (f64::from(arrival.depth_max) * share).floor() as u64;
        places.clamp(u64::from(arrival.depth_max.min(1)), u64::from(arrival.depth_max))
    }
}

export_queueing!(Priority);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shardhost_sdk::queueing::ClassState;

    use super::*;

    fn arrival(class: u32, now_ms: f64, waiting: u32) -> Arrival {
        let classes = [waiting, 0, 0].map(|depth| ClassState { depth, last_rank: 0.0 }).to_vec();
        Arrival { ordinal: 0, class, now_ms, deadline_ms: 30_000.0, expected_ms: 5.0, classes, depth_max: 100, attributes: Vec::new() }
    }

    fn rank(class: u32, now_ms: f64) -> f64 {
        match Priority::default().admit(&arrival(class, now_ms, 0)) {
            Decision::Admit(rank) => rank,
            Decision::Refuse(refusal) => panic!("{}", refusal.reason),
        }
    }

    fn refusal(arrival: &Arrival) -> Option<String> {
        match Priority::default().admit(arrival) {
            Decision::Admit(_) => None,
            Decision::Refuse(refusal) => Some(refusal.reason),
        }
    }

    #[test]
    fn the_urgent_go_first_and_equals_in_order_of_arrival() {
        assert!(rank(0, 100.0) < rank(1, 1.0) && rank(1, 100.0) < rank(2, 1.0) && rank(1, 1.0) < rank(1, 2.0));
    }

    #[test]
    fn the_last_places_are_kept_for_the_urgent() {
        assert_eq!(refusal(&arrival(0, 1.0, 99)), None);
        assert_eq!(refusal(&arrival(1, 1.0, 90)).as_deref(), Some("90 requests are waiting, priority 2 may be one of 90"));
        assert_eq!(refusal(&arrival(2, 1.0, 80)), None);
        assert!(refusal(&arrival(2, 1.0, 81)).is_some() && refusal(&arrival(0, 1.0, 100)).is_some());
    }

    #[test]
    fn a_line_of_one_takes_every_class() {
        let short = |class| Arrival { depth_max: 1, ..arrival(class, 1.0, 0) };
        assert_eq!([refusal(&short(0)), refusal(&short(2))], [None, None]);
    }

    #[test]
    fn what_cannot_be_answered_in_time_does_not_wait() {
        let hopeless = Arrival { deadline_ms: 4.0, ..arrival(0, 1.0, 0) };
        assert_eq!(refusal(&hopeless).as_deref(), Some("the answer takes 5.0 ms, the client waits 4.0 ms"));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_by_name() {
        assert_eq!(Priority::configure(r#"{"ageing_ms":-1}"#), Err("ageing_ms is -1, it must be 0 or more".into()));
        assert_eq!(Priority::configure(r#"{"reserved_ratio":1}"#), Err("reserved_ratio is 1, it must be 0 or more and below 1".into()));
        assert!(Priority::configure(r#"{"aging_ms":1}"#).is_err_and(|reason| reason.contains("aging_ms")));
    }

    proptest! {
        #[test]
        fn nobody_waits_for_ever(class in 0_u32..3, other in 0_u32..3, came in 0.0_f64..1e9, later in 0.0_f64..1e6) {
            // A small difference is lost in the rounding of large times.
            let lead = (f64::from(class) - f64::from(other)) * 2_000.0;
            prop_assume!((later - lead).abs() > 1e-3);
            // However urgent the other is: one that comes late enough waits behind.
            prop_assert_eq!(rank(class, came) < rank(other, came + later), later > lead);
        }
    }
}
