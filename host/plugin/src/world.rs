//! What the generated code of the four worlds has in common, so that one slot and one kind of warm instance serve them all.

use wasmtime::{Store, component::InstancePre};

use crate::{contract::v0_1::bindings, guest::Guest};

/// An instance of one world.
pub(crate) trait World: Sized + Send + 'static {
    /// Compiled and linked, ready to be instantiated any number of times.
    type Ready: Send + Sync + 'static;
    /// What an instance has been told, beside its configuration.
    type Told: Default + Send;
    /// Whether what it answers can be compared with what another answers.
    const DECIDES: bool;

    fn ready(linked: InstancePre<Guest>) -> wasmtime::Result<Self::Ready>;
    fn instantiate(ready: &Self::Ready, store: &mut Store<Guest>) -> wasmtime::Result<Self>;
    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<(), String>>;
}

macro_rules! world {
    ($world:ident, $ready:ident, $told:ty, $module:ident, decides: $decides:literal) => {
        pub(crate) use bindings::$module::$world;

        impl World for $world {
            type Ready = bindings::$module::$ready<Guest>;
            type Told = $told;
            const DECIDES: bool = $decides;

            fn ready(linked: InstancePre<Guest>) -> wasmtime::Result<Self::Ready> {
                bindings::$module::$ready::new(linked)
            }

            fn instantiate(ready: &Self::Ready, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
                ready.instantiate(store)
            }

            fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<(), String>> {
                self.shardhost_plugin_plugin().call_configure(store, config)
            }
        }
    };
}

/// The topology and the pressures that a routing instance has, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ToldRouting {
    pub topology: Option<u32>,
    pub pressures: Option<u64>,
}

world!(AllocationPolicy, AllocationPolicyPre, (), allocation, decides: true);
world!(RoutingPolicy, RoutingPolicyPre, ToldRouting, routing, decides: true);
world!(QueueingPolicy, QueueingPolicyPre, (), queueing, decides: true);
world!(ShardAdapter, ShardAdapterPre, (), adapter, decides: false);
