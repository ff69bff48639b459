//! Says when a guest has computed for longer than its deadline, from what its thread has used of the processor. Pure: it is
//! told the processor time at each epoch that passes while the guest runs. Called by `guest`, once for each such epoch.
//!
//! The clock on the wall cannot tell a guest that computes from a thread that the system does not run, so it has no say.
//! Asking for processor time is a system call, and a call of microseconds cannot afford one at its start. So the time starts
//! to count at the first epoch that passes during the call. What came before is less than one epoch, because a guest that
//! runs while an epoch passes is stopped there to be looked at; and a call that is over before then was never asked about.
//!
//! From this follow the two bounds that the tests below prove. A guest is never stopped before it has used the whole of its
//! deadline. And it is stopped at most two epochs after that: one that passed before the count began, and one in which
//! the deadline ran out. A single instruction that fills or copies memory is not interrupted; the memory limit bounds it.

use std::time::Duration;

/// How often guests are looked at: one epoch.
pub(crate) const EPOCH: Duration = Duration::from_millis(1);

/// What a guest has used in one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    deadline: Duration,
    /// Processor time at the first epoch of the call, and at the last one so far.
    span: Option<(Duration, Duration)>,
    /// Epochs during which it computed, each at most one however late the next one came.
    epochs: f64,
}

/// What to do with a guest at an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judgement {
    /// It may go on until the next one.
    GoOn,
    /// It is stopped, at most this many epochs after its deadline.
    Stop { epochs_past: u32 },
}

impl Meter {
    /// Nothing used so far.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self { deadline, span: None, epochs: 0.0 }
    }

    /// Whether the time counts already.
    pub(crate) fn runs(&self) -> bool {
        self.span.is_some()
    }

    /// An epoch passed; `processor` is what the thread has used for the guest, counted from any fixed moment.
    pub(crate) fn pass(&mut self, processor: Duration) -> Judgement {
        let Some((first, last)) = self.span else {
            self.span = Some((processor, processor));
            // The part that nobody measured counts as a whole epoch.
            self.epochs = 1.0;
            return if self.deadline.is_zero() { Judgement::Stop { epochs_past: 1 } } else { Judgement::GoOn };
        };
        self.span = Some((first, processor));
        self.epochs += in_epochs(processor.saturating_sub(last)).min(1.0);
        if processor.saturating_sub(first) < self.deadline {
            return Judgement::GoOn;
        }
        // `as` saturates: fewer than none past the deadline is none.
        let epochs_past = (self.epochs - in_epochs(self.deadline)).ceil() as u32;
        Judgement::Stop { epochs_past }
    }
}

fn in_epochs(time: Duration) -> f64 {
    time.as_secs_f64() / EPOCH.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs a guest that computes for ever: how much it computes before the first epoch, and between any two that follow.
    /// Gives back what it had used when it was stopped, counted from its start, and how many epochs past its deadline it was said to be.
    fn stopped(deadline: Duration, parts: &[Duration]) -> Option<(Duration, u32)> {
        let (mut meter, mut used) = (Meter::new(deadline), Duration::ZERO);
        for part in parts {
            used += *part;
            // The count of a thread's processor time starts long before the call.
            if let Judgement::Stop { epochs_past } = meter.pass(Duration::from_secs(77) + used) {
                return Some((used, epochs_past));
            }
        }
        None
    }

    proptest! {
        #[test]
        fn a_guest_has_its_whole_deadline_and_at_most_two_epochs_more(
            deadline_ms in 1_u64..40,
            // A thread that shares its processor gets a part of each epoch, and none of it counts against the guest.
            parts_us in prop::collection::vec(1_u64..=1_000, 2_000),
        ) {
            let deadline = Duration::from_millis(deadline_ms);
            let parts: Vec<_> = parts_us.into_iter().map(Duration::from_micros).collect();
            if let Some((used, epochs_past)) = stopped(deadline, &parts) {
                prop_assert!(used >= deadline, "stopped after {used:?} of {deadline:?}");
                prop_assert!(used <= deadline + 2 * EPOCH, "stopped only after {used:?} of {deadline:?}");
                prop_assert!(epochs_past <= 2, "{epochs_past} epochs");
            } else {
                prop_assert!(parts.iter().sum::<Duration>() < deadline + 2 * EPOCH, "never stopped");
            }
        }
    }

    #[test]
    fn a_guest_that_runs_alone_is_stopped_one_or_two_epochs_after_its_deadline() {
        let deadline = Duration::from_millis(2);
        assert_eq!(stopped(deadline, &[EPOCH; 9]), Some((Duration::from_millis(3), 1)));
        // A moment less than an epoch is not enough, so one more has to pass.
        let almost = EPOCH - Duration::from_nanos(1);
        assert_eq!(stopped(deadline, &[almost; 9]), Some((4 * almost, 2)));
    }

    #[test]
    fn epochs_that_come_late_are_counted_as_one_each() {
        assert_eq!(stopped(Duration::from_millis(2), &[Duration::from_millis(50); 9]), Some((Duration::from_millis(100), 0)));
    }

    #[test]
    fn a_thread_that_waits_for_a_processor_is_never_late() {
        assert_eq!(stopped(Duration::from_millis(2), &[Duration::ZERO; 10_000]), None);
    }
}
