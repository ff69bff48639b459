//! The slots of routing policies: `routing`, and any number of `routing/NAME` beside it. Of the built-in policies the default one is
//! there from the start, and those that have a configuration, so that its faults are told at once. The others are started when
//! somebody asks for one, or in the background: few hosts use more than one or two of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use crate::{
    builtin::{BUILTINS, Builtin, Builtins},
    error::{Error, Fault},
    names::{PluginKind, SlotName},
    policies::RoutingSlot,
    priority::aside,
    slot::{Slot, Surroundings, Tenant, lock},
    world::RoutingPolicy,
};

type Tenants = BTreeMap<&'static str, Arc<Tenant<RoutingPolicy>>>;

/// All of them.
pub(crate) struct RoutingSlots {
    slots: RwLock<BTreeMap<SlotName, Arc<RoutingSlot>>>,
    /// Answers where what is plugged in fails.
    default: Arc<Tenant<RoutingPolicy>>,
    builtins: Builtins,
    /// Built-in policies that were started, by name. Held while one is, so that none is started twice.
    started: Mutex<Tenants>,
    around: Surroundings,
}

impl RoutingSlots {
    /// Compiles the default policy, or takes it from the cache.
    pub(crate) fn start(builtins: Builtins, around: Surroundings) -> Result<Self, Error> {
        let missing = Fault::Host { what: "slot `routing` has no built-in plugin" };
        let (slot, builtin) = of_builtins().find(|(slot, _)| *slot == SlotName::Routing(None)).ok_or(missing)?;
        let default = builtins.tenant::<RoutingPolicy>(&slot)?;
        let started = Mutex::new(BTreeMap::from([(builtin.name, Arc::clone(&default))]));
        let slots = Self { slots: RwLock::default(), default, builtins, started, around };
        slots.get(&slot)?;
        for (slot, _) in of_builtins().filter(|(slot, _)| slots.builtins.is_configured(slot)) {
            slots.get(&slot)?;
        }
        Ok(slots)
    }

    /// A slot in which something is or was plugged, or a built-in policy serves.
    pub(crate) fn get(&self, name: &SlotName) -> Result<Arc<RoutingSlot>, Error> {
        if let Some(slot) = self.known(name) {
            return Ok(slot);
        }
        let (_, builtin) = of_builtins().find(|(slot, _)| slot == name).ok_or_else(|| Fault::Unbound { slot: name.clone() })?;
        let mut started = lock(&self.started);
        let tenant = match started.get(builtin.name) {
            Some(tenant) => Arc::clone(tenant),
            None => {
                let tenant = self.builtins.tenant::<RoutingPolicy>(name)?;
                Arc::clone(started.entry(builtin.name).or_insert(tenant))
            }
        };
        // Somebody else may have been here between the two locks.
        Ok(self.known(name).unwrap_or_else(|| self.add(name, Some(tenant))))
    }

    /// The same; if there is none, an empty one.
    pub(crate) fn get_or_new(&self, name: &SlotName) -> Arc<RoutingSlot> {
        self.get(name).unwrap_or_else(|_| {
            let _one_at_a_time = lock(&self.started);
            self.known(name).unwrap_or_else(|| self.add(name, None))
        })
    }

    /// All that are there.
    pub(crate) fn all(&self) -> Vec<Arc<RoutingSlot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Names of the slots `routing/NAME` that would answer, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let plugged = slots.iter().filter(|(_, plugged)| plugged.bearer().is_some()).map(|(slot, _)| slot.clone());
        let waiting = of_builtins().map(|(slot, _)| slot).filter(|slot| !slots.contains_key(slot));
        let name = |slot| if let SlotName::Routing(name) = slot { name } else { None };
        let mut names: Vec<String> = plugged.chain(waiting).filter_map(name).collect();
        names.sort_unstable();
        names
    }

    /// Starts the built-in policies that nobody has asked for yet, one after another, on a thread that yields to those of requests.
    pub(crate) fn start_rest(&self) -> Result<(), Error> {
        aside(|| of_builtins().try_for_each(|(slot, _)| self.get(&slot).map(drop)))
    }

    fn known(&self, name: &SlotName) -> Option<Arc<RoutingSlot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn add(&self, name: &SlotName, builtin: Option<Arc<Tenant<RoutingPolicy>>>) -> Arc<RoutingSlot> {
        let fallback = builtin.is_none().then(|| Arc::clone(&self.default));
        let slot = Arc::new(RoutingSlot(Slot::new(name.clone(), builtin, fallback, self.around.clone())));
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Arc::clone(&slot));
        slot
    }
}

/// Each slot of a built-in routing policy with that policy. One in several slots is the same in all of them, with the configuration
/// of the slot that is asked for first.
fn of_builtins() -> impl Iterator<Item = (SlotName, &'static Builtin)> {
    let slots = BUILTINS.iter().flat_map(|builtin| builtin.slots.iter().map(move |slot| (slot, builtin)));
    slots.filter_map(|(slot, builtin)| Some((SlotName::parse(slot).ok().filter(|slot| slot.kind() == PluginKind::Routing)?, builtin)))
}
