//! Other ways for passages that are stuck: the stage before a dead one still holds what it has computed, so a passage need not begin
//! anew where another stage takes up at the same block.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use host_wire::peer::{Stuck, Way, pb};

use super::{
    awaited::Awaited,
    dial::Lane,
    links::{LinkFault, Links},
    parcel,
    rpc::central_client::CentralClient,
};
use crate::{
    clock,
    error::Error,
    passage::{Passage, PassageId},
    pki::Subject,
    serving::Served,
    stage_fault::StageFault,
};

/// How long a device waits for its central to find a way, beyond what the central itself may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The stages to go on with; none if there are none, and then whoever waits for the passage knows.
pub type Found<'a> = Pin<Box<dyn Future<Output = Result<Way, LinkFault>> + Send + 'a>>;

/// Finds where a stuck passage goes on.
pub trait Resume: fmt::Debug + Send + Sync {
    /// For a passage that is stuck. The error says that nobody could be asked.
    fn find<'a>(&'a self, stuck: Stuck, passage: &'a Passage) -> Found<'a>;
}

/// Finds it, on the central.
#[derive(Clone, Debug)]
pub struct Resumes {
    /// Whom the passages belong to.
    pub awaited: Arc<Awaited>,
    /// Where the ways are.
    pub serving: Arc<Served>,
    /// How often one passage may go on elsewhere.
    pub each_max: u32,
    /// How long what is held is worth holding, where no replica is left.
    pub wait_max: Duration,
}

impl Resumes {
    /// Another way, at once if there is one. While no replica is left at all, it waits for one that takes up at the same block; as
    /// soon as there is a whole one instead, the passage ends, so that the request is replayed there.
    pub async fn find(&self, stuck: &Stuck) -> Way {
        let id = PassageId { central: stuck.central, number: stuck.passage };
        let Some(place) = self.awaited.stuck(id, stuck.at, self.each_max) else { return Way::default() };
        let device = &place.offer.device;
        let end = clock::now() + self.wait_max;
        loop {
            let serving = self.serving.load_full();
            if let Some((hops, on_the_way)) = serving.take_from(&place.model, place.from, device) {
                let way = Way { hops: hops.iter().map(parcel::hop).collect(), plan: serving.plan() };
                return if self.awaited.resume(id, stuck.at, &hops, on_the_way) { way } else { Way::default() };
            }
            let left = end.saturating_duration_since(clock::now());
            let changed = tokio::time::timeout(left, self.serving.differs_from(&serving.snapshot().topology));
            if serving.serves_without(&place.model, device) || changed.await.is_err() {
                let error = StageFault::Unreachable { offer: place.offer, reason: stuck.reason.clone() };
                self.awaited.conclude(id, Err(Error::from(error)));
                return Way::default();
            }
        }
    }
}

impl Resume for Resumes {
    fn find<'a>(&'a self, stuck: Stuck, _passage: &'a Passage) -> Found<'a> {
        Box::pin(async move { Ok(Self::find(self, &stuck).await) })
    }
}

/// Asks the central.
#[derive(Clone, Debug)]
pub struct CentralResumes {
    /// The way to it.
    pub links: Arc<Links>,
    /// How long it may look for one.
    pub wait_max: Duration,
}

impl Resume for CentralResumes {
    fn find<'a>(&'a self, stuck: Stuck, passage: &'a Passage) -> Found<'a> {
        Box::pin(async move {
            let from = passage.hops.get(stuck.at).map_or(0, |hop| hop.shard.range.start());
            let mut client = CentralClient::new(self.links.lane(&Subject::Central, Lane::Latency)?);
            let answer = tokio::time::timeout(self.wait_max + ANSWER_MAX, client.resume(pb::Stuck::from(stuck))).await;
            let answer = answer.map_err(|_| LinkFault::Unreachable("the central did not answer in time".to_owned()))?;
            let answer = answer.map_err(|status| LinkFault::of(&status))?.into_inner();
            Way::read(answer, &passage.model, from).map_err(|error| LinkFault::Unreachable(error.to_string()))
        })
    }
}
