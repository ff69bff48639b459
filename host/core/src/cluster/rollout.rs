//! Closes the gap between plan and pool: loads what is missing as memory allows, keeps what serves until its successor
//! is ready, drops the rest, and says what can be served.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cluster, Effect, HeldShard, ModelRecord, ShardState,
    record::{is_loaded, is_routable},
};
use crate::{
    ids::{DeviceId, ModelId, OfferId},
    plan::{OfferCapacity, Replica},
    shard::ShardId,
    topology::{Segment, ServedModel, Topology, TopologyDevice},
};

impl Cluster {
    /// Emits what brings the pool nearer to the plan. Serving changes before anything is dropped, so that no request is
    /// sent to a shard that is going.
    pub(super) fn roll_out(&mut self, effects: &mut Vec<Effect>) {
        let blocked = self.load(effects);
        self.let_go(&blocked);
        self.serve(effects);
        self.unload(effects);
    }

    /// Loads shards of the plan that nobody holds, as memory allows, and returns those that must wait for it. Only a device
    /// that takes work is given any; one that is away may still hold what it had, and says so when it comes back.
    fn load(&mut self, effects: &mut Vec<Effect>) -> Vec<OfferId> {
        let mut blocked = Vec::new();
        for (id, shard) in self.plan.plan().shards() {
            let (Some(record), Some(model)) = (self.devices.get_mut(&id.device), self.models.get(&shard.model)) else { continue };
            if !record.takes_work() || record.shard(&id, &shard).is_some() {
                continue;
            }
            let Some(offer) = record.offer(&id.accelerator) else { continue };
            let need = OfferCapacity::from(offer).need(&model.profile, shard.range);
            if record.held_in_pool(offer.memory_pool) + need <= offer.memory {
                record.shards.insert((id.accelerator.clone(), shard.clone()), HeldShard { state: ShardState::Loading, need });
                effects.push(Effect::Load { offer: id, shard });
            } else {
                blocked.push(id);
            }
        }
        blocked
    }

    /// Gives up replicas of earlier plans: all of a model once requests can go through a planned one, and where memory is
    /// what the plan waits for and nothing else is under way, one that stands in its way.
    fn let_go(&mut self, blocked: &[OfferId]) {
        let devices = &self.devices;
        for (id, model) in &mut self.models {
            let planned = self.plan.plan().models.get(id).map_or(&[][..], Vec::as_slice);
            model.outgoing.retain(|replica| is_loaded(devices, id, replica));
            if planned.iter().any(|replica| is_routable(devices, id, replica)) {
                model.outgoing.clear();
            }
        }
        // What is being placed may need other memory, or may need what is held: the answer first.
        if blocked.is_empty() || self.is_moving() || self.is_planning() {
            return;
        }
        if let Some((id, index)) = self.most_dispensable(blocked)
            && let Some(model) = self.models.get_mut(&id)
        {
            model.outgoing.remove(index);
        }
    }

    /// The outgoing replica whose end costs least of those on devices where a load waits for memory: one that cannot
    /// be used at present, or one whose model has another; only if there is none of these, the last that serves its model,
    /// because the plan fits and could never be carried out beside it.
    fn most_dispensable(&self, blocked: &[OfferId]) -> Option<(ModelId, usize)> {
        let in_the_way = |replica: &Replica| blocked.iter().any(|offer| replica.uses(&offer.device));
        let loss = |id: &ModelId, model: &ModelRecord, replica: &Replica| {
            let routable = model.outgoing.iter().filter(|other| is_routable(&self.devices, id, other)).count();
            if !is_routable(&self.devices, id, replica) { 0 } else { usize::from(routable == 1) + 1 }
        };
        let of_model = |(id, model): (&ModelId, &ModelRecord)| -> Vec<(usize, ModelId, usize)> {
            let candidates = model.outgoing.iter().enumerate().filter(|(_, replica)| in_the_way(replica));
            candidates.map(|(index, replica)| (loss(id, model, replica), id.clone(), index)).collect()
        };
        self.models.iter().flat_map(of_model).min().map(|(_, id, index)| (id, index))
    }

    fn serve(&mut self, effects: &mut Vec<Effect>) {
        let mut next = self.observed_topology();
        next.number = self.topology.number;
        if next != *self.topology {
            next.number = self.topology.number.wrapping_add(1) & 0x7fff_ffff;
            self.topology = next.into();
            effects.push(Effect::Serve { topology: self.topology.clone() });
        }
    }

    /// Drops what neither the plan nor what still serves needs. A model that is being placed may be given the shard anew,
    /// and a restarted central does not know yet what it needs.
    fn unload(&mut self, effects: &mut Vec<Effect>) {
        if self.rejoin.is_some() {
            return;
        }
        let mut needed = self.plan.plan().shards();
        for (id, model) in &self.models {
            let stages = model.outgoing.iter().flat_map(|replica| &replica.stages);
            needed.extend(stages.map(|stage| (stage.offer.clone(), ShardId { model: id.clone(), range: stage.range })));
        }
        let mut dropped = Vec::new();
        for record in self.devices.values().filter(|record| record.is_here()) {
            let ready = record.shards.iter().filter(|((_, shard), held)| held.state == ShardState::Ready && !self.is_being_placed(&shard.model));
            let named = ready.map(|((accelerator, shard), _)| (OfferId { device: record.device.id.clone(), accelerator: accelerator.clone() }, shard.clone()));
            dropped.extend(named.filter(|place| !needed.contains(place)));
        }
        for (offer, shard) in dropped {
            let key = (offer.accelerator.clone(), shard.clone());
            if let Some(held) = self.devices.get_mut(&offer.device).and_then(|record| record.shards.get_mut(&key)) {
                held.state = ShardState::Unloading;
                effects.push(Effect::Unload { offer, shard });
            }
        }
    }

    fn observed_topology(&self) -> Topology {
        let mut names = BTreeSet::new();
        let mut served = Vec::new();
        for (id, model) in &self.models {
            let ready: Vec<&Replica> = self.planned(id).iter().chain(&model.outgoing).filter(|replica| is_routable(&self.devices, id, replica)).collect();
            if !ready.is_empty() {
                names.extend(ready.iter().flat_map(|replica| &replica.stages).map(|stage| &stage.offer.device));
                served.push((id, model, ready));
            }
        }
        let sites: BTreeSet<_> = names.iter().filter_map(|name| Some(&self.devices.get(*name)?.device.site)).collect();
        let devices = names.iter().filter_map(|name| {
            let site = &self.devices.get(*name)?.device.site;
            Some(TopologyDevice { id: (*name).clone(), site: count(sites.iter().position(|known| *known == site)?) })
        });
        let indexes: BTreeMap<&DeviceId, u32> = (0..).zip(&names).map(|(index, name)| (*name, index)).collect();
        let device_index = |id: &DeviceId| indexes.get(id).copied().unwrap_or(0);
        let models = served.into_iter().map(|(id, model, ready)| self.served_model(id, model, &ready, &device_index)).collect();
        Topology { number: 0, plan: self.plan.plan().number, models, devices: devices.collect(), links: self.links.between(&names) }
    }

    fn served_model(&self, id: &ModelId, model: &ModelRecord, ready: &[&Replica], device_index: &dyn Fn(&DeviceId) -> u32) -> ServedModel {
        let (refined, told) = (self.refined(id), self.told_runs(id));
        let mut segments = Vec::new();
        for (replica, chain) in ready.iter().enumerate() {
            for (position, stage) in chain.stages.iter().enumerate() {
                let run = self.expected_run(model, &told, &refined, stage);
                let device = device_index(&stage.offer.device);
                segments.push(Segment { stage: stage.clone(), device, replica: count(replica), position: count(position), run, divisible: false });
            }
        }
        ServedModel {
            id: id.clone(),
            blocks: model.profile.whole().end(),
            borders: model.profile.blocks().iter().map(|block| block.border).collect(),
            segments,
        }
    }
}

fn count(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
