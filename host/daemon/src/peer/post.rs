//! Takes jobs to stages in other processes, and sees to it that whoever waits is answered if they do not arrive.

use std::{fmt, sync::Arc};

use host_core::error::ErrorKind;
use tokio::runtime::Handle;

use super::{
    awaited::Awaited,
    links::{LinkFault, Links},
    parcel,
};
use crate::{
    clock::Clock,
    error::Error,
    passage::{Answer, Carrier, Job, Reply},
    stage_fault::StageFault,
};

/// A host's way out.
#[derive(Clone)]
pub struct Post {
    links: Arc<Links>,
    /// Of a central; a device has told its central who waits.
    awaited: Arc<Awaited>,
    clock: Clock,
    runtime: Handle,
}

impl Post {
    /// Sends over these links, on the runtime that this is called in.
    pub fn new(links: Arc<Links>, awaited: Arc<Awaited>, clock: Clock) -> Self {
        Self { links, awaited, clock, runtime: Handle::current() }
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("links", &self.links).finish_non_exhaustive()
    }
}

impl Carrier for Post {
    fn carry(&self, job: Job) {
        let Some(hop) = job.passage.hops.get(job.position) else { return job.go_on() };
        let offer = hop.seat.offer().clone();
        let activation = parcel::activation(&job, self.clock.millis());
        let Job { passage, position, answer, .. } = job;
        let (links, awaited) = (self.links.clone(), self.awaited.clone());
        let reply: Option<Box<dyn Reply>> = match answer {
            Answer::Here(answer) => {
                awaited.wait(&passage, answer);
                None
            }
            Answer::There(reply) => Some(reply),
        };
        self.runtime.spawn(async move {
            let Err(fault) = links.push(&offer.device, activation).await else { return };
            let error = Error::from(match fault {
                LinkFault::Refused(kind, reason) => StageFault::Elsewhere { offer, kind, reason },
                LinkFault::Unreachable(reason) => StageFault::Unreachable { offer, reason },
            });
            match reply {
                Some(reply) => reply.answer(position, Err(error)),
                None => {
                    awaited.conclude(passage.id, Err(error));
                }
            }
        });
    }
}

/// What a stage elsewhere said, as an error of this host.
pub(super) fn elsewhere(offer: host_core::ids::OfferId, kind: ErrorKind, reason: String, unreachable: bool) -> Error {
    match unreachable {
        true => StageFault::Unreachable { offer, reason }.into(),
        false => StageFault::Elsewhere { offer, kind, reason }.into(),
    }
}
