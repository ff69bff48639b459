//! A plugin that is compiled and configured, and the cage that each instance of it lives in: calls go through the cage, which
//! holds them to their limits and says what a failure means.

use std::sync::Arc;

use host_core::policy::{PolicyFault, StrikeKind};
use wasmtime::{Store, Trap};

use crate::{
    contract::Bound,
    error::{Error, Fault},
    guest::{Broke, Guest},
    limits::{CallLimits, Limits},
    manifest::FailurePolicy,
    package::Package,
    sandbox::{Sandbox, arm},
    world::{Warm, World},
};

/// Compiled, linked and with its configuration.
pub(crate) struct Program<W: World> {
    pub package: Arc<Package>,
    pub limits: Limits,
    pub config: String,
    bound: Box<dyn Bound<W::Instance>>,
    sandbox: Arc<Sandbox>,
}

impl<W: World> Program<W> {
    /// Compiles and links. Nothing of the guest has run yet.
    pub(crate) fn new(sandbox: Arc<Sandbox>, package: Arc<Package>, limits: &Limits, config: Option<String>) -> Result<Self, Error> {
        let limits = package.manifest.granted(&package.name, limits)?;
        let linked = sandbox.link(&package)?;
        let reason = |error: wasmtime::Error| Fault::Start { plugin: package.name.to_string(), reason: format!("{error:#}") };
        let bound = W::bind(package.contract, linked).map_err(reason)?;
        let config = config.unwrap_or_else(|| package.manifest.config_json());
        Ok(Self { limits, config, bound, sandbox, package })
    }

    /// An instance that has its configuration. Types of functions are checked only here.
    pub(crate) fn start(&self) -> Result<Warm<W>, Error> {
        let cage = Cage { store: self.sandbox.store(&self.limits), limits: self.limits.clone(), failed: false };
        self.bound.start(cage, &self.config).map_err(|not_started| {
            let plugin = self.package.name.to_string();
            match not_started {
                NotStarted::Failed(reason) => Fault::Start { plugin, reason }.into(),
                NotStarted::Refused(reason) => Fault::Configure { plugin, reason }.into(),
            }
        })
    }

    /// Whether it is just that plugin, with these limits and this configuration.
    pub(crate) fn is_of(&self, package: &Package, limits: &Limits, config: &str) -> bool {
        let own = &self.package;
        own.digest == package.digest && own.name == package.name && own.manifest == package.manifest && self.limits == *limits && self.config == config
    }

    pub(crate) fn fails_closed(&self) -> bool {
        self.package.manifest.failure_policy == FailurePolicy::FailClosed
    }
}

/// Why there is no instance, in words.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// It failed: its types do not fit, or it trapped, was late or took too much.
    Failed(String),
    /// It refuses its configuration.
    Refused(String),
}

/// What is around one instance: its store, with all that the host keeps for it, and its limits.
pub(crate) struct Cage {
    store: Store<Guest>,
    limits: Limits,
    /// Whether a call failed: then the instance may not be entered again.
    failed: bool,
}

impl Cage {
    /// Calls the guest within the limits of one of its functions.
    pub(crate) fn call<T>(&mut self, function: &'static str, call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>) -> Result<T, PolicyFault> {
        let limits = self.limits.of(function);
        arm(&mut self.store, &limits);
        let answer = call(&mut self.store);
        self.store.data_mut().log.end();
        answer.map_err(|error| {
            self.failed = true;
            fault_of(&self.store, &error, &limits)
        })
    }

    /// Makes the instance, which may run code of its own, within the limits of `configure`.
    pub(crate) fn instantiate<T>(&mut self, make: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>) -> Result<T, NotStarted> {
        let limits = self.limits.of("configure");
        arm(&mut self.store, &limits);
        let made = make(&mut self.store);
        self.store.data_mut().log.end();
        made.map_err(|error| {
            let fault = fault_of(&self.store, &error, &limits);
            // What is not of the guest's making is about types that do not fit, and only the whole of it says which.
            NotStarted::Failed(if fault.kind == StrikeKind::Invalid { format!("{error:#}") } else { fault.to_string() })
        })
    }

    /// Hands the configuration over.
    pub(crate) fn configure(&mut self, call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<Result<(), String>>) -> Result<(), NotStarted> {
        match self.call("configure", call) {
            Ok(taken) => taken.map_err(NotStarted::Refused),
            Err(fault) => Err(NotStarted::Failed(fault.to_string())),
        }
    }
}

/// Something that lives in a cage.
pub(crate) trait Caged {
    fn cage(&self) -> &Cage;
    fn cage_mut(&mut self) -> &mut Cage;

    /// What the host keeps for it.
    fn guest(&self) -> &Guest {
        self.cage().store.data()
    }

    /// What the host keeps for it.
    fn guest_mut(&mut self) -> &mut Guest {
        self.cage_mut().store.data_mut()
    }

    /// Whether a call failed: then it may not be entered again.
    fn failed(&self) -> bool {
        self.cage().failed
    }
}

/// What wasmtime's error means for the plugin.
fn fault_of(store: &Store<Guest>, error: &wasmtime::Error, limits: &CallLimits) -> PolicyFault {
    let guest = store.data();
    let own_words = guest.log.last_words().map(|words| format!(": {words}")).unwrap_or_default();
    // A guest that is refused memory mostly dies of it, and on its way asks for a place to say so.
    let interrupted = error.downcast_ref::<Trap>() == Some(&Trap::Interrupt);
    if let Some(refused) = guest.memory.refused.as_ref().filter(|_| !interrupted) {
        return PolicyFault { kind: StrikeKind::Memory, message: format!("{refused}{own_words}") };
    }
    if let Some(Broke(fault)) = error.downcast_ref::<Broke>() {
        return PolicyFault { message: format!("{}{own_words}", fault.message), ..fault.clone() };
    }
    let root = error.root_cause().to_string();
    let (kind, message) = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let late = guest.call.late().unwrap_or_default();
            (StrikeKind::Late, format!("{} did not answer within {} ms; epochs past it: {late}", limits.function, limits.deadline.as_millis()))
        }
        Some(trap) => (StrikeKind::Trap, format!("{trap}{own_words}")),
        // The type of this error is private to wasmtime.
        None if root.contains("too much data is being copied") => (StrikeKind::Memory, format!("it handed over more than {} bytes", limits.returned_bytes_max)),
        None => (StrikeKind::Invalid, root),
    };
    PolicyFault { kind, message }
}
