//! Adapters: what a device has for them, and instances that drive one shard each. Tensors go in and out as handles; their
//! bytes stay in the host. An instance belongs to one thread; a run takes as long as the engine does.

mod succession;

use std::sync::Arc;

use host_core::{
    device::Roles,
    ids::Generation,
    policy::{Answer, PolicyFault, StrikeKind},
    units::Bytes,
};
use host_engine::{Digest, ElementType, Shard, Tensor, TensorSpec};

use self::succession::Succession;
use crate::{
    clock::Clock,
    error::{EngineErrorKind, Error, Fault},
    events::Bearer,
    names::SlotName,
    policies::slot,
    slot::{Slot, SlotStatus, Version},
    world::{ShardAdapter, Warm},
};

/// One accelerator and what it can hold, as an adapter says.
#[derive(Clone, PartialEq, Debug)]
pub struct AdapterOffer {
    /// The kind of accelerator: `cpu`.
    pub accelerator: String,
    /// Offers with the same pool share memory.
    pub memory_pool: u32,
    /// What the pool can hold; none means the machine's own memory.
    pub memory: Option<Bytes>,
    /// Bytes in memory for one byte of weights.
    pub weight_factor: f64,
    /// Bytes that one loaded shard takes besides.
    pub fixed: Bytes,
    /// Element types of inputs and outputs that it takes.
    pub element_types: Vec<ElementType>,
    /// Places in a chain that it takes.
    pub roles: Roles,
    /// What else the adapter says: `engine`, `engine-version`.
    pub attributes: Vec<(String, String)>,
}

/// What loading a shard took.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Fit {
    /// Memory, as far as the engine knows.
    pub memory: Bytes,
    /// What else the adapter says.
    pub attributes: Vec<(String, String)>,
}

/// What a run is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// A request that stands for itself.
    #[default]
    Whole,
    /// The first run of a sequence, over its prompt.
    Prefill,
    /// One further token of a sequence.
    Decode,
}

/// What the inputs of a run belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunCall {
    /// Counts the requests of the host and wraps at 2^31.
    pub request: u32,
    /// 0 for none.
    pub sequence: u32,
    /// What the run is part of.
    pub phase: Phase,
    /// Tokens of the sequence before this run.
    pub past_tokens: u32,
    /// Tokens in this run.
    pub new_tokens: u32,
    /// Requests computed together.
    pub batch: u32,
}

/// Why an engine gave no answer, as the adapter passed it on.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct EngineFailure {
    pub kind: EngineErrorKind,
    /// For a person.
    pub message: String,
}

/// What an adapter is to the host: it drives one shard on one accelerator. As with policies, a fault is its failure and a
/// refusal is an answer.
pub(crate) trait Adapter: Send {
    /// What this device has for it, in sizes that planning can compute with.
    fn probe(&mut self) -> Result<Vec<AdapterOffer>, PolicyFault>;
    /// Loads the shard that it is to drive, on one of the offers that it made.
    fn load(&mut self, shard: Arc<Shard>, offer: u32) -> Answer<Fit>;
    /// Computes the shard, or says why the engine did not. Not believed until it is held against what the shard declares.
    fn run(&mut self, call: &RunCall, inputs: Vec<Tensor>) -> Result<Result<Vec<Tensor>, EngineFailure>, PolicyFault>;
}

slot!(
    /// The slot of adapters for one kind of accelerator.
    AdapterSlot,
    ShardAdapter
);

impl AdapterSlot {
    /// What this device has for the adapter in service. Asks an instance of its own, twice if the first one fails.
    pub fn probe(&self) -> Result<Vec<AdapterOffer>, Error> {
        let probe = |version: &Arc<Version<ShardAdapter>>| -> Result<Vec<AdapterOffer>, PolicyFault> {
            let mut warm = start(version)?;
            let clock = Clock::start();
            let offers = warm.probe();
            let noted: Answer<()> = offers.as_ref().map(|_| Ok(())).map_err(Clone::clone);
            self.0.note(version, &mut warm, &noted, clock.elapsed());
            self.0.around().keeper.drop_later(warm);
            offers
        };
        self.twice("probe", probe)
    }

    /// Loads a shard on an instance of its own. `offer` is an index into what `probe` answered.
    pub fn open(&self, shard: Arc<Shard>, offer: u32) -> Result<AdapterInstance, Error> {
        let (open, fit) = self.load(&shard, offer)?;
        Ok(AdapterInstance { slot: Self(Arc::clone(&self.0)), shard, offer, fit, open: Some(open), succession: Succession::default(), copied_bytes: 0 })
    }

    fn load(&self, shard: &Arc<Shard>, offer: u32) -> Result<(Open, Fit), Error> {
        let (version, answer, warm) = self.twice("load", |version| {
            let mut warm = start(version)?;
            let clock = Clock::start();
            let answer = warm.load(Arc::clone(shard), offer);
            self.0.note(version, &mut warm, &answer, clock.elapsed());
            Ok((Arc::clone(version), answer?, warm))
        })?;
        match answer {
            Ok(fit) => Ok((Open { version, warm }, fit)),
            Err(refusal) => Err(Fault::Refused { plugin: version.bearer.plugin.to_string(), shard: shard.id.to_string(), refusal }.into()),
        }
    }

    /// A failure is a strike; then once more on a fresh instance, of the generation before if that was one strike too many.
    fn twice<T>(&self, function: &'static str, mut attempt: impl FnMut(&Arc<Version<ShardAdapter>>) -> Result<T, PolicyFault>) -> Result<T, Error> {
        let mut try_current = || {
            let version = self.0.current().ok_or_else(|| Error::from(Fault::Unbound { slot: self.0.name.clone() }))?;
            attempt(&version).map_err(|fault| {
                self.0.strike(&version, function, &fault);
                self.0.in_service(&version, function, fault)
            })
        };
        match try_current() {
            Err(error) if matches!(error.fault(), Fault::InService { .. }) => try_current(),
            result => result,
        }
    }
}

fn start(version: &Version<ShardAdapter>) -> Result<Warm<ShardAdapter>, PolicyFault> {
    version.tenant.program.start().map_err(|error| PolicyFault { kind: StrikeKind::Trap, message: error.to_string() })
}

/// An instance with its shard loaded.
struct Open {
    version: Arc<Version<ShardAdapter>>,
    warm: Warm<ShardAdapter>,
}

/// One shard in use. It moves to a newer generation of its slot by itself: that one is loaded beside it while it goes on, and takes over
/// between two runs.
pub struct AdapterInstance {
    slot: AdapterSlot,
    shard: Arc<Shard>,
    offer: u32,
    fit: Fit,
    open: Option<Open>,
    succession: Succession,
    copied_bytes: u64,
}

impl AdapterInstance {
    /// What loading took.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }

    /// The shard that it drives.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Who drives it.
    pub fn bearer(&self) -> Option<&Arc<Bearer>> {
        self.open.as_ref().map(|open| &open.version.bearer)
    }

    /// Tensor bytes that went through the guest's memory so far.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Computes the shard: tensors come and go in its declared order. After a failure of the guest a fresh instance computes
    /// the same inputs once more; an engine's error is not one and comes back as it is.
    pub fn run(&mut self, call: &RunCall, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        self.follow();
        // A clone of a tensor shares its bytes.
        match self.attempt(call, inputs.clone()) {
            Ok(answer) => self.answer(answer),
            Err(fault) => {
                self.give_up(&fault);
                self.reopen()?;
                match self.attempt(call, inputs) {
                    Ok(answer) => self.answer(answer),
                    Err(fault) => Err(self.give_up(&fault)),
                }
            }
        }
    }

    /// Goes over to a newer generation that is ready, and has one loaded that is newer still. What drives the shard now goes on for as
    /// long as that does not work out.
    fn follow(&mut self) {
        let Some(own) = self.bearer().map(|bearer| bearer.generation) else { return };
        if let Some((open, fit)) = self.succession.ready() {
            if open.version.bearer.generation > own {
                self.close();
                (self.open, self.fit) = (Some(open), fit);
            } else {
                // A failure has brought this instance as far in the meantime.
                self.slot.0.around().keeper.drop_later(open.warm);
            }
        }
        let own = self.bearer().map(|bearer| bearer.generation);
        if let Some(current) = self.slot.bearer().map(|bearer| bearer.generation).filter(|&current| Some(current) != own) {
            self.succession.begin(&self.slot, &self.shard, self.offer, current);
        }
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let (open, fit) = self.slot.load(&self.shard, self.offer)?;
        self.close();
        (self.open, self.fit) = (Some(open), fit);
        Ok(())
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.slot.0.around().keeper.drop_later(open.warm);
        }
    }

    fn attempt(&mut self, call: &RunCall, inputs: Vec<Tensor>) -> Result<Result<Vec<Tensor>, EngineFailure>, PolicyFault> {
        if self.open.is_none() {
            self.reopen().map_err(|error| PolicyFault { kind: StrikeKind::Trap, message: error.to_string() })?;
        }
        let Some(Open { version, warm }) = &mut self.open else {
            return Err(PolicyFault { kind: StrikeKind::Trap, message: "no shard is loaded".to_owned() });
        };
        let clock = Clock::start();
        let copied_before = warm.guest().handles.copied_bytes;
        let answer = run(warm, call, inputs, &self.shard.outputs);
        let copied = warm.guest().handles.copied_bytes - copied_before;
        warm.guest_mut().handles.forget_tensors();
        self.copied_bytes += copied;
        version.tenant.note_copied(copied);
        let noted: Answer<()> = answer.as_ref().map(|_| Ok(())).map_err(Clone::clone);
        self.slot.0.note(version, warm, &noted, clock.elapsed());
        answer
    }

    fn answer(&self, answer: Result<Vec<Tensor>, EngineFailure>) -> Result<Vec<Tensor>, Error> {
        let plugin = || self.bearer().map(|bearer| bearer.plugin.to_string()).unwrap_or_default();
        answer.map_err(|error| Fault::Engine { plugin: plugin(), shard: self.shard.id.to_string(), kind: error.kind, message: error.message }.into())
    }

    /// Counts the strike and drops the instance: after a trap it may not be entered again.
    fn give_up(&mut self, fault: &PolicyFault) -> Error {
        let slot = &self.slot.0;
        let error = match &self.open {
            Some(open) => {
                slot.strike(&open.version, "run", fault);
                slot.in_service(&open.version, "run", fault.clone())
            }
            None => Fault::InService { slot: slot.name.clone(), plugin: String::new(), function: "run", fault: fault.clone() }.into(),
        };
        self.close();
        error
    }
}

impl Drop for AdapterInstance {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for AdapterInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdapterInstance").field("shard", &self.shard.id).field("bearer", &self.bearer()).finish_non_exhaustive()
    }
}

/// Computes, and proves what comes out against what the shard declares.
pub(crate) fn run(
    warm: &mut Warm<ShardAdapter>,
    call: &RunCall,
    inputs: Vec<Tensor>,
    outputs: &[TensorSpec],
) -> Result<Result<Vec<Tensor>, EngineFailure>, PolicyFault> {
    let found = match warm.run(call, inputs)? {
        Ok(found) => found,
        Err(failure) => return Ok(Err(failure)),
    };
    if found.len() != outputs.len() {
        return Err(PolicyFault::invalid(format!("it gave {} outputs, the shard declares {}", found.len(), outputs.len())));
    }
    for (tensor, spec) in found.iter().zip(outputs) {
        spec.check(tensor).map_err(|error| PolicyFault::invalid(error.to_string()))?;
    }
    Ok(Ok(found))
}
