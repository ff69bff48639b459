//! The control plane as a function: `Cluster::apply(Event) -> Vec<Effect>`. The plan says what should be, leases and
//! reports say what is, and the effects close the gap. It neither waits nor performs anything; the central does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cost::refined::RefiningSettings,
    error::Error,
    ids::{DeviceId, ModelId, PlanNumber, Ticket},
    link::{LinkSettings, Links, MeasuredLinks},
    plan::{CheckedPlan, Plan},
    problem::Problem,
    topology::Topology,
    units::Millis,
};

mod census;
mod converting;
mod devices;
mod event;
mod flaps;
mod lease;
mod models;
mod planning;
mod reason;
mod record;
mod refining;
mod rejoin;
mod reviewing;
mod rollout;
#[cfg(test)]
mod tests;

pub use census::{Census, DeviceCensus, Supply};
pub use converting::{Converted, Lack, LeftOut};
pub use event::{Effect, Event};
pub use flaps::FlapSettings;
pub use reason::Reason;
pub use record::{DeviceRecord, Duty, HeldShard, ModelRecord, ShardState};
pub use refining::Refined;
pub use reviewing::{Cause, ReviewSettings};

use lease::LeaseTime;
use rejoin::Rejoin;
use reviewing::Reviews;

/// Times and limits that the control plane goes by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ClusterSettings {
    /// A device that is silent for this long is lost.
    pub lease: Millis,
    /// How often `Tick` comes. One that is later by more than half a lease says that the central slept, and takes nothing off
    /// the leases of its devices but this.
    pub tick: Millis,
    /// How long a restarted central waits for the devices of before until it has anything planned.
    pub rejoin: Millis,
    /// How long a plan is expected to be in force, for weighing the gain of a change.
    pub horizon: Millis,
    /// When a device comes and goes too often.
    pub flaps: FlapSettings,
    /// How measured links are taken.
    pub links: LinkSettings,
    /// How measured stage times are taken.
    pub refining: RefiningSettings,
    /// When plans are reviewed.
    pub reviews: ReviewSettings,
    /// Most ranges that a problem rules out because they were not converted, over all of its offers.
    pub unconverted_max: usize,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            lease: Millis(1_500.0),
            tick: Millis(500.0),
            rejoin: Millis(5_000.0),
            horizon: Millis(600_000.0),
            flaps: FlapSettings::default(),
            links: LinkSettings::default(),
            refining: RefiningSettings::default(),
            reviews: ReviewSettings::default(),
            unconverted_max: 16_384,
        }
    }
}

/// What the allocation policy was asked and has not answered yet.
#[derive(Clone, Debug)]
struct Question {
    ticket: Ticket,
    problem: Arc<Problem>,
    reason: Reason,
    /// Whether something has changed since that may let the model fit: then a refusal is not the last word.
    outdated: bool,
}

/// The whole state of the control plane.
#[derive(Clone, Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    time: LeaseTime,
    devices: BTreeMap<DeviceId, DeviceRecord>,
    /// How many strangers have joined.
    joins: u32,
    models: BTreeMap<ModelId, ModelRecord>,
    /// What was converted; also of models that are not known yet.
    converted: BTreeMap<ModelId, Converted>,
    links: MeasuredLinks,
    plan: CheckedPlan,
    topology: Arc<Topology>,
    /// What a restarted central still waits for.
    rejoin: Option<Rejoin>,
    to_place: BTreeMap<ModelId, Reason>,
    asked: Option<Question>,
    reviews: Reviews,
    ticket: Ticket,
    /// Whether numbers have changed, or time has ended something, since it was last said what to do.
    stirred: bool,
}

impl Cluster {
    /// An empty pool whose plan numbers go on after `last`.
    pub fn new(settings: ClusterSettings, last: PlanNumber) -> Self {
        Self {
            settings,
            time: LeaseTime::default(),
            devices: BTreeMap::new(),
            joins: 0,
            models: BTreeMap::new(),
            converted: BTreeMap::new(),
            links: MeasuredLinks::default(),
            plan: CheckedPlan::of_nothing(last),
            topology: Arc::default(),
            rejoin: None,
            to_place: BTreeMap::new(),
            asked: None,
            reviews: Reviews::default(),
            ticket: Ticket::default(),
            stirred: false,
        }
    }

    /// The pool of a restarted central, with the plan that the store kept. That plan is in force as far as its devices are
    /// back and its models are added; nobody is asked for another one before all of them are, those of `expected` too,
    /// which were there but had no part in the plan, or `ClusterSettings::rejoin` is over since the first event. What is
    /// missing then is lost. Models that do not exist any more should be taken out of `plan` before, or they are waited for.
    pub fn with_plan(settings: ClusterSettings, plan: Plan, expected: BTreeSet<DeviceId>) -> Self {
        let number = plan.number;
        Self { rejoin: Rejoin::new(plan, expected), ..Self::new(settings, number) }
    }

    /// Sets what is known of the ways between devices.
    #[must_use]
    pub fn with_links(mut self, links: Links) -> Self {
        self.links = links.into();
        self
    }

    /// Takes one event and says what to do about it.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        self.apply_all([event])
    }

    /// Takes events that happened at one moment, in their order, and says once what to do about all of them. Nobody is asked and
    /// nothing is moved in between, so that a thousand devices that join together cost little more than one.
    pub fn apply_all(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (mut due, mut ticks, mut was_at_rest) = (false, false, None);
        for event in events {
            let (quiet, tick) = (event.is_quiet(), matches!(event, Event::Tick { .. }));
            if !quiet {
                was_at_rest.get_or_insert_with(|| self.is_at_rest());
            }
            if let Err(error) = self.take(event, &mut effects) {
                effects.push(Effect::Rejected { error });
            }
            due |= if tick { self.stirred || self.waits_for_time() } else { !quiet };
            ticks |= tick;
        }
        if due {
            self.stirred = false;
            self.pursue(was_at_rest.unwrap_or_default(), &mut effects);
        }
        if ticks {
            self.review(&mut effects);
        }
        effects
    }

    /// Brings what is nearer to what should be.
    fn pursue(&mut self, was_at_rest: bool, effects: &mut Vec<Effect>) {
        self.rejoin(effects);
        // Before anything is said about the pool that those who leave are still part of.
        let leaving = self.ready_to_leave(was_at_rest);
        self.lose(&leaving, effects);
        self.give_up_unheld(effects);
        self.ask(effects);
        self.roll_out(effects);
        self.report_drained(effects);
    }

    /// Every device that ever joined and was not removed, lost ones too.
    pub fn devices(&self) -> &BTreeMap<DeviceId, DeviceRecord> {
        &self.devices
    }

    /// What was measured of the ways between devices, and between them and the central.
    pub fn links(&self) -> &MeasuredLinks {
        &self.links
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

    /// Whether a model has a replica in the plan, is about to get one, or may get back the one that it had.
    pub fn is_hopeful(&self, model: &ModelId) -> bool {
        !self.planned(model).is_empty() || self.is_being_placed(model) || self.rejoin.as_ref().is_some_and(|rejoin| rejoin.waits_for(model))
    }

    /// Whether models still wait for the allocation policy, or a restarted central for its devices.
    pub fn is_planning(&self) -> bool {
        self.asked.is_some() || !self.to_place.is_empty() || self.rejoin.is_some()
    }

    /// Whether something is being loaded or unloaded.
    pub fn is_moving(&self) -> bool {
        self.devices.values().flat_map(|record| record.shards.values()).any(|held| held.state != ShardState::Ready)
    }

    fn is_at_rest(&self) -> bool {
        !self.is_planning() && !self.is_moving()
    }

    /// Whether a tick may end something by itself: a model waits for a device that is away, a restarted central for its pool, or
    /// somebody for a device that is to be removed. Where it cannot, one at which nothing happened costs next to nothing.
    fn waits_for_time(&self) -> bool {
        self.rejoin.is_some() || !self.to_place.is_empty() || self.devices.values().any(|record| record.duty() == Duty::Leaving)
    }

    fn take(&mut self, event: Event, effects: &mut Vec<Effect>) -> Result<(), Error> {
        match event {
            Event::Joined { device, held, now } => {
                let now = self.time.of_event(now, &self.settings)?;
                self.join(device, held, now, effects)
            }
            Event::Heartbeat { device, pressures, now } => {
                let now = self.time.of_event(now, &self.settings)?;
                self.beat(&device, pressures, now)
            }
            Event::Away { device } => self.cut(device, effects),
            Event::Left { device } => self.leave(device, effects),
            Event::CordonAsked { device } => self.cordon(&device),
            Event::UncordonAsked { device } => self.resume(&device, Duty::uncordoned, "uncordoned"),
            Event::DrainAsked { device } => self.drain(&device),
            Event::UndrainAsked { device } => self.resume(&device, Duty::undrained, "undrained"),
            Event::RemoveAsked { device } => self.remove_device(device, effects),
            Event::Labelled { device, labels } => self.label(&device, labels),
            Event::LinkMeasured { source, target, reach } => self.measure_link(source, target, reach),
            Event::Tick { now } => {
                let now = self.time.tick(now, &self.settings)?;
                self.pass(now, effects);
                Ok(())
            }
            Event::ModelAdded { profile, placement } => {
                self.add_model(profile, placement);
                Ok(())
            }
            Event::Converted { model, converted } => {
                self.note_converted(model, converted);
                Ok(())
            }
            Event::ModelRemoved { model } => self.remove_model(&model, effects),
            Event::Solved { ticket, outcome } => {
                self.solved(ticket, outcome, effects);
                Ok(())
            }
            Event::Loaded { offer, shard } => self.answered(offer, shard, ShardState::Loading, Some(ShardState::Ready)).map(drop),
            Event::LoadFailed { offer, shard, reason } => self.exclude(offer, shard, reason, effects),
            Event::Unloaded { offer, shard } => self.answered(offer, shard, ShardState::Unloading, None).map(drop),
            Event::Requested { model, requests, now } => {
                let now = self.time.of_event(now, &self.settings)?;
                self.count_requests(model, requests, now);
                Ok(())
            }
            Event::Reviewed { ticket, verdict } => {
                self.reviewed(ticket, verdict);
                Ok(())
            }
            Event::Measured { offer, shard, run, runs } => {
                self.count_runs(offer.clone(), shard.clone(), runs);
                self.measure(offer, shard, run, runs);
                Ok(())
            }
            Event::ReplanAsked => {
                self.place_all(&Reason::OtherPolicy);
                Ok(())
            }
        }
    }
}
