//! How large an echo must be for a link's bandwidth to show, and what its time says. Whoever measures sends them.

use crate::units::{Bytes, Millis};

/// The first echo: small enough for the slowest line.
const FIRST: Bytes = Bytes(16 << 10);
/// No echo is more than so many times as large as the one before it.
const GROWTH_MAX: f64 = 8.0;
/// An echo whose bytes take this share of the time that is wanted is large enough.
const ENOUGH: f64 = 0.5;
/// Of an echo's time, at least this share counts as spent on its bytes: round trips vary, and one of them may be over earlier
/// than the median says.
const BYTES_SHARE_MIN: f64 = 0.1;

/// How much is sent to measure one direction of a link.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EchoSizes {
    /// How long the bytes of the largest echo should take.
    pub wanted: Millis,
    /// The largest echo.
    pub bytes_max: Bytes,
}

impl EchoSizes {
    /// How large the first one is.
    pub fn first(&self) -> Bytes {
        FIRST.min(self.bytes_max)
    }

    /// How large the next one is; none if this one was large enough. It took so long, and one of no bytes takes a round trip.
    pub fn next(&self, sent: Bytes, took: Millis, round_trip: Millis) -> Option<Bytes> {
        let of_bytes = (took - round_trip).0.max(0.0);
        if of_bytes >= self.wanted.0 * ENOUGH || sent >= self.bytes_max {
            return None;
        }
        let factor = (self.wanted.0 / of_bytes).clamp(2.0, GROWTH_MAX);
        Some(sent.scaled(factor).min(self.bytes_max))
    }
}

/// Bytes per millisecond of a line over which an echo took so long, when one of no bytes takes a round trip.
pub fn bytes_per_ms(sent: Bytes, took: Millis, round_trip: Millis) -> f64 {
    // Nothing that is measured takes less than a microsecond.
    let of_bytes = (took - round_trip).0.max(took.0 * BYTES_SHARE_MIN).max(1e-3);
    sent.as_f64() / of_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Speed;

    const SIZES: EchoSizes = EchoSizes { wanted: Millis(20.0), bytes_max: Bytes(4 << 20) };

    /// The echoes that are sent over a link, and what they say of its bandwidth.
    fn measured(link: Speed) -> (Vec<Bytes>, f64) {
        let took = |size: Bytes| link.time(size) + link.latency;
        let mut sent = vec![SIZES.first()];
        let round_trip = Millis(2.0 * link.latency.0);
        while let Some(next) = SIZES.next(sent[sent.len() - 1], took(sent[sent.len() - 1]), round_trip) {
            sent.push(next);
        }
        let largest = sent[sent.len() - 1];
        (sent, bytes_per_ms(largest, took(largest), round_trip))
    }

    #[test]
    fn echoes_grow_until_they_take_long_enough_and_then_say_the_bandwidth() {
        for (latency, bandwidth) in [(0.1, 1_000.0), (0.1, 117_600.0), (0.05, 2_000_000.0), (0.0, 5e7), (20.0, 100_000.0), (50.0, 10.0)] {
            let link = Speed { latency: Millis(latency), bytes_per_ms: bandwidth };
            let (sent, found) = measured(link);
            assert!((found / bandwidth - 1.0).abs() < 1e-6, "{found} instead of {bandwidth}");
            assert!(sent.len() <= 5 && sent.iter().all(|size| *size <= SIZES.bytes_max), "{sent:?}");
            let all: f64 = sent.iter().map(|size| size.as_f64() / bandwidth).sum();
            assert!(all <= 3.0 * SIZES.wanted.0 || sent.len() == 1, "{sent:?} take {all} ms");
        }
    }

    #[test]
    fn the_echo_that_is_allowed_may_be_smaller_than_the_first_one_would_be() {
        let small = EchoSizes { bytes_max: Bytes(1_000), ..SIZES };
        assert_eq!((small.first(), small.next(Bytes(1_000), Millis(0.1), Millis::ZERO)), (Bytes(1_000), None));
    }

    #[test]
    fn an_echo_that_was_faster_than_a_round_trip_says_no_nonsense() {
        assert_eq!(bytes_per_ms(Bytes(1_000), Millis(1.0), Millis(2.0)), 10_000.0);
        assert!(bytes_per_ms(Bytes(1_000), Millis(0.0), Millis(0.0)).is_finite());
    }
}
