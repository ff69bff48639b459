//! What was measured, put to use: the costs that problems and topologies reckon with are the calibrated ones of each offer, as
//! far as its stages of that model have not shown better.
//!
//! What a model's operators cost on an engine is the same wherever that engine runs, and the four coefficients cannot say it. So an
//! offer of which too little was measured takes over the bias of the model from the others with the same adapter: the median,
//! because one of them may be slow for reasons of its own. The biases of other models say nothing and are not asked.

use std::collections::BTreeMap;

use super::{Cluster, DeviceRecord, ModelRecord};
use crate::{
    cost::{
        CostModel,
        refined::{Bias, StageTime, median},
    },
    device::Offer,
    ids::{DeviceId, ModelId, OfferId},
    model::Work,
    plan::{Replica, Stage},
    problem::{Problem, ProposedReplica},
    shard::ShardId,
    units::Millis,
};

/// By how much costs are off for one model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Refined {
    offers: BTreeMap<OfferId, Bias>,
    /// By adapter, for offers that are not there.
    adapters: BTreeMap<String, Typical>,
    /// The whole model.
    work: Work,
}

/// The bias that is typical of an adapter, for devices of any speed.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Typical {
    factor: f64,
    /// The surcharge, in times of the whole model by its calibrated cost.
    surcharge: f64,
}

/// By stage.
pub(super) type ToldRuns<'a> = BTreeMap<&'a Stage, Millis>;

impl Refined {
    /// What an offer takes, as far as is known.
    pub fn cost(&self, id: &OfferId, offer: &Offer) -> CostModel {
        let typical = |typical: &Typical| Bias { factor: typical.factor, surcharge: Millis(typical.surcharge * offer.cost.predict(self.work).0) };
        let bias = self.offers.get(id).copied().or_else(|| self.adapters.get(&offer.adapter).map(typical)).unwrap_or(Bias::NONE);
        offer.cost.slowed(bias.factor).delayed(bias.surcharge)
    }
}

impl ModelRecord {
    /// What was measured of a shard on an offer.
    pub fn measured(&self, offer: &OfferId, shard: &ShardId) -> Option<&StageTime> {
        self.measured.get(offer, shard)
    }

    /// What a shard on an offer was expected to take when it became part of the plan.
    pub fn foreseen(&self, offer: &OfferId, shard: &ShardId) -> Option<Millis> {
        self.foreseen.get(&(offer.clone(), shard.clone())).copied()
    }

    /// Keeps what was expected of the replicas of a proposal, and no longer of those that are not planned any more.
    pub(super) fn foresee(&mut self, problem: &Problem, proposed: &[ProposedReplica], named: &[Replica], kept: &[Replica]) {
        let at = |stage: &Stage| (stage.offer.clone(), ShardId { model: problem.model.id().clone(), range: stage.range });
        let stays: Vec<_> = kept.iter().flat_map(|replica| &replica.stages).map(at).collect();
        self.foreseen.retain(|place, _| stays.contains(place));
        for (replica, indexed) in named.iter().zip(proposed) {
            let times = problem.predict(indexed).stages;
            self.foreseen.extend(replica.stages.iter().map(at).zip(times));
        }
    }
}

impl Cluster {
    /// By how much the costs of offers are off for a model. Without a model, by nothing.
    pub fn refined(&self, model: &ModelId) -> Refined {
        let Some(record) = self.models.get(model) else { return Refined::default() };
        let predict = |id: &OfferId, shard: &ShardId| {
            let offer = self.offer(id).filter(|_| shard.range.end() <= record.profile.whole().end())?;
            Some(offer.cost.predict(record.profile.work(shard.range)))
        };
        let (offers, work) = (record.measured.biases(predict, &self.settings.refining), record.profile.work(record.profile.whole()));
        let mut by_adapter: BTreeMap<&str, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
        for (id, bias) in &offers {
            if let Some(offer) = self.offer(id) {
                let (factors, surcharges) = by_adapter.entry(&offer.adapter).or_default();
                factors.push(bias.factor);
                surcharges.push(bias.surcharge.0 / offer.cost.predict(work).0);
            }
        }
        let typical = |(factors, surcharges): (Vec<f64>, Vec<f64>)| Some(Typical { factor: median(factors)?, surcharge: median(surcharges)? });
        let adapters = by_adapter.into_iter().filter_map(|(adapter, biases)| Some((adapter.to_owned(), typical(biases)?))).collect();
        Refined { offers, adapters, work }
    }

    /// Takes the typical time of so many runs of a stage.
    pub(super) fn measure(&mut self, offer: OfferId, shard: ShardId, run: Millis, runs: u32) {
        let is_known = self.offer(&offer).is_some();
        if let Some(model) = self.models.get_mut(&shard.model).filter(|_| is_known) {
            model.measured.note(offer, shard, run, runs, &self.settings.refining);
            self.stirred = true;
        }
    }

    /// A device came back with other offers: what its stages took says nothing of them.
    pub(super) fn forget_measured(&mut self, device: &DeviceId) {
        for model in self.models.values_mut() {
            model.measured.forget(|known| known == device);
        }
    }

    /// What routing policies are told that a stage takes: what was measured where enough was, else what is predicted. As long as
    /// that is near enough to what they were told before, it stays, because each change makes a new topology.
    pub(super) fn expected_run(&self, model: &ModelRecord, told: &ToldRuns<'_>, refined: &Refined, stage: &Stage) -> Millis {
        let settings = &self.settings.refining;
        let shard = ShardId { model: model.profile.id().clone(), range: stage.range };
        let measured = model.measured(&stage.offer, &shard).filter(|time| time.is_believed(settings)).map(StageTime::mean);
        let predicted = || Some(refined.cost(&stage.offer, self.offer(&stage.offer)?).predict(model.profile.work(stage.range)));
        let run = measured.or_else(predicted).unwrap_or(Millis::ZERO);
        let told = told.get(stage).filter(|told| (run.0 - told.0).abs() <= settings.retell_ratio * told.0);
        told.copied().unwrap_or(run)
    }

    /// What routing policies know by the topology that they have.
    pub(super) fn told_runs(&self, model: &ModelId) -> ToldRuns<'_> {
        let served = self.topology.model(model).and_then(|index| self.topology.models.get(index as usize));
        served.into_iter().flat_map(|model| &model.segments).map(|segment| (&segment.stage, segment.run)).collect()
    }

    fn offer(&self, id: &OfferId) -> Option<&Offer> {
        self.devices.get(&id.device).and_then(|record: &DeviceRecord| record.offer(&id.accelerator))
    }
}
