//! Devices that come and go too often. They are damped when they join again, so that the plan does not follow each of
//! their moves.

use std::collections::VecDeque;

use crate::units::Millis;

/// When a device counts as flapping, and how long it is damped.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FlapSettings {
    /// A device whose connection ended this often within the window is damped when it joins again. At least 1.
    pub flaps_max: u32,
    /// Flaps that lie further apart do not count together.
    pub window: Millis,
    /// How long it is damped the first time; twice as long each further time.
    pub damp: Millis,
    /// The longest that it is damped. After as long without a flap the doubling begins anew.
    pub damp_max: Millis,
}

impl Default for FlapSettings {
    fn default() -> Self {
        Self { flaps_max: 3, window: Millis(60_000.0), damp: Millis(10_000.0), damp_max: Millis(600_000.0) }
    }
}

/// How often a device came and went of late.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Flaps {
    /// When its connection ended, the last `flaps_max` times.
    recent: VecDeque<Millis>,
    /// How often it was damped since the doubling began.
    dampings: u32,
    until: Option<Millis>,
}

impl Flaps {
    /// Whether the device gets nothing new for now.
    pub(super) fn is_damped(&self) -> bool {
        self.until.is_some()
    }

    /// Whether it came and went too often within the window.
    pub(super) fn is_flapping(&self, now: Millis, settings: &FlapSettings) -> bool {
        self.recent.len() >= most(settings) && self.recent.front().is_some_and(|&oldest| now - oldest <= settings.window)
    }

    /// Its connection ended.
    pub(super) fn note(&mut self, now: Millis, settings: &FlapSettings) {
        if self.recent.back().is_some_and(|&last| now - last > settings.damp_max) {
            self.dampings = 0;
        }
        self.recent.push_back(now);
        while self.recent.len() > most(settings) {
            self.recent.pop_front();
        }
    }

    /// It is there again: damped if it came and went too often, and again if it did so while it was damped.
    pub(super) fn rejoined(&mut self, now: Millis, settings: &FlapSettings) {
        let just_now = self.recent.back().is_some_and(|&last| now - last <= settings.window);
        let damped = self.is_flapping(now, settings) || (self.is_damped() && just_now);
        self.until = damped.then(|| {
            // 2^30 times any time is above every maximum.
            let wait = settings.damp.0 * f64::from(1_u32 << self.dampings.min(30));
            self.dampings = self.dampings.saturating_add(1);
            now + Millis(wait.min(settings.damp_max.0))
        });
    }

    /// Ends the damping if its time is over, and says whether it just ended.
    pub(super) fn settle(&mut self, now: Millis) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }
}

fn most(settings: &FlapSettings) -> usize {
    settings.flaps_max.max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: FlapSettings = FlapSettings { flaps_max: 3, window: Millis(60.0), damp: Millis(10.0), damp_max: Millis(100.0) };

    /// Flaps at these times and comes back at once; says how long it is damped after the last.
    fn damped_for(flaps: &mut Flaps, times: &[f64]) -> Option<f64> {
        for &at in times {
            flaps.note(Millis(at), &SETTINGS);
            flaps.rejoined(Millis(at), &SETTINGS);
        }
        flaps.until.map(|until| until.0 - times.last().copied().unwrap_or_default())
    }

    #[test]
    fn only_flaps_that_lie_close_together_damp() {
        let cases: [(&[f64], Option<f64>); 4] =
            [(&[0.0, 1.0], None), (&[0.0, 1.0, 2.0], Some(10.0)), (&[0.0, 1.0, 61.0], None), (&[0.0, 30.0, 60.0], Some(10.0))];
        for (times, damped) in cases {
            assert_eq!(damped_for(&mut Flaps::default(), times), damped, "{times:?}");
        }
    }

    #[test]
    fn each_further_flap_doubles_the_damping_up_to_the_maximum() {
        let mut flaps = Flaps::default();
        let waits: Vec<Option<f64>> = (0..8).map(|at| damped_for(&mut flaps, &[f64::from(at)])).collect();
        assert_eq!(waits, [None, None, Some(10.0), Some(20.0), Some(40.0), Some(80.0), Some(100.0), Some(100.0)]);
    }

    #[test]
    fn a_flap_while_damped_damps_again_even_if_it_is_the_only_one_in_the_window() {
        let mut flaps = Flaps::default();
        damped_for(&mut flaps, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(!flaps.settle(Millis(79.0)));
        assert_eq!(damped_for(&mut flaps, &[80.0]), Some(100.0));
        assert!(flaps.settle(Millis(180.0)) && !flaps.is_damped());
    }

    #[test]
    fn a_long_calm_begins_the_doubling_anew() {
        let mut flaps = Flaps::default();
        damped_for(&mut flaps, &[0.0, 1.0, 2.0, 3.0]);
        assert!(flaps.settle(Millis(23.0)));
        assert_eq!(damped_for(&mut flaps, &[200.0, 201.0]), None);
        assert_eq!(damped_for(&mut flaps, &[202.0]), Some(10.0));
    }
}
