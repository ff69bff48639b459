//! What happens in the life of plugins, told to whoever keeps logs and metrics. This crate writes neither.
//! The sink is called inline, from whichever thread it happened on: it must neither block nor call back into this crate.

use std::{fmt, sync::Arc, time::Duration};

use host_core::{ids::Generation, policy::PolicyFault};
use host_engine::Digest;

use crate::names::SlotName;

/// Why a slot holds another generation than before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapReason {
    /// A plugin was installed.
    Installed,
    /// A person asked for an earlier one.
    RolledBack,
    /// The one in service had too many strikes.
    Strikes,
    /// One that was rolled back for strikes is tried again.
    Retried,
    /// One that was in service before the host was started again.
    Restored,
}

impl SwapReason {
    /// A word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::RolledBack => "rolled_back",
            Self::Strikes => "strikes",
            Self::Retried => "retried",
            Self::Restored => "restored",
        }
    }
}

/// How much a log line of a guest matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// For its author.
    Debug,
    /// For whoever is curious.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

/// Which plugin in which slot.
#[derive(Clone, PartialEq, Debug)]
pub struct Bearer {
    /// The slot.
    pub slot: SlotName,
    /// The installed plugin's name.
    pub plugin: Arc<str>,
    /// Its digest.
    pub digest: Digest,
    /// The slot's generation.
    pub generation: Generation,
}

/// As clients see it: `round-robin-routing generation 3 sha256:…`.
impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} generation {} sha256:{}", self.plugin, self.generation, self.digest)
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum PluginEvent {
    /// A slot holds another generation: `now`. Calls in flight finish on the one before.
    Swapped { now: Bearer, reason: SwapReason, took: Duration },
    /// A plugin in service failed. `left` strikes until it is rolled back; none for a built-in, which stays.
    Strike { bearer: Bearer, function: &'static str, fault: PolicyFault, left: Option<u32> },
    /// The request that met the fault was answered by the built-in plugin.
    FellBack { slot: SlotName, function: &'static str, fault: PolicyFault },
    /// A retry of a rolled back plugin could not even start.
    RetryFailed { slot: SlotName, plugin: Arc<str>, reason: String },
    /// A guest wrote a line.
    Log { slot: SlotName, plugin: Arc<str>, level: LogLevel, line: String },
}

/// Where events go.
#[derive(Clone)]
pub struct EventSink(Arc<dyn Fn(PluginEvent) + Send + Sync>);

impl EventSink {
    /// Calls this with each event.
    pub fn new(sink: impl Fn(PluginEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Forgets every event.
    pub fn none() -> Self {
        Self::new(|_| ())
    }

    pub(crate) fn send(&self, event: PluginEvent) {
        (self.0)(event);
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventSink")
    }
}
