//! What plugins did: counts it for the metrics, logs it, keeps the last lines of each for `plugin logs`, and hands swaps that
//! happened by themselves to whoever writes them down. Called inline from requests: it only ever hands things on.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
};

use host_core::comparison::Comparison;
use host_plugin::{Bearer, EventSink, LogLevel, PluginEvent, SwapReason, TrialEnd, TrialKind};
use host_wire::admin::LogLine;
use tokio::sync::Notify;

use crate::{clock, metrics::Metrics};

/// Plugins whose lines are kept; those that wrote last.
const PLUGINS_MAX: usize = 256;
/// The level of lines that the host writes about a plugin.
const HOST: &str = "host";

/// A swap that happened by itself.
#[derive(Clone, Debug)]
pub(super) struct OwnSwap {
    /// What serves now.
    pub now: Bearer,
    /// Why.
    pub reason: SwapReason,
}

/// The last lines of each plugin.
#[derive(Debug)]
pub(super) struct Journal {
    lines_max: usize,
    lines: Mutex<BTreeMap<Arc<str>, VecDeque<LogLine>>>,
    /// Told when another allocation policy serves.
    pub allocation: Notify,
}

impl Journal {
    pub(super) fn new(lines_max: usize) -> Arc<Self> {
        Arc::new(Self { lines_max, lines: Mutex::default(), allocation: Notify::new() })
    }

    /// The newest lines of a plugin, newest last.
    pub(super) fn newest(&self, plugin: &str, count: usize) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(plugin).map_or_else(Vec::new, |lines| lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect())
    }

    fn keep(&self, plugin: &Arc<str>, slot: String, level: &str, line: String) {
        let mut all = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(plugin) && all.len() >= PLUGINS_MAX {
            let oldest = all.iter().min_by_key(|(_, lines)| lines.back().map_or(0, |line| line.at_ms)).map(|(plugin, _)| Arc::clone(plugin));
            oldest.map(|plugin| all.remove(&plugin));
        }
        let lines = all.entry(Arc::clone(plugin)).or_default();
        if lines.len() >= self.lines_max {
            lines.pop_front();
        }
        lines.push_back(LogLine { at_ms: clock::unix_ms(), slot, plugin: plugin.to_string(), level: level.to_owned(), line });
    }

    /// What a host's plugins tell their events to.
    pub(super) fn sink(self: &Arc<Self>, metrics: Arc<Metrics>, swaps: SyncSender<OwnSwap>) -> EventSink {
        let journal = Arc::clone(self);
        EventSink::new(move |event| journal.take(&metrics, &swaps, event))
    }

    fn take(&self, metrics: &Metrics, swaps: &SyncSender<OwnSwap>, event: PluginEvent) {
        match event {
            PluginEvent::Swapped { now, reason, took } => {
                let slot = now.slot.to_string();
                metrics.swap(&slot, reason.word(), took);
                metrics.generation(&slot, now.generation.0);
                tracing::info!(slot, plugin = %now.plugin, generation = now.generation.0, reason = reason.word(), "a slot was swapped");
                self.keep(&now.plugin, slot.clone(), HOST, format!("serves as generation {} ({})", now.generation, reason.word()));
                if now.slot == host_plugin::SlotName::Allocation {
                    self.allocation.notify_one();
                }
                // What somebody asked for is recorded by whoever does it, who must know that it worked.
                let own = matches!(reason, SwapReason::Strikes | SwapReason::Worse | SwapReason::Retried);
                if own && swaps.try_send(OwnSwap { now, reason }).is_err() {
                    tracing::error!(slot, "a swap could not be recorded; a restart brings the plugin before it back");
                }
            }
            PluginEvent::Emptied { slot, generation, reason } => {
                metrics.generation(&slot.to_string(), generation.0);
                tracing::info!(%slot, generation = generation.0, reason = reason.word(), "a slot holds nothing any more");
            }
            PluginEvent::TrialStarted { kind, bearer } => {
                tracing::info!(slot = %bearer.slot, plugin = %bearer.plugin, generation = bearer.generation.0, kind = kind.word(), "a trial begins");
                self.keep(&bearer.plugin, bearer.slot.to_string(), HOST, format!("is on trial as {} with generation {}", kind.word(), bearer.generation));
            }
            PluginEvent::TrialEnded { kind, bearer, end, comparison } => self.trial_ended(metrics, kind, &bearer, end, &comparison),
            PluginEvent::Strike { bearer, function, fault, left } => {
                metrics.strike(&bearer.plugin, fault.kind);
                tracing::warn!(slot = %bearer.slot, plugin = %bearer.plugin, generation = bearer.generation.0, function, %fault, ?left, "a plugin took a strike");
                let left = left.map_or_else(String::new, |left| format!(", {left} left until it is rolled back"));
                self.keep(&bearer.plugin, bearer.slot.to_string(), HOST, format!("strike in {function}: {fault}{left}"));
            }
            PluginEvent::FellBack { slot, function, fault } => {
                metrics.fallback(&slot.to_string());
                tracing::warn!(%slot, function, %fault, "the built-in plugin answered instead");
            }
            PluginEvent::RetryFailed { slot, plugin, reason } => {
                tracing::warn!(%slot, %plugin, reason, "a plugin that was rolled back could not be tried again");
                self.keep(&plugin, slot.to_string(), HOST, format!("could not be tried again: {reason}"));
            }
            PluginEvent::Log { slot, plugin, level, line } => {
                let word = match level {
                    LogLevel::Debug => "debug",
                    LogLevel::Info => "info",
                    LogLevel::Warn => "warn",
                    LogLevel::Error => "error",
                };
                match level {
                    LogLevel::Debug => tracing::debug!(target: "guest", %slot, %plugin, line),
                    LogLevel::Info => tracing::info!(target: "guest", %slot, %plugin, line),
                    LogLevel::Warn => tracing::warn!(target: "guest", %slot, %plugin, line),
                    LogLevel::Error => tracing::error!(target: "guest", %slot, %plugin, line),
                }
                self.keep(&plugin, slot.to_string(), word, line);
            }
        }
    }

    fn trial_ended(&self, metrics: &Metrics, kind: TrialKind, bearer: &Bearer, end: TrialEnd, comparison: &Comparison) {
        metrics.trial(&bearer.slot.to_string(), kind.word(), end.word());
        let (questions, agreed) = (comparison.questions, comparison.agreed);
        let cost_ratio = comparison.cost_ratio();
        let slot = bearer.slot.to_string();
        if matches!(end, TrialEnd::Worse { .. } | TrialEnd::Strikes) {
            tracing::warn!(slot, plugin = %bearer.plugin, kind = kind.word(), end = end.word(), questions, agreed, ?cost_ratio, "a trial failed");
        } else {
            tracing::info!(slot, plugin = %bearer.plugin, kind = kind.word(), end = end.word(), questions, agreed, ?cost_ratio, "a trial is over");
        }
        let cost = cost_ratio.map_or_else(String::new, |ratio| format!(", its answers cost {ratio:.3} times the other's"));
        self.keep(&bearer.plugin, slot, HOST, format!("{} is over: {} after {questions} questions, {agreed} answered alike{cost}", kind.word(), end.word()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_plugin_are_kept_and_older_ones_forgotten() {
        let journal = Journal::new(3);
        let plugin: Arc<str> = "p".into();
        (0..5).for_each(|line| journal.keep(&plugin, "routing".into(), "info", format!("line {line}")));
        let lines: Vec<String> = journal.newest("p", 2).into_iter().map(|line| line.line).collect();
        assert_eq!(lines, ["line 3", "line 4"]);
        assert_eq!(journal.newest("p", 100).len(), 3);
        assert!(journal.newest("q", 100).is_empty());
    }
}
