//! The plugins of this host: which are installed, which serve, and how both survive a restart. Sandboxing, swapping and
//! striking are host-plugin's; this finds plugins, has them verified, remembers them, and keeps the audit log of each step.

mod audit;
mod fetch;
mod folder;
mod journal;
mod listing;
mod memory;
mod native_code;
mod sources;
mod trust;

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::sync_channel},
    time::Duration,
};

use host_core::{ids::Generation, strikes::StrikePolicy, units::Millis};
use host_engine::{Digest, Engines};
use host_plugin::{
    BriefRehearsal, CompileOrder, Compiler, DecisionSink, Entry, Identified, PluginConfig, PluginHost, PrepareStep, Prepared, SlotName, SparePolicy,
    SwapReason, TrialPolicy,
};
use host_wire::admin::{self, AuditLine};
use tokio::{runtime::Handle, sync::Notify};

pub use fetch::{Fetched, Origin, push};
pub use folder::FolderWatch;
pub use native_code::native_code_folder;
pub use trust::{Reach, is_key, verify};

use audit::Audit;
use journal::Journal;
use memory::{config_of, digest_of, record_swaps};

use crate::{
    clock,
    config::Config,
    error::{Error, Fault},
    metrics::Metrics,
    stage_fault::StageFault,
    store::{PluginRecord, Store},
};

/// Swaps that may wait to be written down; they are rare.
const SWAPS_MAX: usize = 1024;
/// Who asks when the config does.
const CONFIG: &str = "config";
/// Who asks when a file in the plugins folder does.
const FOLDER: &str = "folder";
/// The word of this program that leads to [`host_plugin::compile_here`].
pub const COMPILE_COMMAND: &str = "compile-plugin";

/// All plugins of a host. A clone is another handle of the same.
#[derive(Clone, Debug)]
pub struct Shelf(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    plugins: Arc<PluginHost>,
    store: Store,
    audit: Audit,
    journal: Arc<Journal>,
    runtime: Handle,
    /// What plugins on trial were configured with, by slot.
    trial_configs: Mutex<BTreeMap<SlotName, Option<String>>>,
    /// The generations that slots were brought back with when this host started.
    restored: Mutex<BTreeMap<SlotName, Generation>>,
    /// One change at a time, so that what is stored and what serves change in the same order.
    changing: Mutex<()>,
}

/// Something to install.
struct Candidate {
    source: String,
    found: Found,
    slot: Option<SlotName>,
    config: Option<String>,
    digest: Option<String>,
    entry: Entry,
}

/// Where it is.
enum Found {
    /// To be brought from there, then verified.
    At(Origin),
    /// Here, to be verified; with its digest if somebody has asked for that before.
    Here(Fetched, Option<Digest>),
    /// Part of the host or installed before, with who signed it.
    Known(Identified, Option<String>),
}

/// What an operation has come to so far, as the audit log tells it.
struct Trail<'a> {
    audit: &'a Audit,
    line: AuditLine,
}

impl Trail<'_> {
    /// Notes that a step was taken.
    fn step(&self, step: &str, detail: impl Into<String>) -> Result<(), Error> {
        self.audit.keep(AuditLine { step: step.to_owned(), detail: detail.into(), ..self.line.clone() })
    }
}

impl Shelf {
    /// Starts the built-in plugins, brings back what was installed before, then installs what the config and the plugins
    /// folder name. A plugin that was fine before and is not now is named and left out; the built-in serves instead.
    /// Must be called from a blocking thread of the runtime.
    pub fn start(config: &Config, store: Store, metrics: Arc<Metrics>, engines: Arc<Engines>, decisions: DecisionSink) -> Result<Self, Error> {
        let (swaps, swapped) = sync_channel(SWAPS_MAX);
        let journal = Journal::new(config.plugin_limits.log_lines_kept_max);
        let plugins = Arc::new(PluginHost::start(PluginConfig { decisions, ..plugin_config(config) }, engines, journal.sink(Arc::clone(&metrics), swaps))?);
        let read = Arc::downgrade(&plugins);
        metrics.read_guests_from(move || read.upgrade().map(|plugins| listing::memory(&plugins)).unwrap_or_default());
        let audit = Audit::open(&config.data, config.plugin_limits.audit_bytes_max)?;
        let inner = Inner {
            config: config.clone(),
            plugins,
            store: store.clone(),
            audit,
            journal,
            runtime: Handle::current(),
            trial_configs: Mutex::default(),
            restored: Mutex::default(),
            changing: Mutex::new(()),
        };
        let shelf = Self(Arc::new(inner));
        shelf.restore()?;
        let recorder = std::thread::Builder::new().name("record swaps".to_owned()).spawn(move || record_swaps(&store, &swapped));
        recorder.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?;
        shelf.forget_files_gone()?;
        for (who, candidate) in shelf.candidates()? {
            shelf.traced(who, "install", &candidate.source.clone(), |trail| shelf.put_in_service(candidate, trail))?;
        }
        Ok(shelf)
    }

    /// Watches the plugins folder, if there is one, as long as the returned value lives.
    pub fn watch(&self) -> Result<Option<FolderWatch>, Error> {
        self.0.config.plugins.clone().map(|folder| FolderWatch::start(folder, self.clone())).transpose()
    }

    /// What calls and swaps go to.
    pub fn plugins(&self) -> &Arc<PluginHost> {
        &self.0.plugins
    }

    /// Waits until another allocation policy serves than before.
    pub fn allocation_swapped(&self) -> &Notify {
        &self.0.journal.allocation
    }

    /// Whoever serves by now is who was meant to: nobody need be told of the swaps so far.
    pub fn settle_allocation(&self) {
        let told = pin!(self.0.journal.allocation.notified());
        told.enable();
    }

    /// Brings, verifies, compiles, rehearses and stores a plugin, and lets it into its slot.
    pub fn install(&self, who: &str, install: admin::Install) -> Result<admin::Installed, Error> {
        let slot = install.slot.as_deref().map(SlotName::parse).transpose()?;
        let found = match install.component {
            admin::Component::Bytes(bytes) => {
                Found::Here(Fetched { name: file_name(&install.source), bytes, manifest: install.manifest, signature: install.signature }, None)
            }
            admin::Component::Remote(origin) => Found::At(Origin::parse(&origin)?),
            admin::Component::Named(name) => self.named(&name)?,
        };
        let entry = match (install.entry, &found) {
            (admin::Entry::Canary(share), _) => Entry::Canary { share },
            (admin::Entry::Shadow, _) => Entry::Shadow,
            // Who names an installed plugin has chosen it.
            (admin::Entry::Settled, _) | (_, Found::Known(..)) => Entry::Settled,
            (admin::Entry::Probation, _) => Entry::Probation,
        };
        let candidate = Candidate { source: install.source.clone(), found, slot, config: install.config, digest: install.digest, entry };
        self.traced(who, "install", &install.source, |trail| self.put_in_service(candidate, trail))
    }

    /// Puts an earlier generation back.
    pub fn roll_back(&self, who: &str, slot: &str, to: Option<u64>) -> Result<admin::Installed, Error> {
        let slot = SlotName::parse(slot)?;
        self.traced(who, "rollback", "", |trail| {
            let _one_at_a_time = self.changing();
            if let Some((component, before)) = self.held_before(&slot, to)? {
                let back = |plugins: &PluginHost| plugins.commit(plugins.prepare_told(&component, Some(slot.clone()), before.config.clone(), &mut |_| ())?);
                return self.exchange(trail, &slot, SwapReason::RolledBack, Some(before.config.clone()), back);
            }
            self.exchange(trail, &slot, SwapReason::RolledBack, None, |plugins| plugins.rollback(&slot, to.map(Generation)))
        })
    }

    /// Puts the plugin that is on trial in a slot in service.
    pub fn promote(&self, who: &str, slot: &str) -> Result<admin::Installed, Error> {
        let slot = SlotName::parse(slot)?;
        self.traced(who, "promote", "", |trail| {
            let _one_at_a_time = self.changing();
            self.exchange(trail, &slot, SwapReason::Promoted, None, |plugins| plugins.promote(&slot))
        })
    }

    /// Ends the canary or the shadow of a slot.
    pub fn stop_trial(&self, who: &str, slot: &str) -> Result<admin::Installed, Error> {
        let slot = SlotName::parse(slot)?;
        self.traced(who, "stop-trial", "", |trail| {
            let _one_at_a_time = self.changing();
            let stopped = self.0.plugins.stop_trial(&slot)?;
            trail.line = AuditLine { plugin: stopped.plugin.to_string(), digest: stopped.digest.to_string(), slot: slot.to_string(), ..trail.line.clone() };
            Ok(installed(&stopped))
        })
    }

    /// Takes a plugin out of every slot and forgets it.
    pub fn uninstall(&self, who: &str, name: &str) -> Result<admin::Changed, Error> {
        self.traced(who, "uninstall", name, |trail| {
            let _one_at_a_time = self.changing();
            let record = self.record_of(name)?;
            trail.line.digest.clone_from(&record.digest);
            let slots = self.leave_slots(trail, &record, SwapReason::Uninstalled)?;
            self.0.store.remove_plugin(&record.name)?;
            Ok(admin::Changed { plugin: record.name, slots })
        })
    }

    /// Takes a plugin out of every slot and keeps it for later.
    pub fn disable(&self, who: &str, name: &str) -> Result<admin::Changed, Error> {
        self.traced(who, "disable", name, |trail| {
            let _one_at_a_time = self.changing();
            let record = self.record_of(name)?;
            trail.line.digest.clone_from(&record.digest);
            let slots = self.leave_slots(trail, &record, SwapReason::Disabled)?;
            self.0.store.put_plugin(PluginRecord { enabled: false, ..record.clone() })?;
            Ok(admin::Changed { plugin: record.name, slots })
        })
    }

    /// Lets a plugin serve again, in the slots that it had when it was disabled.
    pub fn enable(&self, who: &str, name: &str) -> Result<admin::Changed, Error> {
        self.traced(who, "enable", name, |trail| {
            let record = self.record_of(name)?;
            trail.line.digest.clone_from(&record.digest);
            let enabled = PluginRecord { enabled: true, ..record };
            self.0.store.put_plugin(enabled.clone())?;
            let mut slots = Vec::new();
            for newest in self.0.store.bindings()?.into_iter().filter(|newest| newest.reason == SwapReason::Disabled.word()) {
                let earlier = self.0.store.generations(&newest.slot, 2)?.into_iter().nth(1);
                let Some(earlier) = earlier.filter(|earlier| earlier.digest == enabled.digest) else { continue };
                let found = Found::Known(self.stored(&enabled)?, enabled.signer.clone());
                let slot = Some(SlotName::parse(&newest.slot)?);
                let candidate = Candidate { source: enabled.source.clone(), found, slot, config: earlier.config, digest: None, entry: Entry::Settled };
                let installed = self.put_in_service(candidate, trail)?;
                slots.push((installed.slot, installed.plugin));
            }
            Ok(admin::Changed { plugin: enabled.name, slots })
        })
    }

    fn put_in_service(&self, candidate: Candidate, trail: &mut Trail<'_>) -> Result<admin::Installed, Error> {
        let (file, signer) = self.verified(&candidate, trail)?;
        let prepared = self.prepared(&file, &candidate, trail)?;
        let _one_at_a_time = self.changing();
        let record = self.kept(&candidate.source, file.source(), prepared.package(), signer)?;
        if record.as_ref().is_some_and(|record| !record.enabled) {
            return Err(Fault::Disabled { plugin: prepared.package().name.to_string() }.into());
        }
        trail.step("stored", "")?;
        let replaced = self.serving(prepared.slot());
        let (prepare, rehearsed, slot) = (prepared.took(), listing::rehearsal(&prepared), prepared.slot().clone());
        let started = clock::now();
        let entered = self.0.plugins.enter(prepared, candidate.entry)?;
        let swap = started.elapsed();
        let trial = match candidate.entry {
            Entry::Canary { share } => Some(format!("canary with {} % of the requests", share * 100.0)),
            Entry::Shadow => Some("shadow".to_owned()),
            Entry::Probation | Entry::Settled => None,
        };
        trail.step("swapped", trial.clone().unwrap_or_else(|| format!("generation {}", entered.generation)))?;
        if trial.is_some() {
            self.0.trial_configs.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, candidate.config);
        } else {
            let reason = if candidate.entry == Entry::Settled { SwapReason::Chosen } else { SwapReason::Installed };
            self.record(&entered, candidate.config, reason)?;
        }
        Ok(admin::Installed {
            replaced,
            prepare_ms: prepare.as_secs_f64() * 1e3,
            swap_ms: swap.as_secs_f64() * 1e3,
            rehearsal: Some(rehearsed),
            trial,
            ..installed(&entered)
        })
    }

    /// The component, and the trusted key that signed it.
    fn verified(&self, candidate: &Candidate, trail: &mut Trail<'_>) -> Result<(Identified, Option<String>), Error> {
        let (fetched, digest, reach) = match &candidate.found {
            Found::Known(component, signer) => {
                trail.line.digest = component.digest().to_string();
                return Ok((component.clone(), signer.clone()));
            }
            Found::Here(fetched, digest) => (fetched.clone(), *digest, Reach::Local),
            Found::At(origin) => (self.brought(origin)?, None, if origin.is_remote() { Reach::Remote } else { Reach::Local }),
        };
        let digest = digest.map_or_else(|| self.0.store.identify(&fetched.bytes), Ok)?;
        trail.line.digest = digest.to_string();
        trail.step("fetched", format!("{} bytes", fetched.bytes.len()))?;
        let component = Identified::known(fetched.component(), digest);
        let (trust, expected) = (&self.0.config.plugin_trust, candidate.digest.as_deref());
        let signer = verify(trust, &candidate.source, &component, expected, fetched.signature.as_deref(), reach)?;
        trail.step("verified", signer.as_ref().map_or_else(|| "unsigned".to_owned(), |key| format!("signed by {key}")))?;
        Ok((component, signer))
    }

    /// What is at a place, within the limits of the config.
    fn brought(&self, origin: &Origin) -> Result<Fetched, Error> {
        let config = &self.0.config;
        self.0.runtime.block_on(origin.fetch(&config.plugin_fetch, config.plugin_limits.guest.component_bytes_max))
    }

    fn prepared(&self, file: &Identified, candidate: &Candidate, trail: &mut Trail<'_>) -> Result<Prepared, Error> {
        let mut noted = Ok(());
        let limits = &self.0.config.plugin_limits.guest;
        let mut tell = |step: PrepareStep<'_>| {
            let (word, detail) = match step {
                PrepareStep::Read(package, slot) => {
                    (trail.line.plugin, trail.line.slot) = (package.name.to_string(), slot.to_string());
                    return;
                }
                PrepareStep::Granted(manifest) => ("granted", listing::granted(manifest, limits)),
                PrepareStep::Compiled => ("compiled", String::new()),
                PrepareStep::Rehearsed(told) if told.is_known => ("rehearsed", format!("passed before, {} calls", told.calls)),
                PrepareStep::Rehearsed(told) => ("rehearsed", format!("{} calls", told.calls)),
            };
            if noted.is_ok() {
                noted = trail.step(word, detail);
            }
        };
        let prepared = self.0.plugins.prepare_told(file, candidate.slot.clone(), candidate.config.clone(), &mut tell)?;
        noted.map(|()| prepared)
    }

    /// Puts something else in a slot and records it with this configuration, or with the one that it had before.
    fn exchange(
        &self,
        trail: &mut Trail<'_>,
        slot: &SlotName,
        reason: SwapReason,
        config: Option<Option<String>>,
        swap: impl FnOnce(&PluginHost) -> Result<host_plugin::Installed, host_plugin::Error>,
    ) -> Result<admin::Installed, Error> {
        let replaced = self.serving(slot);
        trail.line.slot = slot.to_string();
        let started = clock::now();
        let entered = swap(&self.0.plugins)?;
        let took = started.elapsed();
        (trail.line.plugin, trail.line.digest) = (entered.plugin.to_string(), entered.digest.to_string());
        trail.step("swapped", format!("generation {}", entered.generation))?;
        let trial = self.0.trial_configs.lock().unwrap_or_else(PoisonError::into_inner).remove(slot).filter(|_| reason == SwapReason::Promoted);
        let config = match config.or(trial) {
            Some(config) => config,
            None => config_of(&self.0.store, &slot.to_string(), &entered.digest.to_string())?,
        };
        self.record(&entered, config, reason)?;
        Ok(admin::Installed { replaced, swap_ms: took.as_secs_f64() * 1e3, ..installed(&entered) })
    }

    fn leave_slots(&self, trail: &Trail<'_>, record: &PluginRecord, reason: SwapReason) -> Result<Vec<(String, String)>, Error> {
        // Beside the newest one of its name, earlier ones that still serve.
        let serving = self.0.plugins.list().into_iter().filter_map(|status| status.current.filter(|_| !status.builtin));
        let mut digests: Vec<Digest> = serving.filter(|bearer| *bearer.plugin == *record.name).map(|bearer| bearer.digest).collect();
        digests.push(digest_of(record)?);
        let mut slots = Vec::new();
        for (slot, now) in digests.into_iter().flat_map(|digest| self.0.plugins.forget(digest, reason)) {
            let plugin = now.as_ref().map(|now| now.plugin.to_string()).unwrap_or_default();
            trail.step("swapped", format!("{slot} holds {}", if plugin.is_empty() { "nothing" } else { &plugin }))?;
            match now {
                Some(now) => self.record(&now, None, reason)?,
                None => self.record_empty(&slot, reason)?,
            }
            slots.push((slot.to_string(), plugin));
        }
        Ok(slots)
    }

    fn serving(&self, slot: &SlotName) -> Option<String> {
        let status = self.0.plugins.list().into_iter().find(|status| status.slot == *slot)?;
        status.current.map(|bearer| bearer.plugin.to_string())
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.0.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something and notes how it ended.
    fn traced<T>(&self, who: &str, action: &str, plugin: &str, work: impl FnOnce(&mut Trail<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let line = AuditLine { who: who.to_owned(), action: action.to_owned(), plugin: plugin.to_owned(), ..AuditLine::default() };
        let mut trail = Trail { audit: &self.0.audit, line };
        trail.step("asked", "")?;
        let done = work(&mut trail);
        match &done {
            Ok(_) => trail.step("recorded", "")?,
            Err(error) => trail.step("failed", error.to_string())?,
        }
        done
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
    let mut trials = TrialPolicy { probation_questions: limits.probation_questions, ..TrialPolicy::default() };
    trials.comparison.cost_ratio_max = limits.cost_ratio_max;
    // Without a program to start, which only happens where it was deleted under a running host, this process compiles.
    let compiler = std::env::current_exe().ok().map(|program| Compiler {
        program,
        arguments: vec![COMPILE_COMMAND.to_owned()],
        compile_ms_max: limits.compile_ms_max,
        memory_bytes_max: limits.compile_memory_bytes_max,
    });
    PluginConfig {
        code: Some(native_code_folder(config)),
        passes: Some(config.data.join("passes")),
        compiler,
        limits: limits.guest.clone(),
        strikes,
        trials,
        rehearsed_problems_max: limits.rehearsed_problems_max,
        brief_rehearsal: BriefRehearsal { questions_max: limits.brief_rehearsal_questions_max, time_max: Duration::from_millis(limits.brief_rehearsal_ms_max) },
        spares: SparePolicy {
            plugins_max: limits.spare_plugins_max,
            memory_bytes_max: limits.spare_memory_bytes_max,
            time_max: Millis(limits.spare_ms_max as f64),
        },
        ..PluginConfig::default()
    }
}

/// What the child that compiles does: this program, called with [`COMPILE_COMMAND`].
pub fn compile_here(order: &CompileOrder) -> Result<(), Error> {
    Ok(host_plugin::compile_here(order)?)
}

fn installed(entered: &host_plugin::Installed) -> admin::Installed {
    admin::Installed {
        plugin: entered.plugin.to_string(),
        slot: entered.slot.to_string(),
        generation: entered.generation.0,
        digest: entered.digest.to_string(),
        ..admin::Installed::default()
    }
}

fn file_name(source: &str) -> String {
    source.rsplit('/').next().unwrap_or(source).to_owned()
}
