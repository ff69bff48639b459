//! Reviews: whether the plan of a model that serves should be made again, which the allocation policy is asked. Causes are
//! collected as events bring them and looked at with each tick; what follows from an answer is planned like anything else.
//! First plans, losses and devices that join wait for no review. Called by `cluster` alone.

mod cause;
mod recent;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use cause::Cause;

use super::{Cluster, Effect, ModelRecord, Reason, record::is_routable};
use crate::{
    cost::refined::StageTime,
    ids::{DeviceId, ModelId, OfferId, Ticket},
    plan::Replica,
    policy::{Observation, StageObservation, Verdict},
    problem::{Problem, ProposedStage},
    shard::{BlockRange, ShardId},
    units::Millis,
};
use recent::{Arrivals, Load};
use watch::{Kind, Watch};

/// Times that differ by less are the same: so short ones cannot be measured better, in milliseconds.
const DRIFT_MS_FLOOR: f64 = 0.2;

/// When plans are reviewed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ReviewSettings {
    /// From one review of a model to the next, while requests come for it and nothing else gives cause.
    pub interval: Millis,
    /// From a review to one for another cause; twice as long after each further one that found the plan good enough, up to
    /// `interval`.
    pub cause_min: Millis,
    /// From a plan of a model to the next review of it, whoever wanted the plan; twice as long after each further plan that
    /// a review led to. A stage that drifts from what a plan was made with waits for `cause_min` alone, unless a review led to
    /// the plan.
    pub pause_min: Millis,
    /// The longest such pause. After twice as long without a review that wanted another plan the doubling begins anew.
    pub pause_max: Millis,
    /// A stage whose measured time is longer than what was reckoned with by this share, or shorter by as much, is a cause.
    pub drift_ratio: f64,
    /// Runs of a stage since its plan came in force before what they took says anything.
    pub runs_min: u32,
    /// A device of the plan that is busier than the mean of them by this share of time is a cause. It is one again only
    /// after it has been below half of that.
    pub rebalance_threshold: f64,
    /// What means of arrivals and of pressures remember; what is as long ago weighs about a third.
    pub memory: Millis,
}

impl ReviewSettings {
    /// A review a minute, a plan a minute at first, a plan an hour if a policy wants one each time.
    pub const DEFAULT: Self = Self {
        interval: Millis(60_000.0),
        cause_min: Millis(10_000.0),
        pause_min: Millis(60_000.0),
        pause_max: Millis(3_600_000.0),
        drift_ratio: 0.3,
        runs_min: 10,
        rebalance_threshold: 0.3,
        memory: Millis(30_000.0),
    };
}

impl Default for ReviewSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A shard on an offer.
type Place = (OfferId, ShardId);

/// All that the cluster knows for its reviews.
#[derive(Clone, Debug, Default)]
pub(super) struct Reviews {
    followed: BTreeMap<ModelId, Followed>,
    /// One model at a time.
    open: Option<Open>,
}

/// What was asked and is not answered yet.
#[derive(Clone, Debug)]
struct Open {
    ticket: Ticket,
    model: ModelId,
    cause: Cause,
    /// The plan that the question is about.
    planned: Vec<Replica>,
}

/// What is followed of one model.
#[derive(Clone, Debug, Default)]
struct Followed {
    watch: Watch,
    arrivals: Arrivals,
    load: Load,
    /// Whether the policy knows that a device has far more to do than the others.
    imbalance_told: bool,
    /// The plan that the rest of this is about.
    planned: Vec<Replica>,
    /// What each stage was predicted to take when the plan came in force, or took when it was reviewed last.
    reckoned: BTreeMap<Place, Millis>,
    /// Runs since the plan came in force.
    runs: BTreeMap<Place, u32>,
}

impl Followed {
    /// Another plan came in force.
    fn begin(&mut self, planned: Vec<Replica>, reckoned: BTreeMap<Place, Millis>, now: Millis, settings: &ReviewSettings) {
        self.watch.planned(now, settings);
        (self.planned, self.reckoned) = (planned, reckoned);
        self.runs.clear();
        (self.load, self.imbalance_told) = (Load::default(), false);
    }

    /// The stage that drifted furthest from what was reckoned with, if one did far enough.
    fn drift(&self, record: &ModelRecord, settings: &ReviewSettings) -> Option<Cause> {
        let drifts = self.reckoned.iter().filter_map(|(place, &reckoned)| {
            let measured = self.measured(place, record, settings.runs_min)?;
            let factor = (measured.0 / reckoned.0).max(reckoned.0 / measured.0);
            let far = factor > 1.0 + settings.drift_ratio && (measured - reckoned).0.abs() > DRIFT_MS_FLOOR;
            far.then(|| (factor, Cause::Drifted { offer: place.0.clone(), shard: place.1.clone(), reckoned, measured }))
        });
        drifts.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, cause)| cause)
    }

    fn measured(&self, place: &Place, record: &ModelRecord, runs_min: u32) -> Option<Millis> {
        let enough = self.runs.get(place).is_some_and(|&runs| runs >= runs_min);
        record.measured(&place.0, &place.1).filter(|_| enough).map(StageTime::mean)
    }

    fn imbalance(&self, settings: &ReviewSettings) -> Option<Cause> {
        let Load { most, mean, .. } = self.load;
        (self.load.imbalance() > settings.rebalance_threshold && !self.imbalance_told).then_some(Cause::Imbalanced { most, mean })
    }

    /// The policy is shown how things are: from now on only what differs from that is news.
    fn asked(&mut self, record: &ModelRecord, settings: &ReviewSettings) {
        self.watch.asked();
        self.imbalance_told = self.load.imbalance() > settings.rebalance_threshold / 2.0;
        let shown: Vec<(Place, Millis)> =
            self.reckoned.keys().filter_map(|place| Some((place.clone(), self.measured(place, record, settings.runs_min)?))).collect();
        self.reckoned.extend(shown);
    }
}

impl Cluster {
    /// So many requests came for a model since this was said last.
    pub(super) fn count_requests(&mut self, model: ModelId, requests: u32, now: Millis) {
        // One that is removed meanwhile is followed no more.
        if self.models.contains_key(&model) {
            self.reviews.followed.entry(model).or_default().arrivals.note(requests, now, self.settings.reviews.memory);
        }
    }

    /// A stage ran so many times since this was said last.
    pub(super) fn count_runs(&mut self, offer: OfferId, shard: ShardId, more: u32) {
        if let Some(followed) = self.reviews.followed.get_mut(&shard.model) {
            let runs = followed.runs.entry((offer, shard)).or_default();
            *runs = runs.saturating_add(more);
        }
    }

    /// Something happened that may make any plan better or worse.
    pub(super) fn note_cause(&mut self, cause: &Cause) {
        self.reviews.followed.values_mut().for_each(|followed| followed.watch.note(cause.clone()));
    }

    /// Looks at every plan and asks about the one that was not looked at for longest of those that are due.
    pub(super) fn review(&mut self, effects: &mut Vec<Effect>) {
        self.follow();
        if self.reviews.open.is_some() || self.is_planning() {
            return;
        }
        let Some((model, cause, observation)) = self.next_review() else { return };
        if let (Some(followed), Some(record)) = (self.reviews.followed.get_mut(&model), self.models.get(&model)) {
            followed.asked(record, &self.settings.reviews);
        }
        self.ticket = self.ticket.next();
        self.reviews.open = Some(Open { ticket: self.ticket, planned: self.planned(&model).to_vec(), model, cause: cause.clone() });
        effects.push(Effect::Review { ticket: self.ticket, cause, observation: Arc::new(observation) });
    }

    /// Takes an answer. One to a question that is no longer open, or about a plan that is no longer in force, says nothing.
    pub(super) fn reviewed(&mut self, ticket: Ticket, verdict: Verdict) {
        let Some(Open { model, cause, planned, .. }) = self.reviews.open.take_if(|open| open.ticket == ticket) else { return };
        if self.planned(&model) != planned || self.is_being_placed(&model) {
            return;
        }
        let (now, settings) = (self.time.now(), self.settings.reviews);
        let Some(followed) = self.reviews.followed.get_mut(&model) else { return };
        match verdict {
            Verdict::Keep => followed.watch.kept(&cause, now, &settings),
            Verdict::Replan(why) => {
                followed.watch.replans(now, &settings);
                self.to_place.insert(model.clone(), Reason::Reviewed { model, cause, why });
            }
        }
    }

    /// Brings up to date what is known of each model, and finds the causes that no event brings.
    fn follow(&mut self) {
        let (now, settings) = (self.time.now(), self.settings.reviews);
        let mut followed_models = std::mem::take(&mut self.reviews.followed);
        followed_models.retain(|model, _| self.models.contains_key(model));
        for (model, record) in &self.models {
            let followed = followed_models.entry(model.clone()).or_default();
            let planned = self.planned(model);
            if followed.planned != planned {
                followed.begin(planned.to_vec(), self.predictions(model), now, &settings);
            }
            followed.arrivals.note(0, now, settings.memory);
            followed.runs.retain(|(offer, shard), _| record.measured(offer, shard).is_some());
            followed.load.note(self.load_of(planned), now, settings.memory);
            followed.imbalance_told &= followed.load.imbalance() > settings.rebalance_threshold / 2.0;
            let drift = followed.drift(record, &settings).filter(|_| followed.watch.is_curious(Kind::Drift, now));
            let imbalance = || followed.imbalance(&settings).filter(|_| followed.watch.is_curious(Kind::Other, now));
            if let Some(cause) = drift.or_else(imbalance) {
                followed.watch.note(cause);
            }
        }
        self.reviews.followed = followed_models;
    }

    /// The most patient model of those whose review is due, and what its policy is shown. A plan that nobody is expected to
    /// use while it would be in force is not worth a question, and one that is not yet as it should be shows nothing.
    fn next_review(&self) -> Option<(ModelId, Cause, Observation)> {
        let (now, settings) = (self.time.now(), &self.settings.reviews);
        let wanted = |followed: &Followed| followed.arrivals.expected() <= self.settings.horizon;
        let due = |(model, followed): (&ModelId, &Followed)| {
            let cause = followed.watch.due(now, settings).filter(|_| wanted(followed) && self.is_steady(model))?;
            Some((followed.watch.looked(), model.clone(), cause))
        };
        let mut due: Vec<(Millis, ModelId, Cause)> = self.reviews.followed.iter().filter_map(due).collect();
        // Stable: of those who waited as long, the first by name.
        due.sort_by(|one, other| one.0.0.total_cmp(&other.0.0));
        due.into_iter().find_map(|(_, model, cause)| {
            let observation = self.observe(&model)?;
            Some((model, cause, observation))
        })
    }

    /// Whether all of a model's plan serves, and nothing else does.
    fn is_steady(&self, model: &ModelId) -> bool {
        let outgoing = self.models.get(model).is_some_and(|record| !record.outgoing.is_empty());
        !outgoing && !self.planned(model).is_empty() && self.planned(model).iter().all(|replica| is_routable(&self.devices, model, replica))
    }

    /// What a policy is shown of a model. None if its plan is none that a policy could change.
    fn observe(&self, model: &ModelId) -> Option<Observation> {
        let (record, followed) = (self.models.get(model)?, self.reviews.followed.get(model)?);
        let problem = self.problem(model).filter(|problem| !problem.current.is_empty())?;
        let mut stages = Vec::new();
        for (replica, chain) in (0_u32..).zip(&problem.current) {
            let predicted = problem.predict(chain).stages;
            for (stage, (proposed, predicted)) in (0_u32..).zip(chain.iter().zip(predicted)) {
                let Some(place) = place(&problem, proposed) else { continue };
                let runs = followed.runs.get(&place).copied().unwrap_or(0);
                // Costs of a problem are refined by what was measured, so drift shows against what was reckoned with.
                let predicted = followed.reckoned.get(&place).copied().unwrap_or(predicted);
                if let Some(measured) = followed.measured(&place, record, 1) {
                    stages.push(StageObservation { replica, stage, predicted, measured, runs });
                }
            }
        }
        let Load { most, mean, .. } = followed.load;
        Some(Observation { problem, stages, pressure_max: most, pressure_mean: mean, arrival: followed.arrivals.expected() })
    }

    /// What each stage of a model's plan is predicted to take.
    fn predictions(&self, model: &ModelId) -> BTreeMap<Place, Millis> {
        let Some(problem) = self.problem_in_force(model) else { return BTreeMap::new() };
        let chains = problem.current.iter().flat_map(|chain| chain.iter().zip(problem.predict(chain).stages));
        chains.filter_map(|(stage, predicted)| Some((place(&problem, stage)?, predicted))).collect()
    }

    /// How busy the accelerators of the busiest device of some replicas are, and those of all of them in the mean. Nothing
    /// else that presses a device can be shared out by another plan.
    fn load_of(&self, replicas: &[Replica]) -> (f64, f64) {
        let devices: BTreeSet<&DeviceId> = replicas.iter().flat_map(|replica| &replica.stages).map(|stage| &stage.offer.device).collect();
        let busy = |device: &&DeviceId| self.devices.get(*device).map(|record| record.pressures.accelerator).filter(|share| share.is_finite());
        let shares: Vec<f64> = devices.iter().filter_map(busy).collect();
        let most = shares.iter().copied().fold(0.0, f64::max);
        (most, if shares.is_empty() { 0.0 } else { shares.iter().sum::<f64>() / shares.len() as f64 })
    }
}

/// Which shard a stage is, and where it is.
fn place(problem: &Problem, stage: &ProposedStage) -> Option<Place> {
    let range = BlockRange::new(stage.start, stage.end).ok()?;
    Some((problem.offers.get(stage.offer as usize)?.id.clone(), ShardId { model: problem.model.id().clone(), range }))
}
