//! The life of models: they are added and removed, refused by devices, and measured.

use std::{collections::BTreeMap, sync::Arc};

use super::{Cluster, Effect, ModelRecord, Reason, ShardState, record::need};
use crate::{
    cost::refined::StageTimes,
    error::{Error, Fault},
    ids::{DeviceId, ModelId, OfferId},
    model::ModelProfile,
    plan::{Replica, Stage},
    problem::{Exclusion, Placement},
    shard::ShardId,
};

/// Most refused loads that are remembered for one model; the oldest are forgotten first.
const EXCLUSIONS_MAX: usize = 256;

impl Cluster {
    pub(super) fn add_model(&mut self, profile: Arc<ModelProfile>, placement: Placement) {
        let id = profile.id().clone();
        let record = ModelRecord {
            profile,
            placement,
            refusal: None,
            bound: 0.0,
            exclusions: Vec::new(),
            outgoing: Vec::new(),
            measured: StageTimes::default(),
            foreseen: BTreeMap::new(),
        };
        self.models.entry(id.clone()).or_insert(record);
        self.size_shards(&id);
        if !self.rejoin.as_ref().is_some_and(|rejoin| rejoin.waits_for(&id)) {
            self.to_place.insert(id.clone(), Reason::Added(id));
        }
    }

    /// Counts the shards of a model that devices brought along before it was known.
    fn size_shards(&mut self, model: &ModelId) {
        for record in self.devices.values_mut() {
            for ((accelerator, shard), held) in record.shards.iter_mut().filter(|((_, shard), _)| shard.model == *model) {
                held.need = need(&self.models, &record.device, accelerator, shard);
            }
        }
    }

    pub(super) fn remove_model(&mut self, model: &ModelId, effects: &mut Vec<Effect>) -> Result<(), Error> {
        self.models.remove(model).ok_or_else(|| Fault::UnknownModel { model: model.clone() })?;
        self.to_place.remove(model);
        let mut models = self.plan.plan().models.clone();
        models.remove(model);
        self.put_in_force(models, Reason::Removed(model.clone()), effects);
        Ok(())
    }

    pub(super) fn place_all(&mut self, reason: &Reason) {
        self.to_place.extend(self.models.keys().map(|model| (model.clone(), reason.clone())));
    }

    /// Has those models placed again that did not fit, or not better, when they were last tried; the one that is being
    /// tried now too, if it turns out not to fit.
    pub(super) fn place_refused(&mut self, reason: &Reason) {
        if let Some(open) = &mut self.asked {
            open.outdated = true;
        }
        for (model, _) in self.models.iter().filter(|(_, record)| record.refusal.is_some()) {
            self.to_place.entry(model.clone()).or_insert_with(|| reason.clone());
        }
    }

    /// Has those models placed again of which the plan has such a replica.
    pub(super) fn place_where(&mut self, such: impl Fn(&Replica) -> bool, reason: &Reason) {
        let concerned = self.plan.plan().models.iter().filter(|(_, replicas)| replicas.iter().any(&such));
        self.to_place.extend(concerned.map(|(model, _)| (model.clone(), reason.clone())));
    }

    /// Has those models placed again that the plan has on a device.
    pub(super) fn place_users(&mut self, device: &DeviceId, reason: &Reason) {
        self.place_where(|replica| replica.uses(device), reason);
    }

    /// Notes that an offer could not load a shard. The replicas that need it there are given up.
    pub(super) fn exclude(&mut self, offer: OfferId, shard: ShardId, reason: String, effects: &mut Vec<Effect>) -> Result<(), Error> {
        if !self.answered(offer.clone(), shard.clone(), ShardState::Loading, None)? {
            return Ok(());
        }
        let Some(model) = self.models.get_mut(&shard.model) else { return Ok(()) };
        if model.exclusions.len() == EXCLUSIONS_MAX {
            model.exclusions.remove(0);
        }
        model.exclusions.push(Exclusion { offer: offer.clone(), shard: shard.clone(), reason });
        let refused = Stage { offer: offer.clone(), range: shard.range };
        let id = shard.model.clone();
        self.give_up(|model, replica| *model == id && replica.stages.contains(&refused), &Reason::LoadRefused(offer, shard), effects);
        Ok(())
    }
}
