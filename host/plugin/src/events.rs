//! What happens in the life of plugins, told to whoever keeps logs and metrics. This crate writes neither.
//! The sink is called inline, from whichever thread it happened on: it must neither block nor call back into this crate.

use std::{fmt, sync::Arc, time::Duration};

use host_core::{comparison::Comparison, ids::Generation, policy::PolicyFault};
use host_engine::Digest;

use crate::{
    names::SlotName,
    trial::{TrialEnd, TrialKind},
};

/// Why a slot holds another generation than before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapReason {
    /// A plugin was installed, and is on probation.
    Installed,
    /// Somebody chose it among those that were installed.
    Chosen,
    /// It was a canary or a shadow before.
    Promoted,
    /// A person asked for an earlier one.
    RolledBack,
    /// The one in service had too many strikes.
    Strikes,
    /// The one in service decided worse than the one before it.
    Worse,
    /// One that was rolled back for strikes is tried again.
    Retried,
    /// The one in service was uninstalled.
    Uninstalled,
    /// The one in service was disabled.
    Disabled,
    /// One that was in service before the host was started again.
    Restored,
}

impl SwapReason {
    /// A word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Chosen => "chosen",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Strikes => "strikes",
            Self::Worse => "worse",
            Self::Retried => "retried",
            Self::Uninstalled => "uninstalled",
            Self::Disabled => "disabled",
            Self::Restored => "restored",
        }
    }

    /// Whether the plugin that it replaced is one to go back to.
    pub(crate) fn remembers(self) -> bool {
        !matches!(self, Self::Strikes | Self::Worse | Self::Uninstalled | Self::Disabled)
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
    /// A slot holds nothing any more.
    Emptied { slot: SlotName, generation: Generation, reason: SwapReason },
    /// A plugin is tried beside the one in service.
    TrialStarted { kind: TrialKind, bearer: Bearer },
    /// A trial is over. On probation the bearer is the plugin before the one that was judged.
    TrialEnded { kind: TrialKind, bearer: Bearer, end: TrialEnd, comparison: Comparison },
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
