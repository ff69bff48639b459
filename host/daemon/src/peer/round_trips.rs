//! How long heartbeats are under way to the central and back. A device tells it with a later one.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use host_core::units::Millis;

/// Heartbeats that are remembered as under way; of older ones nobody learns any more whether they were seen.
const UNDER_WAY_MAX: usize = 64;

/// The heartbeats of one stream.
#[derive(Debug, Default)]
pub struct RoundTrips(Mutex<Beats>);

#[derive(Debug, Default)]
struct Beats {
    /// Number and moment of each, in order.
    under_way: VecDeque<(u64, Millis)>,
    last: Millis,
}

impl RoundTrips {
    /// A new stream: its numbers count anew, and the way may be another one.
    pub fn reset(&self) {
        *self.lock() = Beats::default();
    }

    /// A heartbeat is on its way.
    pub fn sent(&self, number: u64, now: Millis) {
        let mut beats = self.lock();
        if beats.under_way.len() >= UNDER_WAY_MAX {
            beats.under_way.pop_front();
        }
        beats.under_way.push_back((number, now));
    }

    /// The central has seen it, and those before it.
    pub fn seen(&self, number: u64, now: Millis) {
        let mut beats = self.lock();
        while let Some(&(first, sent)) = beats.under_way.front().filter(|(first, _)| *first <= number) {
            beats.under_way.pop_front();
            if first == number {
                beats.last = now - sent;
            }
        }
    }

    /// How long the last one took that was seen; 0 if none was.
    pub fn last(&self) -> Millis {
        self.lock().last
    }

    fn lock(&self) -> MutexGuard<'_, Beats> {
        // Whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_heartbeat_is_timed_by_its_own_number() {
        let trips = RoundTrips::default();
        assert_eq!(trips.last(), Millis::ZERO);
        trips.sent(1, Millis(0.0));
        trips.sent(2, Millis(10.0));
        trips.seen(2, Millis(13.0));
        assert_eq!(trips.last(), Millis(3.0));
        trips.seen(1, Millis(14.0));
        assert_eq!(trips.last(), Millis(3.0), "an answer that was overtaken says nothing");
        trips.seen(7, Millis(15.0));
        assert_eq!(trips.last(), Millis(3.0), "this one was never sent");
        trips.reset();
        assert_eq!(trips.last(), Millis::ZERO);
    }

    #[test]
    fn those_that_are_never_seen_are_forgotten() {
        let trips = RoundTrips::default();
        for number in 1..=1_000 {
            trips.sent(number, Millis(number as f64));
        }
        assert_eq!(trips.lock().under_way.len(), UNDER_WAY_MAX);
        trips.seen(1, Millis(2_000.0));
        assert_eq!(trips.last(), Millis::ZERO);
        trips.seen(1_000, Millis(2_000.0));
        assert_eq!(trips.last(), Millis(1_000.0));
    }
}
