//! Version 0.1 of the contract: how its guests are linked, started and called.

mod adapter;
mod bindings;
mod convert;
mod imports;
mod policies;
mod tensors;

use semver::Version;

use self::bindings::{
    adapter::{ShardAdapter, ShardAdapterPre},
    allocation::{AllocationPolicy, AllocationPolicyPre},
    queueing::{QueueingPolicy, QueueingPolicyPre},
    routing::{RoutingPolicy, RoutingPolicyPre},
};
use super::{Bound, Contract};
use crate::{
    guest::Guest,
    program::{Cage, Caged, NotStarted},
    world::{AdapterGuest, AllocationGuest, QueueingGuest, RoutingGuest},
};

pub(super) static CONTRACT: Contract = Contract {
    version: Version::new(0, 1, 0),
    grants: imports::grants,
    grants_tensors: tensors::grants,
    link: imports::link,
    allocation: |linked| Ok(Box::new(AllocationPolicyPre::new(linked)?)),
    routing: |linked| Ok(Box::new(RoutingPolicyPre::new(linked)?)),
    queueing: |linked| Ok(Box::new(QueueingPolicyPre::new(linked)?)),
    adapter: |linked| Ok(Box::new(ShardAdapterPre::new(linked)?)),
};

/// An instance of one of the worlds.
struct Instance<W, T = ()> {
    cage: Cage,
    world: W,
    /// What it has been told beside its configuration.
    told: T,
}

impl<W, T> Caged for Instance<W, T> {
    fn cage(&self) -> &Cage {
        &self.cage
    }

    fn cage_mut(&mut self) -> &mut Cage {
        &mut self.cage
    }
}

/// The generated types of the worlds have the same functions and no trait in common.
macro_rules! world {
    ($world:ty, $ready:ident, told: $told:ty, $guest:ident) => {
        impl Bound<dyn $guest> for $ready<Guest> {
            fn start(&self, mut cage: Cage, config: &str) -> Result<Box<dyn $guest>, NotStarted> {
                let world = cage.instantiate(|store| self.instantiate(store))?;
                cage.configure(|store| world.shardhost_plugin_plugin().call_configure(store, config))?;
                Ok(Box::new(Instance::<$world, $told> { cage, world, told: Default::default() }))
            }
        }
    };
}

world!(AllocationPolicy, AllocationPolicyPre, told: (), AllocationGuest);
world!(RoutingPolicy, RoutingPolicyPre, told: policies::Told, RoutingGuest);
world!(QueueingPolicy, QueueingPolicyPre, told: (), QueueingGuest);
world!(ShardAdapter, ShardAdapterPre, told: (), AdapterGuest);
