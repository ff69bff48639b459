//! Holds messages back as a slower line would. One direction of one device's line; whoever sends or receives asks how long
//! to wait.

use super::Fluctuation;
use crate::{
    link::Speed,
    units::{Bytes, Millis},
};

/// Fewest and most bytes of a portion: a packet of Ethernet, and one record of TLS.
const PORTION_BYTES: (f64, f64) = (1_448.0, 16_384.0);

/// A line that carries one message after another: a token bucket that holds no tokens, so that nothing ever goes out in a
/// burst faster than the line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Throttle {
    speed: Speed,
    fluctuation: Fluctuation,
    free_at: Millis,
}

impl Throttle {
    /// A line on which nothing is under way.
    pub fn new(speed: Speed) -> Self {
        Self { speed, fluctuation: Fluctuation::NONE, free_at: Millis::ZERO }
    }

    /// The same line with a bandwidth that wanders. Its latency stays.
    #[must_use]
    pub fn varying(self, fluctuation: Fluctuation) -> Self {
        Self { fluctuation, ..self }
    }

    /// How much to hand to the line at once, so that others get their turn: what it carries in a millisecond, but neither less
    /// than a packet nor more than is handled well.
    pub fn portion(&self) -> Bytes {
        Bytes::from_f64(self.speed.bytes_per_ms.clamp(PORTION_BYTES.0, PORTION_BYTES.1))
    }

    /// How long a byte is under way once it is on the line.
    pub fn latency(&self) -> Millis {
        self.speed.latency
    }

    /// How long after `now` the last byte of a message arrives that is handed to the line now. Messages before it that are
    /// still under way go first. `now` must not run backwards from call to call.
    pub fn delay(&mut self, size: Bytes, now: Millis) -> Millis {
        let starts = if self.free_at > now { self.free_at } else { now };
        self.free_at = starts + Millis(size.as_f64() / (self.speed.bytes_per_ms * self.fluctuation.speed(starts)));
        self.free_at - now + self.speed.latency
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_waits_for_those_before_it_and_an_idle_line_saves_nothing_up() {
        let mut throttle = Throttle::new(Speed { latency: Millis(2.0), bytes_per_ms: 10.0 });
        assert_eq!(throttle.delay(Bytes(100), Millis(0.0)), Millis(12.0));
        assert_eq!(throttle.delay(Bytes(50), Millis(4.0)), Millis(13.0));
        assert_eq!(throttle.delay(Bytes(0), Millis(15.0)), Millis(2.0));
        assert_eq!(throttle.delay(Bytes(100), Millis(1_000.0)), Millis(12.0));
    }

    #[test]
    fn a_free_line_holds_nothing_back() {
        assert_eq!(Throttle::new(Speed::FREE).delay(Bytes(u64::MAX), Millis(7.0)), Millis::ZERO);
    }

    #[test]
    fn a_portion_is_what_the_line_carries_in_a_millisecond_within_reason() {
        let portion = |bytes_per_ms| Throttle::new(Speed { latency: Millis::ZERO, bytes_per_ms }).portion();
        assert_eq!([1.0, 10_000.0, 1e9, f64::INFINITY].map(portion), [Bytes(1_448), Bytes(10_000), Bytes(16_384), Bytes(16_384)]);
    }

    #[test]
    fn a_bandwidth_that_wanders_is_as_large_as_nominal_over_a_long_time() {
        let speed = Speed { latency: Millis(1.0), bytes_per_ms: 10.0 };
        let mut varying = Throttle::new(speed).varying(Fluctuation { ratio: 0.5, period: Millis(50.0), seed: 4 });
        let times: Vec<f64> = (0..10_000).map(|_| varying.delay(Bytes(10), Millis::ZERO).0).collect();
        let each: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(each.iter().all(|time| (1.0 / 1.5 - 1e-6..=2.0 + 1e-6).contains(time)), "each takes what the moment's bandwidth says");
        assert!(each.iter().any(|time| *time < 0.8) && each.iter().any(|time| *time > 1.2));
        let mean = (times[9_999] - times[0]) / 9_999.0;
        assert!((0.9..1.1).contains(&mean), "{mean}");
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_carries_more_than_the_line_does(rate in 1.0..1e6_f64, messages in proptest::collection::vec((0.0..50.0_f64, 0_u64..100_000), 1..40)) {
            let speed = Speed { latency: Millis(0.25), bytes_per_ms: rate };
            let mut throttle = Throttle::new(speed);
            let mut now = 0.0;
            let mut sent: Vec<(f64, f64, u64)> = Vec::new();
            for (wait, size) in messages {
                now += wait;
                let delay = throttle.delay(Bytes(size), Millis(now));
                prop_assert!(delay.0 >= speed.time(Bytes(size)).0 - 1e-6);
                let arrives = now + delay.0 - speed.latency.0;
                prop_assert!(sent.last().is_none_or(|last| arrives >= last.1), "messages overtake each other");
                sent.push((now, arrives, size));
            }
            for first in 0..sent.len() {
                let bytes: u64 = sent[first..].iter().map(|message| message.2).sum();
                let took = sent[sent.len() - 1].1 - sent[first].0;
                prop_assert!(bytes as f64 <= rate * took * (1.0 + 1e-9) + 1e-3, "{bytes} bytes in {took} ms at {rate}");
            }
        }
    }
}
