//! `host plan`.

mod explain;

use clap::Subcommand;
use host_wire::admin::{ExplainQuery, Explanation, HistoryQuery, Plan, PlanRecord, PlannedModel, Stage};

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
    /// List earlier plans
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

fn history(screen: &mut Screen, records: &[PlanRecord]) -> Result<(), Error> {
    let row = |record: &PlanRecord| {
        let stages = |model: &PlannedModel| model.replicas.iter().map(|replica| replica.stages.len().to_string()).collect::<Vec<_>>().join("+");
        let models: Vec<String> = record.plan.models.iter().map(|model| format!("{}@{} in {} stages", model.name, model.version, stages(model))).collect();
        [record.plan.number.to_string(), utc(record.made_at_ms), record.reason.clone(), models.join(", ")]
    };
    let rows: Vec<[String; 4]> = records.iter().map(row).collect();
    screen.table(["plan", "made (UTC)", "why", "models"], &rows)
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
