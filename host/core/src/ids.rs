//! Names of things. Each is its own type, so that a device cannot be passed where a model is meant.
//! Text from outside becomes an id only through `parse`, which says what is wrong with it. Questions and plans name a device many
//! times, so copies share the text.

use std::{fmt, sync::Arc};

use crate::error::{Error, Fault};

/// Longest name that is accepted anywhere, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

fn checked(kind: &'static str, text: &str) -> Result<Arc<str>, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if text.len() <= NAME_BYTES_MAX && starts_well && text.chars().all(allowed) {
        return Ok(text.into());
    }
    Err(Fault::Name { kind, text: text.chars().take(NAME_BYTES_MAX).collect() }.into())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes letters, digits, `-`, `_` and `.`, at most 64 of them, the first a letter or digit.
            pub fn parse(text: &str) -> Result<Self, Error> {
                checked($kind, text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A device; its identity, whatever its address.
    DeviceId,
    "device"
);
name!(
    /// A group of devices joined by fast links.
    SiteName,
    "site"
);
name!(
    /// An accelerator inside a device: `cpu`, `npu0`.
    AcceleratorName,
    "accelerator"
);
name!(
    /// A model without its version.
    ModelName,
    "model"
);

/// A model and its version: `digits@1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModelId {
    /// The name that clients use.
    pub name: ModelName,
    /// The version folder's number.
    pub version: u32,
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// One accelerator of one device, the unit of planning: `pi-4/cpu`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OfferId {
    /// The device that makes the offer.
    pub device: DeviceId,
    /// Which of its accelerators.
    pub accelerator: AcceleratorName,
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.accelerator)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $type(pub u64);

        impl $type {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter!(
    /// Counts plans; 0 is the empty plan before the first.
    PlanNumber
);
counter!(
    /// Counts requests of one host.
    RequestId
);
counter!(
    /// Counts the plugins that a slot has held.
    Generation
);
counter!(
    /// Pairs a question that was handed out with its answer.
    Ticket
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_what_a_file_name_takes_and_nothing_else() {
        for good in ["a", "pi-4", "RTX_5090", "v1.2", "0"] {
            assert_eq!(DeviceId::parse(good).map(|id| id.to_string()).ok().as_deref(), Some(good));
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(DeviceId::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_bad_name_is_named_in_the_error() {
        let error = ModelName::parse("../etc").expect_err("slashes are refused");
        assert_eq!(error.to_string(), "model name `../etc` may hold letters, digits, `-`, `_` and `.`, at most 64, the first a letter or digit");
    }
}
