//! After a restart of the central: the plan of before is in force as far as its devices are back, and for a while nobody is
//! asked for another one. What the devices still hold serves again without being planned or loaded anew.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cluster, DeviceRecord, Effect, Reason};
use crate::{
    ids::{DeviceId, ModelId},
    plan::{Plan, Replica},
    units::Millis,
};

/// What a restarted central waits for.
#[derive(Clone, Debug)]
pub(super) struct Rejoin {
    /// The plan that was in force, as the store kept it.
    stored: Plan,
    /// Its replicas that wait for a device, or for their model to be added.
    waiting: BTreeMap<ModelId, Vec<Replica>>,
    /// Devices that were there when the plan was made.
    expected: BTreeSet<DeviceId>,
    /// One that was not, and came meanwhile: reason enough to place everything again.
    newcomer: Option<DeviceId>,
    until: Option<Millis>,
}

impl Rejoin {
    /// None if there is nothing to wait for.
    pub(super) fn new(stored: Plan, mut expected: BTreeSet<DeviceId>) -> Option<Self> {
        expected.extend(stored.shards().into_iter().map(|(offer, _)| offer.device));
        let waiting = stored.models.iter().filter(|(_, replicas)| !replicas.is_empty()).map(|(model, replicas)| (model.clone(), replicas.clone())).collect();
        (!expected.is_empty()).then_some(Self { stored, waiting, expected, newcomer: None, until: None })
    }

    /// Whether replicas of a model wait.
    pub(super) fn waits_for(&self, model: &ModelId) -> bool {
        self.waiting.contains_key(model)
    }

    /// Notes who joined.
    pub(super) fn meet(&mut self, device: &DeviceId) {
        if !self.expected.contains(device) {
            self.newcomer.get_or_insert_with(|| device.clone());
        }
    }
}

impl Cluster {
    /// Puts in force what can be of the plan of before, and goes on when everything is back or the time is over.
    pub(super) fn rejoin(&mut self, effects: &mut Vec<Effect>) {
        let Some(mut rejoin) = self.rejoin.take() else { return };
        if self.time.has_started() {
            rejoin.until.get_or_insert(self.time.now() + self.settings.rejoin);
        }
        self.adopt(&mut rejoin);
        let missing: BTreeSet<DeviceId> = rejoin.expected.iter().filter(|device| !self.is_alive(device)).cloned().collect();
        let complete = missing.is_empty() && rejoin.waiting.is_empty();
        if complete || rejoin.until.is_some_and(|until| self.time.now() >= until) {
            self.go_on(rejoin, missing, effects);
        } else {
            self.rejoin = Some(rejoin);
        }
    }

    /// Moves replicas from those that wait into the plan, each whose model is known and whose devices are back. One that does
    /// not fit any more, because its devices or its model are not what they were, is dropped.
    fn adopt(&mut self, rejoin: &mut Rejoin) {
        let capacity = self.capacity();
        for (model, waiting) in rejoin.waiting.iter_mut().filter(|(model, _)| capacity.models.contains_key(*model)) {
            let stored = rejoin.stored.models.get(model).map_or(&[][..], Vec::as_slice);
            let (back, absent): (Vec<Replica>, Vec<Replica>) =
                std::mem::take(waiting).into_iter().partition(|replica| replica.stages.iter().all(|stage| self.is_alive(&stage.offer.device)));
            *waiting = absent;
            for replica in back {
                let mut plan = self.plan.plan().clone();
                let replicas = plan.models.entry(model.clone()).or_default();
                replicas.push(replica);
                replicas.sort_by_key(|replica| stored.iter().position(|known| known == replica));
                match plan.check(&capacity) {
                    Ok(checked) => self.plan = checked,
                    Err(_) => {
                        self.to_place.insert(model.clone(), Reason::Restarted);
                    }
                }
            }
        }
        rejoin.waiting.retain(|_, replicas| !replicas.is_empty());
    }

    /// Ends the waiting: what is not back is lost, and a plan that is not the one of before gets a number of its own.
    fn go_on(&mut self, rejoin: Rejoin, missing: BTreeSet<DeviceId>, effects: &mut Vec<Effect>) {
        let reason = if missing.is_empty() { Reason::Restarted } else { Reason::Lost(missing) };
        for model in rejoin.waiting.into_keys().filter(|model| self.models.contains_key(model)) {
            self.to_place.entry(model).or_insert_with(|| reason.clone());
        }
        if let Some(newcomer) = rejoin.newcomer.filter(|device| self.devices.get(device).is_some_and(DeviceRecord::takes_work)) {
            self.place_all(&Reason::Joined(newcomer));
        }
        if !same(self.plan.plan(), &rejoin.stored) {
            let number = rejoin.stored.number.next();
            self.plan = self.plan.clone().numbered(number);
            effects.push(Effect::Record { plan: self.plan.clone(), reason });
        }
    }

    fn is_alive(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(DeviceRecord::is_alive)
    }
}

/// Whether two plans hold the same replicas; a model without any says nothing.
fn same(one: &Plan, other: &Plan) -> bool {
    let placed = |plan: &Plan| {
        plan.models.iter().filter(|(_, replicas)| !replicas.is_empty()).map(|(model, replicas)| (model.clone(), replicas.clone())).collect::<Vec<_>>()
    };
    placed(one) == placed(other)
}
