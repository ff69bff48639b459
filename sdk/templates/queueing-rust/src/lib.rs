//! {{name}}: requests wait in order of arrival. One that would be late even if it were served now is refused.
//!
//! The waiting line itself is the host's; a policy ranks what arrives. The same arrival must always give the same answer:
//! nothing is kept between calls.

use shardhost_sdk::{
    export_queueing, no_settings,
    queueing::{Arrival, Decision, QueueingPolicy, Refusal},
};

/// The policy. It has no settings and remembers nothing.
#[derive(Debug)]
pub struct Policy;

impl QueueingPolicy for Policy {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("{{name}}", config).map(|()| Self)
    }

    fn admit(&mut self, arrival: &Arrival) -> Decision {
        let waiting: u32 = arrival.classes.iter().map(|line| line.depth).sum();
        if waiting >= arrival.depth_max {
            return Decision::Refuse(Refusal::because(format!("{waiting} requests wait, at most {} may", arrival.depth_max)));
        }
        if arrival.deadline_ms > 0.0 && arrival.expected_ms > arrival.deadline_ms {
            let reason = format!("the answer takes {:.0} ms, the deadline is in {:.0} ms", arrival.expected_ms, arrival.deadline_ms);
            return Decision::Refuse(Refusal::because(reason));
        }
        // The smallest rank is served first: order of arrival.
        Decision::Admit(arrival.now_ms)
    }
}

export_queueing!(Policy);

#[cfg(test)]
mod tests {
    use shardhost_sdk::queueing::ClassState;

    use super::*;

    fn arrival(now_ms: f64, deadline_ms: f64, depth: u32) -> Arrival {
        let classes = vec![ClassState { depth, last_rank: 0.0 }];
        Arrival { ordinal: 0, class: 0, now_ms, deadline_ms, expected_ms: 5.0, classes, depth_max: 8, attributes: Vec::new() }
    }

    #[test]
    fn who_comes_first_is_served_first() {
        let rank = |now_ms| match Policy.admit(&arrival(now_ms, 0.0, 2)) {
            Decision::Admit(rank) => rank,
            Decision::Refuse(refusal) => panic!("{}", refusal.reason),
        };
        assert!(rank(1.0) < rank(2.0));
    }

    #[test]
    fn a_full_line_and_a_deadline_that_cannot_be_kept_are_refused() {
        for hopeless in [arrival(1.0, 0.0, 8), arrival(1.0, 4.0, 0)] {
            assert!(matches!(Policy.admit(&hopeless), Decision::Refuse(_)));
        }
    }
}
