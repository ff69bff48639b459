//! The control plane as a function: `Cluster::apply(Event) -> Vec<Effect>`. The plan says what should be, leases and
//! reports say what is, and the effects close the gap. It neither waits nor performs anything; the central does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    device::{Device, DeviceState, Pressures},
    error::{Error, Fault},
    ids::{AcceleratorName, DeviceId, ModelId, OfferId, Ticket},
    link::Links,
    model::ModelProfile,
    plan::{CheckedPlan, Replica},
    policy::Refusal,
    problem::{Exclusion, Placement, Problem, Proposal},
    shard::ShardId,
    topology::Topology,
    units::{Bytes, Millis},
};

mod planning;
mod reason;
mod rollout;
#[cfg(test)]
mod tests;

pub use reason::Reason;

/// Most refused loads that are remembered for one model; the oldest are forgotten first.
const EXCLUSIONS_MAX: usize = 256;
/// Weight of the newest measured stage time against the mean of those before.
const MEASURED_WEIGHT: f64 = 0.2;

/// Times that the control plane goes by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ClusterSettings {
    /// A device that is silent for this long is lost.
    pub lease: Millis,
    /// How long a plan is expected to be in force, for weighing the gain of a change.
    pub horizon: Millis,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self { lease: Millis(1_500.0), horizon: Millis(600_000.0) }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A device says what it has. One that was lost comes back to its place.
    Joined { device: Device, now: Millis },
    /// A device is alive, and how hard it works.
    Heartbeat { device: DeviceId, pressures: Pressures, now: Millis },
    /// A device should give its work away.
    DrainAsked { device: DeviceId },
    /// A device left on its own account.
    Left { device: DeviceId },
    /// Time went by.
    Tick { now: Millis },
    /// A model should be served.
    ModelAdded { profile: Arc<ModelProfile>, placement: Placement },
    /// A model should be served no more.
    ModelRemoved { model: ModelId },
    /// The allocation policy answered.
    Solved { ticket: Ticket, outcome: Result<Proposal, Refusal> },
    /// A shard is ready on an offer.
    Loaded { offer: OfferId, shard: ShardId },
    /// An offer could not take a shard after all.
    LoadFailed { offer: OfferId, shard: ShardId, reason: String },
    /// A shard is gone from an offer.
    Unloaded { offer: OfferId, shard: ShardId },
    /// A stage ran.
    Measured { offer: OfferId, shard: ShardId, run: Millis },
    /// Every model should be placed again: another allocation policy is in service, or a person asks.
    ReplanAsked,
}

/// Something to do. No effect names a lost device.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask the allocation policy, and answer with `Solved` and the same ticket.
    Solve { ticket: Ticket, problem: Arc<Problem> },
    /// Load a shard, then say `Loaded` or `LoadFailed`.
    Load { offer: OfferId, shard: ShardId },
    /// Finish what is under way on a shard, drop it, then say `Unloaded`.
    Unload { offer: OfferId, shard: ShardId },
    /// Route by this topology from now on.
    Serve { topology: Arc<Topology> },
    /// Keep this plan where it survives a restart.
    Record { plan: CheckedPlan, reason: Reason },
    /// Tell whoever watches that a model could not be placed.
    Refused { model: ModelId, refusal: Refusal },
    /// Tell the device, or whoever asked, that the event was not accepted.
    Rejected { error: Error },
}

/// Where a shard on a device is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShardState {
    /// On its way.
    Loading,
    /// It can run.
    Ready,
    /// It finishes what it has.
    Unloading,
}

/// A shard that a device holds, or is about to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldShard {
    /// Where it is in its life.
    pub state: ShardState,
    /// The memory that is counted for it.
    pub need: Bytes,
}

/// What the cluster knows of a device.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceRecord {
    /// What it said of itself.
    pub device: Device,
    /// Where it is in its life.
    pub state: DeviceState,
    /// Ordinal of its first join.
    pub joined: u32,
    /// When it last gave a sign of life.
    pub seen: Millis,
    /// How hard it works.
    pub pressures: Pressures,
    /// What it holds.
    pub shards: BTreeMap<(AcceleratorName, ShardId), HeldShard>,
}

/// What the cluster knows of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelRecord {
    /// Its blocks and costs.
    pub profile: Arc<ModelProfile>,
    /// Where it may go.
    pub placement: Placement,
    /// Why it could not be placed, or not better, when it was last tried.
    pub refusal: Option<Refusal>,
    /// What was proposed with the plan in force: the bound that no plan beats, 0 if none was proved.
    pub bound: f64,
    /// Loads that were refused.
    pub exclusions: Vec<Exclusion>,
    /// Replicas of earlier plans that serve until one of the plan in force is ready.
    outgoing: Vec<Replica>,
    /// Mean of measured run times.
    measured: BTreeMap<(OfferId, ShardId), Millis>,
}

/// What the allocation policy was asked and has not answered yet.
#[derive(Clone, Debug)]
struct Question {
    ticket: Ticket,
    problem: Arc<Problem>,
    reason: Reason,
}

/// The whole state of the control plane.
#[derive(Clone, Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    devices: BTreeMap<DeviceId, DeviceRecord>,
    models: BTreeMap<ModelId, ModelRecord>,
    links: Links,
    plan: CheckedPlan,
    topology: Arc<Topology>,
    to_place: BTreeMap<ModelId, Reason>,
    asked: Option<Question>,
    ticket: Ticket,
}

impl Cluster {
    /// An empty pool whose plan numbers go on after `last`.
    pub fn new(settings: ClusterSettings, last: crate::ids::PlanNumber) -> Self {
        Self {
            settings,
            devices: BTreeMap::new(),
            models: BTreeMap::new(),
            links: Links::default(),
            plan: CheckedPlan::of_nothing(last),
            topology: Arc::default(),
            to_place: BTreeMap::new(),
            asked: None,
            ticket: Ticket::default(),
        }
    }

    /// Sets what is known of the ways between devices.
    #[must_use]
    pub fn with_links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// Takes one event and says what to do about it.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Err(error) = self.take(event, &mut effects) {
            effects.push(Effect::Rejected { error });
        }
        self.roll_out(&mut effects);
        self.ask(&mut effects);
        effects
    }

    /// Every device that ever joined, lost ones too.
    pub fn devices(&self) -> &BTreeMap<DeviceId, DeviceRecord> {
        &self.devices
    }

    /// Every model that should be served.
    pub fn models(&self) -> &BTreeMap<ModelId, ModelRecord> {
        &self.models
    }

    /// What should be.
    pub fn plan(&self) -> &CheckedPlan {
        &self.plan
    }

    /// What can be served now.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Models that still wait for the allocation policy.
    pub fn is_planning(&self) -> bool {
        self.asked.is_some() || !self.to_place.is_empty()
    }

    /// Whether something is being loaded or unloaded.
    pub fn is_moving(&self) -> bool {
        self.devices.values().flat_map(|record| record.shards.values()).any(|held| held.state != ShardState::Ready)
    }

    fn take(&mut self, event: Event, effects: &mut Vec<Effect>) -> Result<(), Error> {
        match event {
            Event::Joined { device, now } => self.join(device, now),
            Event::Heartbeat { device, pressures, now } => {
                let record = self.live(&device)?;
                record.seen = now;
                record.pressures = pressures;
                Ok(())
            }
            Event::DrainAsked { device } => {
                self.live(&device)?.state = DeviceState::Draining;
                self.place_all(&Reason::Draining(device));
                Ok(())
            }
            Event::Left { device } => {
                self.live(&device)?;
                self.lose(&BTreeSet::from([device]), effects);
                Ok(())
            }
            Event::Tick { now } => {
                self.expire(now, effects);
                Ok(())
            }
            Event::ModelAdded { profile, placement } => {
                self.add_model(profile, placement);
                Ok(())
            }
            Event::ModelRemoved { model } => self.remove_model(&model, effects),
            Event::Solved { ticket, outcome } => {
                self.solved(ticket, outcome, effects);
                Ok(())
            }
            Event::Loaded { offer, shard } => self.set_shard(offer, shard, Some(ShardState::Ready)),
            Event::LoadFailed { offer, shard, reason } => self.exclude(offer, shard, reason),
            Event::Unloaded { offer, shard } => self.set_shard(offer, shard, None),
            Event::Measured { offer, shard, run } => {
                self.measure(offer, shard, run);
                Ok(())
            }
            Event::ReplanAsked => {
                self.place_all(&Reason::Asked);
                Ok(())
            }
        }
    }

    fn join(&mut self, device: Device, now: Millis) -> Result<(), Error> {
        device.check()?;
        let known = self.devices.get(&device.id);
        if known.is_some_and(|record| record.state != DeviceState::Lost) {
            return Err(Fault::LiveDevice { device: device.id }.into());
        }
        let joined = known.map_or(u32::try_from(self.devices.len()).unwrap_or(u32::MAX), |record| record.joined);
        let record = DeviceRecord { state: DeviceState::Ready, joined, seen: now, pressures: Pressures::default(), shards: BTreeMap::new(), device };
        let id = record.device.id.clone();
        self.devices.insert(id.clone(), record);
        self.place_all(&Reason::Joined(id));
        Ok(())
    }

    fn live(&mut self, device: &DeviceId) -> Result<&mut DeviceRecord, Error> {
        let record = self.devices.get_mut(device).filter(|record| record.state != DeviceState::Lost);
        record.ok_or_else(|| Fault::UnknownDevice { device: device.clone() }.into())
    }

    fn expire(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let silent = |record: &&DeviceRecord| record.state != DeviceState::Lost && (now - record.seen).0 > self.settings.lease.0;
        let lost: BTreeSet<DeviceId> = self.devices.values().filter(silent).map(|record| record.device.id.clone()).collect();
        self.lose(&lost, effects);
    }

    /// All at once: a plan between two losses would name a device that is about to be lost.
    fn lose(&mut self, lost: &BTreeSet<DeviceId>, effects: &mut Vec<Effect>) {
        for record in self.devices.values_mut().filter(|record| lost.contains(&record.device.id)) {
            record.state = DeviceState::Lost;
            record.shards.clear();
        }
        let uses = |replica: &Replica| replica.stages.iter().any(|stage| lost.contains(&stage.offer.device));
        for model in self.models.values_mut() {
            model.outgoing.retain(|replica| !uses(replica));
            model.measured.retain(|(offer, _), _| !lost.contains(&offer.device));
        }
        let mut models = self.plan.plan().models.clone();
        let reason = Reason::Lost(lost.clone());
        for (model, replicas) in &mut models {
            let before = replicas.len();
            replicas.retain(|replica| !uses(replica));
            if replicas.len() < before {
                self.to_place.insert(model.clone(), reason.clone());
            }
        }
        // Fewer replicas always fit where more did.
        self.put_in_force(models, reason, effects);
    }

    fn add_model(&mut self, profile: Arc<ModelProfile>, placement: Placement) {
        let id = profile.id().clone();
        let record = ModelRecord { profile, placement, refusal: None, bound: 0.0, exclusions: Vec::new(), outgoing: Vec::new(), measured: BTreeMap::new() };
        self.models.entry(id.clone()).or_insert(record);
        self.to_place.insert(id.clone(), Reason::Added(id));
    }

    fn remove_model(&mut self, model: &ModelId, effects: &mut Vec<Effect>) -> Result<(), Error> {
        self.models.remove(model).ok_or_else(|| Fault::UnknownModel { model: model.clone() })?;
        self.to_place.remove(model);
        let mut models = self.plan.plan().models.clone();
        models.remove(model);
        self.put_in_force(models, Reason::Removed(model.clone()), effects);
        Ok(())
    }

    fn place_all(&mut self, reason: &Reason) {
        self.to_place.extend(self.models.keys().map(|model| (model.clone(), reason.clone())));
    }

    fn set_shard(&mut self, offer: OfferId, shard: ShardId, state: Option<ShardState>) -> Result<(), Error> {
        let record = self.live(&offer.device)?;
        let key = (offer.accelerator, shard);
        match state {
            // A report about something that was never asked for changes nothing.
            Some(state) => {
                if let Some(held) = record.shards.get_mut(&key) {
                    held.state = state;
                }
            }
            None => {
                record.shards.remove(&key);
            }
        }
        Ok(())
    }

    fn exclude(&mut self, offer: OfferId, shard: ShardId, reason: String) -> Result<(), Error> {
        let record = self.live(&offer.device)?;
        record.shards.remove(&(offer.accelerator.clone(), shard.clone()));
        let Some(model) = self.models.get_mut(&shard.model) else { return Ok(()) };
        if model.exclusions.len() == EXCLUSIONS_MAX {
            model.exclusions.remove(0);
        }
        self.to_place.insert(shard.model.clone(), Reason::LoadRefused(offer.clone(), shard.clone()));
        model.exclusions.push(Exclusion { offer, shard, reason });
        Ok(())
    }

    fn measure(&mut self, offer: OfferId, shard: ShardId, run: Millis) {
        let sound = run.0.is_finite() && run.0 >= 0.0;
        if let Some(model) = self.models.get_mut(&shard.model).filter(|_| sound) {
            let mean = model.measured.entry((offer, shard)).or_insert(run);
            mean.0 += MEASURED_WEIGHT * (run.0 - mean.0);
        }
    }
}

impl ModelRecord {
    /// The mean of measured run times of a shard on an offer.
    pub fn measured(&self, offer: &OfferId, shard: &ShardId) -> Option<Millis> {
        self.measured.get(&(offer.clone(), shard.clone())).copied()
    }
}
