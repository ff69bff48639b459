//! The slots of adapters, `adapter/KIND`, one for each kind of accelerator. That of the CPU is there from the start. The other built-in
//! adapters are compiled when somebody asks for them: few devices have more than one accelerator beside the CPU.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use crate::{
    adapter::AdapterSlot,
    builtin::{BUILTINS, Builtins},
    error::{Error, Fault},
    names::SlotName,
    slot::{Slot, Surroundings, Tenant, lock},
    world::ShardAdapter,
};

/// What the names of these slots start with.
const PREFIX: &str = "adapter/";

/// All of them.
pub(crate) struct AdapterSlots {
    slots: RwLock<BTreeMap<SlotName, Arc<AdapterSlot>>>,
    builtins: Builtins,
    /// Held while a slot is made, so that no adapter is compiled twice.
    making: Mutex<()>,
    around: Surroundings,
}

impl AdapterSlots {
    /// Compiles the adapter of the CPU, or takes it from the cache.
    pub(crate) fn start(builtins: Builtins, around: Surroundings) -> Result<Self, Error> {
        let slots = Self { slots: RwLock::default(), builtins, making: Mutex::new(()), around };
        slots.get("cpu")?;
        Ok(slots)
    }

    /// A slot in which something is or was plugged, or a built-in adapter serves.
    pub(crate) fn get(&self, kind: &str) -> Result<Arc<AdapterSlot>, Error> {
        let name = SlotName::Adapter(kind.to_owned());
        if let Some(slot) = self.known(&name) {
            return Ok(slot);
        }
        if !builtin_kinds().any(|builtin| builtin == kind) {
            return Err(Fault::Unbound { slot: name }.into());
        }
        let _one_at_a_time = lock(&self.making);
        match self.known(&name) {
            Some(slot) => Ok(slot),
            None => Ok(self.add(&name, Some(self.builtins.tenant(&name)?))),
        }
    }

    /// The same; if there is none, an empty one.
    pub(crate) fn get_or_new(&self, name: &SlotName, kind: &str) -> Arc<AdapterSlot> {
        self.get(kind).unwrap_or_else(|_| {
            let _one_at_a_time = lock(&self.making);
            self.known(name).unwrap_or_else(|| self.add(name, None))
        })
    }

    /// All that are there, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<AdapterSlot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Kinds of accelerators for which an adapter is there, or would be if somebody asked; sorted.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let there = self.all().into_iter().filter(|slot| slot.bearer().is_some()).map(|slot| slot.name().to_string());
        let kinds = there.filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned)).chain(builtin_kinds().map(str::to_owned));
        kinds.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn known(&self, name: &SlotName) -> Option<Arc<AdapterSlot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn add(&self, name: &SlotName, tenant: Option<Arc<Tenant<ShardAdapter>>>) -> Arc<AdapterSlot> {
        let slot = Arc::new(AdapterSlot(Slot::new(name.clone(), tenant, None, self.around.clone())));
        // The map is whole between any two statements, so a panic elsewhere leaves it sound.
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Arc::clone(&slot));
        slot
    }
}

/// Kinds of accelerators that a built-in adapter is for.
fn builtin_kinds() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().flat_map(|builtin| builtin.slots).filter_map(|slot| slot.strip_prefix(PREFIX))
}
