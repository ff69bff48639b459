//! The plugins that are in the binary: what answers when nothing is installed, and when what is installed fails.

use std::sync::LazyLock;

use host_engine::Digest;

/// A component in the binary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Builtin {
    pub name: &'static str,
    pub bytes: &'static [u8],
    /// Slots that it serves until something else is installed there.
    pub slots: &'static [&'static str],
}

macro_rules! embedded {
    ($name:literal, $slots:expr) => {
        Builtin { name: $name, bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")), slots: $slots }
    };
}

pub(crate) const BUILTINS: [Builtin; 6] = [
    embedded!("balanced-allocation", &["allocation"]),
    embedded!("least-loaded-routing", &["routing", "routing/least-loaded"]),
    embedded!("round-robin-routing", &["routing/round-robin"]),
    embedded!("cpu-adapter", &["adapter/cpu"]),
    embedded!("greedy-allocation", &[]),
    embedded!("priority-queueing", &[]),
];

/// Names of the plugins in the binary. Each can be installed in a slot by its name.
pub const BUILTIN_PLUGINS: [&str; 6] = [BUILTINS[0].name, BUILTINS[1].name, BUILTINS[2].name, BUILTINS[3].name, BUILTINS[4].name, BUILTINS[5].name];

/// Whether a component is one of these.
pub(crate) fn contains(digest: Digest) -> bool {
    static DIGESTS: LazyLock<Vec<Digest>> = LazyLock::new(|| BUILTINS.iter().map(|builtin| Digest::of(builtin.bytes)).collect());
    DIGESTS.contains(&digest)
}

pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}
