//! The way of one request: admitted, routed once, run through the stages of its path, replayed on another path if a stage
//! fails, answered. Rows of a batch go through the stages one behind the other, so that stages work at the same time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use host_core::{
    error::ErrorKind,
    ids::{ModelId, PlanNumber},
    topology::RouteRequest,
    units::{Bytes, Millis},
};
use host_engine::Tensor;
use host_plugin::{Phase, PluginHost, RunCall};
use tokio::sync::oneshot;

use crate::{
    admission::{Admission, Caller},
    clock::Clock,
    error::Error,
    metrics::Metrics,
    models::Model,
    passage::{self, Hop, Job, Passage, PassageId},
    request::{Answer, Request},
    seed::Randomness,
    serving::{Served, Serving},
    stage_fault::StageFault,
    telemetry::traces::Trace,
    wiring::Progress,
};

/// How long a replay waits at most for another topology than the one that failed; later replays wait longer.
const REPLAY_PAUSE: Duration = Duration::from_millis(50);
/// How often a stopping host looks whether requests still run.
const IDLE_CHECK: Duration = Duration::from_millis(5);

/// How often a request may be replayed after a stage failed under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PipelineLimits {
    /// Runs of one request, the first included.
    pub attempts_max: u32,
    /// How long a request waits for a replica of a model that is about to get one.
    pub replica_wait_max: Duration,
}

/// Answers requests.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) limits: PipelineLimits,
    pub(crate) clock: Clock,
    pub(crate) admission: Admission,
    pub(crate) plugins: Arc<PluginHost>,
    pub(crate) serving: Arc<Served>,
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
        let expected = self.serving.load().expected(&request.model.id);
        let caller = Caller { model: &request.model.id, class: request.class, deadline: request.deadline, expected, trace: &request.trace };
        let waiting = request.trace.span("queue");
        let _turn = self.admission.enter(caller).await?;
        drop(waiting);
        let rows = rows(&request)?;
        let (mut runs, mut pause) = (0, REPLAY_PAUSE);
        loop {
            self.wait_for_replica(&request).await?;
            let serving = self.serving.load_full();
            let error = match self.attempt(&request, &rows, &serving).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            runs += 1;
            if runs >= self.limits.attempts_max || !is_worth_a_replay(&error) {
                return Err(error);
            }
            tracing::warn!(model = %request.model.id, %error, "a request is replayed");
            // The same way most likely fails again, so a moment is given to the news of another one.
            let _ = tokio::time::timeout(pause, self.serving.differs_from(&serving.snapshot().topology)).await;
            pause *= 4;
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
        let (hops, _counted, policy) = self.choose(&serving, model, slot, input, sequence_key, &Trace::default())?;
        Ok((hops, policy))
    }

    async fn attempt(&self, request: &Request, rows: &[Vec<Tensor>], serving: &Serving) -> Result<Answer, Error> {
        let input = Bytes(request.inputs.iter().map(|(_, tensor)| tensor.data().len() as u64).sum());
        let (hops, _on_the_way, policy) = self.choose(serving, &request.model, request.routing.as_deref(), input, request.sequence_key, &request.trace)?;
        let call = RunCall {
            request: self.requests.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff,
            sequence: request.sequence_key,
            phase: Phase::Whole,
            past_tokens: 0,
            new_tokens: 0,
            batch: 1,
        };
        let start = Start { model: &request.model.id, plan: serving.plan(), call, deadline: request.deadline, trace: &request.trace, hops };
        let until = self.clock.until(request.deadline);
        let answers = tokio::time::timeout(until, self.run_rows(&start, rows)).await;
        let answers = answers.map_err(|_| Error::from(StageFault::Late { doing: "in its stages" }))??;
        Ok(Answer { outputs: join(&request.model, answers)?, policy })
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

    fn choose(
        &self,
        serving: &Serving,
        model: &Model,
        slot: Option<&str>,
        input: Bytes,
        sequence_key: u32,
        trace: &Trace,
    ) -> Result<(Vec<Hop>, crate::serving::OnTheWay, String), Error> {
        let not_ready = || Error::from(StageFault::NoReplica { model: model.id.clone() });
        let index = serving.model(&model.id).ok_or_else(not_ready)?;
        let route = RouteRequest {
            model: index,
            ordinal: model.next_ordinal(),
            random: self.randomness.uniform(),
            sequence_key,
            input,
            outstanding: serving.outstanding(index),
        };
        let span = trace.span("route");
        let decided = self.plugins.routing(slot)?.route(serving.snapshot(), &route);
        span.decided(&decided);
        let decision = decided?;
        self.metrics.plugin_call(&decision.by.plugin, "route", decision.outcome(), decision.took);
        let policy = decision.by.to_string();
        let path = decision.answer.map_err(|refusal| Error::from(StageFault::RouteRefused { model: model.id.clone(), refusal }))?;
        let (hops, on_the_way) = serving.take(index, &path).ok_or_else(not_ready)?;
        Ok((hops, on_the_way, policy))
    }
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

/// What the rows of one attempt have in common.
struct Start<'a> {
    model: &'a ModelId,
    plan: PlanNumber,
    call: RunCall,
    deadline: Millis,
    trace: &'a Trace,
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

/// Puts the rows' outputs together again, in the model's declared order.
fn join(model: &Model, mut answers: Vec<Progress>) -> Result<Vec<(String, Tensor)>, Error> {
    let mut outputs = Vec::with_capacity(model.outputs.len());
    for (index, spec) in model.outputs.iter().enumerate() {
        let parts: Vec<Tensor> =
            answers.iter_mut().filter_map(|row| row.outputs.iter().find(|(position, _)| *position == index).map(|(_, tensor)| tensor.clone())).collect();
        if parts.len() != answers.len() {
            return Err(StageFault::NoOutput { model: model.id.clone(), output: spec.name.clone() }.into());
        }
        let whole = if parts.len() == 1 { parts.into_iter().next() } else { Some(Tensor::concat(&parts)?) };
        outputs.extend(whole.map(|tensor| (spec.name.clone(), tensor)));
    }
    Ok(outputs)
}
