//! The memory of plugins in service, read from whoever runs them when somebody asks. What serves no more is not shown any more.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::pool::family;

/// Gives the bytes of each plugin by its name.
type Source = Box<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>;

/// Where they are read; nowhere before a host has started its plugins.
#[derive(Clone, Default)]
pub(super) struct Guests(Arc<OnceLock<Source>>);

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guests").field(&self.0.get().is_some()).finish()
    }
}

impl Guests {
    /// The first one stays: a host has one set of plugins.
    pub(super) fn read_from(&self, source: impl Fn() -> BTreeMap<String, u64> + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(source));
    }
}

impl Collector for Guests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(source) = self.0.get() else { return Ok(()) };
        let plugins = source();
        let bytes = plugins.iter().map(|(plugin, bytes)| (plugin.as_str(), *bytes));
        family(&mut encoder, "plugin_memory_bytes", "Most linear memory that a guest of a plugin in service has had", "plugin", bytes)
    }
}
