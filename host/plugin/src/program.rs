//! A plugin that is compiled and configured, and warm instances of it. A warm instance is owned by whoever calls it; after a
//! failure it is dropped, never called again.

use std::sync::Arc;

use host_core::policy::{PolicyFault, StrikeKind};
use wasmtime::{Store, Trap};

use crate::{
    error::{Error, Fault},
    guest::{Broke, Guest},
    limits::{CallLimits, Limits},
    manifest::FailurePolicy,
    package::Package,
    sandbox::{Sandbox, arm},
    world::World,
};

/// Compiled, linked and with its configuration.
pub(crate) struct Program<W: World> {
    pub package: Arc<Package>,
    pub limits: Limits,
    pub config: String,
    ready: W::Ready,
    sandbox: Arc<Sandbox>,
}

impl<W: World> Program<W> {
    /// Compiles and links. Nothing of the guest has run yet.
    pub(crate) fn new(sandbox: Arc<Sandbox>, package: Arc<Package>, limits: &Limits, config: Option<String>) -> Result<Self, Error> {
        let limits = package.manifest.granted(&package.name, limits)?;
        let linked = sandbox.link(&package)?;
        let reason = |error: wasmtime::Error| Fault::Start { plugin: package.name.to_string(), reason: format!("{error:#}") };
        let ready = W::ready(linked).map_err(reason)?;
        let config = config.unwrap_or_else(|| package.manifest.config_json());
        Ok(Self { limits, config, ready, sandbox, package })
    }

    /// An instance that has its configuration. Types of functions are checked only here.
    pub(crate) fn start(&self) -> Result<Warm<W>, Error> {
        let plugin = || self.package.name.to_string();
        let mut store = self.sandbox.store(&self.limits);
        arm(&mut store, &self.limits.of("configure"));
        let instantiated = W::instantiate(&self.ready, &mut store);
        store.data_mut().log.end();
        let world = instantiated.map_err(|error| {
            let fault = fault_of(&store, &error, &self.limits.of("configure"));
            // What is not of the guest's making is about types that do not fit, and only the whole of it says which.
            let reason = if fault.kind == StrikeKind::Invalid { format!("{error:#}") } else { fault.to_string() };
            Error::from(Fault::Start { plugin: plugin(), reason })
        })?;
        let mut warm = Warm { store, world, limits: self.limits.clone(), told: W::Told::default(), failed: false };
        let configured = warm.call("configure", |world, store| world.configure(store, &self.config));
        match configured {
            Ok(Ok(())) => Ok(warm),
            Ok(Err(reason)) => Err(Fault::Configure { plugin: plugin(), reason }.into()),
            Err(fault) => Err(Fault::Start { plugin: plugin(), reason: fault.to_string() }.into()),
        }
    }

    pub(crate) fn fails_closed(&self) -> bool {
        self.package.manifest.failure_policy == FailurePolicy::FailClosed
    }
}

/// One instance with its store.
pub(crate) struct Warm<W: World> {
    pub store: Store<Guest>,
    pub world: W,
    pub limits: Limits,
    pub told: W::Told,
    /// Whether a call failed: then the instance may not be entered again.
    pub failed: bool,
}

impl<W: World> Warm<W> {
    /// Calls the guest within the limits of one of its functions.
    pub(crate) fn call<T>(&mut self, function: &'static str, call: impl FnOnce(&W, &mut Store<Guest>) -> wasmtime::Result<T>) -> Result<T, PolicyFault> {
        let limits = self.limits.of(function);
        arm(&mut self.store, &limits);
        let answer = call(&self.world, &mut self.store);
        self.store.data_mut().log.end();
        answer.map_err(|error| {
            self.failed = true;
            fault_of(&self.store, &error, &limits)
        })
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
