//! Where activations arrive on a device: each is held against what this device is and holds, handed to its compute thread once, and
//! answered when the stage has computed it. What the passage comes to is told to the central.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use host_core::{
    error::ErrorKind,
    ids::{AcceleratorName, DeviceId, OfferId},
};
use host_wire::peer::{Activation, Conclusion, Outcome, ShardAt, Stopped};
use tokio::runtime::Handle;

use super::{
    holdings::Holdings,
    links::{LinkFault, Links},
    parcel,
    post::Post,
};
use crate::{
    clock::Clock,
    device::ComputeHandle,
    error::Error,
    passage::{Answer, PassageId, Reply, Seat},
    stage_fault::StageFault,
    telemetry::traces::Traces,
    wiring::Progress,
};

/// Stages that are remembered as taken, so that none is computed twice.
const TAKEN_MAX: usize = 65_536;
/// How long the central may take to hear how a passage ended, for one try.
const CONCLUDE_MAX: Duration = Duration::from_secs(5);
/// Tries, with growing pauses; a central that is not there by then has given the passage up.
const CONCLUDE_TRIES: u32 = 4;
const CONCLUDE_PAUSE: Duration = Duration::from_millis(50);

/// What a desk works with.
#[derive(Debug)]
pub struct DeskParts {
    /// Which device this is.
    pub id: DeviceId,
    /// Its compute threads.
    pub computes: HashMap<AcceleratorName, ComputeHandle>,
    /// The way to the other hosts.
    pub post: Arc<Post>,
    /// The same, for telling the central.
    pub links: Arc<Links>,
    /// This host's clock.
    pub clock: Clock,
    /// Where the spans of stages are made.
    pub traces: Traces,
    /// Bytes of activations that may wait here at once.
    pub held_bytes_max: usize,
}

/// Takes in activations.
pub struct Desk {
    parts: DeskParts,
    /// The run of the central that this device attends.
    central: AtomicU64,
    /// What this device is meant to hold.
    pub holdings: Holdings,
    held_bytes: AtomicUsize,
    running: Mutex<Running>,
    runtime: Handle,
}

#[derive(Default)]
struct Running {
    given_up: HashMap<PassageId, Arc<AtomicBool>>,
    taken: HashSet<(PassageId, usize)>,
    order: VecDeque<(PassageId, usize)>,
}

/// Why an activation was not taken.
pub type Refused = (ErrorKind, String);

impl Desk {
    /// Takes nothing until it attends a central. Made in a runtime.
    pub fn new(parts: DeskParts) -> Arc<Self> {
        let (central, held_bytes) = (AtomicU64::new(0), AtomicUsize::new(0));
        Arc::new(Self { parts, central, holdings: Holdings::default(), held_bytes, running: Mutex::default(), runtime: Handle::current() })
    }

    /// Says which run of the central this device attends. Passages of another one are over.
    pub fn attend(&self, central: u64) {
        if self.central.swap(central, Ordering::AcqRel) != central {
            self.holdings.attend_anew();
            for (_, given_up) in self.lock().given_up.drain() {
                given_up.store(true, Ordering::Release);
            }
        }
    }

    /// Nobody waits for these passages any more.
    pub fn give_up(&self, numbers: &[u64]) {
        let (central, running) = (self.central.load(Ordering::Acquire), self.lock());
        for number in numbers {
            if let Some(given_up) = running.given_up.get(&PassageId { central, number: *number }) {
                given_up.store(true, Ordering::Release);
            }
        }
    }

    /// Has the stage computed, and returns when it has. Taking the same one twice computes it once.
    pub async fn take(self: &Arc<Self>, activation: Activation) -> Result<(), Refused> {
        let handle = self.check(&activation)?;
        let id = PassageId { central: activation.central, number: activation.passage };
        let bytes = activation.bytes();
        let _held = self.hold(bytes)?;
        let Some(given_up) = self.begin(id, activation.next) else { return Ok(()) };
        let slip = Slip { id, given_up, desk: self.clone() };
        let seat = |offer: &OfferId| match self.here(offer) {
            Some(handle) => Seat::Here(handle),
            None => Seat::There(offer.clone(), self.parts.post.clone()),
        };
        let job = parcel::job(activation, self.parts.clock.millis(), Answer::There(Box::new(slip)), &self.parts.traces, seat);
        job.map_err(|error| (error.kind(), error.to_string()))?.compute(&handle).await;
        Ok(())
    }

    fn check(&self, activation: &Activation) -> Result<ComputeHandle, Refused> {
        let attended = self.central.load(Ordering::Acquire);
        if activation.central != attended {
            let reason = format!("the passage is of run {:016x} of the central, this device attends run {attended:016x}", activation.central);
            return Err((ErrorKind::Unavailable, reason));
        }
        let offer = &activation.hop().offer;
        let wrong = || format!("the stage is on {offer}, this device is {} with {}", self.parts.id, accelerators(&self.parts.computes));
        let handle = self.here(offer).ok_or_else(|| (ErrorKind::Invalid, wrong()))?;
        let at = ShardAt { accelerator: offer.accelerator.clone(), shard: activation.shard() };
        self.holdings.check(&at, activation.plan).map_err(|reason| (ErrorKind::Unavailable, reason))?;
        Ok(handle)
    }

    fn here(&self, offer: &OfferId) -> Option<ComputeHandle> {
        self.parts.computes.get(&offer.accelerator).filter(|_| offer.device == self.parts.id).cloned()
    }

    fn hold(&self, bytes: usize) -> Result<Held<'_>, Refused> {
        let before = self.held_bytes.fetch_add(bytes, Ordering::AcqRel);
        let held = Held { desk: self, bytes };
        let max = self.parts.held_bytes_max;
        if before > 0 && before.saturating_add(bytes) > max {
            return Err((ErrorKind::Busy, format!("{before} bytes wait here, {bytes} more would be above {max}")));
        }
        Ok(held)
    }

    /// The sign that nobody waits for it any more; none if the stage was taken before.
    fn begin(&self, id: PassageId, next: usize) -> Option<Arc<AtomicBool>> {
        let mut running = self.lock();
        if !running.taken.insert((id, next)) {
            return None;
        }
        running.order.push_back((id, next));
        if running.order.len() > TAKEN_MAX
            && let Some(oldest) = running.order.pop_front()
        {
            running.taken.remove(&oldest);
        }
        Some(running.given_up.entry(id).or_default().clone())
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // Whole between any two statements.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("parts", &self.parts).finish_non_exhaustive()
    }
}

fn accelerators(computes: &HashMap<AcceleratorName, ComputeHandle>) -> String {
    let mut names: Vec<&str> = computes.keys().map(AcceleratorName::as_str).collect();
    names.sort_unstable();
    names.join(", ")
}

/// Bytes that wait.
struct Held<'a> {
    desk: &'a Desk,
    bytes: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.desk.held_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Tells the central how a passage ended, if it ends here.
struct Slip {
    id: PassageId,
    given_up: Arc<AtomicBool>,
    desk: Arc<Desk>,
}

impl fmt::Debug for Slip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slip").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        self.desk.lock().given_up.remove(&self.id);
    }
}

impl Reply for Slip {
    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn answer(self: Box<Self>, at: usize, outcome: Result<Progress, Error>) {
        if self.is_given_up() {
            return;
        }
        let size = outcome.as_ref().map_or(0, |progress| progress.outputs.iter().map(|(_, tensor)| tensor.data().len()).sum());
        let outcome = match outcome {
            Ok(progress) => Outcome::Done(parcel::to_numbered(&progress.outputs)),
            Err(error) => Outcome::Stopped(stopped(at, &error)),
        };
        let conclusion = Conclusion { central: self.id.central, passage: self.id.number, outcome };
        let links = self.desk.parts.links.clone();
        let desk = self.desk.clone();
        desk.runtime.spawn(async move {
            let slip = self;
            conclude(&links, conclusion, size, &slip).await;
        });
    }
}

async fn conclude(links: &Links, conclusion: Conclusion, size: usize, slip: &Slip) {
    let mut pause = CONCLUDE_PAUSE;
    for _ in 0..CONCLUDE_TRIES {
        match links.conclude(conclusion.clone(), size, CONCLUDE_MAX).await {
            Err(LinkFault::Unreachable(reason)) if !slip.is_given_up() => {
                tracing::debug!(passage = ?slip.id, reason, "the central could not be told how a passage ended");
            }
            // It knows, or does not want to know.
            _ => return,
        }
        tokio::time::sleep(pause).await;
        pause *= 4;
    }
}

fn stopped(at: usize, error: &Error) -> Stopped {
    let unreachable = matches!(error.stage_fault(), Some(StageFault::Unreachable { .. }));
    // The stage is named by the central, which knows where it is.
    let reason = match error.stage_fault() {
        Some(StageFault::Unreachable { reason, .. } | StageFault::Elsewhere { reason, .. }) => reason.clone(),
        _ => error.to_string(),
    };
    Stopped { at, kind: error.kind(), reason, unreachable }
}
