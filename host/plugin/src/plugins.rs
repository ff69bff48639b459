//! The crate's front: reads, prepares, installs, rolls back and lists plugins, and hands out the slots to call. Preparing is
//! slow and touches nothing in service; committing is one pointer.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

use host_core::{ids::Generation, strikes::StrikePolicy, units::Millis};
use host_engine::{Digest, Engines};

use crate::{
    adapter::AdapterSlot,
    builtin::{self, BUILTIN_PLUGINS, BUILTINS, Builtin},
    clock::Clock,
    compiler::Compiler,
    description::Description,
    error::{Error, Fault},
    events::{Bearer, EventSink, SwapReason},
    keeper::{Keeper, Kept},
    limits::Limits,
    manifest::Manifest,
    names::{PluginKind, SlotName},
    package::Package,
    policies::{AllocationSlot, QueueingSlot, RoutingSlot},
    priority::aside,
    program::Program,
    rehearse::{Rehearsal, Rehearse, rehearse},
    sandbox::Sandbox,
    slot::{Slot, SlotStatus, Surroundings, Tenant, Version},
    trial::{Entry, TrialPolicy},
    witness::{DecisionSink, Witness},
    world::{AllocationPolicy, QueueingPolicy, RoutingPolicy, ShardAdapter, Warm, World},
};

/// Settings of all plugins together.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// Where compiled plugins are kept; without it each start compiles them.
    pub cache_folder: Option<PathBuf>,
    /// Compiles what is not part of the host; without it this process does.
    pub compiler: Option<Compiler>,
    /// What a guest may take.
    pub limits: Limits,
    /// When a plugin is rolled back, and when it is tried again.
    pub strikes: StrikePolicy,
    /// Generations that each slot remembers.
    pub history_max: usize,
    /// How plugins are tried beside those in service.
    pub trials: TrialPolicy,
    /// JSON for `configure` of the built-in plugins, by slot.
    pub builtin_configs: BTreeMap<SlotName, String>,
    /// The last questions of each kind that are kept, for new plugins to rehearse on.
    pub rehearsed_problems_max: usize,
    /// Who is told of every decision.
    pub decisions: DecisionSink,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            cache_folder: None,
            compiler: None,
            limits: Limits::default(),
            strikes: StrikePolicy::default(),
            history_max: 8,
            trials: TrialPolicy::default(),
            builtin_configs: BTreeMap::new(),
            rehearsed_problems_max: 32,
            decisions: DecisionSink::default(),
        }
    }
}

/// A plugin's bytes and where they came from.
#[derive(Clone, Debug)]
pub struct PluginSource {
    /// File name, for errors and for want of another name.
    pub name: String,
    /// The component.
    pub bytes: bytes::Bytes,
    /// The text of a `plugin.toml` beside it.
    pub manifest: Option<String>,
}

impl PluginSource {
    /// A plugin that is in the binary, by name.
    pub fn builtin(name: &str) -> Result<Self, Error> {
        let unknown = || Fault::UnknownBuiltin { name: name.to_owned(), known: BUILTIN_PLUGINS.to_vec() };
        let builtin = builtin::find(name).ok_or_else(unknown)?;
        Ok(Self { name: builtin.name.to_owned(), bytes: bytes::Bytes::from_static(builtin.bytes), manifest: None })
    }
}

/// How far preparing came.
#[derive(Clone, Copy, Debug)]
pub enum PrepareStep<'a> {
    /// Its file was read, and fits this slot.
    Read(&'a Package, &'a SlotName),
    /// The host grants what its manifest asks for.
    Granted(&'a Manifest),
    /// Its code is there.
    Compiled,
    /// It answered so many calls well.
    Rehearsed(u32),
}

/// A plugin that compiled, started and rehearsed, but is not in service yet.
pub struct Prepared {
    slot: SlotName,
    package: Arc<Package>,
    ready: Ready,
    took: Duration,
    rehearsal: Rehearsal,
}

impl Prepared {
    /// Where it will serve.
    pub fn slot(&self) -> &SlotName {
        &self.slot
    }

    /// What it is.
    pub fn package(&self) -> &Arc<Package> {
        &self.package
    }

    /// How long preparing took.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// How it did in rehearsal.
    pub fn rehearsal(&self) -> &Rehearsal {
        &self.rehearsal
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("slot", &self.slot).field("plugin", &self.package.name).finish_non_exhaustive()
    }
}

enum Ready {
    Allocation(Arc<Tenant<AllocationPolicy>>, Box<Warm<AllocationPolicy>>),
    Routing(Arc<Tenant<RoutingPolicy>>, Box<Warm<RoutingPolicy>>),
    Queueing(Arc<Tenant<QueueingPolicy>>, Box<Warm<QueueingPolicy>>),
    Adapter(Arc<Tenant<ShardAdapter>>),
}

/// A plugin in service.
#[derive(Clone, PartialEq, Debug)]
pub struct Installed {
    /// Its name.
    pub plugin: Arc<str>,
    /// Where it serves.
    pub slot: SlotName,
    /// The slot's generation.
    pub generation: Generation,
    /// Its digest.
    pub digest: Digest,
}

impl From<Arc<Bearer>> for Installed {
    fn from(bearer: Arc<Bearer>) -> Self {
        Self { plugin: Arc::clone(&bearer.plugin), slot: bearer.slot.clone(), generation: bearer.generation, digest: bearer.digest }
    }
}

/// All plugins of a host. A clone is another handle of the same.
#[derive(Clone)]
pub struct PluginHost {
    inner: Arc<Inner>,
}

struct Inner {
    sandbox: Arc<Sandbox>,
    limits: Limits,
    around: Surroundings,
    allocation: Arc<AllocationSlot>,
    queueing: Arc<QueueingSlot>,
    routing: RwLock<BTreeMap<SlotName, Arc<RoutingSlot>>>,
    adapters: RwLock<BTreeMap<SlotName, Arc<AdapterSlot>>>,
    default_routing: Arc<Tenant<RoutingPolicy>>,
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHost").field("slots", &self.list()).finish_non_exhaustive()
    }
}

/// Makes tenants of the built-in plugins. They passed their rehearsal in this crate's tests, so starting is all they do.
struct Builtins<'a> {
    sandbox: &'a Arc<Sandbox>,
    config: &'a PluginConfig,
}

impl Builtins<'_> {
    fn tenant<W: World>(&self, slot: &str) -> Result<Arc<Tenant<W>>, Error> {
        let missing = Fault::Host { what: "a slot has no built-in plugin" };
        let builtin: &Builtin = BUILTINS.iter().find(|builtin| builtin.slots.contains(&slot)).ok_or(missing)?;
        let package = Package::read(builtin.name, bytes::Bytes::from_static(builtin.bytes), None, &self.config.limits)?;
        let config = self.config.builtin_configs.get(&SlotName::parse(slot)?).cloned();
        let program = Program::<W>::new(Arc::clone(self.sandbox), Arc::new(package), &self.config.limits, config)?;
        // Whatever is wrong with the configuration is said at once and not at the first request.
        drop(program.start()?);
        Ok(Arc::new(Tenant::new(program, true, self.config.strikes, None)))
    }
}

impl PluginHost {
    /// Starts with the built-in plugins in their slots: `allocation`, `routing`, each `routing/NAME` that a built-in policy names,
    /// and `adapter/cpu`. They are compiled in parallel, or taken from the cache.
    pub fn start(config: PluginConfig, engines: Arc<Engines>, events: EventSink) -> Result<Self, Error> {
        let sandbox = Arc::new(Sandbox::new(&config.limits, config.cache_folder.as_deref(), config.compiler.clone(), engines)?);
        let around = Surroundings {
            clock: Clock::start(),
            events,
            keeper: Keeper::start(config.strikes.retry_first)?,
            strikes: config.strikes,
            trials: config.trials,
            history_max: config.history_max,
            witness: Arc::new(Witness::new(config.decisions.clone(), config.rehearsed_problems_max)),
        };
        let builtins = &Builtins { sandbox: &sandbox, config: &config };
        let (allocation, policies, cpu) = thread::scope(|scope| {
            let allocation = scope.spawn(|| builtins.tenant::<AllocationPolicy>("allocation"));
            let policies: Vec<_> = routing_slots().map(|slots| (slots, scope.spawn(move || builtins.tenant::<RoutingPolicy>(slots[0])))).collect();
            let cpu = builtins.tenant::<ShardAdapter>("adapter/cpu");
            (joined(allocation), policies.into_iter().map(|(slots, policy)| Ok((slots, joined(policy)?))).collect::<Result<Vec<_>, Error>>(), cpu)
        });
        let (allocation, policies, cpu) = (allocation?, policies?, cpu?);
        let missing = Fault::Host { what: "slot `routing` has no built-in plugin" };
        let default_routing = policies.iter().find(|(slots, _)| slots.contains(&"routing")).map(|(_, policy)| Arc::clone(policy)).ok_or(missing)?;
        let mut routing = BTreeMap::new();
        for (slots, policy) in &policies {
            for slot in *slots {
                let name = SlotName::parse(slot)?;
                let slot = kept(Slot::new(name.clone(), Some(Arc::clone(policy)), None, around.clone()));
                routing.insert(name, Arc::new(RoutingSlot(slot)));
            }
        }
        let cpu_name = SlotName::Adapter("cpu".to_owned());
        let adapter = Arc::new(AdapterSlot(kept(Slot::new(cpu_name.clone(), Some(cpu), None, around.clone()))));
        let inner = Inner {
            allocation: Arc::new(AllocationSlot(kept(Slot::new(SlotName::Allocation, Some(allocation), None, around.clone())))),
            queueing: Arc::new(QueueingSlot(kept(Slot::new(SlotName::Queueing, None, None, around.clone())))),
            routing: RwLock::new(routing),
            adapters: RwLock::new(BTreeMap::from([(cpu_name, adapter)])),
            default_routing,
            limits: config.limits,
            sandbox,
            around,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads a plugin's file without compiling any of it.
    pub fn inspect(source: &PluginSource) -> Result<Package, Error> {
        Package::read(&source.name, source.bytes.clone(), source.manifest.as_deref(), &Limits::default())
    }

    /// What a component's file says of itself, and whether a host with these limits can run it.
    pub fn describe(source: &PluginSource, limits: &Limits) -> Result<Description, Error> {
        Description::read(source, limits)
    }

    /// Everything that can fail about a plugin, and nothing that touches what serves: read, compile, start, configure and
    /// rehearse. Takes milliseconds to seconds. `slot` and `config` win over what the manifest says.
    pub fn prepare(&self, source: &PluginSource, slot: Option<SlotName>, config: Option<String>) -> Result<Prepared, Error> {
        self.prepare_told(source, slot, config, &mut |_| ())
    }

    /// The same, and says after each step that it was taken. Runs on a thread that yields to those of requests.
    pub fn prepare_told(
        &self,
        source: &PluginSource,
        slot: Option<SlotName>,
        config: Option<String>,
        tell: &mut (dyn FnMut(PrepareStep<'_>) + Send),
    ) -> Result<Prepared, Error> {
        aside(|| self.prepare_here(source, slot, config, tell))
    }

    fn prepare_here(
        &self,
        source: &PluginSource,
        slot: Option<SlotName>,
        config: Option<String>,
        tell: &mut dyn FnMut(PrepareStep<'_>),
    ) -> Result<Prepared, Error> {
        let clock = Clock::start();
        let package = Arc::new(Package::read(&source.name, source.bytes.clone(), source.manifest.as_deref(), &self.inner.limits)?);
        let slot = package.slot(slot)?;
        tell(PrepareStep::Read(&package, &slot));
        package.manifest.granted(&package.name, &self.inner.limits)?;
        tell(PrepareStep::Granted(&package.manifest));
        let kind = slot.kind();
        let inner = &self.inner;
        let (ready, rehearsal) = match &slot {
            SlotName::Allocation => {
                self.ready(&package, config, kind, inner.allocation.0.current(), tell).map(|(tenant, warm, told)| (Ready::Allocation(tenant, warm), told))?
            }
            SlotName::Routing(name) => {
                let serving = self.routing(name.as_deref()).ok().and_then(|slot| slot.0.current());
                self.ready(&package, config, kind, serving, tell).map(|(tenant, warm, told)| (Ready::Routing(tenant, warm), told))?
            }
            SlotName::Queueing => {
                self.ready(&package, config, kind, inner.queueing.0.current(), tell).map(|(tenant, warm, told)| (Ready::Queueing(tenant, warm), told))?
            }
            SlotName::Adapter(_) => self.ready(&package, config, kind, None, tell).map(|(tenant, _, told)| (Ready::Adapter(tenant), told))?,
        };
        tell(PrepareStep::Rehearsed(rehearsal.calls));
        Ok(Prepared { slot, package, ready, took: clock.elapsed(), rehearsal })
    }

    fn ready<W: Rehearse>(
        &self,
        package: &Arc<Package>,
        config: Option<String>,
        kind: PluginKind,
        serving: Option<Arc<Version<W>>>,
        tell: &mut dyn FnMut(PrepareStep<'_>),
    ) -> Result<ReadyParts<W>, Error> {
        let program = Program::<W>::new(Arc::clone(&self.inner.sandbox), Arc::clone(package), &self.inner.limits, config)?;
        tell(PrepareStep::Compiled);
        let recorded = self.inner.around.witness.recent(kind);
        let rehearsed = rehearse(&program, &recorded, serving.as_deref().map(|version| &version.tenant.program))?;
        let tenant = Tenant::new(program, false, self.inner.around.strikes, rehearsed.told.p99);
        Ok((Arc::new(tenant), Box::new(rehearsed.warm), rehearsed.told))
    }

    /// Puts a prepared plugin in service. Calls in flight finish on the one before; every call that starts after this
    /// returns is answered by the new one.
    pub fn commit(&self, prepared: Prepared) -> Result<Installed, Error> {
        self.enter(prepared, Entry::Settled)
    }

    /// Lets a prepared plugin into its slot: at once, on probation, as a canary or as a shadow.
    pub fn enter(&self, prepared: Prepared, entry: Entry) -> Result<Installed, Error> {
        let bearer = match prepared.ready {
            Ready::Allocation(tenant, warm) => self.inner.allocation.0.enter(tenant, vec![*warm], entry)?,
            Ready::Queueing(tenant, warm) => self.inner.queueing.0.enter(tenant, vec![*warm], entry)?,
            Ready::Routing(tenant, warm) => self.routing_or_new(&prepared.slot).0.enter(tenant, vec![*warm], entry)?,
            Ready::Adapter(tenant) => self.adapter_or_new(&prepared.slot).0.enter(tenant, Vec::new(), entry)?,
        };
        Ok(bearer.into())
    }

    /// Puts a plugin back in service after the host was started again, under the generation that it had, if that is higher
    /// than those which the slot has held since.
    pub fn restore(&self, prepared: Prepared, generation: Generation) -> Installed {
        let bearer = match prepared.ready {
            Ready::Allocation(tenant, warm) => self.inner.allocation.0.restore(tenant, vec![*warm], generation),
            Ready::Queueing(tenant, warm) => self.inner.queueing.0.restore(tenant, vec![*warm], generation),
            Ready::Routing(tenant, warm) => self.routing_or_new(&prepared.slot).0.restore(tenant, vec![*warm], generation),
            Ready::Adapter(tenant) => self.adapter_or_new(&prepared.slot).0.restore(tenant, Vec::new(), generation),
        };
        bearer.into()
    }

    /// Lets a slot count on from the generation that it had when it last held nothing but what it starts with.
    pub fn count_from(&self, slot: &SlotName, generation: Generation) {
        match slot {
            SlotName::Allocation => self.inner.allocation.0.count_from(generation),
            SlotName::Queueing => self.inner.queueing.0.count_from(generation),
            SlotName::Routing(_) => self.routing_or_new(slot).0.count_from(generation),
            SlotName::Adapter(_) => self.adapter_or_new(slot).0.count_from(generation),
        }
    }

    /// Takes a plugin out of every slot and out of what slots remember. Where it served, the built-in plugin serves again, or
    /// nothing. Says which slots changed, and what serves there now.
    pub fn forget(&self, digest: Digest, reason: SwapReason) -> Vec<(SlotName, Option<Installed>)> {
        let changed = |slot: &SlotName, now: Option<Option<Arc<Bearer>>>| now.map(|now| (slot.clone(), now.map(Installed::from)));
        let (allocation, queueing) = (&self.inner.allocation.0, &self.inner.queueing.0);
        let mut slots = vec![changed(&allocation.name, allocation.forget(digest, reason)), changed(&queueing.name, queueing.forget(digest, reason))];
        slots.extend(read(&self.inner.routing).values().map(|slot| changed(slot.name(), slot.0.forget(digest, reason))));
        slots.extend(read(&self.inner.adapters).values().map(|slot| changed(slot.name(), slot.0.forget(digest, reason))));
        slots.into_iter().flatten().collect()
    }

    /// Puts the plugin on trial in a slot in service.
    pub fn promote(&self, slot: &SlotName) -> Result<Installed, Error> {
        let bearer = match slot {
            SlotName::Allocation => self.inner.allocation.promote(),
            SlotName::Queueing => self.inner.queueing.promote(),
            SlotName::Routing(name) => self.routing(name.as_deref())?.promote(),
            SlotName::Adapter(kind) => self.adapter(kind)?.promote(),
        };
        bearer.map(Installed::from)
    }

    /// Ends the canary or shadow of a slot.
    pub fn stop_trial(&self, slot: &SlotName) -> Result<Installed, Error> {
        let bearer = match slot {
            SlotName::Allocation => self.inner.allocation.stop_trial(),
            SlotName::Queueing => self.inner.queueing.stop_trial(),
            SlotName::Routing(name) => self.routing(name.as_deref())?.stop_trial(),
            SlotName::Adapter(kind) => self.adapter(kind)?.stop_trial(),
        };
        bearer.map(Installed::from)
    }

    /// Goes back to the generation before, or to one that the slot remembers. The number still goes up.
    pub fn rollback(&self, slot: &SlotName, to: Option<Generation>) -> Result<Installed, Error> {
        let bearer = match slot {
            SlotName::Allocation => self.inner.allocation.roll_back(to),
            SlotName::Queueing => self.inner.queueing.roll_back(to),
            SlotName::Routing(name) => self.routing(name.as_deref())?.roll_back(to),
            SlotName::Adapter(kind) => self.adapter(kind)?.roll_back(to),
        };
        bearer.map(Installed::from)
    }

    /// The clock that `SlotStatus::retry_at` is on.
    pub fn now(&self) -> Millis {
        self.inner.around.clock.now()
    }

    /// What is in every slot, sorted by name.
    pub fn list(&self) -> Vec<SlotStatus> {
        let mut list = vec![self.inner.allocation.status(), self.inner.queueing.status()];
        list.extend(read(&self.inner.routing).values().map(|slot| slot.status()));
        list.extend(read(&self.inner.adapters).values().map(|slot| slot.status()));
        list.sort_by_key(|status| status.slot.to_string());
        list
    }

    /// The slot of allocation policies.
    pub fn allocation(&self) -> &Arc<AllocationSlot> {
        &self.inner.allocation
    }

    /// The slot of queueing policies. It answers even if nothing is plugged in.
    pub fn queueing(&self) -> &Arc<QueueingSlot> {
        &self.inner.queueing
    }

    /// The default slot of routing policies, or one beside it.
    pub fn routing(&self, name: Option<&str>) -> Result<Arc<RoutingSlot>, Error> {
        let slot = SlotName::Routing(name.map(str::to_owned));
        read(&self.inner.routing).get(&slot).cloned().ok_or_else(|| Fault::Unbound { slot }.into())
    }

    /// Names of the slots `routing/NAME` in which something is plugged, sorted.
    pub fn routing_names(&self) -> Vec<String> {
        let name = |(slot, plugged): (&SlotName, &Arc<RoutingSlot>)| match slot {
            SlotName::Routing(Some(name)) if plugged.bearer().is_some() => Some(name.clone()),
            _ => None,
        };
        read(&self.inner.routing).iter().filter_map(name).collect()
    }

    /// The slot of adapters for one kind of accelerator.
    pub fn adapter(&self, kind: &str) -> Result<Arc<AdapterSlot>, Error> {
        let slot = SlotName::Adapter(kind.to_owned());
        read(&self.inner.adapters).get(&slot).cloned().ok_or_else(|| Fault::Unbound { slot }.into())
    }

    /// Every adapter slot, by kind.
    pub fn adapters(&self) -> Vec<Arc<AdapterSlot>> {
        read(&self.inner.adapters).values().cloned().collect()
    }

    fn routing_or_new(&self, name: &SlotName) -> Arc<RoutingSlot> {
        let mut slots = self.inner.routing.write().unwrap_or_else(PoisonError::into_inner);
        let empty = || Arc::new(RoutingSlot(kept(Slot::new(name.clone(), None, Some(Arc::clone(&self.inner.default_routing)), self.inner.around.clone()))));
        Arc::clone(slots.entry(name.clone()).or_insert_with(empty))
    }

    fn adapter_or_new(&self, name: &SlotName) -> Arc<AdapterSlot> {
        let mut slots = self.inner.adapters.write().unwrap_or_else(PoisonError::into_inner);
        let empty = || Arc::new(AdapterSlot(kept(Slot::new(name.clone(), None, None, self.inner.around.clone()))));
        Arc::clone(slots.entry(name.clone()).or_insert_with(empty))
    }
}

/// The slots of each built-in routing policy: at least one. A policy in several is the same one everywhere, with the configuration
/// of the first.
fn routing_slots() -> impl Iterator<Item = &'static [&'static str]> {
    let is_routing = |slot: &&str| SlotName::parse(slot).is_ok_and(|slot| slot.kind() == PluginKind::Routing);
    BUILTINS.iter().map(|builtin| builtin.slots).filter(move |slots| slots.first().is_some_and(is_routing))
}

type ReadyParts<W> = (Arc<Tenant<W>>, Box<Warm<W>>, Rehearsal);

fn read<T>(slots: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    // The map is whole between any two statements, so a panic elsewhere leaves it sound.
    slots.read().unwrap_or_else(PoisonError::into_inner)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or_else(|_| Err(Fault::Host { what: "compiling a built-in plugin panicked" }.into()))
}

/// Lets the keeper look after a slot.
fn kept<W: World>(slot: Arc<Slot<W>>) -> Arc<Slot<W>> {
    let kept: Arc<dyn Kept> = Arc::clone(&slot) as Arc<dyn Kept>;
    slot.around().keeper.keep(Arc::downgrade(&kept));
    slot
}
