//! What is still to happen, earliest first; what happens at one moment, in the order in which it was put down.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::{
    ids::Ticket,
    policy::{Refusal, Verdict},
    problem::Proposal,
    shard::ShardId,
    units::Millis,
};

/// Something that will happen. Numbers of sessions, processes and runs tell what has been overtaken by events.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// Heartbeats, and the control plane's clock.
    Tick,
    /// The time that counts begins.
    Counting,
    /// No more requests come.
    Closing,
    /// The next request of a traffic.
    Arrival { traffic: usize },
    /// A client of a traffic asks again.
    Return { traffic: usize },
    /// An entry of the fleet's trace.
    Event { index: usize },
    /// A device fails by itself, or is repaired.
    Failure { device: usize },
    /// A device's outage begins or ends.
    Outage { device: usize },
    /// The allocation policy has answered.
    Solved { ticket: Ticket, outcome: Box<Result<Proposal, Refusal>> },
    /// The allocation policy has reviewed a plan.
    Reviewed { ticket: Ticket, verdict: Verdict },
    /// A shard is open on a device.
    Loaded { device: usize, session: u32, shard: Box<ShardId> },
    /// A device may drop a shard, if nothing needs it.
    Unloading { device: usize, session: u32, shard: Box<ShardId> },
    /// A row has come to the stage of its run.
    Reached { request: u64, run: u32, position: usize },
    /// A device has computed what it was at.
    Computed { device: usize, process: u32 },
    /// The outputs have come back.
    Answered { request: u64, run: u32 },
    /// A request is out of time.
    Deadline { request: u64 },
    /// A run takes far longer than was expected.
    Overdue { request: u64, run: u32 },
    /// The pause before a replay is over.
    Replay { request: u64, run: u32 },
    /// A request has waited for a replica for as long as it may.
    NoReplica { request: u64, run: u32 },
}

#[derive(Debug)]
struct Entry {
    at: Millis,
    ordinal: u64,
    what: Happening,
}

/// The agenda.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Reverse<Entry>>,
    ordinal: u64,
}

impl Agenda {
    pub(super) fn push(&mut self, at: Millis, what: Happening) {
        self.entries.push(Reverse(Entry { at, ordinal: self.ordinal, what }));
        self.ordinal += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(Millis, Happening)> {
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }

    /// The moment of the next entry.
    pub(super) fn next_at(&self) -> Option<Millis> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    /// How many things have happened or will.
    pub(super) fn count(&self) -> u64 {
        self.ordinal
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.0.total_cmp(&other.at.0).then(self.ordinal.cmp(&other.ordinal))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_happens_first_and_equal_moments_keep_their_order() {
        let mut agenda = Agenda::default();
        for (at, device) in [(2.0, 0), (1.0, 1), (2.0, 2), (1.0, 3), (0.5, 4)] {
            agenda.push(Millis(at), Happening::Failure { device });
        }
        assert_eq!((agenda.next_at(), agenda.count()), (Some(Millis(0.5)), 5));
        let order: Vec<_> = std::iter::from_fn(|| agenda.pop()).map(|(_, what)| if let Happening::Failure { device } = what { device } else { 9 }).collect();
        assert_eq!(order, [4, 1, 3, 0, 2]);
    }
}
