//! Plugins that served in a slot until a short while ago, with their code and their warm instances: whoever swaps to and fro between
//! two plugins pays for a pointer. Bounded in number, memory and time. What failed its way out of the slot is not among them.

use std::{collections::VecDeque, sync::Arc};

use host_core::units::Millis;
use host_engine::Digest;

use crate::{
    passes::Pass,
    program::{Caged, Program},
    world::{Warm, World},
};

/// How much each slot keeps of plugins that served.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SparePolicy {
    /// So many plugins; 0 for none.
    pub plugins_max: usize,
    /// Linear memory of their instances, all together. Their code does not count: the slot's history keeps that anyway.
    pub memory_bytes_max: usize,
    /// So long after they served.
    pub time_max: Millis,
}

impl Default for SparePolicy {
    fn default() -> Self {
        Self { plugins_max: 4, memory_bytes_max: 128 << 20, time_max: Millis(600_000.0) }
    }
}

/// A plugin that is ready to serve again.
pub(crate) struct Spare<W: World> {
    pub program: Arc<Program<W>>,
    pub pass: Pass,
    /// None of them failed. They may have been told things, which each knows by their numbers.
    pub idle: Vec<Warm<W>>,
    /// When it stopped serving.
    pub since: Millis,
}

impl<W: World> Spare<W> {
    fn memory_bytes(&self) -> usize {
        self.idle.iter().map(|warm| warm.guest().memory.bytes).sum()
    }
}

/// Those of one slot, the newest last.
pub(super) struct Spares<W: World>(VecDeque<Spare<W>>);

impl<W: World> Default for Spares<W> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<W: World> Spares<W> {
    /// Keeps one more, and hands out what is too much then: the oldest ones.
    pub(super) fn add(&mut self, spare: Spare<W>, policy: &SparePolicy) -> Vec<Spare<W>> {
        self.0.push_back(spare);
        let mut gone = Vec::new();
        while self.0.len() > policy.plugins_max || self.0.iter().map(Spare::memory_bytes).sum::<usize>() > policy.memory_bytes_max {
            gone.extend(self.0.pop_front());
        }
        gone
    }

    /// Hands out the newest one that is wanted.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&Program<W>) -> bool) -> Option<Spare<W>> {
        let index = self.0.iter().rposition(|spare| is_wanted(&spare.program))?;
        self.0.remove(index)
    }

    /// Whether instances of this program are kept.
    pub(super) fn has(&self, program: &Arc<Program<W>>) -> bool {
        self.0.iter().any(|spare| Arc::ptr_eq(&spare.program, program) && !spare.idle.is_empty())
    }

    /// Hands out what was kept for long enough.
    pub(super) fn expire(&mut self, now: Millis, policy: &SparePolicy) -> Vec<Spare<W>> {
        self.part(|spare| now - spare.since > policy.time_max)
    }

    /// Hands out all that is of a component.
    pub(super) fn forget(&mut self, digest: Digest) -> Vec<Spare<W>> {
        self.part(|spare| spare.program.package.digest == digest)
    }

    fn part(&mut self, is_over: impl Fn(&Spare<W>) -> bool) -> Vec<Spare<W>> {
        let (over, kept) = std::mem::take(&mut self.0).into_iter().partition(is_over);
        self.0 = kept;
        Vec::from(over)
    }
}
