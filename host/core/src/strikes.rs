//! How many failures a plugin may have, and when one that was rolled back is tried again. Never terminal: back-off grows
//! to a maximum and stays there.

use std::collections::VecDeque;

use crate::{policy::StrikeKind, units::Millis};

/// When strikes roll a slot back, and how long it then waits before it tries the plugin again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StrikePolicy {
    /// This many strikes within the window roll back.
    pub strikes_max: u32,
    /// Older strikes are forgotten.
    pub window: Millis,
    /// Wait before the first retry; doubles with each roll back.
    pub retry_first: Millis,
    /// Longest wait.
    pub retry_max: Millis,
}

impl Default for StrikePolicy {
    fn default() -> Self {
        Self { strikes_max: 3, window: Millis(60_000.0), retry_first: Millis(5_000.0), retry_max: Millis(600_000.0) }
    }
}

/// What a strike led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StrikeOutcome {
    /// It may have this many more.
    Counted {
        /// Strikes left before a roll back.
        left: u32,
    },
    /// That was one too many.
    RollBack,
}

/// The strikes of one plugin in one slot.
#[derive(Clone, PartialEq, Debug)]
pub struct Strikes {
    policy: StrikePolicy,
    recent: VecDeque<Millis>,
    rollbacks: u32,
    retry_at: Option<Millis>,
    retry_wait: Option<Millis>,
}

impl Strikes {
    /// None so far.
    pub fn new(policy: StrikePolicy) -> Self {
        Self { policy, recent: VecDeque::new(), rollbacks: 0, retry_at: None, retry_wait: None }
    }

    /// Counts one. All kinds weigh the same; the kind is for whoever reports it.
    pub fn record(&mut self, now: Millis, _kind: StrikeKind) -> StrikeOutcome {
        let oldest = now - self.policy.window;
        while self.recent.front().is_some_and(|&at| at < oldest) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let count = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if count < self.policy.strikes_max {
            return StrikeOutcome::Counted { left: self.policy.strikes_max - count };
        }
        self.recent.clear();
        let doublings = self.rollbacks.min(30);
        let wait = (self.policy.retry_first.0 * f64::from(1_u32 << doublings)).min(self.policy.retry_max.0);
        self.rollbacks = self.rollbacks.saturating_add(1);
        (self.retry_at, self.retry_wait) = (Some(now + Millis(wait)), Some(Millis(wait)));
        StrikeOutcome::RollBack
    }

    /// When the plugin should be tried again, if it was rolled back.
    pub fn retry_at(&self) -> Option<Millis> {
        self.retry_at
    }

    /// How long its last roll back made it wait.
    pub fn retry_wait(&self) -> Option<Millis> {
        self.retry_wait
    }

    /// The plugin serves again; the back-off is kept, so that a plugin that fails again waits longer.
    pub fn retried(&mut self) {
        self.retry_at = None;
    }

    /// How often it was rolled back.
    pub fn rollbacks(&self) -> u32 {
        self.rollbacks
    }
}

/// Calls in the window that the p99 is taken over.
const BUDGET_WINDOW_CALLS: usize = 1024;
/// Calls before the first judgement.
const BUDGET_CALLS_MIN: usize = 200;
/// A p99 above this many times the rehearsed one is over budget.
const BUDGET_FACTOR: f64 = 10.0;
/// Below this p99 nothing is over budget, in microseconds.
const BUDGET_FLOOR_US: f64 = 200.0;

/// Watches that a plugin does not take far longer than it rehearsed, though still within its deadline.
#[derive(Clone, PartialEq, Debug)]
pub struct CallBudget {
    limit_us: f64,
    over: VecDeque<bool>,
    over_count: usize,
}

impl CallBudget {
    /// From the p99 that rehearsal measured, in microseconds.
    pub fn new(rehearsed_p99_us: f64) -> Self {
        Self { limit_us: (rehearsed_p99_us * BUDGET_FACTOR).max(BUDGET_FLOOR_US), over: VecDeque::new(), over_count: 0 }
    }

    /// The longest p99 that is within budget, in microseconds.
    pub fn limit_us(&self) -> f64 {
        self.limit_us
    }

    /// Notes one call. True if the windowed p99 is over budget; the window then starts anew.
    ///
    /// The p99 is above the limit exactly if more than one call in a hundred is, so counting those is enough.
    pub fn observe(&mut self, call_us: f64) -> bool {
        if self.over.len() == BUDGET_WINDOW_CALLS {
            let oldest = self.over.pop_front();
            self.over_count -= usize::from(oldest == Some(true));
        }
        let over = call_us > self.limit_us;
        self.over.push_back(over);
        self.over_count += usize::from(over);
        let judged = self.over.len() >= BUDGET_CALLS_MIN && self.over_count * 100 > self.over.len();
        if judged {
            self.over.clear();
            self.over_count = 0;
        }
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_within_the_window_roll_back_and_older_ones_are_forgotten() {
        let mut strikes = Strikes::new(StrikePolicy::default());
        assert_eq!(strikes.record(Millis(0.0), StrikeKind::Trap), StrikeOutcome::Counted { left: 2 });
        assert_eq!(strikes.record(Millis(1.0), StrikeKind::Late), StrikeOutcome::Counted { left: 1 });
        assert_eq!(strikes.record(Millis(60_000.5), StrikeKind::Trap), StrikeOutcome::Counted { left: 1 });
        assert_eq!(strikes.record(Millis(60_000.6), StrikeKind::Trap), StrikeOutcome::RollBack);
        assert_eq!(strikes.retry_at(), Some(Millis(65_000.6)));
    }

    #[test]
    fn back_off_doubles_up_to_its_maximum_and_never_ends() {
        let mut strikes = Strikes::new(StrikePolicy { strikes_max: 1, ..StrikePolicy::default() });
        let mut waits = Vec::new();
        for _ in 0..40 {
            strikes.record(Millis::ZERO, StrikeKind::Trap);
            waits.push(strikes.retry_at().expect("rolled back").0);
            strikes.retried();
            assert_eq!((strikes.retry_at(), strikes.retry_wait().map(|wait| wait.0)), (None, waits.last().copied()));
        }
        assert_eq!(waits[..3], [5_000.0, 10_000.0, 20_000.0]);
        assert_eq!(waits[39], 600_000.0);
    }

    #[test]
    fn a_plugin_is_over_budget_only_when_more_than_one_call_in_a_hundred_is() {
        let mut budget = CallBudget::new(30.0);
        assert_eq!(budget.limit_us(), 300.0);
        let rare = (0..10_000).filter(|call| budget.observe(if call % 150 == 0 { 900.0 } else { 5.0 })).count();
        assert_eq!(rare, 0);
        let often = (0..1_000).filter(|call| budget.observe(if call % 20 == 0 { 900.0 } else { 5.0 })).count();
        assert!(often > 0);
    }

    #[test]
    fn a_tiny_rehearsed_time_does_not_make_a_tiny_budget() {
        assert_eq!(CallBudget::new(2.0).limit_us(), 200.0);
    }
}
