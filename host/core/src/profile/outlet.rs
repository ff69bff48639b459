//! How one connection of a simulated device hands its bytes to the line that all of its connections share: in portions, and
//! never far ahead of the line, so that a small message of another connection need not wait for all of a large one.

use super::Throttle;
use crate::units::{Bytes, Millis};

/// How far ahead of the line a connection may be. Timers are a millisecond coarse, and a line that waits for one stands idle.
const AHEAD: Millis = Millis(4.0);

/// Where a connection meets the line, in one direction.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Outlet {
    /// When all that it has handed over so far has left it.
    sent_at: Millis,
}

impl Outlet {
    /// From when on it may hand over the next portion.
    pub fn ready_at(&self) -> Millis {
        self.sent_at - AHEAD
    }

    /// Hands a portion to the line, and says when its last byte arrives at the other end. `now` must not run backwards from call
    /// to call on one line.
    pub fn hand_over(&mut self, line: &mut Throttle, size: Bytes, now: Millis) -> Millis {
        let arrives = now + line.delay(size, now);
        self.sent_at = arrives - line.latency();
        arrives
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::Speed;

    fn line(bytes_per_ms: f64) -> Throttle {
        Throttle::new(Speed { latency: Millis(20.0), bytes_per_ms })
    }

    #[test]
    fn a_small_message_waits_for_little_of_a_large_one_on_another_connection() {
        for bytes_per_ms in [10.0, 2_000.0, 100_000.0] {
            let mut line = line(bytes_per_ms);
            let (mut large, mut small) = (Outlet::default(), Outlet::default());
            let portion = line.portion();
            while large.ready_at() <= Millis(0.0) {
                large.hand_over(&mut line, portion, Millis(0.0));
            }
            let alone = line.latency().0 + 100.0 / bytes_per_ms;
            let waited = small.hand_over(&mut line, Bytes(100), Millis(0.0)).0 - alone;
            assert!(waited > 0.0 && waited <= AHEAD.0 + portion.as_f64() / bytes_per_ms + 1e-9, "{waited} ms at {bytes_per_ms}");
        }
    }

    #[test]
    fn a_line_without_limit_takes_everything_at_once() {
        let mut free = Throttle::new(Speed::FREE);
        let mut outlet = Outlet::default();
        assert_eq!(outlet.hand_over(&mut free, Bytes(u64::MAX), Millis(3.0)), Millis(3.0));
        assert!(outlet.ready_at() < Millis(3.0));
    }

    proptest! {
        #[test]
        fn a_connection_alone_keeps_the_line_busy_however_late_its_timers_are(bytes_per_ms in 1.0..1e6_f64, late in proptest::collection::vec(0.0..2.0_f64, 1..200)) {
            let mut line = line(bytes_per_ms);
            let mut outlet = Outlet::default();
            let portion = line.portion();
            let each = portion.as_f64() / bytes_per_ms;
            let (mut now, mut arrives) = (0.0_f64, 0.0);
            for late in &late {
                if outlet.ready_at().0 > now {
                    now = outlet.ready_at().0 + late;
                }
                arrives = outlet.hand_over(&mut line, portion, Millis(now)).0;
                prop_assert!(arrives - line.latency().0 - now <= AHEAD.0 + each + 1e-6, "it is too far ahead");
            }
            let busy = each * late.len() as f64;
            prop_assert!((arrives - line.latency().0 - busy).abs() <= 1e-6 * arrives, "{arrives} ms for {busy}");
        }
    }
}
