//! Who has its turn, and who waits for one: a bounded number of requests runs, a bounded number waits in a `Line`. It keeps
//! what queueing policies are told of both. Policies rank and turn away, the daemon wakes those whose turn it is; the time is
//! handed in, so that the daemon and a simulator use the same.

mod pace;

use crate::{
    error::Error,
    line::{Line, Place},
    policy::{Arrival, ClassState, LineState},
    units::Millis,
};

use pace::Pace;

/// Ordinals of arrivals wrap here.
const ORDINAL_MASK: u32 = 0x7fff_ffff;

/// How many may run and wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TurnLimits {
    /// Requests that run at once.
    pub running_max: u32,
    /// Requests that wait at once.
    pub waiting_max: u32,
    /// Classes of priority, at least one.
    pub classes: u32,
}

/// Turns, and the line of those who wait for one. `T` stands for a request.
#[derive(Debug)]
pub struct Turns<T> {
    limits: TurnLimits,
    running: u32,
    arrivals: u32,
    classes: Vec<ClassState>,
    served_rank: f64,
    pace: Pace,
    line: Line<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    class: usize,
    rank: f64,
    item: T,
}

impl<T> Turns<T> {
    /// Nobody runs and nobody waits.
    pub fn new(limits: TurnLimits) -> Self {
        let classes = vec![ClassState::default(); limits.classes.max(1) as usize];
        Self { limits, running: 0, arrivals: 0, classes, served_rank: 0.0, pace: Pace::default(), line: Line::new(limits.waiting_max) }
    }

    /// What a policy is asked about a request that arrives `now` and is worthless after `deadline`.
    pub fn arrival(&mut self, class: u32, now: Millis, deadline: Millis, expected: Millis) -> Arrival {
        let ordinal = self.arrivals;
        self.arrivals = self.arrivals.wrapping_add(1) & ORDINAL_MASK;
        Arrival {
            ordinal,
            class,
            now,
            deadline: Some(Millis((deadline - now).0.max(0.0))),
            expected,
            classes: self.classes.clone(),
            depth_max: self.limits.waiting_max,
            line: LineState { served_rank: self.served_rank, turn: self.pace.turn() },
        }
    }

    /// Gives a turn to a request that was admitted with this rank, if one is free. Otherwise it has to wait.
    pub fn begin(&mut self, class: u32, rank: f64) -> bool {
        if self.running >= self.limits.running_max {
            return false;
        }
        let class = self.index(class);
        self.running += 1;
        self.classes[class].last_rank = rank;
        self.served_rank = rank;
        true
    }

    /// Lets a request wait that was admitted with this rank, or gives it back with the reason.
    pub fn wait(&mut self, class: u32, rank: f64, deadline: Millis, item: T) -> Result<Place, (Error, T)> {
        let class = self.index(class);
        let place = self.line.push(rank, deadline, Waiting { class, rank, item }).map_err(|(error, waiting)| (error, waiting.item))?;
        self.classes[class].last_rank = rank;
        self.classes[class].depth += 1;
        Ok(place)
    }

    /// Ends a turn and gives it to the next whose deadline has not passed. With nobody to take it, one less runs.
    pub fn pass_on(&mut self, now: Millis) -> Option<T> {
        let Some(next) = self.line.pop(now) else {
            self.running = self.running.saturating_sub(1);
            self.pace.rest();
            return None;
        };
        self.classes[next.class].depth -= 1;
        self.served_rank = next.rank;
        self.pace.give(now, self.line.depth() > 0);
        Some(next.item)
    }

    /// Takes one out of the line before its turn.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        let left = self.line.leave(place)?;
        self.classes[left.class].depth -= 1;
        Some(left.item)
    }

    /// Takes everyone out of the line whose deadline has passed, earliest deadline first.
    pub fn expire(&mut self, now: Millis) -> Vec<T> {
        let late = self.line.expire(now);
        late.iter().for_each(|waiting| self.classes[waiting.class].depth -= 1);
        late.into_iter().map(|waiting| waiting.item).collect()
    }

    /// How long it takes until all who wait now have had their turn, at the pace of before; none if that is not known.
    pub fn drained_in(&self) -> Option<Millis> {
        Some(Millis(self.pace.turn()?.0 * f64::from(self.line.depth())))
    }

    /// Requests that wait.
    pub fn depth(&self) -> u32 {
        self.line.depth()
    }

    /// Requests that run.
    pub fn running(&self) -> u32 {
        self.running
    }

    fn index(&self, class: u32) -> usize {
        (class as usize).min(self.classes.len() - 1)
    }
}

#[cfg(test)]
mod tests;
