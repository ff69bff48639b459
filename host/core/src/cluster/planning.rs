//! Poses problems and takes proposals: one model at a time, so that no two proposals count on the same memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Cluster, DeviceRecord, Effect, Question, Reason, Refined, ShardState, converting::Conversions, record::is_loaded};
use crate::{
    device::DeviceState,
    error::Error,
    ids::{DeviceId, ModelId, OfferId, SiteName, Ticket},
    plan::{Capacity, CheckedPlan, OfferCapacity, Plan, Replica, Stage},
    policy::Refusal,
    problem::{Placement, Problem, ProblemDevice, ProblemLink, ProblemOffer, Proposal, ProposedReplica, ProposedStage},
    shard::ShardId,
    units::Bytes,
};

impl Cluster {
    /// The problem that the allocation policy would be given for a model now: every device that takes work, less what other
    /// models and the replicas that stay anyway take of it.
    pub fn problem(&self, model: &ModelId) -> Option<Problem> {
        self.pose(model, DeviceRecord::takes_work, &self.kept(model), Conversions::AsTheyAre)
    }

    /// The same, as if all of the model had been converted for this target: what a policy gives to such offers then is worth
    /// converting.
    pub fn problem_as_if_converted(&self, model: &ModelId, target: &str) -> Option<Problem> {
        self.pose(model, DeviceRecord::takes_work, &self.kept(model), Conversions::AllFor(target))
    }

    /// The problem over every device whose lease runs, with the whole plan in force: for explaining the plan. Its offers
    /// differ from those of `problem` where a device gets nothing new.
    pub fn problem_in_force(&self, model: &ModelId) -> Option<Problem> {
        self.pose(model, DeviceRecord::is_alive, &[], Conversions::All)
    }

    fn pose(&self, model: &ModelId, usable: impl Fn(&DeviceRecord) -> bool, kept: &[Replica], conversions: Conversions<'_>) -> Option<Problem> {
        let record = self.models.get(model)?;
        let usable: Vec<&DeviceRecord> = self.devices.values().filter(|record| usable(record)).collect();
        let sites: BTreeSet<&SiteName> = usable.iter().map(|record| &record.device.site).collect();
        let index_of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let site_index = |site: &SiteName| index_of(sites.iter().position(|known| *known == site).unwrap_or(0));
        let devices: Vec<ProblemDevice> =
            usable.iter().map(|record| ProblemDevice { id: record.device.id.clone(), site: site_index(&record.device.site) }).collect();
        let taken = self.taken(model, kept);
        let refined = self.refined(model);
        let mut offers: Vec<ProblemOffer> =
            usable.iter().enumerate().flat_map(|(index, record)| offers_of(record, index_of(index), &taken, &refined)).collect();
        let able = self.able(model, record.profile.whole().end(), &offers.iter().map(|offer| offer.id.clone()).collect::<Vec<_>>(), conversions);
        offers.retain(|offer| !able.left_out.iter().any(|left_out| left_out.offer == offer.id));
        let stays = |offer: &OfferId, range| kept.iter().flat_map(|replica| &replica.stages).any(|stage| stage.offer == *offer && stage.range == range);
        for offer in &mut offers {
            let loaded = self.devices.get(&offer.id.device).into_iter().flat_map(|record| record.loaded(&offer.id.accelerator, model));
            offer.held = loaded.filter(|&range| !stays(&offer.id, range)).collect();
        }
        let device_index = |id: &DeviceId| devices.binary_search_by(|device| device.id.cmp(id)).ok().map(index_of);
        let links = self.links.between(&devices.iter().map(|device| &device.id).collect());
        let measured = links.measured.iter();
        let measured =
            measured.filter_map(|((source, target), &speed)| Some(ProblemLink { source: device_index(source)?, target: device_index(target)?, speed }));
        let replicas_max = record.placement.replicas_max.saturating_sub(index_of(kept.len()));
        Some(Problem {
            model: record.profile.clone(),
            links: measured.collect(),
            within_site: links.within_site,
            between_sites: links.between_sites,
            placement: Placement { replicas_max, ..record.placement }.clamped(record.profile.whole().end(), index_of(offers.len())),
            current: self.planned(model).iter().filter_map(|replica| indexed(replica, &offers)).collect(),
            horizon: self.settings.horizon,
            exclusions: record.exclusions.iter().cloned().chain(able.unconverted).collect(),
            devices,
            offers,
        })
    }

    /// Asks the policy about the next model in line, unless a question is open or a restarted central still waits.
    pub(super) fn ask(&mut self, effects: &mut Vec<Effect>) {
        while self.asked.is_none() && self.rejoin.is_none() {
            let Some(model) = self.to_place.keys().find(|model| !self.stands_still(model)).cloned() else { return };
            let Some((model, reason)) = self.to_place.remove_entry(&model) else { return };
            if self.is_full(&model) {
                continue;
            }
            let Some(problem) = self.problem(&model) else { continue };
            if problem.offers.is_empty() {
                let unable: Vec<String> = self.left_out(&model).iter().map(ToString::to_string).collect();
                let waits = if unable.is_empty() { "none is ready".to_owned() } else { unable.join("; ") };
                let refusal = Refusal { reason: format!("{model} waits for a device: {waits}"), nearest: None, short: Bytes::ZERO };
                self.refuse(&model, refusal, effects);
                continue;
            }
            self.ticket = self.ticket.next();
            let problem = Arc::new(problem);
            self.asked = Some(Question { ticket: self.ticket, problem: problem.clone(), reason, outdated: false });
            effects.push(Effect::Solve { ticket: self.ticket, problem });
        }
    }

    /// Takes an answer. One to a question that is no longer open says nothing; one that no longer fits is asked again.
    pub(super) fn solved(&mut self, ticket: Ticket, outcome: Result<Proposal, Refusal>, effects: &mut Vec<Effect>) {
        let Some(Question { problem, reason, outdated, .. }) = self.asked.take_if(|open| open.ticket == ticket) else { return };
        let model = problem.model.id().clone();
        if !self.models.contains_key(&model) {
            return;
        }
        let wrong = |error: Error| Refusal { reason: error.to_string(), nearest: None, short: Bytes::ZERO };
        let proved = outcome.and_then(|proposal| Ok((problem.check(&proposal).map_err(wrong)?, proposal)));
        let (proposed, proposal) = match proved {
            Ok(proved) => proved,
            Err(_) if outdated => {
                self.to_place.insert(model, reason);
                return;
            }
            Err(refusal) => return self.refuse(&model, refusal, effects),
        };
        if self.stands_still(&model) || !proposed.iter().all(|replica| self.is_usable(&model, replica)) {
            self.to_place.insert(model, reason);
            return;
        }
        let mut replicas = self.kept(&model);
        if let Some(record) = self.models.get_mut(&model) {
            record.refusal = None;
            record.bound = proposal.bound;
            record.foresee(&problem, &proposal.replicas, &proposed, &replicas);
        }
        replicas.extend(proposed);
        let mut models = self.plan.plan().models.clone();
        models.insert(model.clone(), replicas);
        if !self.put_in_force(models, reason.clone(), effects) {
            self.to_place.insert(model, reason);
        }
    }

    /// Makes these replicas the plan, if they differ from it. Replicas that fall out go on serving until their
    /// successors are ready, and what did not fit before is tried again. False if they do not fit the pool as it is by now;
    /// then the plan stays. While a restarted central waits, the plan is a part of the one before and not worth a number.
    pub(super) fn put_in_force(&mut self, models: BTreeMap<ModelId, Vec<Replica>>, reason: Reason, effects: &mut Vec<Effect>) -> bool {
        if models == self.plan.plan().models {
            return true;
        }
        let waiting = self.rejoin.is_some();
        let number = self.plan.plan().number;
        let plan = Plan { number: if waiting { number } else { number.next() }, models };
        let Ok(checked) = plan.check(&self.capacity()) else { return false };
        self.retire(&checked);
        self.plan = checked.clone();
        self.place_refused(&reason);
        if !waiting {
            effects.push(Effect::Record { plan: checked, reason });
        }
        true
    }

    /// Takes replicas out of the plan that will never be ready, and has their models placed again. A model that is left
    /// with none goes back to those of earlier plans that still serve it, if there is room for them in the plan.
    pub(super) fn give_up(&mut self, hopeless: impl Fn(&ModelId, &Replica) -> bool, reason: &Reason, effects: &mut Vec<Effect>) {
        let mut models = self.plan.plan().models.clone();
        let mut restored = models.clone();
        for (model, replicas) in &mut models {
            let before = replicas.len();
            replicas.retain(|replica| !hopeless(model, replica));
            if replicas.len() == before {
                continue;
            }
            self.to_place.insert(model.clone(), reason.clone());
            let outgoing = self.models.get(model).map_or(&[][..], |record| record.outgoing.as_slice()).iter();
            let serving = outgoing.filter(|replica| !hopeless(model, replica) && is_loaded(&self.devices, model, replica)).cloned();
            let kept = if replicas.is_empty() { serving.collect() } else { replicas.clone() };
            restored.insert(model.clone(), kept);
        }
        if !self.put_in_force(restored, reason.clone(), effects) {
            // Fewer replicas always fit where more did.
            self.put_in_force(models, reason.clone(), effects);
        }
    }

    /// Gives up replicas that would need something new of a device that gets nothing new: a shard that it lost, or that
    /// waited for memory when the device was cordoned, drained or damped.
    pub(super) fn give_up_unheld(&mut self, effects: &mut Vec<Effect>) {
        let unheld = |(offer, shard): &(OfferId, ShardId)| {
            let idle = self.devices.get(&offer.device).filter(|record| record.is_here() && !record.takes_work());
            idle.is_some_and(|record| !matches!(record.shard(offer, shard), Some(ShardState::Loading | ShardState::Ready)))
        };
        let unheld: BTreeSet<(OfferId, ShardId)> = self.plan.plan().shards().into_iter().filter(unheld).collect();
        let Some((offer, shard)) = unheld.first().cloned() else { return };
        let hopeless = |model: &ModelId, replica: &Replica| {
            let stage = |offer: &OfferId, range| unheld.contains(&(offer.clone(), ShardId { model: model.clone(), range }));
            replica.stages.iter().any(|of| stage(&of.offer, of.range))
        };
        self.give_up(hopeless, &Reason::Unheld(offer, shard), effects);
    }

    /// What plans are proved against: the offers of every device that is not lost.
    pub(super) fn capacity(&self) -> Capacity {
        let mut capacity = Capacity::default();
        for record in self.devices.values().filter(|record| record.is_alive()) {
            capacity.add_device(&record.device);
        }
        capacity.models = self.models.iter().map(|(id, record)| (id.clone(), record.profile.clone())).collect();
        capacity
    }

    fn refuse(&mut self, model: &ModelId, refusal: Refusal, effects: &mut Vec<Effect>) {
        if let Some(record) = self.models.get_mut(model) {
            record.refusal = Some(refusal.clone());
        }
        effects.push(Effect::Refused { model: model.clone(), refusal });
    }

    fn retire(&mut self, next: &CheckedPlan) {
        for (model, replicas) in &self.plan.plan().models {
            let kept = next.plan().models.get(model).map_or(&[][..], Vec::as_slice);
            if let Some(record) = self.models.get_mut(model) {
                record.outgoing.extend(replicas.iter().filter(|replica| !kept.contains(replica)).cloned());
                record.outgoing.retain(|replica| !kept.contains(replica));
            }
        }
    }

    /// Whether the plan of a model waits for a device that may come back any moment: at most a lease long, and not for one
    /// that comes and goes all the time.
    fn stands_still(&self, model: &ModelId) -> bool {
        let waits = |record: &DeviceRecord| record.state() == DeviceState::Away && !record.flaps.is_flapping(self.time.now(), &self.settings.flaps);
        let away = |device: &DeviceId| self.devices.get(device).is_some_and(waits);
        self.planned(model).iter().any(|replica| replica.stages.iter().any(|stage| away(&stage.offer.device)))
    }

    /// Replicas that another plan does not touch: those that use a cordoned device, which keeps what it serves, and beside
    /// cordoned devices only such as take work.
    fn kept(&self, model: &ModelId) -> Vec<Replica> {
        let states = |replica: &Replica| -> Vec<Option<DeviceState>> {
            replica.stages.iter().map(|stage| self.devices.get(&stage.offer.device).map(DeviceRecord::state)).collect()
        };
        let stays = |replica: &&Replica| {
            let states = states(replica);
            states.contains(&Some(DeviceState::Cordoned)) && states.iter().all(|state| matches!(state, Some(DeviceState::Cordoned | DeviceState::Ready)))
        };
        self.planned(model).iter().filter(stays).cloned().collect()
    }

    /// Whether the replicas that stay anyway are as many as the model may have.
    fn is_full(&self, model: &ModelId) -> bool {
        let most = self.models.get(model).map_or(1, |record| record.placement.replicas_max.max(1));
        self.kept(model).len() >= most as usize
    }

    /// Whether the policy is about to be asked about a model, or has not answered yet.
    pub(super) fn is_being_placed(&self, model: &ModelId) -> bool {
        self.to_place.contains_key(model) || self.asked.as_ref().is_some_and(|open| open.problem.model.id() == model)
    }

    pub(super) fn planned(&self, model: &ModelId) -> &[Replica] {
        self.plan.plan().models.get(model).map_or(&[], Vec::as_slice)
    }

    fn is_usable(&self, model: &ModelId, replica: &Replica) -> bool {
        let ready = |device: &DeviceId| self.devices.get(device).is_some_and(DeviceRecord::takes_work);
        let excluded = |offer: &OfferId, range| {
            let shard = ShardId { model: model.clone(), range };
            self.models.get(model).is_some_and(|record| record.excludes(offer, &shard))
        };
        let runs = |stage: &Stage| !excluded(&stage.offer, stage.range) && self.is_converted(model, &stage.offer, stage.range);
        replica.stages.iter().all(|stage| ready(&stage.offer.device) && runs(stage))
    }

    /// What is taken of each memory pool by other models and by these replicas of the model itself.
    fn taken(&self, model: &ModelId, kept: &[Replica]) -> BTreeMap<(DeviceId, u32), Bytes> {
        let capacity = self.capacity();
        let own = Plan { models: BTreeMap::from([(model.clone(), kept.to_vec())]), ..Plan::default() };
        let others = self.plan.plan().shards().into_iter().filter(|(_, shard)| shard.model != *model);
        let mut taken: BTreeMap<(DeviceId, u32), Bytes> = BTreeMap::new();
        for (offer, shard) in others.chain(own.shards()) {
            if let (Some(has), Some(profile)) = (capacity.offers.get(&offer), capacity.models.get(&shard.model)) {
                *taken.entry((offer.device, has.pool)).or_default() += has.need(profile, shard.range);
            }
        }
        taken
    }
}

fn offers_of(record: &DeviceRecord, device: u32, taken: &BTreeMap<(DeviceId, u32), Bytes>, refined: &Refined) -> Vec<ProblemOffer> {
    let mut offers: Vec<ProblemOffer> = record
        .device
        .offers
        .iter()
        .map(|offer| {
            let others = taken.get(&(record.device.id.clone(), offer.memory_pool)).copied().unwrap_or_default();
            let capacity = OfferCapacity { memory: offer.memory - others, ..offer.into() };
            let id = record.device.offer_id(offer);
            ProblemOffer { cost: refined.cost(&id, offer), id, device, capacity, busy_ratio: 0.0, joined: record.joined, held: Vec::new() }
        })
        .collect();
    offers.sort_by(|a, b| a.id.cmp(&b.id));
    offers
}

fn indexed(replica: &Replica, offers: &[ProblemOffer]) -> Option<ProposedReplica> {
    // They are sorted: by device, and of each device by accelerator.
    let index = |id: &OfferId| offers.binary_search_by(|offer| offer.id.cmp(id)).ok().and_then(|index| u32::try_from(index).ok());
    replica.stages.iter().map(|stage| Some(ProposedStage { offer: index(&stage.offer)?, start: stage.range.start(), end: stage.range.end() })).collect()
}
