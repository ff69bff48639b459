//! What the central waits for: passages that are on their way through other hosts. Each is answered once, by the first that
//! says how it ended; what comes later, from a stage that was given up, finds nobody.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use host_core::ids::{DeviceId, ModelId, OfferId};
use tokio::sync::oneshot;

use crate::{
    clock,
    error::Error,
    passage::{Hop, Passage, PassageId},
    serving::OnTheWay,
    stage_fault::StageFault,
    wiring::Progress,
};

/// Every passage that is in other hosts' hands.
#[derive(Debug)]
pub struct Awaited {
    passages: Mutex<HashMap<PassageId, Waiting>>,
    /// How long whoever holds what a lost stage computes from has time to say so.
    holder_max: Duration,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Progress, Error>>,
    model: ModelId,
    /// Its stages, in order: where each is, and the block it begins at.
    stages: Vec<(OfferId, u32)>,
    /// Resumes that it has taken, with what they count as on the way.
    resumed: Vec<OnTheWay>,
    /// A device of its stages is gone, since then.
    shaken: Option<(Instant, DeviceId)>,
}

/// Where a passage is stuck.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its model.
    pub model: ModelId,
    /// The stage that cannot be reached.
    pub offer: OfferId,
    /// The block that the stage would have begun at.
    pub from: u32,
}

impl Waiting {
    fn devices(&self) -> BTreeSet<DeviceId> {
        self.stages.iter().map(|(offer, _)| offer.device.clone()).collect()
    }
}

impl Awaited {
    /// For passages whose holders have so long to say that they are stuck.
    pub fn new(holder_max: Duration) -> Self {
        Self { passages: Mutex::default(), holder_max }
    }

    /// Waits for a passage that is about to leave.
    pub fn wait(&self, passage: &Passage, answer: oneshot::Sender<Result<Progress, Error>>) {
        let stages = passage.hops.iter().map(stage).collect();
        let waiting = Waiting { answer, model: passage.model.clone(), stages, resumed: Vec::new(), shaken: None };
        self.lock().insert(passage.id, waiting);
    }

    /// Takes back who waits for a passage that has come to a stage of this process.
    pub fn take(&self, id: PassageId) -> Option<oneshot::Sender<Result<Progress, Error>>> {
        self.lock().remove(&id).map(|waiting| waiting.answer)
    }

    /// The offer of one of its stages.
    pub fn offer(&self, id: PassageId, at: usize) -> Option<OfferId> {
        Some(self.lock().get(&id)?.stages.get(at)?.0.clone())
    }

    /// Answers whoever waits. False if nobody does any more: it has been answered, or its client went away.
    pub fn conclude(&self, id: PassageId, outcome: Result<Progress, Error>) -> bool {
        let waiting = self.lock().remove(&id);
        waiting.is_some_and(|waiting| waiting.answer.send(outcome).is_ok())
    }

    /// Somebody holds what a stage computes from that cannot be reached. None if nobody waits for the passage any more, or it
    /// has gone on elsewhere too often; then whoever waits has been told.
    pub fn stuck(&self, id: PassageId, at: usize, resumes_max: u32) -> Option<Place> {
        let mut passages = self.lock();
        let waiting = passages.get_mut(&id).filter(|waiting| !waiting.answer.is_closed())?;
        let (offer, from) = waiting.stages.get(at)?.clone();
        if waiting.resumed.len() < resumes_max as usize {
            waiting.shaken = None;
            return Some(Place { model: waiting.model.clone(), offer, from });
        }
        let waiting = passages.remove(&id)?;
        let reason = format!("the passage has gone on elsewhere {resumes_max} times already");
        let _ = waiting.answer.send(Err(StageFault::Unreachable { offer, reason }.into()));
        None
    }

    /// From a stage on the passage goes another way. False if nobody waits for it any more.
    pub fn resume(&self, id: PassageId, at: usize, way: &[Hop], on_the_way: OnTheWay) -> bool {
        let mut passages = self.lock();
        let Some(waiting) = passages.get_mut(&id) else { return false };
        waiting.stages.truncate(at);
        waiting.stages.extend(way.iter().map(stage));
        waiting.resumed.push(on_the_way);
        true
    }

    /// A device is gone. What it was the first stage of is given up at once, and sent another way by whoever waits; for the rest,
    /// whoever holds what it would have computed from has some time to say so.
    pub fn device_gone(&self, device: &DeviceId) {
        let now = clock::now();
        let mut passages = self.lock();
        let first = |waiting: &Waiting| waiting.stages.first().is_some_and(|(offer, _)| offer.device == *device);
        let gone: Vec<PassageId> = passages.iter().filter(|(_, waiting)| first(waiting)).map(|(id, _)| *id).collect();
        for waiting in gone.iter().filter_map(|id| passages.remove(id)) {
            waiting.lost(device);
        }
        for waiting in passages.values_mut().filter(|waiting| waiting.stages.iter().any(|(offer, _)| offer.device == *device)) {
            waiting.shaken.get_or_insert_with(|| (now, device.clone()));
        }
    }

    /// Gives up what nobody has come to hold after its device was gone.
    pub fn give_up_shaken(&self) {
        let now = clock::now();
        let mut passages = self.lock();
        let is_over = |waiting: &Waiting| waiting.shaken.as_ref().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= self.holder_max);
        let over: Vec<PassageId> = passages.iter().filter(|(_, waiting)| is_over(waiting)).map(|(id, _)| *id).collect();
        for mut waiting in over.iter().filter_map(|id| passages.remove(id)) {
            if let Some((_, device)) = waiting.shaken.take() {
                waiting.lost(&device);
            }
        }
    }

    /// Takes out the passages that nobody waits for any more, with the devices that work on them for nothing.
    pub fn take_given_up(&self) -> Vec<(PassageId, BTreeSet<DeviceId>)> {
        let mut passages = self.lock();
        let given_up: Vec<PassageId> = passages.iter().filter(|(_, waiting)| waiting.answer.is_closed()).map(|(id, _)| *id).collect();
        given_up.into_iter().filter_map(|id| Some((id, passages.remove(&id)?.devices()))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PassageId, Waiting>> {
        // The map is whole between any two statements.
        self.passages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn lost(self, device: &DeviceId) {
        // The client may have gone away meanwhile.
        let _ = self.answer.send(Err(StageFault::DeviceLost { device: device.clone() }.into()));
    }
}

fn stage(hop: &Hop) -> (OfferId, u32) {
    (hop.seat.offer().clone(), hop.shard.range.start())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use host_core::{
        ids::{AcceleratorName, ModelName, PlanNumber},
        shard::{BlockRange, ShardId},
        units::Millis,
    };
    use host_plugin::{Phase, RunCall};

    use super::*;
    use crate::{
        passage::{Carrier, Job, Seat},
        telemetry::traces::Trace,
    };

    #[derive(Debug)]
    struct Nowhere;

    impl Carrier for Nowhere {
        fn carry(&self, _job: Job) {}
    }

    type Answer = oneshot::Receiver<Result<Progress, Error>>;

    const ID: PassageId = PassageId { central: 1, number: 2 };

    fn device(name: &str) -> DeviceId {
        DeviceId::parse(name).expect("a name")
    }

    fn hop(name: &str, start: u32) -> Hop {
        let offer = OfferId { device: device(name), accelerator: AcceleratorName::parse("cpu").expect("a name") };
        let model = ModelId { name: ModelName::parse("m").expect("a name"), version: 1 };
        let range = BlockRange::new(start, start + 2).expect("not empty");
        Hop { shard: ShardId { model, range }, position: 0, reads: Arc::default(), seat: Seat::There(offer, Arc::new(Nowhere)) }
    }

    /// Waits for a passage over these devices, two blocks on each.
    fn waiting(awaited: &Awaited, devices: &[&str]) -> Answer {
        let hops: Vec<Hop> = (0_u32..).step_by(2).zip(devices).map(|(start, name)| hop(name, start)).collect();
        let call = RunCall { request: 0, sequence: 0, phase: Phase::Whole, past_tokens: 0, new_tokens: 0, batch: 1 };
        let model = hops[0].shard.model.clone();
        let passage =
            Passage { id: ID, plan: PlanNumber(1), model, call, deadline: Millis(1e3), inputs: Vec::new(), hops, is_alone: false, trace: Trace::default() };
        let (answer, answered) = oneshot::channel();
        awaited.wait(&passage, answer);
        answered
    }

    fn words(mut answer: Answer) -> String {
        answer.try_recv().expect("it has been answered").expect_err("not well").to_string()
    }

    #[test]
    fn what_a_lost_device_would_have_begun_is_given_up_at_once_and_the_rest_when_nobody_holds_it() {
        let awaited = Awaited::new(Duration::ZERO);
        let first = waiting(&awaited, &["a", "b"]);
        awaited.device_gone(&device("a"));
        assert_eq!(words(first), "device a was lost while it worked on the request");

        let mut second = waiting(&awaited, &["a", "b"]);
        awaited.device_gone(&device("c"));
        awaited.give_up_shaken();
        assert!(second.try_recv().is_err(), "it does not go through that device");
        awaited.device_gone(&device("b"));
        assert!(second.try_recv().is_err(), "a may still hold what b would have computed from");
        awaited.give_up_shaken();
        assert_eq!(words(second), "device b was lost while it worked on the request");
    }

    #[test]
    fn a_passage_whose_holder_speaks_up_goes_on_another_way() {
        let awaited = Awaited::new(Duration::ZERO);
        let mut answer = waiting(&awaited, &["a", "b", "c"]);
        awaited.device_gone(&device("b"));
        let place = awaited.stuck(ID, 1, 1).expect("somebody waits for it");
        assert_eq!((place.offer.device, place.from), (device("b"), 2));
        assert!(awaited.resume(ID, 1, &[hop("d", 2), hop("e", 4)], OnTheWay::default()));
        awaited.give_up_shaken();
        assert!(answer.try_recv().is_err(), "it has not been given up");
        assert_eq!(awaited.offer(ID, 2).expect("a stage").device, device("e"));
        awaited.device_gone(&device("c"));
        awaited.give_up_shaken();
        assert!(answer.try_recv().is_err(), "it does not go through c any more");
        assert!(awaited.conclude(ID, Ok(Progress::default())));
        assert!(!awaited.conclude(ID, Ok(Progress::default())), "it is answered once");
        assert!(answer.try_recv().expect("answered").is_ok());
        assert!(!awaited.resume(ID, 1, &[], OnTheWay::default()));
    }

    #[test]
    fn going_on_elsewhere_is_counted_and_ends_with_the_client() {
        let awaited = Awaited::new(Duration::ZERO);
        let answer = waiting(&awaited, &["a", "b"]);
        assert!(awaited.stuck(ID, 1, 1).is_some());
        assert!(awaited.stuck(ID, 7, 1).is_none(), "there is no such stage");
        assert!(awaited.resume(ID, 1, &[hop("c", 2)], OnTheWay::default()));
        assert!(awaited.stuck(ID, 1, 1).is_none());
        assert_eq!(words(answer), "c/cpu cannot be reached: the passage has gone on elsewhere 1 times already");

        let answer = waiting(&awaited, &["a", "b"]);
        drop(answer);
        assert!(awaited.stuck(ID, 1, 1).is_none());
        let given_up = awaited.take_given_up();
        assert_eq!(given_up, [(ID, BTreeSet::from([device("a"), device("b")]))]);
    }
}
