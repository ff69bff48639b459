//! The way of one request: admitted, routed once, let onto its devices, run through the stages of its path, replayed on another
//! path if a stage fails, lies or is far too slow, answered. Rows of a batch go through the stages one behind the other, so that
//! stages work at the same time.

mod outputs;
mod reserving;
mod seed;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use host_core::{
    error::ErrorKind,
    ids::{DeviceId, ModelId, PlanNumber},
    reservations::Access,
    topology::RouteRequest,
    units::{Bytes, Millis},
    ways::Way,
};
use host_engine::Tensor;
use host_plugin::{EngineErrorKind, Phase, PluginHost, RunCall};
use tokio::sync::oneshot;

pub use reserving::Reserving;
pub use seed::Randomness;

use crate::{
    admission::{Admission, Caller},
    clock::Clock,
    error::{Error, Fault},
    metrics::Metrics,
    models::Model,
    passage::{self, Hop, Job, Passage, PassageId},
    request::{Answer, Request, Signature},
    serving::{Served, Serving},
    stage_fault::StageFault,
    telemetry::traces::Trace,
    wiring::Progress,
};

/// How long a replay waits at most for another topology than the one that failed; each later one twice as long, up to the other.
const REPLAY_PAUSE: Duration = Duration::from_millis(50);
const REPLAY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The built-in policy, and its slot, that chooses where replicas share stages.
const SHORTEST_PATH: &str = "shortest-path";
/// How often a stopping host looks whether requests still run.
const IDLE_CHECK: Duration = Duration::from_millis(5);

/// How often a request may be replayed after a stage failed under it, and how long things may take.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PipelineLimits {
    /// Runs of one request, the first included.
    pub attempts_max: u32,
    /// How long a request waits for a replica of a model that is about to get one.
    pub replica_wait_max: Duration,
    /// A run is given up, where another replica is ready, once it has taken as many times what was expected of it.
    pub attempt_ratio_max: f64,
    /// No run is given up before that.
    pub attempt_min: Millis,
    /// How long a request may have its devices to itself.
    pub exclusive_ms_max: u64,
}

/// What a request has been through.
#[derive(Debug, Default)]
struct Tries {
    /// Runs, the present one included.
    runs: u32,
    /// The devices that it ran on; all but those of the present run in vain.
    devices: BTreeSet<DeviceId>,
    /// The way of the present run; none before the first has one.
    way: Option<Way>,
}

/// The way that a routing policy has chosen.
struct Chosen {
    /// Index of the model in the topology.
    model: u32,
    way: Way,
    /// Which plugin, for the client.
    policy: String,
}

/// Answers requests.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) limits: PipelineLimits,
    pub(crate) clock: Clock,
    pub(crate) admission: Admission,
    pub(crate) plugins: Arc<PluginHost>,
    pub(crate) serving: Arc<Served>,
    pub(crate) reserving: Reserving,
    pub(crate) randomness: Randomness,
    pub(crate) requests: AtomicU32,
    /// Tells the passages of this run of the host from those of earlier ones.
    pub(crate) run: u64,
    pub(crate) passages: AtomicU64,
    pub(crate) metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Answers one request, or says why not. Dropping the future cancels it: stages skip what nobody waits for.
    pub async fn infer(&self, request: Request) -> Result<Answer, Error> {
        self.serving.demand().count(&request.model.id);
        let expected = self.serving.load().expected(&request.model.id);
        let caller = Caller { model: &request.model.id, class: request.class, deadline: request.deadline, expected, trace: &request.trace };
        let waiting = request.trace.span("queue");
        let _turn = self.admission.enter(caller).await?;
        drop(waiting);
        let rows = rows(&request)?;
        let (mut tries, mut pause) = (Tries::default(), REPLAY_PAUSE);
        loop {
            self.wait_for_replica(&request).await?;
            let serving = self.serving.load_full();
            tries.runs += 1;
            let error = match self.attempt(&request, &rows, &serving, &mut tries).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_hopeful = is_worth_a_replay(&error) || (is_an_engines_no(&error) && is_elsewhere(&serving, &request.model.id, &tries));
            if self.is_last(&tries) || !is_hopeful {
                return Err(error);
            }
            tracing::warn!(model = %request.model.id, tried = ?tries.devices, %error, "a request is replayed");
            // The same way most likely fails again, so a moment is given to the news of another one.
            let _ = tokio::time::timeout(pause, self.serving.differs_from(&serving.snapshot().topology)).await;
            pause = (pause * 2).min(REPLAY_PAUSE_MAX);
        }
    }

    /// A model that has just lost its last replica may get another one at any moment.
    async fn wait_for_replica(&self, request: &Request) -> Result<(), Error> {
        if self.serves(&request.model.id) {
            return Ok(());
        }
        let longest = self.limits.replica_wait_max.min(self.clock.until(request.deadline));
        match tokio::time::timeout(longest, self.serving.wait_for(&request.model.id)).await {
            Ok(true) => Ok(()),
            _ => Err(StageFault::NoReplica { model: request.model.id.clone() }.into()),
        }
    }

    /// Whether a replica of the model is ready.
    pub fn serves(&self, model: &ModelId) -> bool {
        self.serving.load().model(model).is_some()
    }

    /// Waits until no request runs or waits.
    pub async fn idle(&self) {
        while self.admission.running() > 0 || self.admission.depth() > 0 {
            tokio::time::sleep(IDLE_CHECK).await;
        }
    }

    /// Names the device that a request of this size would go to, by a routing slot; runs nothing.
    pub fn route(&self, model: &Model, slot: Option<&str>, input: Bytes, sequence_key: u32) -> Result<(Vec<Hop>, String), Error> {
        let serving = self.serving.load_full();
        let chosen = self.choose(&serving, model, slot, input, sequence_key, &Trace::default())?;
        let hops = serving.hops(chosen.model, &chosen.way.path).ok_or_else(|| not_ready(model))?;
        Ok((hops, chosen.policy))
    }

    /// Requests that have devices to themselves.
    pub fn reserved(&self) -> usize {
        self.reserving.active()
    }

    fn is_last(&self, tries: &Tries) -> bool {
        tries.runs >= self.limits.attempts_max
    }

    async fn attempt(&self, request: &Request, rows: &[Vec<Tensor>], serving: &Serving, tries: &mut Tries) -> Result<Answer, Error> {
        let input = Bytes(request.inputs.iter().map(|(_, tensor)| tensor.data().len() as u64).sum());
        let Chosen { model, way: chosen, mut policy } =
            self.choose(serving, &request.model, request.routing.as_deref(), input, request.sequence_key, &request.trace)?;
        let wanted = serving.untried(model, &chosen, &tries.devices).unwrap_or_else(|| chosen.clone());
        let (way, arriving) = self.reserving.arrive(request.access, wanted, |way| serving.detours(model, way, &tries.devices));
        if way.path != chosen.path {
            policy.push_str(", detour");
        }
        let hops = serving.hops(model, &way.path).ok_or_else(|| not_ready(&request.model))?;
        // Those who wait for their devices are counted, so that policies see what is before a way.
        let _on_the_way = serving.count(model, &way.path, rows.len());
        let _stay = arriving.enter(request.deadline, &request.trace).await?;
        tries.devices.extend(way.devices.iter().cloned());
        tries.way = Some(way.clone());
        let call = RunCall {
            request: self.requests.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff,
            sequence: request.sequence_key,
            phase: Phase::Whole,
            past_tokens: 0,
            new_tokens: 0,
            batch: 1,
        };
        let start = Start {
            model: &request.model.id,
            plan: serving.plan(),
            call,
            deadline: request.deadline,
            trace: &request.trace,
            is_alone: request.access == Access::Exclusive,
            hops,
        };
        let expected = serving.expected_on(model, &way.path, rows.len(), input);
        let exclusive_max = Duration::from_millis(self.limits.exclusive_ms_max);
        let answers = tokio::select! {
            biased;
            answers = self.run_rows(&start, rows) => answers?,
            () = tokio::time::sleep(self.clock.until(request.deadline)) => return Err(StageFault::Late { doing: "in its stages" }.into()),
            () = tokio::time::sleep(exclusive_max), if request.access == Access::Exclusive => {
                return Err(StageFault::ReservationOver { devices: way.devices.to_vec(), ms_max: self.limits.exclusive_ms_max }.into());
            }
            fault = self.overdue(&request.model.id, &way, expected, tries), if !self.is_last(tries) => return Err(fault.into()),
        };
        Ok(Answer { outputs: outputs::join(&Signature::of(&request.model), &answers)?, policy })
    }

    /// Returns once a run takes far longer than was expected and a replica is ready on which the request was not tried. Where there is
    /// none, a late answer is better than none.
    async fn overdue(&self, model: &ModelId, way: &Way, expected: Millis, tries: &Tries) -> StageFault {
        let within = Millis((expected.0 * self.limits.attempt_ratio_max).max(self.limits.attempt_min.0));
        tokio::time::sleep(Duration::from_secs_f64((within.0 / 1e3).clamp(0.0, 1e9))).await;
        loop {
            let serving = self.serving.load_full();
            if serving.model(model).is_some_and(|index| serving.untried(index, way, &tries.devices).is_some()) {
                return StageFault::NotAnswered { devices: way.devices.to_vec(), within };
            }
            self.serving.differs_from(&serving.snapshot().topology).await;
        }
    }

    /// Sends every row off, one behind the other, and waits for all. Dropping the future gives them up.
    async fn run_rows(&self, start: &Start<'_>, rows: &[Vec<Tensor>]) -> Result<Vec<Progress>, Error> {
        let Some(first) = start.hops.first() else { return Err(StageFault::NothingSent { what: "a path" }.into()) };
        let mut waiting = Vec::with_capacity(rows.len());
        for inputs in rows {
            let (answer, answered) = oneshot::channel();
            let passage = Arc::new(Passage {
                id: PassageId { central: self.run, number: self.passages.fetch_add(1, Ordering::Relaxed) },
                plan: start.plan,
                model: start.model.clone(),
                call: start.call,
                deadline: start.deadline,
                inputs: inputs.iter().cloned().map(Some).collect(),
                hops: start.hops.clone(),
                is_alone: start.is_alone,
                trace: start.trace.clone(),
            });
            Job { passage, position: 0, progress: Progress::default(), answer: passage::Answer::Here(answer), holder: None }.go_on();
            waiting.push(answered);
        }
        let mut answers = Vec::with_capacity(rows.len());
        for answered in waiting {
            let gone = |_| Error::from(StageFault::DeviceGone { offer: first.seat.offer().clone() });
            answers.push(answered.await.map_err(gone)??);
        }
        Ok(answers)
    }

    fn choose(&self, serving: &Serving, model: &Model, slot: Option<&str>, input: Bytes, sequence_key: u32, trace: &Trace) -> Result<Chosen, Error> {
        let index = serving.model(&model.id).ok_or_else(|| not_ready(model))?;
        let route = RouteRequest {
            model: index,
            ordinal: model.next_ordinal(),
            random: self.randomness.uniform(),
            sequence_key,
            input,
            outstanding: serving.outstanding(index),
        };
        let span = trace.span("route");
        let slot = slot.or_else(|| self.slot_for_shared_stages(serving, index));
        let decided = self.plugins.routing(slot)?.route(serving.snapshot(), &route);
        span.decided(&decided);
        let decision = decided?;
        self.metrics.plugin_call(&decision.by.plugin, "route", decision.outcome(), decision.took);
        let policy = decision.by.to_string();
        let path = decision.answer.map_err(|refusal| Error::from(StageFault::RouteRefused { model: model.id.clone(), refusal }))?;
        let way = serving.way(index, path).ok_or_else(|| not_ready(model))?;
        Ok(Chosen { model: index, way, policy })
    }

    /// Policies that choose among whole replicas know less than there is where replicas share stages. So the built-in one of slot
    /// `routing` stands back there, unless somebody has chosen what is in that slot.
    fn slot_for_shared_stages(&self, serving: &Serving, model: u32) -> Option<&'static str> {
        let is_untouched = || self.plugins.routing(None).is_ok_and(|slot| slot.is_untouched());
        let stands_back = serving.shares_stages(model) && is_untouched() && self.plugins.routing(Some(SHORTEST_PATH)).is_ok();
        stands_back.then_some(SHORTEST_PATH)
    }
}

fn not_ready(model: &Model) -> Error {
    StageFault::NoReplica { model: model.id.clone() }.into()
}

/// Whether another replica may answer what this one did not.
fn is_worth_a_replay(error: &Error) -> bool {
    match error.stage_fault() {
        // Another host says that it was sent something wrong, and this one has checked what the client sent.
        Some(StageFault::Elsewhere { kind: ErrorKind::Invalid, .. }) => true,
        // What the request itself is to blame for fails everywhere, and what is too much is not made less.
        _ => !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Busy),
    }
}

/// Whether an accelerator here does not take what was sent: it has no shape so long, or no memory left. Another one may have.
fn is_an_engines_no(error: &Error) -> bool {
    use host_plugin::Fault::Engine;
    matches!(error.fault(), Fault::Plugin(error) if matches!(error.fault(), Engine { kind: EngineErrorKind::Invalid | EngineErrorKind::Exhausted, .. }))
}

/// Whether a replica is ready on which the request was not tried yet.
fn is_elsewhere(serving: &Serving, model: &ModelId, tries: &Tries) -> bool {
    let (Some(index), Some(way)) = (serving.model(model), &tries.way) else { return false };
    serving.untried(index, way, &tries.devices).is_some()
}

/// What the rows of one attempt have in common.
struct Start<'a> {
    model: &'a ModelId,
    plan: PlanNumber,
    call: RunCall,
    deadline: Millis,
    trace: &'a Trace,
    is_alone: bool,
    hops: Vec<Hop>,
}

/// The model's inputs in declared order, once per row of the batch.
fn rows(request: &Request) -> Result<Vec<Vec<Tensor>>, Error> {
    let model = &request.model;
    let input = |name: &str| request.inputs.iter().find(|(given, _)| given == name).map(|(_, tensor)| tensor.clone());
    let missing = StageFault::NothingSent { what: "an input of the request" };
    let inputs = model.inputs.iter().map(|spec| input(&spec.name).ok_or_else(|| missing.clone())).collect::<Result<Vec<_>, _>>()?;
    if !model.is_batched() {
        return Ok(vec![inputs]);
    }
    let columns = inputs.iter().map(|tensor| tensor.rows().map_err(Error::from)).collect::<Result<Vec<_>, _>>()?;
    let count = columns.first().map_or(0, Vec::len);
    Ok((0..count).map(|row| columns.iter().filter_map(|column| column.get(row).cloned()).collect()).collect())
}

#[cfg(test)]
mod tests;
