//! `host plan`.

mod explain;

use clap::Subcommand;
use host_core::units::Millis;
use host_wire::admin::{ExpectedModel, ExplainQuery, Explanation, HistoryQuery, Plan, PlanRecord, PlannedModel, Stage};

use super::{Global, client::Admin, screen::Screen};
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub(super) enum PlanCommand {
    /// Show which device holds which blocks
    Show,
    /// Say why a model is where it is, or why it is nowhere: stage times, the bottleneck, the bound, and what would help
    Explain {
        /// Name of the model
        model: String,
        /// Do not ask the allocation policy what would help
        #[arg(long)]
        no_advice: bool,
    },
    /// List earlier plans: when and why each was made, what it changed and what was expected of it
    History {
        /// How many of the newest
        #[arg(long, default_value_t = 20)]
        count: u32,
    },
}

pub(super) async fn plan(global: &Global, screen: &mut Screen, command: PlanCommand) -> Result<(), Error> {
    let admin = Admin::find(global)?;
    match command {
        PlanCommand::Show => {
            let plan: Plan = admin.get("/plan").await?;
            if screen.is_json() { screen.json(&plan) } else { show(screen, &plan, |_| true) }
        }
        PlanCommand::Explain { model, no_advice } => {
            let explanation: Explanation = admin.query(&format!("/plan/explain/{model}"), &ExplainQuery { advise: !no_advice }).await?;
            if screen.is_json() { screen.json(&explanation) } else { explain::print(screen, &explanation) }
        }
        PlanCommand::History { count } => {
            let records: Vec<PlanRecord> = admin.query("/plan/history", &HistoryQuery { count: Some(count), slot: None }).await?;
            if screen.is_json() { screen.json(&records) } else { history(screen, &records) }
        }
    }
}

/// One line for each stage of the models that are wanted.
pub(super) fn show(screen: &mut Screen, plan: &Plan, wanted: impl Fn(&PlannedModel) -> bool) -> Result<(), Error> {
    let mut rows = Vec::new();
    for model in plan.models.iter().filter(|model| wanted(model)) {
        let name = format!("{}@{}", model.name, model.version);
        if model.replicas.is_empty() {
            rows.push([name.clone(), "-".into(), "-".into(), "does not fit at present".into(), String::new()]);
        }
        for (index, replica) in model.replicas.iter().enumerate() {
            for (position, stage) in replica.stages.iter().enumerate() {
                rows.push([name.clone(), index.to_string(), position.to_string(), place(stage), blocks(stage)]);
            }
        }
    }
    screen.line(&format!("plan {}", plan.number))?;
    screen.table(["model", "replica", "stage", "offer", "blocks"], &rows)
}

/// A few lines for each plan: reasons may be long.
fn history(screen: &mut Screen, records: &[PlanRecord]) -> Result<(), Error> {
    records.iter().try_for_each(|record| told(record).iter().try_for_each(|line| screen.line(line)))
}

fn told(record: &PlanRecord) -> Vec<String> {
    let by = record.policy.as_ref().map_or_else(String::new, |policy| format!(", by {}", policy.plugin));
    let mut lines = vec![format!("plan {}, made {} (UTC){by}", record.plan.number, utc(record.made_at_ms)), format!("  why      {}", record.reason)];
    lines.extend(record.changes.iter().map(|change| format!("  changed  {change}")));
    for model in &record.plan.models {
        let expected = record.expected.iter().find(|expected| (&expected.name, expected.version) == (&model.name, model.version));
        lines.push(format!("  {}", planned(model, expected)));
    }
    lines
}

/// `digits@1 in 2+1 stages, 120.3 requests/s and 8.30 ms a request expected, for balanced`
fn planned(model: &PlannedModel, expected: Option<&ExpectedModel>) -> String {
    let name = format!("{}@{}", model.name, model.version);
    if model.replicas.is_empty() {
        return format!("{name} does not fit");
    }
    let stages = model.replicas.iter().map(|replica| replica.stages.len().to_string()).collect::<Vec<_>>().join("+");
    let worth = expected.map_or_else(String::new, |expected| {
        let ExpectedModel { throughput_per_s, latency_ms, objective, .. } = expected;
        format!(", {throughput_per_s:.1} requests/s and {} a request expected, for {objective}", Millis(*latency_ms))
    });
    let word = if stages == "1" { "stage" } else { "stages" };
    format!("{name} in {stages} {word}{worth}")
}

fn place(stage: &Stage) -> String {
    format!("{}/{}", stage.device, stage.accelerator)
}

fn blocks(stage: &Stage) -> String {
    format!("[{}..{})", stage.start, stage.end)
}

/// `2026-03-01 12:00:05`, by the proleptic Gregorian calendar.
/// Source: H. Hinnant, chrono-compatible low-level date algorithms, `civil_from_days`.
pub(super) fn utc(at_ms: u64) -> String {
    let seconds = at_ms / 1000;
    let (days, clock) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", clock / 3_600, clock / 60 % 60, clock % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_in_history_says_when_and_why_and_what_it_changed() {
        let json = r#"{
            "made_at_ms": 1772366405000,
            "reason": "model digits@1 was added",
            "policy": { "plugin": "balanced-allocation", "digest": "d", "config": "{}" },
            "expected": [{ "name": "digits", "version": 1, "objective": "balanced", "throughput_per_s": 120.34, "latency_ms": 8.3 }],
            "changes": ["digits@1 gets a/cpu[0..9)"],
            "plan": { "number": 3, "models": [
                { "name": "digits", "version": 1, "replicas": [{ "stages": [{ "device": "a", "accelerator": "cpu", "start": 0, "end": 9 }] }] },
                { "name": "mlp", "version": 2, "replicas": [] }
            ] }
        }"#;
        let record: PlanRecord = serde_json::from_str(json).expect("a record");
        let expected = [
            "plan 3, made 2026-03-01 12:00:05 (UTC), by balanced-allocation",
            "  why      model digits@1 was added",
            "  changed  digits@1 gets a/cpu[0..9)",
            "  digits@1 in 1 stage, 120.3 requests/s and 8.30 ms a request expected, for balanced",
            "  mlp@2 does not fit",
        ];
        assert_eq!(told(&record), expected);
    }

    #[test]
    fn a_time_is_written_as_a_calendar_has_it() {
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_000, "2000-02-28 23:59:59"),
            (951_868_799_999, "2000-02-29 23:59:59"),
            (1_772_366_405_000, "2026-03-01 12:00:05"),
        ];
        for (at_ms, text) in cases {
            assert_eq!(utc(at_ms), text);
        }
    }
}
