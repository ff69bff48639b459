//! What can be wrong with a plugin, a slot or a call, in words, and what the caller should do about it.

use std::{error, fmt};

use host_core::{
    error::ErrorKind,
    ids::Generation,
    policy::{PolicyFault, Refusal},
};

use crate::names::{PluginKind, SlotName};

/// An error of this crate.
#[derive(Debug)]
pub struct Error {
    fault: Box<Fault>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// Each thing that can be wrong, with the values that disagree.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// Text that names no slot.
    SlotName { text: String },
    /// A file that is no WebAssembly component.
    NotAComponent { plugin: String, found: &'static str, advice: &'static str },
    /// A file that breaks the format.
    Malformed { plugin: String, offset: usize, reason: String },
    /// Something that no component can be made of.
    Pack { plugin: String, reason: String },
    /// A file over the limit.
    TooLarge { plugin: String, bytes: usize, bytes_max: usize },
    /// A component built for another version of the contract.
    ContractVersion { plugin: String, interface: String, found: String, expected: String },
    /// A component that exports nothing of the contract.
    NoInterface { plugin: String, exports: Vec<String> },
    /// A component that exports a policy or adapter but not what every plugin exports.
    NotConfigurable { plugin: String },
    /// A component that needs what no guest gets.
    Import { plugin: String, import: String },
    /// A manifest that cannot be read.
    Manifest { plugin: String, reason: String },
    /// A manifest that asks for more than the host grants.
    Grant { plugin: String, what: &'static str, asked: u64, granted_max: u64 },
    /// A plugin of one kind for a slot of another.
    WrongSlot { plugin: String, slot: SlotName, kinds: Vec<PluginKind> },
    /// A plugin of several kinds without a word which is meant.
    AmbiguousSlot { plugin: String, kinds: Vec<PluginKind> },
    /// A component that does not compile.
    Compile { plugin: String, reason: String },
    /// The same, said by the process that compiles, which knows no name.
    NotCompiled { reason: String },
    /// A component that does not start.
    Start { plugin: String, reason: String },
    /// A plugin that refuses its configuration.
    Configure { plugin: String, reason: String },
    /// A plugin that failed before it was put in service.
    Rehearsal { plugin: String, function: &'static str, reason: String },
    /// A slot that nothing is plugged in.
    Unbound { slot: SlotName },
    /// No built-in plugin of that name.
    UnknownBuiltin { name: String, known: Vec<&'static str> },
    /// A generation that the slot no longer remembers.
    UnknownGeneration { slot: SlotName, generation: Generation, known: Vec<Generation> },
    /// A slot whose plugins cannot be tried beside one another, or that is empty.
    NoTrial { slot: SlotName, kind: &'static str },
    /// A slot without a canary or a shadow.
    NothingOnTrial { slot: SlotName },
    /// A plugin that failed in service, with nothing to fall back on.
    InService { slot: SlotName, plugin: String, function: &'static str, fault: PolicyFault },
    /// An adapter's honest no.
    Refused { plugin: String, shard: String, refusal: Refusal },
    /// An engine's error, as the adapter reported it.
    Engine { plugin: String, shard: String, kind: EngineErrorKind, message: String },
    /// Something of the host itself that failed.
    Host { what: &'static str },
}

/// Why an engine call failed, as the contract names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineErrorKind {
    /// No engine of that name.
    UnknownEngine,
    /// The engine cannot compute the graph.
    Unsupported,
    /// The inputs do not fit.
    Invalid,
    /// Memory or another resource is exhausted.
    Exhausted,
    /// The graph computed something else than its golden output.
    ProbeFailed,
    /// The engine itself failed.
    Failed,
}

impl Error {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match &*self.fault {
            Fault::InService { .. } => ErrorKind::Plugin,
            Fault::Refused { .. } => ErrorKind::Unavailable,
            Fault::Engine { kind, .. } => match kind {
                EngineErrorKind::Invalid => ErrorKind::Invalid,
                EngineErrorKind::Exhausted => ErrorKind::Busy,
                _ => ErrorKind::Unavailable,
            },
            Fault::Host { .. } => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    /// The values behind it.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self { fault: Box::new(fault), source: None }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn words<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        match (&self.source, &*self.fault) {
            (Some(source), Fault::Host { .. }) => write!(f, ": {source}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlotName { text } => {
                write!(f, "`{text}` is no slot, there are `allocation`, `routing`, `routing/NAME`, `queueing` and `adapter/KIND`")
            }
            Self::NotAComponent { plugin, found, advice } => write!(f, "`{plugin}` is {found}, a WebAssembly component was expected; {advice}"),
            Self::Malformed { plugin, offset, reason } => write!(f, "`{plugin}` is damaged at byte {offset}: {reason}"),
            Self::Pack { plugin, reason } => write!(f, "`{plugin}` cannot be packed: {reason}"),
            Self::TooLarge { plugin, bytes, bytes_max } => write!(f, "`{plugin}` has {bytes} bytes, at most {bytes_max} are accepted"),
            Self::ContractVersion { plugin, interface, found, expected } => {
                write!(f, "`{plugin}` exports {interface} of version {found}, this host speaks version {expected}")
            }
            Self::NoInterface { plugin, exports } => {
                write!(f, "`{plugin}` exports {}, a plugin exports one of `allocation`, `routing`, `queueing`, `adapter` of shardhost:plugin", words(exports))
            }
            Self::NotConfigurable { plugin } => {
                write!(f, "`{plugin}` does not export `shardhost:plugin/plugin` with its function `configure`, every plugin must")
            }
            Self::Import { plugin, import } => {
                write!(f, "`{plugin}` imports `{import}`, a guest gets `shardhost:plugin/log` and, if it is an adapter, `shardhost:plugin/engine`")
            }
            Self::Manifest { plugin, reason } => write!(f, "the manifest of `{plugin}` cannot be read: {reason}"),
            Self::Grant { plugin, what, asked, granted_max } => write!(f, "`{plugin}` asks for {what} = {asked}, the host grants 1 to {granted_max}"),
            Self::WrongSlot { plugin, slot, kinds } => write!(f, "`{plugin}` exports {}, slot `{slot}` takes `{}`", words(kinds), slot.kind()),
            Self::AmbiguousSlot { plugin, kinds } => write!(f, "`{plugin}` exports {}, name the slot that is meant", words(kinds)),
            Self::Compile { plugin, reason } => write!(f, "`{plugin}` does not compile: {reason}"),
            Self::NotCompiled { reason } => f.write_str(reason),
            Self::Start { plugin, reason } => write!(f, "`{plugin}` does not start: {reason}"),
            Self::Configure { plugin, reason } => write!(f, "`{plugin}` refuses its configuration: {reason}"),
            Self::Rehearsal { plugin, function, reason } => write!(f, "`{plugin}` failed its rehearsal in {function}: {reason}"),
            Self::Unbound { slot } => write!(f, "nothing is plugged in slot `{slot}`"),
            Self::NoTrial { slot, kind } => write!(f, "slot `{slot}` takes no {kind}: only a policy can be compared, and only with one that serves"),
            Self::NothingOnTrial { slot } => write!(f, "nothing is on trial in slot `{slot}`"),
            Self::UnknownBuiltin { name, known } => write!(f, "no built-in plugin is called `{name}`, there are {}", words(known)),
            Self::UnknownGeneration { slot, generation, known } => {
                write!(f, "slot `{slot}` does not remember generation {generation}, it remembers {}", words(known))
            }
            Self::InService { slot, plugin, function, fault } => write!(f, "plugin `{plugin}` in slot `{slot}` failed in {function}: {fault}"),
            Self::Refused { plugin, shard, refusal } => write!(f, "adapter `{plugin}` refuses shard {shard}: {refusal}"),
            Self::Engine { plugin, shard, message, .. } => write!(f, "adapter `{plugin}` on shard {shard}: {message}"),
            Self::Host { what } => f.write_str(what),
        }
    }
}
