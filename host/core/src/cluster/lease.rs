//! The time that leases run on: that of the ticks, without their jumps. A central that slept finds its devices as it left
//! them, because it was not they who were silent.

use super::ClusterSettings;
use crate::{
    error::{Error, Fault},
    units::Millis,
};

/// Counts from the first event. A tick that comes late by more than half a lease counts as one that came in time, and one
/// that goes back as no time at all. It follows that every lease is longer by as much.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct LeaseTime {
    /// What the host's clock showed at the last tick, or at the first event.
    ticked: Option<Millis>,
    time: Millis,
}

impl LeaseTime {
    /// The time of the last tick.
    pub(super) fn now(&self) -> Millis {
        self.time
    }

    /// Whether anything with a time has happened yet.
    pub(super) fn has_started(&self) -> bool {
        self.ticked.is_some()
    }

    /// The time when the host's clock shows `clock`.
    pub(super) fn at(&self, clock: Millis, settings: &ClusterSettings) -> Millis {
        let Some(ticked) = self.ticked else { return clock };
        let passed = clock - ticked;
        let late = passed - settings.tick;
        if late.0 > settings.lease.0 / 2.0 { self.time + settings.tick } else { self.time + Millis(passed.0.max(0.0)) }
    }

    /// The same, for an event that happened at `clock`.
    pub(super) fn of_event(&mut self, clock: Millis, settings: &ClusterSettings) -> Result<Millis, Error> {
        if !clock.0.is_finite() {
            return Err(Fault::Number { what: "the time of an event", value: clock.0 }.into());
        }
        if !self.has_started() {
            (self.ticked, self.time) = (Some(clock), clock);
        }
        Ok(self.at(clock, settings))
    }

    /// Goes on to a tick.
    pub(super) fn tick(&mut self, clock: Millis, settings: &ClusterSettings) -> Result<Millis, Error> {
        self.time = self.of_event(clock, settings)?;
        self.ticked = Some(clock);
        Ok(self.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: fn() -> ClusterSettings = ClusterSettings::default;

    /// The time after ticks at these moments of the host's clock.
    fn after(ticks: &[f64]) -> f64 {
        let mut time = LeaseTime::default();
        for &clock in ticks {
            time.tick(Millis(clock), &SETTINGS()).expect("a finite time");
        }
        time.now().0
    }

    #[test]
    fn time_passes_with_the_ticks_but_not_with_their_jumps() {
        let cases: [(&[f64], f64); 6] = [
            (&[100.0], 100.0),
            (&[0.0, 500.0, 1_000.0], 1_000.0),
            (&[0.0, 500.0, 1_750.0], 1_750.0),
            (&[0.0, 500.0, 1_751.0], 1_000.0),
            (&[0.0, 500.0, 3_600_000.0, 3_600_500.0], 1_500.0),
            (&[5_000.0, 20.0, 520.0], 5_500.0),
        ];
        for (ticks, time) in cases {
            assert_eq!(after(ticks), time, "{ticks:?}");
        }
    }

    #[test]
    fn a_time_that_is_no_number_is_refused_and_changes_nothing() {
        let mut time = LeaseTime::default();
        for clock in [f64::NAN, f64::INFINITY] {
            assert!(time.tick(Millis(clock), &SETTINGS()).is_err());
        }
        assert_eq!(time, LeaseTime::default());
    }

    #[test]
    fn an_event_between_two_ticks_lies_between_them() {
        let mut time = LeaseTime::default();
        time.tick(Millis(1_000.0), &SETTINGS()).expect("a finite time");
        let cases = [(1_200.0, 1_200.0), (900.0, 1_000.0), (1e9, 1_500.0)];
        for (clock, expected) in cases {
            assert_eq!(time.at(Millis(clock), &SETTINGS()), Millis(expected), "at {clock}");
        }
    }
}
