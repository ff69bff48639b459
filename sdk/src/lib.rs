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
//! Switch on one feature: `allocation`, `routing`, `queueing` or `adapter`.

#[cfg(feature = "adapter")]
pub mod adapter;
#[cfg(feature = "allocation")]
pub mod allocation;
#[cfg(feature = "allocation")]
pub mod problem;
#[cfg(feature = "queueing")]
pub mod queueing;
#[cfg(feature = "routing")]
pub mod routing;
#[cfg(feature = "routing")]
mod topology;

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
