//! What a simulated device still has to wait. Short sleeps take longer than they were asked to, so what is owed is saved up
//! until it is worth a sleep, and what a sleep took too long counts for the next runs: the mean is right, whatever the runs.

use crate::units::Millis;

/// Less than this is not slept: the system rounds short sleeps up by about 0.05 ms.
const SLEEP_MIN: Millis = Millis(0.1);
/// A sleep that took longer than that by more than this, as on a machine that was suspended, is not made good: the device
/// would run too fast for long.
const CREDIT_MAX: Millis = Millis(10.0);

/// An account of time. Above zero, the device has yet to wait.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Debt(Millis);

impl Debt {
    /// Adds what a run on this machine owes for being `slowdown` times as slow on the device, and says how long to sleep
    /// now; none while it is too little.
    pub fn owe(&mut self, ran: Millis, slowdown: f64) -> Option<Millis> {
        self.0 = self.0 + Millis(ran.0 * (slowdown - 1.0).max(0.0));
        (self.0 >= SLEEP_MIN).then_some(self.0)
    }

    /// Takes off what was slept.
    pub fn pay(&mut self, slept: Millis) {
        self.0 = self.0 - slept;
        if self.0 < Millis(-CREDIT_MAX.0) {
            self.0 = Millis(-CREDIT_MAX.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_device_as_fast_as_the_machine_never_sleeps() {
        let mut debt = Debt::default();
        assert_eq!(debt.owe(Millis(1e6), 1.0), None);
        assert_eq!(debt, Debt::default());
    }

    #[test]
    fn short_runs_are_saved_up_until_they_are_worth_a_sleep() {
        let mut debt = Debt::default();
        assert_eq!(debt.owe(Millis(0.03), 3.0), None);
        let wait = debt.owe(Millis(0.03), 3.0).expect("0.12 ms are enough");
        assert!((wait.0 - 0.12).abs() < 1e-9, "{wait}");
        debt.pay(Millis(0.17));
        assert_eq!(debt.owe(Millis(0.05), 2.0), None, "the 0.05 ms too much were paid in advance");
    }

    #[test]
    fn a_sleep_that_took_absurdly_long_is_mostly_forgotten() {
        let mut debt = Debt::default();
        debt.pay(Millis(3_600_000.0));
        assert!(debt.owe(Millis(CREDIT_MAX.0 + 1.0), 2.0).is_some());
    }

    proptest! {
        #[test]
        fn all_runs_together_take_as_long_as_on_the_device(runs in proptest::collection::vec((0.001..5.0_f64, 1.0..20.0_f64, 0.0..5.0_f64), 1..200)) {
            let mut debt = Debt::default();
            let (mut took, mut wanted) = (0.0, 0.0);
            for (ran, slowdown, overshoot) in runs {
                took += ran;
                wanted += ran * slowdown;
                if let Some(wait) = debt.owe(Millis(ran), slowdown) {
                    debt.pay(wait + Millis(overshoot));
                    took += wait.0 + overshoot;
                }
                prop_assert!(wanted - took < SLEEP_MIN.0 + 1e-6, "{took} ms of {wanted}");
                prop_assert!(took - wanted <= 5.0 + 1e-6, "{took} ms of {wanted}");
            }
        }
    }
}
