//! What `host plugin` prints of the past: generations, log lines, counts, the audit log.

use host_core::units::Bytes;
use host_wire::admin::{AuditLine, Generation, HistoryQuery, LogLine, PluginQuery, SlotStats, Trial};

use super::super::{Global, client::Admin, plan::utc, screen::Screen};
use crate::error::Error;

pub(super) async fn history(global: &Global, screen: &mut Screen, slot: String) -> Result<(), Error> {
    let generations: Vec<Generation> = Admin::find(global)?.query("/plugins/generations", &HistoryQuery { count: None, slot: Some(slot) }).await?;
    if screen.is_json() {
        return screen.json(&generations);
    }
    let row = |generation: &Generation| {
        let digest = generation.digest.chars().take(12).collect();
        [generation.generation.to_string(), utc(generation.at_ms), generation.plugin.clone(), generation.reason.clone(), digest]
    };
    let rows: Vec<[String; 5]> = generations.iter().map(row).collect();
    screen.table(["generation", "since (UTC)", "plugin", "why", "sha256"], &rows)
}

pub(super) async fn logs(global: &Global, screen: &mut Screen, plugin: String, count: u32) -> Result<(), Error> {
    let lines: Vec<LogLine> = Admin::find(global)?.query("/plugins/logs", &PluginQuery { plugin, count: Some(count) }).await?;
    if screen.is_json() {
        return screen.json(&lines);
    }
    lines.iter().try_for_each(|line| screen.line(&format!("{}  {:12}  {:5}  {}", utc(line.at_ms), line.slot, line.level, line.line)))
}

pub(super) async fn stats(global: &Global, screen: &mut Screen) -> Result<(), Error> {
    let stats: Vec<SlotStats> = Admin::find(global)?.get("/plugins/stats").await?;
    if screen.is_json() {
        return screen.json(&stats);
    }
    let row = |slot: &SlotStats| {
        let strikes: Vec<String> = slot.strikes.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} {kind}")).collect();
        [
            slot.slot.clone(),
            slot.plugin.clone(),
            slot.generation.to_string(),
            slot.calls.to_string(),
            slot.refusals.to_string(),
            strikes.join(", "),
            slot.fallbacks.to_string(),
            format!("{:.1}", slot.call_us_mean),
            Bytes(slot.memory_bytes).to_string(),
            slot.trial.as_ref().map(trial).unwrap_or_default(),
        ]
    };
    let rows: Vec<[String; 10]> = stats.iter().map(row).collect();
    screen.table(["slot", "plugin", "generation", "calls", "refusals", "strikes", "fallbacks", "mean us", "memory", "trial"], &rows)
}

fn trial(trial: &Trial) -> String {
    let share = if trial.share > 0.0 { format!(" {:.1} %", trial.share * 100.0) } else { String::new() };
    let cost = if trial.cost_ratio > 0.0 { format!(", costs {:.3} times the other", trial.cost_ratio) } else { String::new() };
    format!("{}{share} with {}: {} of {} alike{cost}", trial.kind, trial.plugin, trial.agreed, trial.questions)
}

pub(super) async fn audit(global: &Global, screen: &mut Screen, count: u32) -> Result<(), Error> {
    let lines: Vec<AuditLine> = Admin::find(global)?.query("/plugins/audit", &HistoryQuery { count: Some(count), slot: None }).await?;
    if screen.is_json() {
        return screen.json(&lines);
    }
    let row = |line: &AuditLine| {
        let digest = line.digest.chars().take(12).collect();
        [utc(line.at_ms), line.who.clone(), line.action.clone(), line.step.clone(), line.plugin.clone(), digest, line.detail.clone()]
    };
    let rows: Vec<[String; 7]> = lines.iter().map(row).collect();
    screen.table(["at (UTC)", "who", "action", "step", "plugin", "sha256", "detail"], &rows)
}
