//! When a device drops its connections, and when it is back.

use crate::{noise, units::Millis};

/// One time without a connection.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Outage {
    /// When it begins, counted from the start of the device.
    pub at: Millis,
    /// How long it lasts.
    pub lasting: Millis,
}

/// All of them.
#[derive(Clone, PartialEq, Debug)]
pub enum Outages {
    /// These and no others, in order and apart from each other.
    Listed(Vec<Outage>),
    /// One in every stretch of time, at a moment that is drawn.
    Repeated {
        /// How long a stretch is.
        every: Millis,
        /// How long each outage lasts; less than a stretch.
        lasting: Millis,
        /// Which of the many ways to draw the moments.
        seed: u64,
    },
}

impl Outages {
    /// Always connected.
    pub const NONE: Self = Self::Listed(Vec::new());

    /// Whether the device has its connections at a moment.
    pub fn connected(&self, now: Millis) -> bool {
        match self {
            Self::Listed(outages) => !outages.iter().any(|outage| outage.covers(now)),
            Self::Repeated { every, .. } => !self.drawn(stretch(now, *every)).is_some_and(|outage| outage.covers(now)),
        }
    }

    /// The first moment after this one at which the device drops out or comes back; none if that is how it stays.
    pub fn next_change(&self, now: Millis) -> Option<Millis> {
        let present = self.connected(now);
        let ends = |outage: &Outage| [outage.at, outage.until()];
        let changes = |moment: &Millis| *moment > now && self.connected(*moment) != present;
        let earliest = |moments: Vec<Millis>| moments.into_iter().filter(changes).min_by(|a, b| a.0.total_cmp(&b.0));
        match self {
            Self::Listed(outages) => earliest(outages.iter().flat_map(ends).collect()),
            Self::Repeated { every, .. } => {
                let first = stretch(now, *every);
                earliest((first..first + 3).filter_map(|index| self.drawn(index)).flat_map(|outage| ends(&outage)).collect())
            }
        }
    }

    /// The same in a world where everything takes `ratio` times as long.
    #[must_use]
    pub fn dilated(self, ratio: f64) -> Self {
        let longer = |time: Millis| Millis(time.0 * ratio);
        match self {
            Self::Listed(outages) => {
                Self::Listed(outages.into_iter().map(|outage| Outage { at: longer(outage.at), lasting: longer(outage.lasting) }).collect())
            }
            Self::Repeated { every, lasting, seed } => Self::Repeated { every: longer(every), lasting: longer(lasting), seed },
        }
    }

    /// The outage of a stretch of time.
    fn drawn(&self, index: u64) -> Option<Outage> {
        let Self::Repeated { every, lasting, seed } = self else { return None };
        let at = index as f64 * every.0 + noise::uniform(*seed, index) * (every.0 - lasting.0).max(0.0);
        Some(Outage { at: Millis(at), lasting: *lasting })
    }
}

impl Outage {
    /// The first moment at which the device is back.
    pub fn until(&self) -> Millis {
        self.at + self.lasting
    }

    fn covers(&self, now: Millis) -> bool {
        now >= self.at && now < self.until()
    }
}

fn stretch(now: Millis, every: Millis) -> u64 {
    // `as` saturates: before the start it is the first one.
    (now.0 / every.0).floor() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listed_outages_are_kept_to_the_moment() {
        let outages = Outages::Listed(vec![Outage { at: Millis(10.0), lasting: Millis(5.0) }, Outage { at: Millis(20.0), lasting: Millis(1.0) }]);
        let connected: Vec<f64> = [0.0, 9.9, 10.0, 14.9, 15.0, 20.5, 21.0].into_iter().filter(|&now| outages.connected(Millis(now))).collect();
        assert_eq!(connected, [0.0, 9.9, 15.0, 21.0]);
        assert_eq!(outages.next_change(Millis(0.0)), Some(Millis(10.0)));
        assert_eq!(outages.next_change(Millis(10.0)), Some(Millis(15.0)));
        assert_eq!(outages.next_change(Millis(16.0)), Some(Millis(20.0)));
        assert_eq!(outages.next_change(Millis(21.0)), None);
        assert!(Outages::NONE.connected(Millis(1.0)));
        assert_eq!(Outages::NONE.next_change(Millis(1.0)), None);
    }

    proptest! {
        #[test]
        fn each_stretch_has_one_outage_of_the_stated_length(every in 10_u32..10_000, share in 0.01..0.99_f64, seed: u64, index in 0_u32..1_000) {
            let (every, lasting) = (f64::from(every), f64::from(every) * share);
            let outages = Outages::Repeated { every: Millis(every), lasting: Millis(lasting), seed };
            let outage = outages.drawn(u64::from(index)).expect("one");
            let start = f64::from(index) * every;
            prop_assert!(outage.at.0 >= start && outage.until().0 <= start + every + 1e-6, "{outage:?}");
            prop_assert!(!outages.connected(Millis(outage.at.0 + lasting / 2.0)));
            let again = Outages::Repeated { every: Millis(every), lasting: Millis(lasting), seed };
            prop_assert_eq!(outages.drawn(u64::from(index)), again.drawn(u64::from(index)));
        }

        #[test]
        fn nothing_changes_before_the_next_change(every in 10.0..1_000.0_f64, share in 0.05..0.95_f64, seed: u64, now in 0.0..1e5_f64, part in 0.0..1.0_f64) {
            let outages = Outages::Repeated { every: Millis(every), lasting: Millis(every * share), seed };
            let next = outages.next_change(Millis(now)).expect("it goes on for ever");
            prop_assert!(next.0 > now && next.0 <= now + 3.0 * every);
            let between = now + part * (next.0 - now) * 0.999;
            prop_assert_eq!(outages.connected(Millis(between)), outages.connected(Millis(now)), "{} of {}..{}", between, now, next);
            prop_assert_ne!(outages.connected(next), outages.connected(Millis(now)));
        }
    }
}
