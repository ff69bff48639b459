//! Names of slots and kinds of plugins. Text from outside becomes a `SlotName` only through `parse`.
//! What a slot holds is not known here. Called by everything in this crate and by the daemon.

use std::fmt;

use crate::error::{Error, Fault};

/// What a plugin can be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PluginKind {
    /// Says which offers hold which blocks.
    Allocation,
    /// Says which segments a request goes through.
    Routing,
    /// Says who waits.
    Queueing,
    /// Drives a shard on an accelerator.
    Adapter,
}

impl PluginKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Allocation, Self::Routing, Self::Queueing, Self::Adapter];

    /// The interface that a plugin of this kind exports, without package and version.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allocation => "allocation",
            Self::Routing => "routing",
            Self::Queueing => "queueing",
            Self::Adapter => "adapter",
        }
    }

    /// The world of the contract that a plugin of this kind implements.
    pub fn world(self) -> &'static str {
        match self {
            Self::Allocation => "allocation-policy",
            Self::Routing => "routing-policy",
            Self::Queueing => "queueing-policy",
            Self::Adapter => "shard-adapter",
        }
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The place in a host where one plugin is plugged in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SlotName {
    /// `allocation`
    Allocation,
    /// `routing`, and `routing/NAME` beside it.
    Routing(Option<String>),
    /// `queueing`
    Queueing,
    /// `adapter/KIND`
    Adapter(String),
}

impl SlotName {
    /// Takes `allocation`, `routing`, `routing/NAME`, `queueing` and `adapter/KIND`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fault = || Error::from(Fault::SlotName { text: text.chars().take(80).collect() });
        let allowed = |name: &str| !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        match text.split_once('/') {
            None if text == "allocation" => Ok(Self::Allocation),
            None if text == "routing" => Ok(Self::Routing(None)),
            None if text == "queueing" => Ok(Self::Queueing),
            Some(("routing", name)) if allowed(name) => Ok(Self::Routing(Some(name.to_owned()))),
            Some(("adapter", kind)) if allowed(kind) => Ok(Self::Adapter(kind.to_owned())),
            _ => Err(fault()),
        }
    }

    /// What a plugin must be to fit here.
    pub fn kind(&self) -> PluginKind {
        match self {
            Self::Allocation => PluginKind::Allocation,
            Self::Routing(_) => PluginKind::Routing,
            Self::Queueing => PluginKind::Queueing,
            Self::Adapter(_) => PluginKind::Adapter,
        }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routing(Some(name)) => write!(f, "routing/{name}"),
            Self::Adapter(kind) => write!(f, "adapter/{kind}"),
            other => f.write_str(other.kind().word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_names_are_read_and_printed_alike() {
        for text in ["allocation", "routing", "routing/canary", "queueing", "adapter/cpu"] {
            assert_eq!(SlotName::parse(text).expect("a slot").to_string(), text);
        }
    }

    #[test]
    fn other_names_are_refused_with_what_would_do() {
        for text in ["", "adapter", "allocation/x", "routing/", "adapter/a b", "queueing/", "Routing"] {
            let error = SlotName::parse(text).expect_err("not a slot").to_string();
            assert!(error.contains("`routing/NAME`"), "{error}");
        }
    }
}
