//! Performs what the cluster decides, as the host's control loop does, on the virtual clock.

use std::sync::Arc;

use super::{
    agenda::Happening,
    network::{End, Lane},
    world::World,
};
use crate::{
    cluster::{Effect, Event},
    ids::{OfferId, Ticket},
    policy::{Observation, Refusal, Verdict},
    problem::{Problem, Proposal},
    shard::ShardId,
    units::{Bytes, Millis},
};

/// How often a device looks whether requests still need a shard that it is to drop.
const UNLOAD_EVERY: Millis = Millis(10.0);
/// Most texts of events that were not accepted.
const REJECTED_MAX: usize = 100;

impl World<'_, '_> {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Solve { ticket, problem } => self.solve(ticket, &problem),
            Effect::Review { ticket, observation, .. } => self.review(ticket, &observation),
            Effect::Load { offer, shard } => self.load(&offer, shard),
            Effect::Unload { offer, shard } => {
                if let Some(device) = self.hearing(&offer) {
                    let session = self.pool.devices[device].session;
                    self.agenda.push(self.now, Happening::Unloading { device, session, shard: Box::new(shard) });
                }
            }
            Effect::Serve { topology } => {
                self.serving.store(topology, &self.pool);
                self.look_again();
            }
            Effect::Record { plan, reason } => {
                let since = self.now - self.opened.unwrap_or(self.now);
                self.changes.note(since, &plan, &reason, &self.cluster);
                if let Some(stretch) = self.tally.stretch(self.now) {
                    stretch.plans += 1;
                }
            }
            Effect::Refused { .. } => self.tally.calls.refusals += 1,
            Effect::Rejected { error } => {
                if self.tally.rejected.len() < REJECTED_MAX {
                    self.tally.rejected.push(format!("{} at {}", error, self.now));
                }
            }
            // Nobody watches.
            Effect::Drained { .. } | Effect::Removed { .. } => {}
        }
    }

    /// A policy that fails, or answers what does not fit, is a refusal here: what the host's built-in policy would say is another
    /// simulation.
    fn solve(&mut self, ticket: Ticket, problem: &Arc<Problem>) {
        self.tally.calls.solves += 1;
        let answer = self.policies.allocation.allocate(problem);
        let refused = |reason: String| Err(Refusal { reason, nearest: None, short: Bytes::ZERO });
        let outcome: Result<Proposal, Refusal> = match answer {
            Ok(Ok(proposal)) => match problem.check(&proposal) {
                Ok(_) => Ok(proposal),
                Err(broken) => {
                    self.tally.calls.strikes += 1;
                    refused(broken.to_string())
                }
            },
            Ok(Err(refusal)) => Err(refusal),
            Err(fault) => {
                self.tally.calls.strikes += 1;
                refused(fault.to_string())
            }
        };
        self.agenda.push(self.now + self.scenario.settings.solve, Happening::Solved { ticket, outcome: Box::new(outcome) });
    }

    /// A policy that fails to review has nothing against the plan, as in the host.
    fn review(&mut self, ticket: Ticket, observation: &Observation) {
        self.tally.calls.reviews += 1;
        let verdict = self.policies.allocation.review(observation).unwrap_or_else(|_| {
            self.tally.calls.strikes += 1;
            Verdict::Keep
        });
        self.agenda.push(self.now + self.scenario.settings.solve, Happening::Reviewed { ticket, verdict });
    }

    /// The file comes from the device's cache, from a device that holds the shard, of its own site if there is one, or from the
    /// central. Then the device's loader opens one shard after another.
    fn load(&mut self, offer: &OfferId, shard: ShardId) {
        let Some(device) = self.hearing(offer) else { return };
        let size = self.weights(&shard);
        let mut there = self.now;
        let is_there = self.opened.is_none() && self.scenario.settings.is_settled;
        if !is_there && !self.pool.devices[device].cache.touch(&shard) {
            let site = self.network.site(device);
            let holder = self.pool.holder(&shard, |other| self.network.site(other) == site, device);
            there = self.network.send(Lane::Files, holder.map_or(End::Central, End::Device), End::Device(device), size, self.now);
            self.tally.fetched += size;
            self.tally.fetched_from_peers += if holder.is_some() { size } else { Bytes::ZERO };
            self.pool.devices[device].deeds.fetched += size;
            self.changes.fetched(&shard.model, size);
        }
        let target = &mut self.pool.devices[device];
        let begins = if target.loader_free > there { target.loader_free } else { there };
        target.loader_free = begins + Millis(self.scenario.settings.open_mb_ms * size.megabytes());
        self.agenda.push(target.loader_free, Happening::Loaded { device, session: target.session, shard: Box::new(shard) });
    }

    pub(super) fn loaded(&mut self, device: usize, session: u32, shard: ShardId) {
        let size = self.weights(&shard);
        let target = &mut self.pool.devices[device];
        if target.session != session {
            return;
        }
        if !target.cache.touch(&shard) {
            target.cache.keep(shard.clone(), size, self.scenario.settings.cache);
        }
        let offer = target.offer.clone();
        self.pool.hold(device, shard.clone());
        self.inbox.push(Event::Loaded { offer, shard });
    }

    /// What is under way on a shard is finished first.
    pub(super) fn unload(&mut self, device: usize, session: u32, shard: ShardId) {
        let target = &self.pool.devices[device];
        if target.session != session {
            return;
        }
        let offer = target.offer.clone();
        if self.serving.is_used(&offer, &shard) {
            self.agenda.push(self.now + UNLOAD_EVERY, Happening::Unloading { device, session, shard: Box::new(shard) });
            return;
        }
        self.pool.drop_shard(device, &shard);
        self.inbox.push(Event::Unloaded { offer, shard });
    }

    /// The device of an offer, if what is said to it arrives. One that has fallen silent hears nothing, whatever the cluster thinks.
    fn hearing(&self, offer: &OfferId) -> Option<usize> {
        self.pool.index(&offer.device).filter(|&device| self.pool.devices[device].is_connected())
    }

    /// Bytes of a shard's file.
    fn weights(&self, shard: &ShardId) -> Bytes {
        self.cluster.models().get(&shard.model).map_or(Bytes::ZERO, |record| record.profile.weights(shard.range))
    }
}
