//! The gate before the pipeline, as the host has it: a bounded number of requests run, a bounded number wait in
//! `crate::line`, and the queueing policy says about each arrival in which place, or turns it away.

use super::scenario::SimulationSettings;
use crate::{
    line::{Line, Place},
    policy::{Arrival, ClassState},
    units::Millis,
};

/// Ordinals of arrivals wrap here.
const ORDINAL_MASK: u32 = 0x7fff_ffff;

/// Who wants to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub request: u64,
    pub class: u32,
    pub deadline: Millis,
    pub expected: Millis,
}

/// What becomes of an arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    Runs,
    Waits(Place),
    /// There is no room.
    Full,
}

/// Who runs and who waits.
#[derive(Debug)]
pub(super) struct Admission {
    running_max: u32,
    waiting_max: u32,
    running: u32,
    arrivals: u32,
    classes: Vec<ClassState>,
    line: Line<(u64, u32)>,
}

impl Admission {
    pub(super) fn new(settings: &SimulationSettings) -> Self {
        Self {
            running_max: settings.running_max,
            waiting_max: settings.waiting_max,
            running: 0,
            arrivals: 0,
            classes: vec![ClassState::default(); settings.classes.max(1) as usize],
            line: Line::new(settings.waiting_max),
        }
    }

    /// What the queueing policy is asked about an arrival.
    pub(super) fn arrival(&mut self, caller: &Caller, now: Millis) -> Arrival {
        let ordinal = self.arrivals;
        self.arrivals = self.arrivals.wrapping_add(1) & ORDINAL_MASK;
        Arrival {
            ordinal,
            class: caller.class,
            now,
            deadline: Some(Millis((caller.deadline - now).0.max(0.0))),
            expected: caller.expected,
            classes: self.classes.clone(),
            depth_max: self.waiting_max,
        }
    }

    /// The rank that the host gives where no policy is in the slot: the order of arrival. None where the line is full.
    pub(super) fn in_order(&self, now: Millis) -> Option<f64> {
        (self.line.depth() < self.waiting_max).then_some(now.0)
    }

    /// Takes a request in behind those of smaller rank.
    pub(super) fn enter(&mut self, caller: &Caller, rank: f64) -> Entry {
        let class = self.class(caller.class);
        self.classes[class].last_rank = rank;
        if self.running < self.running_max {
            self.running += 1;
            return Entry::Runs;
        }
        match self.line.push(rank, caller.deadline, (caller.request, caller.class)) {
            Ok(place) => {
                self.classes[class].depth += 1;
                Entry::Waits(place)
            }
            Err(_) => Entry::Full,
        }
    }

    /// Takes one out of the line that waits no more.
    pub(super) fn leave(&mut self, place: Place) {
        if let Some((_, class)) = self.line.leave(place) {
            self.left(class);
        }
    }

    /// A request that ran has ended. Gives the one whose turn it is now.
    pub(super) fn pass_on(&mut self, now: Millis) -> Option<u64> {
        match self.line.pop(now) {
            Some((request, class)) => {
                self.left(class);
                Some(request)
            }
            None => {
                self.running = self.running.saturating_sub(1);
                None
            }
        }
    }

    /// Requests that wait.
    pub(super) fn depth(&self) -> u32 {
        self.line.depth()
    }

    fn class(&self, class: u32) -> usize {
        (class as usize).min(self.classes.len() - 1)
    }

    fn left(&mut self, class: u32) {
        let class = self.class(class);
        self.classes[class].depth = self.classes[class].depth.saturating_sub(1);
    }
}
