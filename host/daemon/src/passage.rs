//! Passages: one row of one attempt of a request, on its way from stage to stage. A stage may be a compute thread of this
//! process or a device in another one, and so may be whoever waits for the outputs; here they are told apart.

use std::{fmt, sync::Arc};

use host_core::{
    ids::{ModelId, OfferId, PlanNumber},
    shard::ShardId,
    units::Millis,
};
use host_engine::Tensor;
use host_plugin::RunCall;
use tokio::sync::oneshot;

use crate::{device::ComputeHandle, error::Error, telemetry::traces::Trace, wiring::Progress};

/// One passage, before one of its stages.
#[derive(Debug)]
pub struct Job {
    /// What stays the same on the way.
    pub passage: Arc<Passage>,
    /// Which stage comes next.
    pub position: usize,
    /// What the stages before made of it.
    pub progress: Progress,
    /// Who waits for what becomes of it.
    pub answer: Answer,
    /// Who holds what the next stage computes from, until it has; told when it need not any more.
    pub holder: Option<oneshot::Sender<()>>,
}

/// What stays the same while a passage goes through its stages.
#[derive(Debug)]
pub struct Passage {
    /// Which one.
    pub id: PassageId,
    /// The plan that its stages are of.
    pub plan: PlanNumber,
    /// Which model computes it.
    pub model: ModelId,
    /// The request, as the adapters see it.
    pub call: RunCall,
    /// When its answer is worthless, on this host's clock.
    pub deadline: Millis,
    /// In the model's declared order. None is there that neither this stage nor a later one reads.
    pub inputs: Vec<Option<Tensor>>,
    /// The stages, in order.
    pub hops: Vec<Hop>,
    /// Whether its request has the devices of these stages to itself, so that it may not go on elsewhere.
    pub is_alone: bool,
    /// Where its spans belong.
    pub trace: Trace,
}

/// Names a passage among all hosts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PassageId {
    /// Which run of which central.
    pub central: u64,
    /// Counts the passages of that run.
    pub number: u64,
}

/// One stage of a passage.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Which shard.
    pub shard: ShardId,
    /// Position in its replica, for metrics.
    pub position: u32,
    /// Inputs of the model that it reads, by position.
    pub reads: Arc<[usize]>,
    /// Where it is.
    pub seat: Seat,
}

/// Where a stage is.
#[derive(Clone, Debug)]
pub enum Seat {
    /// In this process.
    Here(ComputeHandle),
    /// In another one.
    There(OfferId, Arc<dyn Carrier>),
}

/// Takes jobs to stages in other processes.
pub trait Carrier: fmt::Debug + Send + Sync {
    /// Takes it there and sees to it that whoever waits is answered, also if it does not arrive. Never waits.
    fn carry(&self, job: Job);
}

/// Who waits for what becomes of a passage.
#[derive(Debug)]
pub enum Answer {
    /// Somebody in this process. Closed once nobody waits any more.
    Here(oneshot::Sender<Result<Progress, Error>>),
    /// The central.
    There(Box<dyn Reply>),
}

/// Tells the central what became of a passage.
pub trait Reply: fmt::Debug + Send + Sync {
    /// Whether nobody waits any more.
    fn is_given_up(&self) -> bool;
    /// The outputs, or at which stage it stopped and why. Never waits.
    fn answer(self: Box<Self>, at: usize, outcome: Result<Progress, Error>);
}

impl Seat {
    /// The offer that the stage is on.
    pub fn offer(&self) -> &OfferId {
        match self {
            Self::Here(handle) => &handle.offer,
            Self::There(offer, _) => offer,
        }
    }
}

impl Job {
    /// Hands it to its next stage, or its outputs to whoever waits for them.
    pub fn go_on(self) {
        match self.passage.hops.get(self.position).map(|hop| hop.seat.clone()) {
            Some(Seat::Here(handle)) => handle.submit(self),
            Some(Seat::There(_, carrier)) => carrier.carry(self),
            None => {
                let outputs = self.progress;
                self.answer.end(self.position, Ok(outputs));
            }
        }
    }

    /// Hands it to a compute thread of this process, for another host that holds what it computes from, and returns when that need
    /// not be held any more: the stage has computed, or it failed and whoever waits has been told.
    pub async fn compute(mut self, handle: &ComputeHandle) {
        let (let_go, computed) = oneshot::channel();
        self.holder = Some(let_go);
        handle.submit(self);
        // Dropped where the stage failed.
        let _ = computed.await;
    }

    /// Its stage has computed.
    pub fn stage_done(mut self) {
        self.let_go();
        self.position += 1;
        self.go_on();
    }

    /// Its stage cannot take it or failed at it.
    pub fn fail(mut self, error: Error) {
        self.let_go();
        self.answer.end(self.position, Err(error));
    }

    fn let_go(&mut self) {
        if let Some(holder) = self.holder.take() {
            // The holder may be gone; the passage goes on without it.
            let _ = holder.send(());
        }
    }

    /// Whether nobody waits for it any more.
    pub fn is_given_up(&self) -> bool {
        match &self.answer {
            Answer::Here(answer) => answer.is_closed(),
            Answer::There(reply) => reply.is_given_up(),
        }
    }
}

impl Answer {
    fn end(self, at: usize, outcome: Result<Progress, Error>) {
        match self {
            // Nobody may be waiting any more: the client went away.
            Self::Here(answer) => {
                let _ = answer.send(outcome);
            }
            Self::There(reply) => reply.answer(at, outcome),
        }
    }
}
