//! Takes jobs to stages in other processes, and sees to it that whoever waits is answered if they do not arrive.

use std::{fmt, sync::Arc};

use host_core::{error::ErrorKind, units::Millis};
use host_wire::peer::{Activation, Stuck};
use tokio::runtime::Handle;

use super::{
    awaited::Awaited,
    links::{LinkFault, Links},
    parcel,
    resumes::Resume,
};
use crate::{
    clock::Clock,
    error::Error,
    passage::{Answer, Carrier, Job, Passage, Reply},
    stage_fault::StageFault,
};

/// A host's way out.
#[derive(Clone)]
pub struct Post {
    links: Arc<Links>,
    /// Of a central; a device has told its central who waits.
    awaited: Arc<Awaited>,
    resume: Arc<dyn Resume>,
    clock: Clock,
    runtime: Handle,
}

impl Post {
    /// Sends over these links, on the runtime that this is called in.
    pub fn new(links: Arc<Links>, awaited: Arc<Awaited>, resume: Arc<dyn Resume>, clock: Clock) -> Self {
        Self { links, awaited, resume, clock, runtime: Handle::current() }
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("links", &self.links).finish_non_exhaustive()
    }
}

impl Carrier for Post {
    fn carry(&self, job: Job) {
        if job.position >= job.passage.hops.len() {
            return job.go_on();
        }
        let activation = parcel::activation(&job, self.clock.millis());
        let Job { passage, position, answer, .. } = job;
        let reply: Option<Box<dyn Reply>> = match answer {
            Answer::Here(answer) => {
                self.awaited.wait(&passage, answer);
                None
            }
            Answer::There(reply) => Some(reply),
        };
        let post = self.clone();
        self.runtime.spawn(async move {
            let Err(error) = post.push(activation, &passage).await else { return };
            match reply {
                Some(reply) => reply.answer(position, Err(error)),
                None => {
                    post.awaited.conclude(passage.id, Err(error));
                }
            }
        });
    }
}

impl Post {
    /// Hands it over, by another way where a stage cannot be reached and there is one. The error is for whoever waits, who has not
    /// been told.
    async fn push(&self, mut activation: Activation, passage: &Passage) -> Result<(), Error> {
        loop {
            let offer = activation.hop().offer.clone();
            let reason = match self.links.push(&offer.device, activation.clone()).await {
                Ok(()) => return Ok(()),
                Err(LinkFault::Refused(kind, reason)) => return Err(StageFault::Elsewhere { offer, kind, reason }.into()),
                Err(LinkFault::Unreachable(reason)) => reason,
            };
            let at = activation.next;
            let unreachable = |reason| Error::from(StageFault::Unreachable { offer, reason });
            if at == 0 || passage.is_alone {
                // Nothing is computed yet that would be worth keeping.
                return Err(unreachable(reason));
            }
            let stuck = Stuck { central: activation.central, passage: activation.passage, at, reason: reason.clone() };
            let way = self.resume.find(stuck, passage).await.map_err(|_| unreachable(reason))?;
            let Some(first) = way.hops.first() else { return Ok(()) };
            tracing::info!(to = %first.offer, plan = way.plan.0, "a passage goes on another way");
            activation.hops.truncate(at);
            activation.hops.extend(way.hops);
            activation.plan = way.plan;
            activation.left = Millis((passage.deadline - self.clock.millis()).0.max(0.0));
        }
    }
}

/// What a stage elsewhere said, as an error of this host.
pub(super) fn elsewhere(offer: host_core::ids::OfferId, kind: ErrorKind, reason: String, unreachable: bool) -> Error {
    match unreachable {
        true => StageFault::Unreachable { offer, reason }.into(),
        false => StageFault::Elsewhere { offer, kind, reason }.into(),
    }
}
