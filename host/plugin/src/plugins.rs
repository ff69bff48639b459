//! The crate's front: reads, prepares, installs, rolls back and lists plugins, and hands out the slots to call. Preparing is
//! slow and touches nothing in service; committing is one pointer.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, thread, time::Duration};

use host_core::{ids::Generation, strikes::StrikePolicy, units::Millis};
use host_engine::{Digest, Engines};

use crate::{
    adapter::AdapterSlot,
    adapter_slots::AdapterSlots,
    builtin::{self, BUILTIN_PLUGINS, Builtins},
    cache::CodeFolder,
    clock::Clock,
    compiler::Compiler,
    description::Description,
    error::{Error, Fault},
    events::{Bearer, EventSink, SwapReason},
    identified::Identified,
    keeper::Keeper,
    limits::Limits,
    manifest::Manifest,
    names::{PluginKind, SlotName},
    package::Package,
    passes::Pass,
    policies::{AllocationSlot, QueueingSlot, RoutingSlot},
    priority::aside,
    program::Program,
    rehearse::{BriefRehearsal, Rehearsal, Rehearse, Rehearsed, rehearse, rehearse_again, rehearse_briefly},
    routing_slots::RoutingSlots,
    sandbox::{Kept, Sandbox},
    slot::{Slot, SlotStatus, Spare, SparePolicy, Surroundings, Tenant},
    trial::{Entry, TrialPolicy},
    witness::{DecisionSink, Witness},
    world::{AllocationPolicy, QueueingPolicy, RoutingPolicy, ShardAdapter, Warm},
};

/// Settings of all plugins together.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// Where native code is kept; without it each start compiles plugins.
    pub code: Option<CodeFolder>,
    /// Where it is kept which plugins have passed their rehearsal on this host; without it each is rehearsed in full.
    pub passes: Option<PathBuf>,
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
    /// What plugins that have passed a rehearsal before are asked again.
    pub brief_rehearsal: BriefRehearsal,
    /// How much slots keep of plugins that served, so that swapping back costs little.
    pub spares: SparePolicy,
    /// Who is told of every decision.
    pub decisions: DecisionSink,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            code: None,
            passes: None,
            compiler: None,
            limits: Limits::default(),
            strikes: StrikePolicy::default(),
            history_max: 8,
            trials: TrialPolicy::default(),
            builtin_configs: BTreeMap::new(),
            rehearsed_problems_max: 32,
            brief_rehearsal: BriefRehearsal::default(),
            spares: SparePolicy::default(),
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
    /// It answered well.
    Rehearsed(&'a Rehearsal),
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
    Allocation(Arc<Tenant<AllocationPolicy>>, Vec<Warm<AllocationPolicy>>),
    Routing(Arc<Tenant<RoutingPolicy>>, Vec<Warm<RoutingPolicy>>),
    Queueing(Arc<Tenant<QueueingPolicy>>, Vec<Warm<QueueingPolicy>>),
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
    brief: BriefRehearsal,
    around: Surroundings,
    allocation: Arc<AllocationSlot>,
    queueing: Arc<QueueingSlot>,
    routing: RoutingSlots,
    adapters: AdapterSlots,
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHost").field("slots", &self.list()).finish_non_exhaustive()
    }
}

impl PluginHost {
    /// Starts with the built-in plugins in their slots: `allocation`, `routing` and `adapter/cpu`. They are compiled in parallel, or
    /// taken from the cache. Each `routing/NAME` of a built-in policy is started when it is asked for.
    pub fn start(config: PluginConfig, engines: Arc<Engines>, events: EventSink) -> Result<Self, Error> {
        let sandbox =
            Arc::new(Sandbox::new(&config.limits, Kept { code: config.code.as_ref(), passes: config.passes.as_deref() }, config.compiler.clone(), engines)?);
        let around = Surroundings {
            clock: Clock::start(),
            events,
            keeper: Keeper::start(config.strikes.retry_first)?,
            strikes: config.strikes,
            trials: config.trials,
            history_max: config.history_max,
            spares: config.spares,
            witness: Arc::new(Witness::new(config.decisions.clone(), config.rehearsed_problems_max)),
        };
        let (brief, limits) = (config.brief_rehearsal, config.limits.clone());
        let builtins = Builtins::new(Arc::clone(&sandbox), config);
        let (allocation, routing, adapters) = thread::scope(|scope| {
            let allocation = scope.spawn(|| builtins.tenant::<AllocationPolicy>(&SlotName::Allocation));
            let routing = scope.spawn(|| RoutingSlots::start(builtins.clone(), around.clone()));
            let adapters = AdapterSlots::start(builtins.clone(), around.clone());
            (joined(allocation), joined(routing), adapters)
        });
        let (allocation, routing, adapters) = (allocation?, routing?, adapters?);
        let inner = Inner {
            allocation: Arc::new(AllocationSlot(Slot::new(SlotName::Allocation, Some(allocation), None, around.clone()))),
            queueing: Arc::new(QueueingSlot(Slot::new(SlotName::Queueing, None, None, around.clone()))),
            routing,
            adapters,
            brief,
            limits,
            sandbox,
            around,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads a plugin's file without compiling any of it.
    pub fn inspect(source: &PluginSource) -> Result<Package, Error> {
        Self::inspect_identified(&Identified::of(source.clone()))
    }

    /// The same of a plugin whose digest is known.
    pub fn inspect_identified(component: &Identified) -> Result<Package, Error> {
        Package::read(component, &Limits::default())
    }

    /// What a component's file says of itself, and whether a host with these limits can run it.
    pub fn describe(component: &Identified, limits: &Limits) -> Result<Description, Error> {
        Description::read(component, limits)
    }

    /// Everything that can fail about a plugin, and nothing that touches what serves: read, compile, start, configure and
    /// rehearse. Takes milliseconds to seconds. `slot` and `config` win over what the manifest says.
    pub fn prepare(&self, source: &PluginSource, slot: Option<SlotName>, config: Option<String>) -> Result<Prepared, Error> {
        aside(|| self.prepare_here(&Identified::of(source.clone()), slot, config, &mut |_| ()))
    }

    /// The same, and says after each step that it was taken. Runs on a thread that yields to those of requests.
    pub fn prepare_told(
        &self,
        component: &Identified,
        slot: Option<SlotName>,
        config: Option<String>,
        tell: &mut (dyn FnMut(PrepareStep<'_>) + Send),
    ) -> Result<Prepared, Error> {
        aside(|| self.prepare_here(component, slot, config, tell))
    }

    fn prepare_here(
        &self,
        component: &Identified,
        slot: Option<SlotName>,
        config: Option<String>,
        tell: &mut dyn FnMut(PrepareStep<'_>),
    ) -> Result<Prepared, Error> {
        let clock = Clock::start();
        let package = Arc::new(Package::read(component, &self.inner.limits)?);
        let slot = package.slot(slot)?;
        tell(PrepareStep::Read(&package, &slot));
        package.manifest.granted(&package.name, &self.inner.limits)?;
        tell(PrepareStep::Granted(&package.manifest));
        let kind = slot.kind();
        let inner = &self.inner;
        let (ready, rehearsal) = match &slot {
            SlotName::Allocation => {
                self.ready(&package, config, kind, Some(&*inner.allocation.0), tell).map(|(tenant, warm, told)| (Ready::Allocation(tenant, warm), told))?
            }
            SlotName::Routing(name) => {
                let slot = self.routing(name.as_deref()).ok();
                let slot = slot.as_ref().map(|slot| &*slot.0);
                self.ready(&package, config, kind, slot, tell).map(|(tenant, warm, told)| (Ready::Routing(tenant, warm), told))?
            }
            SlotName::Queueing => {
                self.ready(&package, config, kind, Some(&*inner.queueing.0), tell).map(|(tenant, warm, told)| (Ready::Queueing(tenant, warm), told))?
            }
            SlotName::Adapter(_) => self.ready::<ShardAdapter>(&package, config, kind, None, tell).map(|(tenant, _, told)| (Ready::Adapter(tenant), told))?,
        };
        tell(PrepareStep::Rehearsed(&rehearsal));
        Ok(Prepared { slot, package, ready, took: clock.elapsed(), rehearsal })
    }

    fn ready<W: Rehearse>(
        &self,
        package: &Arc<Package>,
        config: Option<String>,
        kind: PluginKind,
        slot: Option<&Slot<W>>,
        tell: &mut dyn FnMut(PrepareStep<'_>),
    ) -> Result<ReadyParts<W>, Error> {
        let limits = package.manifest.granted(&package.name, &self.inner.limits)?;
        let config = config.unwrap_or_else(|| package.manifest.config_json());
        if let Some(spare) = slot.and_then(|slot| slot.spare(package, &limits, &config)) {
            tell(PrepareStep::Compiled);
            return self.ready_again(spare, kind);
        }
        let program = Arc::new(Program::<W>::new(Arc::clone(&self.inner.sandbox), Arc::clone(package), &self.inner.limits, Some(config))?);
        tell(PrepareStep::Compiled);
        let serving = slot.and_then(Slot::current);
        let Rehearsed { warm, told } = self.rehearsed(&program, kind, serving.as_deref().map(|version| &*version.tenant.program))?;
        Ok((self.tenant(program, &told), vec![warm], told))
    }

    /// What served until a short while ago is ready but for a few questions.
    fn ready_again<W: Rehearse>(&self, spare: Spare<W>, kind: PluginKind) -> Result<ReadyParts<W>, Error> {
        let Spare { program, pass, idle, .. } = spare;
        let recorded = self.inner.around.witness.recent(kind);
        let (idle, told) = rehearse_again(&program, pass, idle, &recorded, self.inner.brief).inspect_err(|_| {
            if let Some(passes) = self.inner.sandbox.passes() {
                passes.forget(&passes.pass_for(kind, &program));
            }
        })?;
        Ok((self.tenant(program, &told), idle, told))
    }

    fn tenant<W: Rehearse>(&self, program: Arc<Program<W>>, told: &Rehearsal) -> Arc<Tenant<W>> {
        let pass = Pass { p99: told.p99, memory_bytes: told.memory_bytes };
        Arc::new(Tenant::new(program, false, self.inner.around.strikes, Some(pass)))
    }

    /// Rehearses a plugin: in full, or briefly where it has passed before with the same limits and configuration.
    fn rehearsed<W: Rehearse>(&self, program: &Program<W>, kind: PluginKind, serving: Option<&Program<W>>) -> Result<Rehearsed<W>, Error> {
        let recorded = self.inner.around.witness.recent(kind);
        let Some(passes) = self.inner.sandbox.passes() else { return rehearse(program, &recorded, serving) };
        let of = passes.pass_for(kind, program);
        let Some(pass) = passes.find(&of) else {
            let rehearsed = rehearse(program, &recorded, serving)?;
            passes.keep(&of, Pass { p99: rehearsed.told.p99, memory_bytes: rehearsed.told.memory_bytes });
            return Ok(rehearsed);
        };
        rehearse_briefly(program, pass, &recorded, serving, self.inner.brief).inspect_err(|_| passes.forget(&of))
    }

    /// Puts a prepared plugin in service. Calls in flight finish on the one before; every call that starts after this
    /// returns is answered by the new one.
    pub fn commit(&self, prepared: Prepared) -> Result<Installed, Error> {
        self.enter(prepared, Entry::Settled)
    }

    /// Lets a prepared plugin into its slot: at once, on probation, as a canary or as a shadow.
    pub fn enter(&self, prepared: Prepared, entry: Entry) -> Result<Installed, Error> {
        let bearer = match prepared.ready {
            Ready::Allocation(tenant, idle) => self.inner.allocation.0.enter(tenant, idle, entry)?,
            Ready::Queueing(tenant, idle) => self.inner.queueing.0.enter(tenant, idle, entry)?,
            Ready::Routing(tenant, idle) => self.inner.routing.get_or_new(&prepared.slot).0.enter(tenant, idle, entry)?,
            Ready::Adapter(tenant) => self.adapter_or_new(&prepared.slot).0.enter(tenant, Vec::new(), entry)?,
        };
        Ok(bearer.into())
    }

    /// Puts a plugin back in service after the host was started again, under the generation that it had, if that is higher
    /// than those which the slot has held since.
    pub fn restore(&self, prepared: Prepared, generation: Generation) -> Installed {
        let bearer = match prepared.ready {
            Ready::Allocation(tenant, idle) => self.inner.allocation.0.restore(tenant, idle, generation),
            Ready::Queueing(tenant, idle) => self.inner.queueing.0.restore(tenant, idle, generation),
            Ready::Routing(tenant, idle) => self.inner.routing.get_or_new(&prepared.slot).0.restore(tenant, idle, generation),
            Ready::Adapter(tenant) => self.adapter_or_new(&prepared.slot).0.restore(tenant, Vec::new(), generation),
        };
        bearer.into()
    }

    /// Lets a slot count on from the generation that it had when it last held nothing but what it starts with.
    pub fn count_from(&self, slot: &SlotName, generation: Generation) {
        match slot {
            SlotName::Allocation => self.inner.allocation.0.count_from(generation),
            SlotName::Queueing => self.inner.queueing.0.count_from(generation),
            SlotName::Routing(_) => self.inner.routing.get_or_new(slot).0.count_from(generation),
            SlotName::Adapter(_) => self.adapter_or_new(slot).0.count_from(generation),
        }
    }

    /// Takes a plugin out of every slot and out of what slots remember. Where it served, the built-in plugin serves again, or
    /// nothing. Says which slots changed, and what serves there now.
    pub fn forget(&self, digest: Digest, reason: SwapReason) -> Vec<(SlotName, Option<Installed>)> {
        let changed = |slot: &SlotName, now: Option<Option<Arc<Bearer>>>| now.map(|now| (slot.clone(), now.map(Installed::from)));
        let (allocation, queueing) = (&self.inner.allocation.0, &self.inner.queueing.0);
        let mut slots = vec![changed(&allocation.name, allocation.forget(digest, reason)), changed(&queueing.name, queueing.forget(digest, reason))];
        slots.extend(self.inner.routing.all().iter().map(|slot| changed(slot.name(), slot.0.forget(digest, reason))));
        slots.extend(self.inner.adapters.all().iter().map(|slot| changed(slot.name(), slot.0.forget(digest, reason))));
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
        list.extend(self.inner.routing.all().iter().map(|slot| slot.status()));
        list.extend(self.inner.adapters.all().iter().map(|slot| slot.status()));
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
        self.inner.routing.get(&SlotName::Routing(name.map(str::to_owned)))
    }

    /// Names of the slots `routing/NAME` that would answer, sorted.
    pub fn routing_names(&self) -> Vec<String> {
        self.inner.routing.names()
    }

    /// Starts the built-in routing policies that nobody has asked for yet, so that who asks does not wait. Takes up to seconds.
    pub fn start_rest(&self) -> Result<(), Error> {
        self.inner.routing.start_rest()
    }

    /// The slot of adapters for one kind of accelerator. A built-in one that nobody has asked for yet is compiled, which takes up to
    /// seconds.
    pub fn adapter(&self, kind: &str) -> Result<Arc<AdapterSlot>, Error> {
        self.inner.adapters.get(kind)
    }

    /// Every adapter slot, by kind.
    pub fn adapters(&self) -> Vec<Arc<AdapterSlot>> {
        self.inner.adapters.all()
    }

    /// Kinds of accelerators that `adapter` has an adapter for, sorted.
    pub fn adapter_kinds(&self) -> Vec<String> {
        self.inner.adapters.kinds()
    }

    fn adapter_or_new(&self, name: &SlotName) -> Arc<AdapterSlot> {
        let kind = match name {
            SlotName::Adapter(kind) => kind.as_str(),
            _ => "",
        };
        self.inner.adapters.get_or_new(name, kind)
    }
}

type ReadyParts<W> = (Arc<Tenant<W>>, Vec<Warm<W>>, Rehearsal);

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or_else(|_| Err(Fault::Host { what: "compiling a built-in plugin panicked" }.into()))
}
