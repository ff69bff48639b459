//! The four worlds that a guest can be of, whatever version of the contract it speaks, so that one slot and one kind of program
//! serve them all. What a version makes of a world is in its folder of `contract`.

use host_core::policy;
use wasmtime::component::InstancePre;

use crate::{
    adapter::Adapter,
    contract::{Bound, Contract},
    guest::Guest,
    program::Caged,
};

/// One world.
pub(crate) trait World: Sized + Send + Sync + 'static {
    /// An instance that was started and has its configuration.
    type Instance: Caged + Send + ?Sized + 'static;
    /// Whether what it answers can be compared with what another answers.
    const DECIDES: bool;

    /// Code that was linked for a version of the contract, as this world of that version.
    fn bind(contract: &Contract, linked: InstancePre<Guest>) -> wasmtime::Result<Box<dyn Bound<Self::Instance>>>;
}

/// An instance, owned by whoever calls it. After a failure it is dropped, never called again.
pub(crate) type Warm<W> = Box<<W as World>::Instance>;

/// An allocation policy in its cage.
pub(crate) trait AllocationGuest: policy::AllocationPolicy + Caged {}
impl<T: policy::AllocationPolicy + Caged> AllocationGuest for T {}

/// A routing policy in its cage.
pub(crate) trait RoutingGuest: policy::RoutingPolicy + Caged {}
impl<T: policy::RoutingPolicy + Caged> RoutingGuest for T {}

/// A queueing policy in its cage.
pub(crate) trait QueueingGuest: policy::QueueingPolicy + Caged {}
impl<T: policy::QueueingPolicy + Caged> QueueingGuest for T {}

/// An adapter in its cage.
pub(crate) trait AdapterGuest: Adapter + Caged {}
impl<T: Adapter + Caged> AdapterGuest for T {}

/// The world of plugins that decide where shards go.
pub(crate) enum AllocationPolicy {}

impl World for AllocationPolicy {
    type Instance = dyn AllocationGuest;
    const DECIDES: bool = true;

    fn bind(contract: &Contract, linked: InstancePre<Guest>) -> wasmtime::Result<Box<dyn Bound<Self::Instance>>> {
        (contract.allocation)(linked)
    }
}

/// The world of plugins that decide which way a request takes.
pub(crate) enum RoutingPolicy {}

impl World for RoutingPolicy {
    type Instance = dyn RoutingGuest;
    const DECIDES: bool = true;

    fn bind(contract: &Contract, linked: InstancePre<Guest>) -> wasmtime::Result<Box<dyn Bound<Self::Instance>>> {
        (contract.routing)(linked)
    }
}

/// The world of plugins that decide who waits.
pub(crate) enum QueueingPolicy {}

impl World for QueueingPolicy {
    type Instance = dyn QueueingGuest;
    const DECIDES: bool = true;

    fn bind(contract: &Contract, linked: InstancePre<Guest>) -> wasmtime::Result<Box<dyn Bound<Self::Instance>>> {
        (contract.queueing)(linked)
    }
}

/// The world of plugins that drive an accelerator.
pub(crate) enum ShardAdapter {}

impl World for ShardAdapter {
    type Instance = dyn AdapterGuest;
    const DECIDES: bool = false;

    fn bind(contract: &Contract, linked: InstancePre<Guest>) -> wasmtime::Result<Box<dyn Bound<Self::Instance>>> {
        (contract.adapter)(linked)
    }
}
