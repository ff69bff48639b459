//! When requests arrive. Each stream of requests is a pure function of the seed, so that two policies are put to the same ones.

use std::sync::Arc;

use super::{draws::Draws, scenario::within};
use crate::{
    error::Error,
    units::{Bytes, Millis},
};

/// A stream of requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Traffic {
    /// Index of the model, but for recorded requests, which name their own.
    pub model: usize,
    /// Class of priority, 0 the most urgent; recorded requests have their own.
    pub class: u32,
    /// When they come.
    pub arrivals: Arrivals,
    /// From a request's arrival until its answer is worthless.
    pub deadline: Millis,
    /// Share of requests that want their devices to themselves.
    pub exclusive_ratio: f64,
    /// Requests belong to so many sequences in turn by chance; 0 for none.
    pub sequences: u32,
}

/// When requests come. Rates are requests per second, times count from the opening of the doors.
#[derive(Clone, PartialEq, Debug)]
pub enum Arrivals {
    /// By chance, at this rate.
    Poisson {
        /// On average.
        per_s: f64,
    },
    /// One after another, all as far apart.
    Regular {
        /// Always.
        per_s: f64,
    },
    /// By chance, at a higher rate during bursts; calm and burst take turns and last exponentially long.
    Bursts {
        /// While it is calm.
        per_s: f64,
        /// During a burst.
        burst_per_s: f64,
        /// How long it is calm, on average.
        calm: Millis,
        /// How long a burst lasts, on average.
        burst: Millis,
    },
    /// At these moments, sorted.
    Recorded(Arc<[RecordedRequest]>),
    /// So many clients, each of which asks again once it is answered and has thought.
    Closed {
        /// How many.
        clients: u32,
        /// From an answer to the next request.
        think: Millis,
    },
}

/// One request of a trace.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RecordedRequest {
    /// When it comes.
    pub at: Millis,
    /// Index of the model.
    pub model: usize,
    /// Class of priority.
    pub class: u32,
    /// Bytes of its inputs, if they are not the model's.
    pub input: Option<Bytes>,
}

impl Arrivals {
    pub(super) fn check(&self) -> Result<(), Error> {
        let rate = |what: &str, per_s: f64| within(what, per_s, 1e-9, 1e9);
        match self {
            Self::Poisson { per_s } | Self::Regular { per_s } => rate("per_s", *per_s),
            Self::Bursts { per_s, burst_per_s, calm, burst } => {
                rate("per_s", *per_s)?;
                rate("burst_per_s", *burst_per_s)?;
                within("calm in ms", calm.0, 1.0, 1e12)?;
                within("burst in ms", burst.0, 1.0, 1e12)
            }
            Self::Recorded(requests) => {
                let mut before = 0.0;
                for request in requests.iter() {
                    within("the moment of a recorded request in ms", request.at.0, before, 1e12)?;
                    before = request.at.0;
                }
                Ok(())
            }
            Self::Closed { clients, think } => {
                within("clients", f64::from(*clients), 1.0, 1e6)?;
                within("think in ms", think.0, 0.0, 1e12)
            }
        }
    }

    /// How many requests come within this time, on average; 0 where answers decide.
    pub(super) fn expected(&self, time: Millis) -> f64 {
        let seconds = time.0 / 1e3;
        match self {
            Self::Poisson { per_s } | Self::Regular { per_s } => per_s * seconds,
            Self::Bursts { per_s, burst_per_s, calm, burst } => (per_s * calm.0 + burst_per_s * burst.0) / (calm.0 + burst.0) * seconds,
            Self::Recorded(requests) => requests.len() as f64,
            Self::Closed { .. } => 0.0,
        }
    }
}

/// Goes through the moments of one stream.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    arrivals: Arrivals,
    draws: Draws,
    /// Of recorded ones.
    next: usize,
    /// Whether a burst is on, and until when that stays so.
    burst: bool,
    until: f64,
}

impl Stream {
    pub(super) fn new(arrivals: Arrivals, draws: Draws) -> Self {
        // The first calm is drawn when the first request is asked for.
        Self { arrivals, draws, next: 0, burst: true, until: 0.0 }
    }

    /// The moment of the next request after `at` on the stream's own time; none where there is none, or answers decide.
    pub(super) fn next(&mut self, at: Millis) -> Option<Millis> {
        match &self.arrivals {
            Arrivals::Poisson { per_s } => Some(at + Millis(self.draws.exponential(1e3 / per_s))),
            Arrivals::Regular { per_s } => Some(at + Millis(1e3 / per_s)),
            Arrivals::Bursts { per_s, burst_per_s, calm, burst } => {
                let (rates, means) = ([*per_s, *burst_per_s], [calm.0, burst.0]);
                Some(self.in_bursts(at, rates, means))
            }
            Arrivals::Recorded(requests) => {
                let request = requests.get(self.next)?;
                self.next += 1;
                Some(request.at)
            }
            Arrivals::Closed { .. } => None,
        }
    }

    /// The request that `next` named last, of recorded ones.
    pub(super) fn recorded(&self) -> Option<RecordedRequest> {
        match &self.arrivals {
            Arrivals::Recorded(requests) => requests.get(self.next.checked_sub(1)?).copied(),
            _ => None,
        }
    }

    /// Exponential times have no memory, so what is left of a wait when the rate changes is drawn anew.
    fn in_bursts(&mut self, at: Millis, rates: [f64; 2], means: [f64; 2]) -> Millis {
        let mut now = at.0;
        loop {
            if now >= self.until {
                self.burst = !self.burst;
                self.until = now + self.draws.exponential(means[usize::from(self.burst)]);
            }
            let next = now + self.draws.exponential(1e3 / rates[usize::from(self.burst)]);
            if next <= self.until {
                return Millis(next);
            }
            now = self.until;
        }
    }
}
