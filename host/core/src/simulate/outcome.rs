//! What came of a simulation. Values only; how they are shown is for whoever shows them.

use std::collections::BTreeMap;

use crate::{
    ids::{DeviceId, ModelId, PlanNumber},
    units::{Bytes, Millis},
};

/// Why a request was turned away at the door.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shed {
    /// The queueing policy refused it.
    Refused,
    /// The line was full.
    Full,
}

/// Why a request got no answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Failed {
    /// Its deadline passed.
    Late,
    /// No replica of its model was ready, nor about to be.
    NoReplica,
    /// The routing policy refused it.
    RouteRefused,
    /// Each of its runs failed, as many as it may have.
    Attempts,
}

impl Shed {
    /// A word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Full => "full",
        }
    }
}

impl Failed {
    /// A word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::NoReplica => "no_replica",
            Self::RouteRefused => "route_refused",
            Self::Attempts => "attempts",
        }
    }
}

/// How long answers took, from the door to the door; sorted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Latencies(pub(super) Vec<f64>);

impl Latencies {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of the answers does not exceed, by nearest rank; none without an answer.
    pub fn percentile(&self, share: f64) -> Option<Millis> {
        let rank = (share.clamp(0.0, 1.0) * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied().map(Millis)
    }

    /// The mean; none without an answer.
    pub fn mean(&self) -> Option<Millis> {
        (!self.0.is_empty()).then(|| Millis(self.0.iter().sum::<f64>() / self.0.len() as f64))
    }
}

/// Requests that arrived while it counted, and what became of them: `arrived` is the sum of all others.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Requests {
    /// All of them.
    pub arrived: u64,
    /// Those with an answer.
    pub served: u64,
    /// Those turned away, by why.
    pub shed: BTreeMap<Shed, u64>,
    /// Those without an answer, by why.
    pub failed: BTreeMap<Failed, u64>,
    /// How long those with an answer took.
    pub latencies: Latencies,
    /// How long those that got a turn waited for it, on average.
    pub queued: Millis,
}

impl Requests {
    /// All that were turned away.
    pub fn shed_sum(&self) -> u64 {
        self.shed.values().sum()
    }

    /// All without an answer that were let in.
    pub fn failed_sum(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// One device.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceOutcome {
    /// Its id.
    pub id: DeviceId,
    /// Share of the time that it computed, of that in which it was on: a device that is cut off finishes what it has.
    pub utilisation: f64,
    /// Share of the time that it was connected.
    pub presence: f64,
    /// Rows that it computed.
    pub runs: u64,
    /// Times that it failed, left or was cut off.
    pub endings: u64,
    /// Bytes of shards that it fetched, from the beginning on.
    pub fetched: Bytes,
}

/// How long a model could not be served.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelOutcome {
    /// The model.
    pub id: ModelId,
    /// Time without a ready replica.
    pub without_replica: Millis,
    /// The part of it in which the devices that were connected had memory for one, filled one after another.
    pub avoidable: Millis,
    /// Ready replicas, the mean over time.
    pub replicas: f64,
}

/// A plan that was put in force.
#[derive(Clone, PartialEq, Debug)]
pub struct PlanChange {
    /// When, counted from the opening of the doors; negative before.
    pub at: Millis,
    /// Its number.
    pub plan: PlanNumber,
    /// Why, as `host plan history` says it.
    pub reason: String,
    /// Whether devices that left or were lost are why.
    pub is_loss: bool,
    /// Stages that no plan before it had.
    pub stages_new: u32,
    /// Whether it moved a model that had been moved already since anything happened to the pool: the sign of a plan that swings.
    pub is_uncaused: bool,
    /// Bytes of shards that were fetched for it; what is in a device's cache is not.
    pub fetched: Bytes,
    /// The fewest bytes that could have been: its blocks, as often as it has them, less what the devices that were left held.
    pub fetched_min: Bytes,
    /// After a loss: the shards that went with devices, as far as no device that is left has the same one to spare. To have again
    /// what there was, with the model cut as it was, so much must be fetched.
    pub lost: Bytes,
}

/// A stretch of the time that counts.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stretch {
    /// Requests that came.
    pub arrived: u64,
    /// Requests that were answered.
    pub served: u64,
    /// Requests that were turned away.
    pub shed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Sum of the latencies of those that were answered.
    pub latency_sum: Millis,
    /// The longest of them.
    pub latency_max: Millis,
    /// Ready replicas of all models, as of the last tick.
    pub replicas: u32,
    /// Connected devices, as of the last tick.
    pub connected: u32,
    /// Requests that waited for their turn, as of the last tick.
    pub waiting: u32,
    /// Plans that were put in force.
    pub plans: u32,
}

/// What the policies did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PolicyCalls {
    /// Problems put to the allocation policy.
    pub solves: u64,
    /// Plans that it was asked to review.
    pub reviews: u64,
    /// Problems that it refused.
    pub refusals: u64,
    /// Calls that a policy failed or answered wrongly: the host's own order took its place.
    pub strikes: u64,
}

/// Everything.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// When the doors opened, counted from the first device's joining.
    pub opened: Millis,
    /// The time that counts.
    pub duration: Millis,
    /// All classes together.
    pub requests: Requests,
    /// Each class.
    pub classes: Vec<Requests>,
    /// Answers in the time that counts, whenever the request came, per second.
    pub throughput_per_s: f64,
    /// Runs beyond the first of a request.
    pub replays: u64,
    /// By id.
    pub devices: Vec<DeviceOutcome>,
    /// In the fleet's order.
    pub models: Vec<ModelOutcome>,
    /// Bytes of shards that were sent, from the beginning on.
    pub fetched: Bytes,
    /// The part of them that came from other devices instead of the central.
    pub fetched_from_peers: Bytes,
    /// Bytes of inputs, outputs and what goes from stage to stage, while it counted.
    pub activations: Bytes,
    /// Every plan, in order.
    pub plans: Vec<PlanChange>,
    /// What the policies did.
    pub calls: PolicyCalls,
    /// The time that counts in equal parts.
    pub stretches: Vec<Stretch>,
    /// Events that the cluster did not accept; each is a fault of the simulator.
    pub rejected: Vec<String>,
    /// Things that happened in all, heartbeats aside.
    pub happenings: u64,
}

impl Outcome {
    /// Bytes fetched for plans that losses led to, and those of the shards that were lost.
    pub fn fetched_on_losses(&self) -> (Bytes, Bytes) {
        let losses = || self.plans.iter().filter(|plan| plan.is_loss);
        (losses().map(|plan| plan.fetched).sum(), losses().map(|plan| plan.lost).sum())
    }

    /// Plans that moved a model though nothing had happened since it was moved last.
    pub fn uncaused(&self) -> usize {
        self.plans.iter().filter(|plan| plan.is_uncaused).count()
    }

    /// The mean utilisation of the devices that were there at all.
    pub fn utilisation(&self) -> f64 {
        let there: Vec<f64> = self.devices.iter().filter(|device| device.presence > 0.0).map(|device| device.utilisation).collect();
        if there.is_empty() { 0.0 } else { there.iter().sum::<f64>() / there.len() as f64 }
    }
}
