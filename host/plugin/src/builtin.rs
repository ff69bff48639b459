//! The plugins that are in the binary: what answers when nothing is installed, and when what is installed fails.

use std::sync::{Arc, LazyLock};

use host_engine::Digest;

use crate::{
    error::{Error, Fault},
    identified::Identified,
    names::SlotName,
    package::Package,
    plugins::{PluginConfig, PluginSource},
    program::Program,
    sandbox::Sandbox,
    slot::Tenant,
    world::World,
};

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

pub(crate) const BUILTINS: [Builtin; 24] = [
    embedded!("balanced-allocation", &["allocation"]),
    embedded!("least-loaded-routing", &["routing", "routing/least-loaded"]),
    embedded!("round-robin-routing", &["routing/round-robin"]),
    embedded!("shortest-path-routing", &["routing/shortest-path"]),
    embedded!("random-routing", &["routing/random"]),
    embedded!("power-of-two-routing", &["routing/power-of-two"]),
    embedded!("weighted-routing", &["routing/weighted"]),
    embedded!("sticky-routing", &["routing/sticky"]),
    embedded!("prefix-affinity-routing", &["routing/prefix-affinity"]),
    embedded!("load-greedy-routing", &["routing/load-greedy"]),
    embedded!("ascend-adapter", &["adapter/ascend"]),
    embedded!("cpu-adapter", &["adapter/cpu"]),
    embedded!("cuda-adapter", &["adapter/cuda"]),
    embedded!("tensorrt-adapter", &["adapter/tensorrt"]),
    embedded!("rknn-adapter", &["adapter/rknn"]),
    embedded!("greedy-allocation", &[]),
    embedded!("parallax-greedy-allocation", &[]),
    embedded!("parallax-dp-allocation", &[]),
    embedded!("memory-proportional-allocation", &[]),
    embedded!("compute-proportional-allocation", &[]),
    embedded!("min-sum-dp-allocation", &[]),
    embedded!("priority-queueing", &[]),
    embedded!("deadline-queueing", &[]),
    embedded!("first-come-queueing", &[]),
];

/// Names of the plugins in the binary. Each can be installed in a slot by its name.
pub const BUILTIN_PLUGINS: [&str; BUILTINS.len()] = {
    let mut names = [""; BUILTINS.len()];
    let mut next = 0;
    while next < BUILTINS.len() {
        names[next] = BUILTINS[next].name;
        next += 1;
    }
    names
};

/// Whether a component is one of these.
pub(crate) fn contains(digest: Digest) -> bool {
    static DIGESTS: LazyLock<Vec<Digest>> = LazyLock::new(|| BUILTINS.iter().map(|builtin| Digest::of(builtin.bytes)).collect());
    DIGESTS.contains(&digest)
}

pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

/// Makes tenants of the built-in plugins. They passed their rehearsal in this crate's tests, so starting is all they do.
#[derive(Clone)]
pub(crate) struct Builtins {
    sandbox: Arc<Sandbox>,
    config: Arc<PluginConfig>,
}

impl Builtins {
    /// With the configurations that built-in plugins were given.
    pub(crate) fn new(sandbox: Arc<Sandbox>, config: PluginConfig) -> Self {
        Self { sandbox, config: Arc::new(config) }
    }

    /// Whether the plugin of a slot was given a configuration.
    pub(crate) fn is_configured(&self, slot: &SlotName) -> bool {
        self.config.builtin_configs.contains_key(slot)
    }

    /// What serves a slot by default.
    pub(crate) fn tenant<W: World>(&self, slot: &SlotName) -> Result<Arc<Tenant<W>>, Error> {
        let missing = Fault::Host { what: "a slot has no built-in plugin" };
        let name = slot.to_string();
        let builtin = BUILTINS.iter().find(|builtin| builtin.slots.contains(&name.as_str())).ok_or(missing)?;
        let package = Package::read(&Identified::of(PluginSource::builtin(builtin.name)?), &self.config.limits)?;
        let config = self.config.builtin_configs.get(slot).cloned();
        let program = Program::<W>::new(Arc::clone(&self.sandbox), Arc::new(package), &self.config.limits, config)?;
        // Whatever is wrong with the configuration is said at once and not at the first request.
        drop(program.start()?);
        Ok(Arc::new(Tenant::new(Arc::new(program), true, self.config.strikes, None)))
    }
}
