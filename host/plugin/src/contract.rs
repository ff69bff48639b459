//! The contract with plugins: its text, and the versions of it that this host speaks. Everything that depends on a version is in
//! that version's folder and reached through its `Contract`; the rest of the crate knows worlds, core's policies and `Adapter`.
//!
//! A new version is a folder beside `v0_1` and a line in `CONTRACTS`.

mod text;
mod v0_1;

use std::fmt;

use semver::Version;
use wasmtime::component::{InstancePre, Linker};

use crate::{
    guest::Guest,
    names::PluginKind,
    program::{Cage, NotStarted},
    world::{AdapterGuest, AllocationGuest, QueueingGuest, RoutingGuest},
};

pub use text::{CONTRACT, EXTENSIONS};

/// Every version that this host speaks, one of each line of versions that are compatible with each other.
static CONTRACTS: [&Contract; 1] = [&v0_1::CONTRACT];

/// One version of the contract, as this host speaks it.
pub(crate) struct Contract {
    /// As it stands in the names of interfaces. Guests of every compatible version are called through the same bindings.
    pub version: Version,
    /// Whether a guest of these kinds may import an interface of the contract, named without package and version.
    pub grants: fn(interface: &str, kinds: &[PluginKind]) -> bool,
    /// Whether a guest of these kinds may import an interface of the package `shardhost:tensors`, which stands beside the contract and
    /// has versions of its own.
    pub grants_tensors: fn(interface: &str, version: &str, kinds: &[PluginKind]) -> bool,
    /// Binds everything that guests import, of the contract and beside it.
    pub link: fn(&mut Linker<Guest>) -> wasmtime::Result<()>,
    pub allocation: Bind<dyn AllocationGuest>,
    pub routing: Bind<dyn RoutingGuest>,
    pub queueing: Bind<dyn QueueingGuest>,
    pub adapter: Bind<dyn AdapterGuest>,
}

/// Takes linked code as one world of a version; its exports must have that world's names.
type Bind<I> = fn(InstancePre<Guest>) -> wasmtime::Result<Box<dyn Bound<I>>>;

/// Code that is bound to a world: what instances are made of, any number of times.
pub(crate) trait Bound<I: ?Sized>: Send + Sync {
    /// An instance in this cage that has taken its configuration, a JSON text.
    fn start(&self, cage: Cage, config: &str) -> Result<Box<I>, NotStarted>;
}

impl Contract {
    /// The contract through which a guest of this version is called; none if the host speaks no such version.
    pub(crate) fn of(version: &str) -> Option<&'static Self> {
        let version = Version::parse(version).ok()?;
        CONTRACTS.into_iter().find(|contract| contract.speaks(&version))
    }

    /// The versions that this host speaks, for a person.
    pub(crate) fn spoken() -> String {
        CONTRACTS.map(|contract| contract.version.to_string()).join(", ")
    }

    /// Whether semver calls a version compatible with this one. It may be a later one: what a guest uses of it that this host
    /// does not have is named when the guest is linked.
    fn speaks(&self, version: &Version) -> bool {
        compatible(&self.version, version)
    }
}

/// Whether semver calls a version compatible with one of ours.
fn compatible(ours: &Version, theirs: &Version) -> bool {
    let line = |version: &Version| if version.major == 0 { (0, version.minor) } else { (version.major, 0) };
    theirs.pre.is_empty() && line(theirs) == line(ours)
}

impl PartialEq for Contract {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contract({})", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_spoken_with_those_that_are_compatible_with_it() {
        struct Case {
            ours: (u64, u64, u64),
            theirs: &'static str,
            spoken: bool,
        }
        let cases = [
            Case { ours: (0, 1, 0), theirs: "0.1.0", spoken: true },
            Case { ours: (0, 1, 2), theirs: "0.1.0", spoken: true },
            Case { ours: (0, 1, 2), theirs: "0.1.2+built-today", spoken: true },
            Case { ours: (0, 1, 2), theirs: "0.1.3", spoken: true },
            Case { ours: (0, 1, 2), theirs: "0.1.2-draft", spoken: false },
            Case { ours: (0, 2, 0), theirs: "0.1.0", spoken: false },
            Case { ours: (1, 4, 0), theirs: "1.3.9", spoken: true },
            Case { ours: (1, 4, 0), theirs: "1.5.0", spoken: true },
            Case { ours: (1, 4, 0), theirs: "2.0.0", spoken: false },
            Case { ours: (1, 4, 0), theirs: "0.4.0", spoken: false },
        ];
        for Case { ours: (major, minor, patch), theirs, spoken } in cases {
            let ours = Contract { version: Version::new(major, minor, patch), ..v0_1::CONTRACT };
            assert_eq!(ours.speaks(&Version::parse(theirs).expect("a version")), spoken, "{ours:?} and {theirs}");
        }
    }

    #[test]
    fn every_line_of_versions_has_one_contract() {
        for contract in CONTRACTS {
            assert_eq!(CONTRACTS.into_iter().filter(|other| other.speaks(&contract.version) || contract.speaks(&other.version)).count(), 1, "{contract:?}");
            assert_eq!(Contract::of(&contract.version.to_string()), Some(contract));
        }
        assert_eq!(Contract::of("one"), None);
    }
}
