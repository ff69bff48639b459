//! The plugins of this host: which are installed, which serve, and how both survive a restart. Sandboxing, swapping and
//! striking are host-plugin's; this remembers, counts and logs what happens there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use host_core::{ids::Generation, strikes::StrikePolicy, units::Millis};
use host_engine::{Digest, Engines};
use host_plugin::{
    BUILTIN_PLUGINS, Bearer, DecisionSink, EventSink, Limits, LogLevel, Package, PluginConfig, PluginEvent, PluginHost, PluginSource, Prepared, SlotName,
    SlotStatus, SwapReason,
};
use host_wire::admin;

use crate::{
    clock, component,
    config::{Config, PluginLimits},
    error::{Error, Fault},
    metrics::Metrics,
    stage_fault::StageFault,
    store::{GenerationRecord, PluginRecord, Store},
};

/// Swaps that may wait to be written down; they are rare.
const SWAPS_MAX: usize = 1024;
/// Generations that are looked through for the configuration of one that serves again.
const EARLIER_MAX: u32 = 64;
/// Words of a source that is part of the host.
const BUILT_IN: &str = "built in";

/// All plugins of a host. A clone is another handle of the same.
#[derive(Clone, Debug)]
pub struct Shelf(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plugins: Arc<PluginHost>,
    store: Store,
    /// One installation at a time, so that what is stored and what serves change in the same order.
    installing: Mutex<()>,
}

/// Something to install, found before it is read.
struct Candidate {
    source: String,
    file: PluginSource,
    slot: Option<SlotName>,
    config: Option<String>,
}

impl Shelf {
    /// Starts the built-in plugins, brings back what was installed before, then installs what the config and the plugins
    /// folder name. A plugin that was fine before and is not now is named and left out; the built-in serves instead.
    pub fn start(config: &Config, store: Store, metrics: Arc<Metrics>, engines: Arc<Engines>, decisions: DecisionSink) -> Result<Self, Error> {
        let (swaps, swapped) = sync_channel(SWAPS_MAX);
        let plugin_config = PluginConfig { decisions, ..plugin_config(config) };
        let plugins = Arc::new(PluginHost::start(plugin_config, engines, sink(metrics, swaps))?);
        let shelf = Self(Arc::new(Inner { plugins, store: store.clone(), installing: Mutex::new(()) }));
        shelf.restore()?;
        let recorder = std::thread::Builder::new().name("record swaps".to_owned()).spawn(move || record_swaps(&store, &swapped));
        recorder.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?;
        for candidate in candidates(config)? {
            shelf.put_in_service(candidate)?;
        }
        Ok(shelf)
    }

    /// What calls and swaps go to.
    pub fn plugins(&self) -> &Arc<PluginHost> {
        &self.0.plugins
    }

    /// Reads, compiles, rehearses, stores and swaps in a plugin.
    pub fn install(&self, install: admin::Install) -> Result<admin::Installed, Error> {
        let slot = install.slot.as_deref().map(SlotName::parse).transpose()?;
        let file = match install.component {
            admin::Component::Bytes(bytes) => PluginSource { name: file_name(&install.source), bytes, manifest: install.manifest },
            admin::Component::Named(name) => self.named(&name)?,
        };
        self.put_in_service(Candidate { source: install.source, file, slot, config: install.config })
    }

    /// Puts an earlier generation back.
    pub fn roll_back(&self, slot: &str, to: Option<u64>) -> Result<admin::Installed, Error> {
        let _one_at_a_time = self.0.installing.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = SlotName::parse(slot)?;
        let replaced = self.serving(&slot);
        let started = clock::now();
        let installed = self.0.plugins.rollback(&slot, to.map(Generation))?;
        Ok(admin::Installed {
            plugin: installed.plugin.to_string(),
            slot: installed.slot.to_string(),
            generation: installed.generation.0,
            digest: installed.digest.to_string(),
            replaced,
            swap_ms: started.elapsed().as_secs_f64() * 1e3,
            ..admin::Installed::default()
        })
    }

    /// Every plugin that is part of the host or was installed, sorted by name.
    pub fn list(&self) -> Vec<admin::Plugin> {
        let slots = self.0.plugins.list();
        let built_in = BUILTIN_PLUGINS.iter().filter_map(|name| {
            let source = PluginSource::builtin(name).ok()?;
            described(&source, BUILT_IN, &slots)
        });
        let mut plugins: Vec<admin::Plugin> = built_in.collect();
        let records = self.0.store.plugins().unwrap_or_else(|error| {
            tracing::error!(%error, "installed plugins could not be read");
            Vec::new()
        });
        plugins.extend(records.iter().filter_map(|record| described(&self.stored(record).ok()?, &record.source, &slots)));
        plugins.sort_by(|a, b| (&a.name, &a.digest).cmp(&(&b.name, &b.digest)));
        plugins
    }

    /// What is in every slot.
    pub fn slots(&self) -> Vec<admin::Slot> {
        let status = self.0.plugins.list().into_iter();
        status.filter_map(|status| Some(slot(status.current.as_ref()?, &status))).collect()
    }

    fn put_in_service(&self, candidate: Candidate) -> Result<admin::Installed, Error> {
        let prepared = self.0.plugins.prepare(&candidate.file, candidate.slot, candidate.config.clone())?;
        let _one_at_a_time = self.0.installing.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = self.serving(prepared.slot());
        self.keep(&candidate.source, &candidate.file, prepared.package())?;
        let (prepare, rehearsed) = (prepared.took(), rehearsal(&prepared));
        let started = clock::now();
        let installed = self.0.plugins.commit(prepared)?;
        let swap = started.elapsed();
        let generation = GenerationRecord {
            slot: installed.slot.to_string(),
            generation: installed.generation.0,
            plugin: installed.plugin.to_string(),
            digest: installed.digest.to_string(),
            config: candidate.config,
            reason: SwapReason::Installed.word().to_owned(),
            at_ms: 0,
        };
        self.0.store.record_generation(generation)?;
        Ok(admin::Installed {
            plugin: installed.plugin.to_string(),
            slot: installed.slot.to_string(),
            generation: installed.generation.0,
            digest: installed.digest.to_string(),
            replaced,
            prepare_ms: prepare.as_secs_f64() * 1e3,
            swap_ms: swap.as_secs_f64() * 1e3,
            rehearsal: Some(rehearsed),
        })
    }

    /// Before the swap, so that a crash comes back with the old plugin or the new one, whole.
    fn keep(&self, source: &str, file: &PluginSource, package: &Package) -> Result<(), Error> {
        if BUILTIN_PLUGINS.contains(&file.name.as_str()) && source == file.name {
            return Ok(());
        }
        self.0.store.put_blob(&file.bytes)?;
        self.0.store.put_plugin(PluginRecord {
            name: package.name.to_string(),
            version: package.manifest.version.clone().unwrap_or_default(),
            digest: package.digest.to_string(),
            source: source.to_owned(),
            manifest: file.manifest.clone(),
        })
    }

    fn restore(&self) -> Result<(), Error> {
        for generation in self.0.store.bindings()? {
            let restored = self.bring_back(&generation);
            if let Err(error) = restored {
                tracing::error!(slot = generation.slot, plugin = generation.plugin, %error, "the plugin could not be brought back; the built-in serves");
            }
        }
        Ok(())
    }

    fn bring_back(&self, generation: &GenerationRecord) -> Result<(), Error> {
        let slot = SlotName::parse(&generation.slot)?;
        let record = self.0.store.plugins()?.into_iter().find(|record| record.name == generation.plugin && record.digest == generation.digest);
        let source = match record {
            Some(record) => self.stored(&record)?,
            None => PluginSource::builtin(&generation.plugin)?,
        };
        let prepared = self.0.plugins.prepare(&source, Some(slot), generation.config.clone())?;
        self.0.plugins.restore(prepared, Generation(generation.generation))?;
        Ok(())
    }

    /// A plugin that is part of the host or was installed before.
    fn named(&self, name: &str) -> Result<PluginSource, Error> {
        if BUILTIN_PLUGINS.contains(&name) {
            return Ok(PluginSource::builtin(name)?);
        }
        let records = self.0.store.plugins()?;
        let known = || BUILTIN_PLUGINS.iter().map(ToString::to_string).chain(records.iter().map(|record| record.name.clone())).collect::<Vec<_>>().join(", ");
        let record = records.iter().find(|record| record.name == name);
        self.stored(record.ok_or_else(|| Error::from(Fault::Unknown { what: "plugin", name: name.to_owned(), known: known() }))?)
    }

    fn stored(&self, record: &PluginRecord) -> Result<PluginSource, Error> {
        let digest = Digest::parse(&record.digest)
            .ok_or_else(|| Error::from(Fault::Blob { digest: record.digest.clone(), problem: "has no digest that can be read" }))?;
        Ok(PluginSource { name: record.name.clone(), bytes: self.0.store.blob(digest)?, manifest: record.manifest.clone() })
    }

    fn serving(&self, slot: &SlotName) -> Option<String> {
        let status = self.0.plugins.list().into_iter().find(|status| status.slot == *slot)?;
        status.current.map(|bearer| bearer.plugin.to_string())
    }
}

fn plugin_config(config: &Config) -> PluginConfig {
    let limits = &config.plugin_limits;
    let strikes = StrikePolicy {
        strikes_max: limits.strikes_max,
        window: Millis(limits.strike_window_ms as f64),
        retry_first: Millis(limits.retry_first_ms as f64),
        retry_max: Millis(limits.retry_ms_max as f64),
    };
    PluginConfig {
        cache_folder: Some(config.data.join("native")),
        limits: guest_limits(limits),
        strikes,
        rehearsed_problems_max: limits.rehearsed_problems_max,
        ..PluginConfig::default()
    }
}

/// What guests may take, by the config.
pub fn guest_limits(limits: &PluginLimits) -> Limits {
    let mut guest = Limits {
        component_bytes_max: limits.component_bytes_max,
        memory_bytes_max: limits.memory_bytes_max,
        memory_bytes_granted_max: limits.memory_bytes_granted_max,
        warm_instances: limits.warm_instances,
        ..Limits::default()
    };
    guest.deadlines.allocate_ms_max = limits.allocate_ms_max;
    guest.deadlines.review_ms_max = limits.review_ms_max;
    guest.deadlines.route_ms_max = limits.route_ms_max;
    guest.deadlines.admit_ms_max = limits.admit_ms_max;
    guest.deadlines.run_ms_max = limits.run_ms_max;
    guest
}

/// What the config binds and what lies in the plugins folder. Two files that claim one slot are an error that names both.
fn candidates(config: &Config) -> Result<Vec<Candidate>, Error> {
    let mut found = Vec::new();
    for (slot, binding) in &config.slots {
        let settings = binding.config.as_ref().map(ToString::to_string);
        let slot = SlotName::parse(slot)?;
        let file = if BUILTIN_PLUGINS.contains(&binding.plugin.as_str()) {
            PluginSource::builtin(&binding.plugin)?
        } else {
            component::read(Path::new(&binding.plugin))?
        };
        found.push(Candidate { source: binding.plugin.clone(), file, slot: Some(slot), config: settings });
    }
    let mut claims: BTreeMap<SlotName, PathBuf> = BTreeMap::new();
    for path in config.plugins.as_deref().map_or_else(|| Ok(Vec::new()), components)? {
        let file = component::read(&path)?;
        let slot = PluginHost::inspect(&file)?.slot(None)?;
        if found.iter().any(|candidate| candidate.slot.as_ref() == Some(&slot)) && !claims.contains_key(&slot) {
            continue;
        }
        if let Some(other) = claims.insert(slot.clone(), path.clone()) {
            return Err(Fault::TwoClaims { slot: slot.to_string(), one: other.display().to_string(), two: path.display().to_string() }.into());
        }
        found.push(Candidate { source: path.display().to_string(), file, slot: Some(slot), config: None });
    }
    Ok(found)
}

/// `DIR/*.wasm` and `DIR/*/*.wasm`, sorted.
fn components(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, Error> {
        let fault = |error| Error::from(Fault::File { doing: "read the plugins folder", path: folder.display().to_string() }).because(error);
        let entries = std::fs::read_dir(folder).map_err(fault)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(fault)).collect()
    };
    let is_component = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|extension| extension == "wasm");
    let mut found = Vec::new();
    for path in list(folder)? {
        if path.is_dir() {
            found.extend(list(&path)?.into_iter().filter(is_component));
        } else if is_component(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file_name(source: &str) -> String {
    source.rsplit('/').next().unwrap_or(source).to_owned()
}

fn rehearsal(prepared: &Prepared) -> admin::Rehearsal {
    let told = prepared.rehearsal();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let compared = |compared: &host_plugin::Compared| admin::Compared {
        with: compared.with.to_string(),
        questions: compared.questions,
        same: compared.same,
        refused: compared.refused.0,
        refused_before: compared.refused.1,
        failed_before: compared.failed_before,
        value_ratio: compared.value_ratio,
        call_us_p99: us(compared.p99.0),
        call_us_p99_before: us(compared.p99.1),
        memory_bytes: compared.memory_bytes.0,
        memory_bytes_before: compared.memory_bytes.1,
    };
    admin::Rehearsal {
        calls: told.calls,
        call_us_p99: told.p99.map_or(0.0, us),
        recorded: told.recorded,
        memory_bytes: told.memory_bytes,
        compared: told.compared.as_ref().map(compared),
    }
}

/// What a plugin says of itself, and the slots that it serves.
fn described(source: &PluginSource, from: &str, slots: &[SlotStatus]) -> Option<admin::Plugin> {
    let plugin = component::describe(source, from).ok()?;
    let serves = slots.iter().filter(|status| status.current.as_ref().is_some_and(|bearer| bearer.digest.to_string() == plugin.digest));
    Some(admin::Plugin { built_in: from == BUILT_IN, slots: serves.map(|status| status.slot.to_string()).collect(), ..plugin })
}

fn slot(bearer: &Bearer, status: &SlotStatus) -> admin::Slot {
    admin::Slot {
        slot: status.slot.to_string(),
        plugin: bearer.plugin.to_string(),
        generation: bearer.generation.0,
        digest: bearer.digest.to_string(),
        built_in: status.builtin,
        calls: status.counts.calls,
        strikes: status.counts.strikes.iter().sum(),
        fallbacks: status.fallbacks,
    }
}

/// Counts and logs what happens to plugins. Called inline: it only ever hands things on.
fn sink(metrics: Arc<Metrics>, swaps: SyncSender<GenerationRecord>) -> EventSink {
    EventSink::new(move |event| match event {
        PluginEvent::Swapped { now, reason, took } => {
            metrics.swap(&now.slot.to_string(), reason.word(), took);
            metrics.generation(&now.slot.to_string(), now.generation.0);
            tracing::info!(slot = %now.slot, plugin = %now.plugin, generation = now.generation.0, reason = reason.word(), "a slot was swapped");
            // Installations are recorded by whoever installs, who must know that it worked.
            if !matches!(reason, SwapReason::Installed | SwapReason::Restored) && swaps.try_send(record(&now, reason)).is_err() {
                tracing::error!(slot = %now.slot, "a swap could not be recorded; a restart brings the plugin before it back");
            }
        }
        PluginEvent::Strike { bearer, function, fault, left } => {
            metrics.strike(&bearer.plugin, fault.kind);
            tracing::warn!(slot = %bearer.slot, plugin = %bearer.plugin, generation = bearer.generation.0, function, %fault, ?left, "a plugin took a strike");
        }
        PluginEvent::FellBack { slot, function, fault } => {
            metrics.fallback(&slot.to_string());
            tracing::warn!(%slot, function, %fault, "the built-in plugin answered instead");
        }
        PluginEvent::RetryFailed { slot, plugin, reason } => tracing::warn!(%slot, %plugin, reason, "a plugin that was rolled back could not be tried again"),
        PluginEvent::Log { slot, plugin, level, line } => match level {
            LogLevel::Debug => tracing::debug!(target: "guest", %slot, %plugin, line),
            LogLevel::Info => tracing::info!(target: "guest", %slot, %plugin, line),
            LogLevel::Warn => tracing::warn!(target: "guest", %slot, %plugin, line),
            LogLevel::Error => tracing::error!(target: "guest", %slot, %plugin, line),
        },
    })
}

fn record(bearer: &Bearer, reason: SwapReason) -> GenerationRecord {
    GenerationRecord {
        slot: bearer.slot.to_string(),
        generation: bearer.generation.0,
        plugin: bearer.plugin.to_string(),
        digest: bearer.digest.to_string(),
        config: None,
        reason: reason.word().to_owned(),
        at_ms: 0,
    }
}

/// Writes down swaps that happened by themselves, until the last sender is gone.
fn record_swaps(store: &Store, swaps: &Receiver<GenerationRecord>) {
    while let Ok(mut generation) = swaps.recv() {
        let earlier = store.generations(&generation.slot, EARLIER_MAX).unwrap_or_default();
        generation.config = earlier.into_iter().find(|earlier| earlier.digest == generation.digest).and_then(|earlier| earlier.config);
        if let Err(error) = store.record_generation(generation) {
            tracing::error!(%error, "a swap could not be recorded");
        }
    }
}
