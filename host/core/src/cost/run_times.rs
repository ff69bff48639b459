//! The run times of one stage between two heartbeats, and the one that is typical of them. The median: a run that was disturbed is
//! no time of the stage, and means of few runs are all disturbance.

use crate::units::Millis;

/// Times that are kept; with more, the newest.
const KEPT_MAX: usize = 64;

/// Run times since the last heartbeat.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RunTimes {
    kept: Vec<Millis>,
    runs: u32,
}

impl RunTimes {
    /// Takes one.
    pub fn note(&mut self, run: Millis) {
        match self.kept.get_mut(self.runs as usize % KEPT_MAX) {
            Some(oldest) => *oldest = run,
            None => self.kept.push(run),
        }
        self.runs = self.runs.saturating_add(1);
    }

    /// How many there were.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// The median of those that are kept, the lower one of the two in the middle; none before the first.
    pub fn typical(&self) -> Option<Millis> {
        let mut sorted = self.kept.clone();
        sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
        sorted.get(sorted.len().checked_sub(1)? / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(times: impl IntoIterator<Item = f64>) -> (u32, Option<Millis>) {
        let mut runs = RunTimes::default();
        times.into_iter().for_each(|run| runs.note(Millis(run)));
        (runs.runs(), runs.typical())
    }

    #[test]
    fn the_typical_time_is_not_moved_by_runs_that_were_disturbed() {
        assert_eq!(noted([]), (0, None));
        assert_eq!(noted([3.0]), (1, Some(Millis(3.0))));
        assert_eq!(noted([90.0, 3.0]), (2, Some(Millis(3.0))));
        assert_eq!(noted([90.0, 3.0, 2.0, 80.0, 4.0]), (5, Some(Millis(4.0))));
    }

    #[test]
    fn of_many_runs_the_newest_count() {
        assert_eq!(noted(std::iter::repeat_n(1.0, 1_000).chain(std::iter::repeat_n(2.0, 64))), (1_064, Some(Millis(2.0))));
    }
}
