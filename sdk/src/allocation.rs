//! For plugins that decide where shards go. Called by authors of such plugins; arithmetic over a problem is in
//! [`crate::problem`].

/// The generated bindings; use the names that this module re-exports.
#[doc(hidden)]
#[allow(missing_debug_implementations, unused, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated code")]
pub mod bindings {
    // Only a build for the sandbox exports anything. Elsewhere several features may be on at once, and their export
    // macros would collide.
    #[cfg(target_arch = "wasm32")]
    wit_bindgen::generate!({
        path: "../wit",
        world: "allocation-policy",
        pub_export_macro: true,
        export_macro_name: "export_allocation_world",
        default_bindings_module: "shardhost_sdk::allocation::bindings",
        additional_derives: [PartialEq],
    });
    #[cfg(not(target_arch = "wasm32"))]
    wit_bindgen::generate!({
        path: "../wit",
        world: "allocation-policy",
        additional_derives: [PartialEq],
    });
}

pub use bindings::{
    exports::shardhost::plugin::allocation::{
        Block, Cost, Device, Exclusion, Link, Objective, Observation, Offer, Placement, Problem, Proposal, Replica, Roles, SharedWeight, Speed, Stage,
        StageObservation, Verdict,
    },
    shardhost::plugin::{log::Level, types::Refusal},
};

/// Decides which offers hold which blocks of one model. The same arguments must always give the same answer.
pub trait AllocationPolicy: Sized + 'static {
    /// Called once, with the JSON object from the slot's configuration, `{}` if there is none. The error is shown to
    /// whoever installs the plugin.
    fn configure(config: &str) -> Result<Self, String>;

    /// Places the model. A refusal is an honest answer; the current plan then stays.
    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal>;

    /// Whether the plan in force should be made again. Keeps it unless the policy says otherwise.
    fn review(&mut self, _observed: &Observation) -> Verdict {
        Verdict::Keep
    }
}

impl Refusal {
    /// A refusal that names no offer.
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

/// Makes a type that implements [`AllocationPolicy`] the plugin that this crate builds.
#[macro_export]
macro_rules! export_allocation {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::embed_metadata!();
            use $crate::allocation::{AllocationPolicy, bindings::exports::shardhost::plugin as exported};

            ::std::thread_local! {
                static POLICY: ::std::cell::RefCell<Option<$policy>> = const { ::std::cell::RefCell::new(None) };
            }

            fn with<T>(call: impl FnOnce(&mut $policy) -> T) -> T {
                POLICY.with_borrow_mut(|policy| call(policy.as_mut().expect("the host calls configure first")))
            }

            struct Component;

            impl exported::plugin::Guest for Component {
                fn configure(config: String) -> Result<(), String> {
                    $crate::allocation::log_panics();
                    let policy = <$policy as AllocationPolicy>::configure(&config)?;
                    POLICY.set(Some(policy));
                    Ok(())
                }
            }

            impl exported::allocation::Guest for Component {
                fn allocate(problem: $crate::allocation::Problem) -> Result<$crate::allocation::Proposal, $crate::allocation::Refusal> {
                    with(|policy| policy.allocate(&problem))
                }

                fn review(observed: $crate::allocation::Observation) -> $crate::allocation::Verdict {
                    with(|policy| policy.review(&observed))
                }
            }

    $crate::allocation::bindings::export_allocation_world!(Component with_types_in $crate::allocation::bindings);
        };
    };
}
