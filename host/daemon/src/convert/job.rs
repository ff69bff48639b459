//! One conversion: what it does, how far it is, and what its tools said.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use host_core::ids::ModelId;
use host_wire::admin;
use tokio_util::sync::CancellationToken;

use super::{fault::ConversionFault, target::Target};
use crate::error::{Error, Fault};

/// A conversion that runs or has ended.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) model: ModelId,
    pub(super) target: Target,
    /// Cancelled when nobody wants it any more.
    pub(super) cancel: CancellationToken,
    lines_max: usize,
    state: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    lines: VecDeque<String>,
    /// The number of the first line that is kept.
    first: u64,
    made: u32,
    kept: u32,
    /// None while it runs.
    ended: Option<Result<(), (bool, String)>>,
}

impl Job {
    pub(super) fn new(number: u64, model: ModelId, target: Target, cancel: CancellationToken, lines_max: usize) -> Self {
        Self { number, model, target, cancel, lines_max, state: Mutex::default() }
    }

    pub(super) fn say(&self, line: String) {
        tracing::debug!(conversion = self.number, line, "a conversion said");
        let mut state = self.lock();
        if state.lines.len() == self.lines_max {
            state.lines.pop_front();
            state.first += 1;
        }
        state.lines.push_back(line);
    }

    pub(super) fn count_made(&self) {
        self.lock().made += 1;
    }

    pub(super) fn count_kept(&self) {
        self.lock().kept += 1;
    }

    /// How many it made, and how many it found.
    pub(super) fn counts(&self) -> (u32, u32) {
        let state = self.lock();
        (state.made, state.kept)
    }

    pub(super) fn end(&self, outcome: Result<(), Error>) {
        let cancelled = |error: &Error| matches!(error.fault(), Fault::Conversion(ConversionFault::Cancelled));
        self.lock().ended = Some(outcome.map_err(|error| (cancelled(&error), error.to_string())));
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// As people are told of it, with the lines from this number on.
    pub(super) fn shown(&self, from: u64) -> admin::Conversion {
        let state = self.lock();
        let (word, reason) = match &state.ended {
            None => ("running", String::new()),
            Some(Ok(())) => ("done", String::new()),
            Some(Err((true, reason))) => ("cancelled", reason.clone()),
            Some(Err((false, reason))) => ("failed", reason.clone()),
        };
        let skip = usize::try_from(from.saturating_sub(state.first)).unwrap_or(usize::MAX);
        admin::Conversion {
            number: self.number,
            model: self.model.to_string(),
            target: self.target.to_string(),
            state: word.to_owned(),
            reason,
            made: state.made,
            kept: state.kept,
            lines: state.lines.iter().skip(skip).cloned().collect(),
            next: state.first + state.lines.len() as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use host_core::ids::ModelName;

    use super::*;

    #[test]
    fn lines_are_told_once_and_the_oldest_go_first() {
        let model = ModelId { name: ModelName::parse("m").expect("a name"), version: 1 };
        let job = Job::new(1, model, Target::TensorRt, CancellationToken::new(), 3);
        for line in ["a", "b"] {
            job.say(line.to_owned());
        }
        let shown = job.shown(0);
        assert_eq!((shown.lines, shown.next, shown.state.as_str()), (vec!["a".to_owned(), "b".to_owned()], 2, "running"));
        for line in ["c", "d", "e"] {
            job.say(line.to_owned());
        }
        assert_eq!(job.shown(2).lines, ["c", "d", "e"]);
        assert_eq!((job.shown(4).lines, job.shown(9).lines.len(), job.shown(0).next), (vec!["e".to_owned()], 0, 5));
        job.end(Err(ConversionFault::Cancelled.into()));
        assert_eq!((job.shown(5).state.as_str(), job.has_ended()), ("cancelled", true));
    }
}
