//! What the author of a Shardhost plugin imports: one trait and one macro for each kind of plugin, the types of the
//! contract, and arithmetic over them. It knows nothing of the host.
//!
//! A plugin is a crate of type `cdylib` and `rlib` that implements a trait and exports it; it builds with
//! `cargo build --target wasm32-wasip2` and is tested like any other crate, because the macros export nothing elsewhere.
//!
//! ```
//! # #[cfg(feature = "routing")]
//! # mod example {
//! use shardhost_sdk::{export_routing, routing::{Refusal, RouteRequest, RoutingPolicy, Topology}};
//!
//! struct FirstReplica(Topology);
//!
//! impl RoutingPolicy for FirstReplica {
//!     fn configure(_config: &str) -> Result<Self, String> {
//!         Ok(Self(Topology::empty()))
//!     }
//!     fn set_topology(&mut self, topology: Topology) {
//!         self.0 = topology;
//!     }
//!     fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
//!         let model = self.0.model(request)?;
//!         let replicas = model.replicas();
//!         replicas.first().map(|replica| replica.segments.clone()).ok_or_else(|| Refusal::because(format!("model {} has no replica", model.id)))
//!     }
//! }
//!
//! export_routing!(FirstReplica);
//! # }
//! ```
//!
//! Switch on one feature: `allocation`, `routing`, `queueing` or `adapter`. Feature `heap`, which is on by default, gives plugins a fast
//! allocator; who names another one switches it off.

#[cfg(feature = "adapter")]
pub mod adapter;
#[cfg(feature = "allocation")]
pub mod allocation;
#[cfg(feature = "routing")]
mod pressures;
#[cfg(feature = "allocation")]
pub mod problem;
#[cfg(feature = "queueing")]
pub mod queueing;
#[cfg(feature = "routing")]
pub mod rendezvous;
#[cfg(feature = "routing")]
pub mod replicas;
#[cfg(feature = "routing")]
pub mod routing;
#[cfg(feature = "routing")]
pub mod scene;
#[cfg(feature = "allocation")]
pub mod testing;
#[cfg(feature = "routing")]
mod topology;
#[cfg(feature = "allocation")]
pub mod uniform;

/// The heap of a plugin. The host puts each question there piece by piece, and policies build theirs from small pieces, too; the
/// allocator that comes with the target takes longer for these.
#[cfg(all(target_arch = "wasm32", feature = "heap"))]
#[global_allocator]
static HEAP: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// Puts version, description and licence of the plugin's own crate into the component, where `host plugin inspect` and other
/// tools look for them. The export macros do it.
#[doc(hidden)]
#[macro_export]
macro_rules! embed_metadata {
    () => {
        $crate::embed_metadata!("version", env!("CARGO_PKG_VERSION"));
        $crate::embed_metadata!("description", env!("CARGO_PKG_DESCRIPTION"));
        $crate::embed_metadata!("licenses", env!("CARGO_PKG_LICENSE"));
    };
    ($section:literal, $text:expr) => {
        const _: () = {
            const TEXT: &str = $text;
            #[used]
            #[unsafe(link_section = $section)]
            static SECTION: [u8; TEXT.len()] = $crate::text_bytes(TEXT);
        };
    };
}

/// The bytes of a text whose length is known when it is compiled.
#[doc(hidden)]
#[must_use]
pub const fn text_bytes<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let mut index = 0;
    while index < LENGTH {
        bytes[index] = text.as_bytes()[index];
        index += 1;
    }
    bytes
}

/// For plugins without settings: accepts `{}` and nothing else.
pub fn no_settings(plugin: &str, config: &str) -> Result<(), String> {
    let inner = config.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match inner {
        Some(inner) if inner.trim().is_empty() => Ok(()),
        _ if config.trim().is_empty() => Ok(()),
        _ => Err(format!("{plugin} has no settings, but was given {config}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_without_settings_takes_an_empty_object_only() {
        for good in ["", "{}", " { } "] {
            assert_eq!(no_settings("p", good), Ok(()));
        }
        assert_eq!(no_settings("p", r#"{"a":1}"#), Err(r#"p has no settings, but was given {"a":1}"#.to_owned()));
    }
}
