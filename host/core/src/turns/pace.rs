//! How fast turns follow one another while somebody waits for one. Times in which nobody waited say nothing about that.

use crate::units::Millis;

/// The average goes over about so many turns: more than usually end together, few enough to follow a change.
const TURNS: f64 = 64.0;

/// The average time from one turn to the next, exponentially weighted.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Pace {
    turn: Millis,
    /// How many turns that average is made of, at most `TURNS`.
    seen: f64,
    /// When the last turn was given, if somebody has waited ever since.
    since: Option<Millis>,
}

impl Pace {
    /// A turn was given to one who had waited; others wait still, or not.
    pub(super) fn give(&mut self, now: Millis, others_wait: bool) {
        if let Some(since) = self.since {
            self.seen = (self.seen + 1.0).min(TURNS);
            let took = (now - since).0.max(0.0);
            self.turn.0 += (took - self.turn.0) / self.seen;
        }
        self.since = others_wait.then_some(now);
    }

    /// Nobody waits.
    pub(super) fn rest(&mut self) {
        self.since = None;
    }

    /// From one turn to the next, on average; none before two turns in a row were given.
    pub(super) fn turn(self) -> Option<Millis> {
        (self.seen > 0.0).then_some(self.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns at these moments, all of them before others that wait.
    fn pace(moments: &[f64]) -> Pace {
        let mut pace = Pace::default();
        moments.iter().for_each(|&moment| pace.give(Millis(moment), true));
        pace
    }

    #[test]
    fn one_turn_alone_shows_no_pace() {
        assert_eq!((Pace::default().turn(), pace(&[5.0]).turn(), pace(&[5.0, 7.0]).turn()), (None, None, Some(Millis(2.0))));
    }

    #[test]
    fn a_time_in_which_nobody_waits_does_not_count() {
        let mut pace = pace(&[0.0, 2.0]);
        pace.give(Millis(4.0), false);
        pace.give(Millis(900.0), true);
        pace.rest();
        pace.give(Millis(5_000.0), true);
        assert_eq!(pace.turn(), Some(Millis(2.0)));
    }

    #[test]
    fn the_average_follows_a_change_within_some_hundred_turns() {
        let mut moments: Vec<f64> = (0..500).map(f64::from).collect();
        moments.extend((1..=300).map(|turn| 499.0 + f64::from(turn) * 20.0));
        let slower = pace(&moments).turn().expect("seen").0;
        assert!((19.0..20.1).contains(&slower), "{slower}");
    }

    #[test]
    fn turns_that_end_together_count_as_so_many() {
        // Sixteen at once every 32 ms: one in 2 ms.
        let moments: Vec<f64> = (0..640).map(|turn| f64::from(turn / 16) * 32.0).collect();
        let mean = pace(&moments).turn().expect("seen").0;
        assert!((1.5..2.6).contains(&mean), "{mean}");
    }
}
