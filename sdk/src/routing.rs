//! For plugins that decide which way a request takes. Called by authors of such plugins.

/// The generated bindings; use the names that this module re-exports.
#[doc(hidden)]
#[allow(missing_debug_implementations, unused, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated code")]
pub mod bindings {
    // Only a build for the sandbox exports anything. Elsewhere several features may be on at once, and their export
    // macros would collide.
    #[cfg(target_arch = "wasm32")]
    wit_bindgen::generate!({
        path: "../wit",
        world: "routing-policy",
        pub_export_macro: true,
        export_macro_name: "export_routing_world",
        default_bindings_module: "shardhost_sdk::routing::bindings",
        additional_derives: [PartialEq],
    });
    #[cfg(not(target_arch = "wasm32"))]
    wit_bindgen::generate!({
        path: "../wit",
        world: "routing-policy",
        additional_derives: [PartialEq],
    });
}

pub use bindings::{
    exports::shardhost::plugin::routing::{Device, Link, Pressure, RouteRequest, Segment, ServedModel, Speed, Topology},
    shardhost::plugin::{log::Level, types::Refusal},
};

pub use crate::{pressures::DevicePressures, replicas::Replicas, topology::ReplicaPath};

/// Decides which segments a request goes through. What it remembers is what it was handed by `set_topology` and
/// `set_pressure`; the host may ask any instance that was handed the same.
pub trait RoutingPolicy: Sized + 'static {
    /// Called once, with the JSON object from the slot's configuration, `{}` if there is none. The error is shown to
    /// whoever installs the plugin.
    fn configure(config: &str) -> Result<Self, String>;

    /// Replaces the topology before it and clears all pressures. The place for work that `route` should not repeat.
    fn set_topology(&mut self, topology: Topology);

    /// The newest value of each device whose pressure changed.
    fn set_pressure(&mut self, _pressures: Vec<Pressure>) {}

    /// Indexes into the model's segments, in order, covering every block once.
    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal>;
}

impl Refusal {
    /// A refusal that names no segment.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), nearest: None, short_bytes: 0.0 }
    }
}

/// Writes a line to the host's plugin log. Does nothing outside the sandbox.
pub fn log(level: Level, message: &str) {
    if cfg!(target_arch = "wasm32") {
        bindings::shardhost::plugin::log::write(level, message);
    }
}

#[doc(hidden)]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
}

/// Makes a type that implements [`RoutingPolicy`] the plugin that this crate builds.
#[macro_export]
macro_rules! export_routing {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::embed_metadata!();
            use $crate::routing::{RoutingPolicy, bindings::exports::shardhost::plugin as exported};

            ::std::thread_local! {
                static POLICY: ::std::cell::RefCell<Option<$policy>> = const { ::std::cell::RefCell::new(None) };
            }

            fn with<T>(call: impl FnOnce(&mut $policy) -> T) -> T {
                POLICY.with_borrow_mut(|policy| call(policy.as_mut().expect("the host calls configure first")))
            }

            struct Component;

            impl exported::plugin::Guest for Component {
                fn configure(config: String) -> Result<(), String> {
                    $crate::routing::log_panics();
                    let policy = <$policy as RoutingPolicy>::configure(&config)?;
                    POLICY.set(Some(policy));
                    Ok(())
                }
            }

            impl exported::routing::Guest for Component {
                fn set_topology(topology: $crate::routing::Topology) {
                    with(|policy| policy.set_topology(topology));
                }

                fn set_pressure(pressures: Vec<$crate::routing::Pressure>) {
                    with(|policy| policy.set_pressure(pressures));
                }

                fn route(request: $crate::routing::RouteRequest) -> Result<Vec<u32>, $crate::routing::Refusal> {
                    with(|policy| policy.route(&request))
                }
            }

    $crate::routing::bindings::export_routing_world!(Component with_types_in $crate::routing::bindings);
        };
    };
}
