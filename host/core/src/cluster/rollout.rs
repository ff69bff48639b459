//! Closes the gap between plan and pool: loads what is missing as memory allows, keeps what serves until its successor
//! is ready, drops the rest, and says what can be served.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Cluster, DeviceRecord, Effect, HeldShard, ModelRecord, ShardState};
use crate::{
    device::{DeviceState, Offer},
    ids::{AcceleratorName, DeviceId, ModelId, OfferId},
    plan::{OfferCapacity, Replica},
    shard::ShardId,
    topology::{Segment, ServedModel, Topology, TopologyDevice},
    units::{Bytes, Millis},
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

    /// Loads shards of the plan that nobody holds, as memory allows, and returns those that must wait for it.
    fn load(&mut self, effects: &mut Vec<Effect>) -> Vec<OfferId> {
        let mut blocked = Vec::new();
        for (id, shard) in self.plan.plan().shards() {
            let (Some(record), Some(model)) = (self.devices.get_mut(&id.device), self.models.get(&shard.model)) else { continue };
            let key = (id.accelerator.clone(), shard.clone());
            let Some(offer) = find(record, &id).filter(|_| !record.shards.contains_key(&key)) else { continue };
            let need = OfferCapacity::from(offer).need(&model.profile, shard.range);
            if held_in_pool(record, offer.memory_pool) + need <= offer.memory {
                record.shards.insert(key, HeldShard { state: ShardState::Loading, need });
                effects.push(Effect::Load { offer: id, shard });
            } else {
                blocked.push(id);
            }
        }
        blocked
    }

    /// Gives up replicas of earlier plans: all of them once a planned replica is ready, and where memory is what the
    /// plan waits for and nothing else is under way, the first that stands in its way.
    fn let_go(&mut self, blocked: &[OfferId]) {
        let devices = &self.devices;
        let moving = devices.values().flat_map(|record| record.shards.values()).any(|held| held.state != ShardState::Ready);
        for (id, model) in &mut self.models {
            let planned = self.plan.plan().models.get(id).map_or(&[][..], Vec::as_slice);
            model.outgoing.retain(|replica| is_ready(devices, id, replica));
            if planned.iter().any(|replica| is_ready(devices, id, replica)) {
                model.outgoing.clear();
            }
        }
        if moving || blocked.is_empty() {
            return;
        }
        let in_the_way = |replica: &Replica| replica.stages.iter().any(|stage| blocked.iter().any(|offer| offer.device == stage.offer.device));
        for model in self.models.values_mut() {
            if let Some(index) = model.outgoing.iter().position(in_the_way) {
                model.outgoing.remove(index);
                return;
            }
        }
    }

    fn serve(&mut self, effects: &mut Vec<Effect>) {
        let mut next = self.observed_topology();
        next.number = self.topology.number;
        if next != *self.topology {
            next.number = self.topology.number.wrapping_add(1) & 0x7fff_ffff;
            self.topology = Arc::new(next);
            effects.push(Effect::Serve { topology: self.topology.clone() });
        }
    }

    fn unload(&mut self, effects: &mut Vec<Effect>) {
        let mut needed = self.plan.plan().shards();
        for (id, model) in &self.models {
            let stages = model.outgoing.iter().flat_map(|replica| &replica.stages);
            needed.extend(stages.map(|stage| (stage.offer.clone(), ShardId { model: id.clone(), range: stage.range })));
        }
        let mut dropped = Vec::new();
        for record in self.devices.values_mut() {
            for ((accelerator, shard), held) in &mut record.shards {
                let offer = OfferId { device: record.device.id.clone(), accelerator: accelerator.clone() };
                if held.state == ShardState::Ready && !needed.contains(&(offer.clone(), shard.clone())) {
                    held.state = ShardState::Unloading;
                    dropped.push(Effect::Unload { offer, shard: shard.clone() });
                }
            }
        }
        effects.append(&mut dropped);
    }

    fn observed_topology(&self) -> Topology {
        let mut names = BTreeSet::new();
        let mut served = Vec::new();
        for (id, model) in &self.models {
            let planned = self.plan.plan().models.get(id).map_or(&[][..], Vec::as_slice);
            let ready: Vec<&Replica> = planned.iter().chain(&model.outgoing).filter(|replica| is_ready(&self.devices, id, replica)).collect();
            if !ready.is_empty() {
                names.extend(ready.iter().flat_map(|replica| &replica.stages).map(|stage| stage.offer.device.clone()));
                served.push((id, model, ready));
            }
        }
        let sites: BTreeSet<_> = names.iter().filter_map(|name| Some(&self.devices.get(name)?.device.site)).collect();
        let devices = names.iter().filter_map(|name| {
            let site = &self.devices.get(name)?.device.site;
            Some(TopologyDevice { id: name.clone(), site: count(sites.iter().position(|known| *known == site)?) })
        });
        let device_index = |id: &DeviceId| count(names.iter().position(|name| name == id).unwrap_or(0));
        let models = served.into_iter().map(|(id, model, ready)| self.served_model(id, model, &ready, &device_index)).collect();
        Topology { number: 0, plan: self.plan.plan().number, models, devices: devices.collect(), links: self.links.clone() }
    }

    fn served_model(&self, id: &ModelId, model: &ModelRecord, ready: &[&Replica], device_index: &dyn Fn(&DeviceId) -> u32) -> ServedModel {
        let mut segments = Vec::new();
        for (replica, chain) in ready.iter().enumerate() {
            for (position, stage) in chain.stages.iter().enumerate() {
                let cost = self.devices.get(&stage.offer.device).and_then(|record| find(record, &stage.offer)).map(|offer| offer.cost);
                let run = cost.map_or(Millis::ZERO, |cost| cost.predict(model.profile.work(stage.range)));
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

fn is_ready(devices: &BTreeMap<DeviceId, DeviceRecord>, model: &ModelId, replica: &Replica) -> bool {
    replica.stages.iter().all(|stage| {
        let key = (stage.offer.accelerator.clone(), ShardId { model: model.clone(), range: stage.range });
        let record = devices.get(&stage.offer.device).filter(|record| record.state != DeviceState::Lost);
        record.and_then(|record| record.shards.get(&key)).is_some_and(|held| held.state == ShardState::Ready)
    })
}

fn find<'a>(record: &'a DeviceRecord, id: &OfferId) -> Option<&'a Offer> {
    record.device.offers.iter().find(|offer| offer.accelerator == id.accelerator)
}

/// Memory of one pool that is taken by shards in any state.
fn held_in_pool(record: &DeviceRecord, pool: u32) -> Bytes {
    let in_pool = |accelerator: &AcceleratorName| record.device.offers.iter().any(|offer| offer.accelerator == *accelerator && offer.memory_pool == pool);
    record.shards.iter().filter(|((accelerator, _), _)| in_pool(accelerator)).map(|(_, held)| held.need).sum()
}

fn count(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
