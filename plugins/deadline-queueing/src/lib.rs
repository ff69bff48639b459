//! The request goes first whose deadline is nearest. If those who wait can be answered in time in any order, they are in this one
//! (J. R. Jackson, 1955: earliest due date). Where there is more to do than can be done it answers everyone a little too late, so
//! whoever would be late behind those before it is turned away at once.

use serde::Deserialize;
use shardhost_sdk::{
    export_queueing,
    queueing::{Arrival, Decision, QueueingPolicy, Refusal},
};

/// The policy, which is its settings.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadline {
    /// The deadline, in milliseconds from its arrival, of a request that has none.
    pub patience_ms: f64,
}

impl Default for Deadline {
    fn default() -> Self {
        Self { patience_ms: 30_000.0 }
    }
}

impl QueueingPolicy for Deadline {
    fn configure(config: &str) -> Result<Self, String> {
        let config = if config.trim().is_empty() { "{}" } else { config };
        let read: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if !(read.patience_ms.is_finite() && read.patience_ms >= 0.0) {
            return Err(format!("patience_ms is {}, it must be 0 or more", read.patience_ms));
        }
        Ok(read)
    }

    fn admit(&mut self, arrival: &Arrival) -> Decision {
        let waiting = arrival.waiting();
        if waiting >= u64::from(arrival.depth_max) {
            return Decision::Refuse(Refusal::because(format!("{waiting} requests are waiting, at most {} may", arrival.depth_max)));
        }
        let rank = self.rank(arrival);
        // Whose deadline has passed does not wait any more.
        match arrival.too_late_behind(arrival.ahead_of(rank, arrival.now_ms)) {
            Some(refusal) => Decision::Refuse(refusal),
            None => Decision::Admit(rank),
        }
    }
}

impl Deadline {
    /// The deadline, in milliseconds since the host started.
    fn rank(&self, arrival: &Arrival) -> f64 {
        arrival.now_ms + if arrival.deadline_ms > 0.0 { arrival.deadline_ms } else { self.patience_ms }
    }
}

export_queueing!(Deadline);

#[cfg(test)]
mod tests;
