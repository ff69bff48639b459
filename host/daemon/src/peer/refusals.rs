//! Counts those who were not let in, and says why in the log: a line a second for each reason at most, however many they are.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::unwelcome::Unwelcome;
use crate::{clock, metrics::Metrics};

/// Between two lines about the same reason.
const SAID_EVERY: Duration = Duration::from_secs(1);

/// What a host knows of those that it did not let in.
#[derive(Debug)]
pub struct Refusals {
    metrics: Arc<Metrics>,
    lines: Mutex<Lines>,
}

/// When each reason was last said, and how often it was not said since.
#[derive(Debug, Default)]
struct Lines(BTreeMap<Unwelcome, (Instant, u64)>);

impl Refusals {
    /// Nobody was refused yet.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics, lines: Mutex::default() })
    }

    /// Somebody was not let in.
    pub fn note(&self, why: Unwelcome, who: &dyn fmt::Display, reason: &str) {
        self.metrics.join_refused(why.word());
        // Each entry is whole between any two statements.
        let unsaid = self.lines.lock().unwrap_or_else(PoisonError::into_inner).due(why, clock::now());
        if let Some(unsaid) = unsaid {
            tracing::warn!(why = why.word(), %who, reason, unsaid, "a host was not let in");
        }
    }
}

impl Lines {
    /// How many were not said since the last line, if another one may be written now.
    fn due(&mut self, why: Unwelcome, now: Instant) -> Option<u64> {
        match self.0.get_mut(&why) {
            Some((said, unsaid)) if now.saturating_duration_since(*said) < SAID_EVERY => {
                *unsaid += 1;
                None
            }
            _ => Some(self.0.insert(why, (now, 0)).map_or(0, |(_, unsaid)| unsaid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second_that_says_how_many_were_left_out() {
        let (mut lines, start) = (Lines::default(), clock::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(lines.due(Unwelcome::Silent, at(0)), Some(0));
        for ms in 1..1_000 {
            assert_eq!(lines.due(Unwelcome::Silent, at(ms)), None);
        }
        assert_eq!(lines.due(Unwelcome::TokenSecret, at(500)), Some(0), "another reason is said at once");
        assert_eq!(lines.due(Unwelcome::Silent, at(1_000)), Some(999));
        assert_eq!(lines.due(Unwelcome::Silent, at(2_000)), Some(0));
    }

    #[test]
    fn everybody_is_counted_by_why() {
        let metrics = Arc::new(Metrics::new());
        let refusals = Refusals::new(metrics.clone());
        for _ in 0..3 {
            refusals.note(Unwelcome::NotTls, &"10.0.0.1:1", "it speaks something else");
        }
        refusals.note(Unwelcome::IdTaken, &"pi", "it is here already");
        let text = metrics.text();
        for line in ["host_join_refused_total{reason=\"not_tls\"} 3", "host_join_refused_total{reason=\"id_taken\"} 1"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
