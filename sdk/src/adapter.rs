//! For plugins that drive an accelerator through an engine of the host. Called by authors of such plugins. Weights and
//! activations stay in the host: an adapter holds handles.
//!
//! [`operations`] changes tensors where they are, and [`converted`] is an adapter but for its name: for accelerators whose graphs were
//! converted for fixed shapes.

pub mod converted;
#[cfg(not(target_arch = "wasm32"))]
pub mod double;
pub mod operations;
mod plain;
#[cfg(not(target_arch = "wasm32"))]
pub mod plain_double;
pub mod shapes;

/// The generated bindings; use the names that this module re-exports.
#[doc(hidden)]
#[allow(missing_debug_implementations, unused, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated code")]
pub mod bindings {
    // Only a build for the sandbox exports anything. Elsewhere several features may be on at once, and their export
    // macros would collide.
    #[cfg(target_arch = "wasm32")]
    wit_bindgen::generate!({
        path: ["../wit", "../wit/tensors"],
        world: "shardhost:tensors/tensor-adapter@0.1.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_adapter_world",
        default_bindings_module: "shardhost_sdk::adapter::bindings",
    });
    #[cfg(not(target_arch = "wasm32"))]
    wit_bindgen::generate!({
        path: ["../wit", "../wit/tensors"],
        world: "shardhost:tensors/tensor-adapter@0.1.0",
        generate_all,
    });
}

pub use bindings::{
    exports::shardhost::plugin::adapter::{Call, Fit, Offer, Phase, Roles},
    shardhost::plugin::{
        engine::{EngineError, EngineErrorKind, EngineInfo, Graph, ShardFile, Tensor, TensorInfo},
        log::Level,
        types::{ElementType, Refusal},
    },
};

pub use plain::{PlainAdapter, PlainConfig};

/// A name and a value, as the contract's lists of attributes hold them.
pub type Attribute = (String, String);

/// The engines that an adapter drives. [`HostEngine`] is the real thing; a test outside the sandbox brings a double.
pub trait Engine: Default + 'static {
    /// A handle of a tensor.
    type Tensor;
    /// A handle of a shard.
    type ShardFile;
    /// A handle of a loaded graph.
    type Graph;

    /// What there is.
    fn engines(&self) -> Vec<EngineInfo>;

    /// Prepares a shard with an engine and checks it against its golden output.
    fn load(&self, engine: &str, shard: &Self::ShardFile, options: &[Attribute]) -> Result<Self::Graph, EngineError>;

    /// Memory that loading took.
    fn memory_bytes(&self, graph: &Self::Graph) -> f64;

    /// Computes the outputs; no byte passes through the guest.
    fn run(&self, graph: &Self::Graph, inputs: Vec<Self::Tensor>) -> Result<Vec<Self::Tensor>, EngineError>;
}

/// The engines of the host around the sandbox. Its calls work inside the sandbox only.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEngine;

impl Engine for HostEngine {
    type Tensor = Tensor;
    type ShardFile = ShardFile;
    type Graph = Graph;

    fn engines(&self) -> Vec<EngineInfo> {
        bindings::shardhost::plugin::engine::engines()
    }

    fn load(&self, engine: &str, shard: &ShardFile, options: &[Attribute]) -> Result<Graph, EngineError> {
        bindings::shardhost::plugin::engine::load(engine, shard, options)
    }

    fn memory_bytes(&self, graph: &Graph) -> f64 {
        graph.memory_bytes()
    }

    fn run(&self, graph: &Graph, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        graph.run(inputs)
    }
}

/// Drives one shard. One instance serves one shard.
pub trait ShardAdapter: Sized + 'static {
    /// What it computes with.
    type Engine: Engine;

    /// Called once, with the JSON object from the slot's configuration, `{}` if there is none. The error is shown to
    /// whoever installs the plugin.
    fn configure(config: &str) -> Result<Self, String>;

    /// What this device has for this adapter; empty if nothing.
    fn probe(&mut self) -> Vec<Offer>;

    /// Prepares the shard; `offer` is an index into what `probe` answers.
    fn load(&mut self, shard: <Self::Engine as Engine>::ShardFile, offer: u32) -> Result<Fit, Refusal>;

    /// Computes the shard. Tensors come and go in the shard's declared order.
    fn run(&mut self, call: &Call, inputs: Vec<<Self::Engine as Engine>::Tensor>) -> Result<Vec<<Self::Engine as Engine>::Tensor>, EngineError>;
}

impl Refusal {
    /// A refusal where memory is not the constraint.
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

/// Makes a type that implements [`ShardAdapter`] with [`HostEngine`] the plugin that this crate builds.
#[macro_export]
macro_rules! export_adapter {
    ($adapter:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::embed_metadata!();
            use $crate::adapter::{ShardAdapter, bindings::exports::shardhost::plugin as exported};

            ::std::thread_local! {
                static ADAPTER: ::std::cell::RefCell<Option<$adapter>> = const { ::std::cell::RefCell::new(None) };
            }

            fn with<T>(call: impl FnOnce(&mut $adapter) -> T) -> T {
                ADAPTER.with_borrow_mut(|adapter| call(adapter.as_mut().expect("the host calls configure first")))
            }

            struct Component;

            impl exported::plugin::Guest for Component {
                fn configure(config: String) -> Result<(), String> {
                    $crate::adapter::log_panics();
                    let adapter = <$adapter as ShardAdapter>::configure(&config)?;
                    ADAPTER.set(Some(adapter));
                    Ok(())
                }
            }

            impl exported::adapter::Guest for Component {
                fn probe() -> Vec<$crate::adapter::Offer> {
                    with(|adapter| adapter.probe())
                }

                fn load(shard: $crate::adapter::ShardFile, offer: u32) -> Result<$crate::adapter::Fit, $crate::adapter::Refusal> {
                    with(|adapter| adapter.load(shard, offer))
                }

                fn run(
                    call: $crate::adapter::Call,
                    inputs: Vec<$crate::adapter::Tensor>,
                ) -> Result<Vec<$crate::adapter::Tensor>, $crate::adapter::EngineError> {
                    with(|adapter| adapter.run(&call, inputs))
                }
            }

    $crate::adapter::bindings::export_adapter_world!(Component with_types_in $crate::adapter::bindings);
        };
    };
}
