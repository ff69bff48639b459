//! For plugins that decide who waits. Called by authors of such plugins.

/// The generated bindings; use the names that this module re-exports.
#[doc(hidden)]
#[allow(missing_debug_implementations, unused, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated code")]
pub mod bindings {
    // Only a build for the sandbox exports anything. Elsewhere several features may be on at once, and their export
    // macros would collide.
    #[cfg(target_arch = "wasm32")]
    wit_bindgen::generate!({
        path: "../wit",
        world: "queueing-policy",
        pub_export_macro: true,
        export_macro_name: "export_queueing_world",
        default_bindings_module: "shardhost_sdk::queueing::bindings",
        additional_derives: [PartialEq],
    });
    #[cfg(not(target_arch = "wasm32"))]
    wit_bindgen::generate!({
        path: "../wit",
        world: "queueing-policy",
        additional_derives: [PartialEq],
    });
}

pub use bindings::{
    exports::shardhost::plugin::queueing::{Arrival, ClassState, Decision},
    shardhost::plugin::{log::Level, types::Refusal},
};

/// Ranks or refuses arrivals. The same arguments must always give the same answer.
pub trait QueueingPolicy: Sized + 'static {
    /// Called once, with the JSON object from the slot's configuration, `{}` if there is none. The error is shown to
    /// whoever installs the plugin.
    fn configure(config: &str) -> Result<Self, String>;

    /// A finite rank, the smallest served first, or a refusal.
    fn admit(&mut self, arrival: &Arrival) -> Decision;
}

impl Refusal {
    /// A refusal without more to say.
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

/// Makes a type that implements [`QueueingPolicy`] the plugin that this crate builds.
#[macro_export]
macro_rules! export_queueing {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::embed_metadata!();
            use $crate::queueing::{QueueingPolicy, bindings::exports::shardhost::plugin as exported};

            ::std::thread_local! {
                static POLICY: ::std::cell::RefCell<Option<$policy>> = const { ::std::cell::RefCell::new(None) };
            }

            struct Component;

            impl exported::plugin::Guest for Component {
                fn configure(config: String) -> Result<(), String> {
                    $crate::queueing::log_panics();
                    let policy = <$policy as QueueingPolicy>::configure(&config)?;
                    POLICY.set(Some(policy));
                    Ok(())
                }
            }

            impl exported::queueing::Guest for Component {
                fn admit(arrival: $crate::queueing::Arrival) -> $crate::queueing::Decision {
                    POLICY.with_borrow_mut(|policy| policy.as_mut().expect("the host calls configure first").admit(&arrival))
                }
            }

    $crate::queueing::bindings::export_queueing_world!(Component with_types_in $crate::queueing::bindings);
        };
    };
}
