//! Poses problems and takes proposals: one model at a time, so that no two proposals count on the same memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Cluster, DeviceRecord, Effect, Question, Reason};
use crate::{
    device::DeviceState,
    ids::{DeviceId, ModelId, OfferId, SiteName, Ticket},
    plan::{Capacity, CheckedPlan, OfferCapacity, Plan, Replica},
    policy::Refusal,
    problem::{Problem, ProblemDevice, ProblemLink, ProblemOffer, Proposal, ProposedReplica, ProposedStage},
    units::Bytes,
};

impl Cluster {
    /// The problem that the allocation policy would be given for a model now.
    pub fn problem(&self, model: &ModelId) -> Option<Problem> {
        let record = self.models.get(model)?;
        let usable: Vec<&DeviceRecord> = self.devices.values().filter(|record| record.state == DeviceState::Ready).collect();
        let sites: BTreeSet<&SiteName> = usable.iter().map(|record| &record.device.site).collect();
        let index_of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let site_index = |site: &SiteName| index_of(sites.iter().position(|known| *known == site).unwrap_or(0));
        let devices: Vec<ProblemDevice> =
            usable.iter().map(|record| ProblemDevice { id: record.device.id.clone(), site: site_index(&record.device.site) }).collect();
        let taken = self.taken_by_others(model);
        let offers: Vec<ProblemOffer> = usable.iter().enumerate().flat_map(|(index, record)| offers_of(record, index_of(index), &taken)).collect();
        let device_index = |id: &DeviceId| devices.iter().position(|device| device.id == *id).map(index_of);
        let links = self
            .links
            .measured
            .iter()
            .filter_map(|((source, target), speed)| Some(ProblemLink { source: device_index(source)?, target: device_index(target)?, speed: *speed }));
        let current = self.plan.plan().models.get(model).map_or(&[][..], Vec::as_slice);
        Some(Problem {
            model: record.profile.clone(),
            links: links.collect(),
            within_site: self.links.within_site,
            between_sites: self.links.between_sites,
            placement: record.placement.clamped(record.profile.whole().end(), index_of(offers.len())),
            current: current.iter().filter_map(|replica| indexed(replica, &offers)).collect(),
            horizon: self.settings.horizon,
            exclusions: record.exclusions.clone(),
            devices,
            offers,
        })
    }

    /// Asks the policy about the next model in line, unless a question is open.
    pub(super) fn ask(&mut self, effects: &mut Vec<Effect>) {
        while self.asked.is_none() {
            let Some((model, reason)) = self.to_place.pop_first() else { return };
            let Some(problem) = self.problem(&model) else { continue };
            if problem.offers.is_empty() {
                let refusal = Refusal { reason: format!("{model} waits for a device: none is ready"), nearest: None, short: Bytes::ZERO };
                self.refuse(&model, refusal, effects);
                continue;
            }
            self.ticket = self.ticket.next();
            let problem = Arc::new(problem);
            self.asked = Some(Question { ticket: self.ticket, problem: problem.clone(), reason });
            effects.push(Effect::Solve { ticket: self.ticket, problem });
        }
    }

    /// Takes an answer. One to a question that is no longer open says nothing; one that no longer fits is asked again.
    pub(super) fn solved(&mut self, ticket: Ticket, outcome: Result<Proposal, Refusal>, effects: &mut Vec<Effect>) {
        let Some(Question { problem, reason, .. }) = self.asked.take_if(|open| open.ticket == ticket) else { return };
        let model = problem.model.id().clone();
        if !self.models.contains_key(&model) {
            return;
        }
        let proposal = match outcome {
            Ok(proposal) => proposal,
            Err(refusal) => return self.refuse(&model, refusal, effects),
        };
        let replicas = match problem.check(&proposal) {
            Ok(replicas) => replicas,
            Err(error) => return self.refuse(&model, Refusal { reason: error.to_string(), nearest: None, short: Bytes::ZERO }, effects),
        };
        if !replicas.iter().all(|replica| self.is_usable(replica)) {
            self.to_place.insert(model, reason);
            return;
        }
        if let Some(record) = self.models.get_mut(&model) {
            record.refusal = None;
            record.bound = proposal.bound;
        }
        let mut models = self.plan.plan().models.clone();
        models.insert(model.clone(), replicas);
        if !self.put_in_force(models, reason.clone(), effects) {
            self.to_place.insert(model, reason);
        }
    }

    /// Makes these replicas the plan, if they differ from it. Replicas that fall out go on serving until their
    /// successors are ready. False if they do not fit the pool as it is by now; then the plan stays.
    pub(super) fn put_in_force(&mut self, models: BTreeMap<ModelId, Vec<Replica>>, reason: Reason, effects: &mut Vec<Effect>) -> bool {
        if models == self.plan.plan().models {
            return true;
        }
        let number = self.plan.plan().number.next();
        let plan = Plan { number, models };
        let Ok(checked) = plan.check(&self.capacity()) else { return false };
        self.retire(&checked);
        self.plan = checked.clone();
        effects.push(Effect::Record { plan: checked, reason });
        true
    }

    /// What plans are proved against: the offers of every device that is not lost.
    pub(super) fn capacity(&self) -> Capacity {
        let mut capacity = Capacity::default();
        for record in self.devices.values().filter(|record| record.state != DeviceState::Lost) {
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

    fn is_usable(&self, replica: &Replica) -> bool {
        let ready = |device: &DeviceId| self.devices.get(device).is_some_and(|record| record.state == DeviceState::Ready);
        replica.stages.iter().all(|stage| ready(&stage.offer.device))
    }

    fn taken_by_others(&self, model: &ModelId) -> BTreeMap<(DeviceId, u32), Bytes> {
        let capacity = self.capacity();
        let mut taken: BTreeMap<(DeviceId, u32), Bytes> = BTreeMap::new();
        for (offer, shard) in self.plan.plan().shards() {
            if let (Some(has), Some(profile)) = (capacity.offers.get(&offer), capacity.models.get(&shard.model).filter(|_| shard.model != *model)) {
                *taken.entry((offer.device, has.pool)).or_default() += has.need(profile, shard.range);
            }
        }
        taken
    }
}

fn offers_of(record: &DeviceRecord, device: u32, taken: &BTreeMap<(DeviceId, u32), Bytes>) -> Vec<ProblemOffer> {
    let mut offers: Vec<ProblemOffer> = record
        .device
        .offers
        .iter()
        .map(|offer| {
            let others = taken.get(&(record.device.id.clone(), offer.memory_pool)).copied().unwrap_or_default();
            let capacity = OfferCapacity { memory: offer.memory - others, ..offer.into() };
            ProblemOffer { id: record.device.offer_id(offer), device, capacity, cost: offer.cost, busy_ratio: 0.0, joined: record.joined }
        })
        .collect();
    offers.sort_by(|a, b| a.id.cmp(&b.id));
    offers
}

fn indexed(replica: &Replica, offers: &[ProblemOffer]) -> Option<ProposedReplica> {
    let index = |id: &OfferId| offers.iter().position(|offer| offer.id == *id).and_then(|index| u32::try_from(index).ok());
    replica.stages.iter().map(|stage| Some(ProposedStage { offer: index(&stage.offer)?, start: stage.range.start(), end: stage.range.end() })).collect()
}
