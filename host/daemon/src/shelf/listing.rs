//! What is said of plugins to people: every installed one, every slot and what its plugin did, log and audit lines.

use std::{collections::BTreeMap, time::Duration};

use host_plugin::{BUILTIN_PLUGINS, Bearer, Identified, Limits, Manifest, PluginHost, Prepared, SlotStatus, TrialKind, TrialStatus};
use host_wire::admin;

use super::Shelf;
use crate::{component, error::Error};
use host_core::policy::StrikeKind;

/// Words of a source that is part of the host.
const BUILT_IN: &str = "built in";

impl Shelf {
    /// Every plugin that is part of the host or was installed, sorted by name.
    pub fn list(&self) -> Vec<admin::Plugin> {
        let slots = self.0.plugins.list();
        let limits = &self.0.config.plugin_limits.guest;
        let built_in = BUILTIN_PLUGINS.iter().filter_map(|name| {
            let source = Identified::builtin(name).ok()?;
            described(&source, BUILT_IN, &slots, limits)
        });
        let mut plugins: Vec<admin::Plugin> = built_in.collect();
        let records = self.0.store.plugins().unwrap_or_else(|error| {
            tracing::error!(%error, "installed plugins could not be read");
            Vec::new()
        });
        plugins.extend(records.iter().filter_map(|record| {
            let plugin = described(&self.stored(record).ok()?, &record.source, &slots, limits)?;
            Some(admin::Plugin { enabled: record.enabled, signer: record.signer.clone().unwrap_or_default(), ..plugin })
        }));
        plugins.extend(self.earlier(&slots));
        plugins.sort_by(|a, b| (&a.name, &a.digest).cmp(&(&b.name, &b.digest)));
        plugins
    }

    /// Those that serve though others have their names now.
    fn earlier(&self, slots: &[SlotStatus]) -> Vec<admin::Plugin> {
        let limits = &self.0.config.plugin_limits.guest;
        let records = self.0.store.earlier_plugins().unwrap_or_else(|error| {
            tracing::error!(%error, "plugins that were replaced could not be read");
            Vec::new()
        });
        let shown = records.iter().filter_map(|record| {
            let plugin = described(&self.stored(record).ok()?, &record.source, slots, limits)?;
            Some(admin::Plugin { is_earlier: true, enabled: record.enabled, signer: record.signer.clone().unwrap_or_default(), ..plugin })
        });
        shown.filter(|plugin| !plugin.slots.is_empty()).collect()
    }

    /// What is in every slot.
    pub fn slots(&self) -> Vec<admin::Slot> {
        let status = self.0.plugins.list().into_iter();
        status.filter_map(|status| Some(slot(status.current.as_ref()?, &status))).collect()
    }

    /// What the plugin in each slot did since it came there.
    pub fn stats(&self) -> Vec<admin::SlotStats> {
        let now = self.0.plugins.now();
        let stats = |status: SlotStatus| {
            let counts = &status.counts;
            let strikes = StrikeKind::ALL.iter().zip(counts.strikes).map(|(kind, count)| (kind.word().to_owned(), count)).collect();
            admin::SlotStats {
                slot: status.slot.to_string(),
                plugin: status.current.as_ref().map(|bearer| bearer.plugin.to_string()).unwrap_or_default(),
                generation: status.current.as_ref().map_or(0, |bearer| bearer.generation.0),
                calls: counts.calls,
                refusals: counts.refusals,
                strikes,
                fallbacks: status.fallbacks,
                call_us_mean: counts.busy.as_secs_f64() * 1e6 / counts.calls.max(1) as f64,
                memory_bytes: counts.memory_bytes,
                copied_bytes: counts.copied_bytes,
                retry_in_ms: status.retry_at.map(|at| (at.0 - now.0).max(0.0)),
                trial: status.trial.as_ref().map(trial),
            }
        };
        self.0.plugins.list().into_iter().map(stats).collect()
    }

    /// The newest lines that a plugin wrote, or that the host wrote of it; newest last.
    pub fn logs(&self, plugin: &str, count: usize) -> Vec<admin::LogLine> {
        self.0.journal.newest(plugin, count)
    }

    /// The newest lines of the audit log, newest last.
    pub fn audit(&self, count: usize) -> Result<Vec<admin::AuditLine>, Error> {
        self.0.audit.newest(count)
    }
}

/// How a plugin did before it was let in.
pub(super) fn rehearsal(prepared: &Prepared) -> admin::Rehearsal {
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
        is_known: told.is_known,
        compared: told.compared.as_ref().map(compared),
    }
}

/// The most linear memory that a guest of each plugin in service has had, in whatever slot.
pub(super) fn memory(plugins: &PluginHost) -> BTreeMap<String, u64> {
    let mut bytes = BTreeMap::new();
    for status in plugins.list() {
        let Some(bearer) = status.current else { continue };
        let most = bytes.entry(bearer.plugin.to_string()).or_default();
        *most = status.counts.memory_bytes.max(*most);
    }
    bytes
}

/// What a plugin asked for and was granted, in words.
pub(super) fn granted(manifest: &Manifest, limits: &Limits) -> String {
    let asks: Vec<String> = manifest.asks(limits).into_iter().map(|(what, asked, _)| format!("{what} = {asked}")).collect();
    if asks.is_empty() { "the host's defaults".to_owned() } else { asks.join(", ") }
}

/// What a plugin says of itself, and the slots that it serves.
fn described(component: &Identified, from: &str, slots: &[SlotStatus], limits: &Limits) -> Option<admin::Plugin> {
    let plugin = component::describe(component, from, limits).ok()?;
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
        trial: status.trial.as_ref().map(trial),
    }
}

fn trial(status: &TrialStatus) -> admin::Trial {
    admin::Trial {
        kind: status.kind.word().to_owned(),
        plugin: status.beside.plugin.to_string(),
        generation: status.beside.generation.0,
        share: if let TrialKind::Canary { share } = status.kind { share } else { 0.0 },
        questions: status.comparison.questions,
        agreed: status.comparison.agreed,
        cost_ratio: status.comparison.cost_ratio().unwrap_or(0.0),
    }
}
