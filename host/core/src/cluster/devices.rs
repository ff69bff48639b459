//! The life of devices: they join, go away and come back, are cordoned, drained and removed, and are lost when they are
//! silent. What becomes of the plan then is said here; how it is carried out, in `rollout`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cause, Cluster, DeviceRecord, Effect, HeldShard, ModelRecord, Reason, ShardState,
    record::{Duty, Presence, need},
};
use crate::{
    device::{Device, Pressures},
    error::{Error, Fault},
    ids::{AcceleratorName, DeviceId, ModelId, OfferId},
    link::{Endpoint, LinkChange, Reach},
    plan::Replica,
    shard::ShardId,
    units::Millis,
};

impl Cluster {
    /// Takes a stranger in, or a device back to its place. Models are placed again if that may make something better: not
    /// for a device that was only away, nor for one that a restarted central waits for.
    pub(super) fn join(&mut self, device: Device, held: Vec<(AcceleratorName, ShardId)>, now: Millis, effects: &mut Vec<Effect>) -> Result<(), Error> {
        device.check()?;
        if self.devices.get(&device.id).is_some_and(DeviceRecord::is_here) {
            return Err(Fault::LiveDevice { device: device.id }.into());
        }
        let id = device.id.clone();
        let known = self.devices.remove(&id);
        let was_away = known.as_ref().is_some_and(DeviceRecord::is_alive);
        let was_damped = known.as_ref().is_some_and(|record| record.flaps.is_damped());
        let changed = known.as_ref().is_none_or(|record| record.device.offers != device.offers);
        let mut record = known.unwrap_or_else(|| {
            let joined = self.joins;
            self.joins = joined.saturating_add(1);
            DeviceRecord::new(device.clone(), joined, now)
        });
        record.flaps.rejoined(now, &self.settings.flaps);
        record.shards = brought(&self.models, &device, held);
        (record.device, record.presence, record.seen, record.drained) = (device, Presence::Here, now, false);
        let (damped, takes_work) = (record.flaps.is_damped(), record.takes_work());
        self.devices.insert(id.clone(), record);
        if changed {
            self.forget_measured(&id);
        }
        if was_away && changed {
            self.keep_what_fits(&id, effects);
        }
        if damped {
            // Once: where nothing else could take its work the first time, coming and going on does not help.
            if !was_damped {
                self.place_users(&id, &Reason::Damped(id.clone()));
            }
        } else if let Some(rejoin) = &mut self.rejoin {
            rejoin.meet(&id);
        } else if takes_work && (!was_away || was_damped || changed) {
            self.place_all(&Reason::Joined(id));
        } else if takes_work {
            // While it was away they were tried without it.
            self.place_refused(&Reason::Joined(id.clone()));
            self.note_cause(&Cause::Returned(id));
        }
        Ok(())
    }

    /// A device that came back with other offers may not be able to do what was planned for it.
    fn keep_what_fits(&mut self, device: &DeviceId, effects: &mut Vec<Effect>) {
        if self.plan.plan().clone().check(&self.capacity()).is_err() {
            self.give_up(|_, replica| replica.uses(device), &Reason::Joined(device.clone()), effects);
        }
    }

    /// The connection of a device was cut. One that is lost already, or was to be forgotten anyway, is not waited for.
    pub(super) fn cut(&mut self, device: DeviceId, effects: &mut Vec<Effect>) -> Result<(), Error> {
        let (now, flaps) = (self.time.now(), self.settings.flaps);
        let record = self.known(&device)?;
        if record.duty == Duty::Leaving {
            self.lose(&[device].into(), effects);
        } else if record.is_here() {
            record.presence = Presence::Away;
            record.flaps.note(now, &flaps);
        }
        Ok(())
    }

    pub(super) fn beat(&mut self, device: &DeviceId, pressures: Pressures, now: Millis) -> Result<(), Error> {
        let record = self.here(device)?;
        record.seen = now;
        record.pressures = pressures;
        self.stirred |= self.links.note_round_trip(device, pressures.latency, &self.settings.links);
        Ok(())
    }

    pub(super) fn leave(&mut self, device: DeviceId, effects: &mut Vec<Effect>) -> Result<(), Error> {
        if !self.known(&device)?.is_alive() {
            return Err(Fault::UnknownDevice { device }.into());
        }
        self.lose(&[device].into(), effects);
        Ok(())
    }

    /// Asks a device to do less.
    pub(super) fn cordon(&mut self, device: &DeviceId) -> Result<(), Error> {
        let record = self.known(device)?;
        record.duty = record.duty.cordoned();
        Ok(())
    }

    /// Asks a device to give its work away.
    pub(super) fn drain(&mut self, device: &DeviceId) -> Result<(), Error> {
        let record = self.known(device)?;
        record.duty = record.duty.drained();
        record.drained = false;
        self.place_users(device, &Reason::Draining(device.clone()));
        Ok(())
    }

    /// Gives a device back all its duties, if what it was asked is what `undo` takes back.
    pub(super) fn resume(&mut self, device: &DeviceId, undo: fn(Duty) -> Option<Duty>, undone: &'static str) -> Result<(), Error> {
        let record = self.known(device)?;
        let Some(duty) = undo(record.duty) else {
            return Err(Fault::NotAsked { device: device.clone(), state: record.state(), undone }.into());
        };
        record.duty = duty;
        record.drained = false;
        if record.takes_work() {
            self.place_all(&Reason::Resumed(device.clone()));
        }
        Ok(())
    }

    /// Has a device forgotten: at once if it is not here, else when its work has gone where it can.
    pub(super) fn remove_device(&mut self, device: DeviceId, effects: &mut Vec<Effect>) -> Result<(), Error> {
        let record = self.known(&device)?;
        record.duty = Duty::Leaving;
        if record.is_here() {
            self.place_users(&device, &Reason::Draining(device.clone()));
        } else {
            self.lose(&[device].into(), effects);
        }
        Ok(())
    }

    pub(super) fn label(&mut self, device: &DeviceId, labels: BTreeMap<String, String>) -> Result<(), Error> {
        self.known(device)?.given_labels = labels;
        Ok(())
    }

    /// Takes a measured link. The plan follows at once where two devices cannot reach each other any more, or can again; a link
    /// that is faster or slower than it was known to be is a cause for a review.
    pub(super) fn measure_link(&mut self, source: Endpoint, target: Endpoint, reach: Reach) -> Result<(), Error> {
        for end in [&source, &target] {
            if let Endpoint::Device(device) = end {
                self.here(device)?;
            }
        }
        let change = self.links.note(source.clone(), target.clone(), reach, self.time.now(), &self.settings.links)?;
        let (Endpoint::Device(source), Endpoint::Device(target)) = (source, target) else { return Ok(()) };
        match change {
            LinkChange::None => {}
            LinkChange::Told => self.note_cause(&Cause::Link(source, target)),
            LinkChange::Lost => {
                let reason = Reason::LinkLost(source.clone(), target.clone());
                self.place_where(|replica| replica.sends(&source, &target), &reason);
            }
            LinkChange::Regained => self.place_all(&Reason::LinkRegained(source, target)),
        }
        Ok(())
    }

    /// Goes on to `now`: loses who was silent for too long, and ends damping that is over.
    pub(super) fn pass(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let silent = |record: &&DeviceRecord| record.is_alive() && (now - record.seen).0 > self.settings.lease.0;
        let lost: BTreeSet<DeviceId> = self.devices.values().filter(silent).map(|record| record.device.id.clone()).collect();
        self.stirred |= !lost.is_empty();
        self.lose(&lost, effects);
        let mut steady = Vec::new();
        for record in self.devices.values_mut().filter(|record| record.is_here()) {
            if record.flaps.settle(now) && record.takes_work() {
                steady.push(record.device.id.clone());
            }
        }
        for device in steady {
            self.stirred = true;
            self.place_all(&Reason::Resumed(device));
        }
    }

    /// All at once: a plan between two losses would name a device that is about to be lost. Those that were to be removed
    /// are forgotten.
    pub(super) fn lose(&mut self, lost: &BTreeSet<DeviceId>, effects: &mut Vec<Effect>) {
        if lost.is_empty() {
            return;
        }
        let leaving = |device: &&DeviceId| self.devices.get(*device).is_some_and(|record| record.duty == Duty::Leaving);
        let forgotten: BTreeSet<DeviceId> = lost.iter().filter(leaving).cloned().collect();
        let reason = if forgotten == *lost { Reason::Forgotten(lost.clone()) } else { Reason::Lost(lost.clone()) };
        let now = self.time.now();
        for record in self.devices.values_mut().filter(|record| lost.contains(&record.device.id)) {
            if record.is_here() {
                record.flaps.note(now, &self.settings.flaps);
            }
            record.presence = Presence::Lost;
            record.drained = false;
            record.shards.clear();
        }
        let uses = |replica: &Replica| replica.stages.iter().any(|stage| lost.contains(&stage.offer.device));
        for model in self.models.values_mut() {
            model.outgoing.retain(|replica| !uses(replica));
            model.measured.forget(|device| lost.contains(device));
            // What it could not load then it may be able to load when it comes back.
            model.exclusions.retain(|exclusion| !lost.contains(&exclusion.offer.device));
        }
        self.give_up(|_, replica| uses(replica), &reason, effects);
        self.note_cause(&Cause::Lost(lost.clone()));
        for device in forgotten {
            self.devices.remove(&device);
            self.links.forget(&device);
            effects.push(Effect::Removed { device });
        }
    }

    /// Devices that were to be removed and have given away what they can: all of it, or the rest of it can go nowhere,
    /// because the cluster had come to rest before this event, and the event gave it nothing to plan.
    pub(super) fn ready_to_leave(&self, was_at_rest: bool) -> BTreeSet<DeviceId> {
        let stuck = was_at_rest && !self.is_planning();
        let ready = |record: &&DeviceRecord| record.duty == Duty::Leaving && record.is_here() && (record.shards.is_empty() || stuck);
        self.devices.values().filter(ready).map(|record| record.device.id.clone()).collect()
    }

    /// Says once of each draining device that nothing is left on it.
    pub(super) fn report_drained(&mut self, effects: &mut Vec<Effect>) {
        for record in self.devices.values_mut() {
            let drained = record.duty == Duty::Draining && record.is_here() && record.shards.is_empty();
            if drained && !record.drained {
                record.drained = true;
                effects.push(Effect::Drained { device: record.device.id.clone() });
            }
        }
    }

    /// Takes an answer to `Load` or `Unload`. One that nobody waits for changes nothing.
    pub(super) fn answered(&mut self, offer: OfferId, shard: ShardId, waited: ShardState, next: Option<ShardState>) -> Result<bool, Error> {
        let record = self.here(&offer.device)?;
        let key = (offer.accelerator, shard);
        let Some(held) = record.shards.get_mut(&key).filter(|held| held.state == waited) else { return Ok(false) };
        match next {
            Some(state) => held.state = state,
            None => {
                record.shards.remove(&key);
            }
        }
        Ok(true)
    }

    fn known(&mut self, device: &DeviceId) -> Result<&mut DeviceRecord, Error> {
        self.devices.get_mut(device).ok_or_else(|| Fault::UnknownDevice { device: device.clone() }.into())
    }

    /// A device that is connected.
    fn here(&mut self, device: &DeviceId) -> Result<&mut DeviceRecord, Error> {
        let record = self.known(device)?;
        match record.presence {
            Presence::Here => Ok(record),
            Presence::Away => Err(Fault::AwayDevice { device: device.clone() }.into()),
            Presence::Lost => Err(Fault::UnknownDevice { device: device.clone() }.into()),
        }
    }
}

/// What a device holds that says it still has these shards ready.
fn brought(models: &BTreeMap<ModelId, ModelRecord>, device: &Device, held: Vec<(AcceleratorName, ShardId)>) -> BTreeMap<(AcceleratorName, ShardId), HeldShard> {
    let ready = |(accelerator, shard): (AcceleratorName, ShardId)| {
        let need = need(models, device, &accelerator, &shard);
        ((accelerator, shard), HeldShard { state: ShardState::Ready, need })
    };
    held.into_iter().map(ready).collect()
}
