//! What the central waits for: passages that are on their way through other hosts. Each is answered once, by the first that
//! says how it ended; what comes later, from a stage that was given up, finds nobody.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use host_core::ids::{DeviceId, OfferId};
use tokio::sync::oneshot;

use crate::{
    error::Error,
    passage::{Passage, PassageId},
    stage_fault::StageFault,
    wiring::Progress,
};

/// Every passage that is in other hosts' hands.
#[derive(Debug, Default)]
pub struct Awaited(Mutex<HashMap<PassageId, Waiting>>);

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Progress, Error>>,
    /// The offers of its stages, in order.
    offers: Vec<OfferId>,
}

impl Waiting {
    fn devices(&self) -> BTreeSet<DeviceId> {
        self.offers.iter().map(|offer| offer.device.clone()).collect()
    }
}

impl Awaited {
    /// Waits for a passage that is about to leave.
    pub fn wait(&self, passage: &Passage, answer: oneshot::Sender<Result<Progress, Error>>) {
        let offers = passage.hops.iter().map(|hop| hop.seat.offer().clone()).collect();
        self.lock().insert(passage.id, Waiting { answer, offers });
    }

    /// Takes back who waits for a passage that has come to a stage of this process.
    pub fn take(&self, id: PassageId) -> Option<oneshot::Sender<Result<Progress, Error>>> {
        self.lock().remove(&id).map(|waiting| waiting.answer)
    }

    /// The offer of one of its stages.
    pub fn offer(&self, id: PassageId, at: usize) -> Option<OfferId> {
        self.lock().get(&id)?.offers.get(at).cloned()
    }

    /// Answers whoever waits. False if nobody does any more: it has been answered, or its client went away.
    pub fn conclude(&self, id: PassageId, outcome: Result<Progress, Error>) -> bool {
        let waiting = self.lock().remove(&id);
        waiting.is_some_and(|waiting| waiting.answer.send(outcome).is_ok())
    }

    /// Gives up whatever goes through a device that is gone; whoever waits sends it another way.
    pub fn device_gone(&self, device: &DeviceId) {
        let mut waiting = self.lock();
        let gone: Vec<PassageId> = waiting.iter().filter(|(_, entry)| entry.offers.iter().any(|offer| offer.device == *device)).map(|(id, _)| *id).collect();
        for entry in gone.iter().filter_map(|id| waiting.remove(id)) {
            let _ = entry.answer.send(Err(StageFault::DeviceLost { device: device.clone() }.into()));
        }
    }

    /// Takes out the passages that nobody waits for any more, with the devices that work on them for nothing.
    pub fn take_given_up(&self) -> Vec<(PassageId, BTreeSet<DeviceId>)> {
        let mut waiting = self.lock();
        let given_up: Vec<PassageId> = waiting.iter().filter(|(_, entry)| entry.answer.is_closed()).map(|(id, _)| *id).collect();
        given_up.into_iter().filter_map(|id| Some((id, waiting.remove(&id)?.devices()))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PassageId, Waiting>> {
        // The map is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
