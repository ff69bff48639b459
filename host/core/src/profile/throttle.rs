//! Holds messages back as a slower line would. One direction of one device's line; whoever sends or receives asks how long
//! to wait.

use crate::{
    link::Speed,
    units::{Bytes, Millis},
};

/// A line that carries one message after another: a token bucket that holds no tokens, so that nothing ever goes out in a
/// burst faster than the line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Throttle {
    speed: Speed,
    free_at: Millis,
}

impl Throttle {
    /// A line on which nothing is under way.
    pub fn new(speed: Speed) -> Self {
        Self { speed, free_at: Millis::ZERO }
    }

    /// How long after `now` the last byte of a message arrives that is handed to the line now. Messages before it that are
    /// still under way go first. `now` must not run backwards from call to call.
    pub fn delay(&mut self, size: Bytes, now: Millis) -> Millis {
        let starts = if self.free_at > now { self.free_at } else { now };
        self.free_at = starts + Millis(size.as_f64() / self.speed.bytes_per_ms);
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
