//! What `host plan explain` prints: where a model is and what that costs, or why it is nowhere, and what would help.

use host_core::units::{Bytes, Millis};
use host_wire::admin::{ExplainedReplica, Explanation, Help, Refused};

use super::{blocks, place};
use crate::{cli::screen::Screen, error::Error};

/// Changes that are printed; `-o json` has all that were tried and would help.
const HELPS_SHOWN: usize = 3;

pub(super) fn print(screen: &mut Screen, explanation: &Explanation) -> Result<(), Error> {
    screen.line(&format!("{}@{}: {} blocks, plan {}", explanation.model, explanation.version, explanation.blocks, explanation.plan))?;
    screen.line(&format!("placed by {} (generation {}), objective {}", explanation.policy, explanation.generation, explanation.objective))?;
    for (index, replica) in explanation.replicas.iter().enumerate() {
        screen.line("")?;
        screen.line(&format!("replica {index}"))?;
        self::replica(screen, replica)?;
    }
    if let Some(refused) = &explanation.refused {
        screen.line("")?;
        self::refused(screen, refused, explanation)?;
    }
    screen.line("")?;
    worth(explanation).iter().chain(&helps(&explanation.helps)).try_for_each(|line| screen.line(line))?;
    explanation.notes.iter().try_for_each(|note| screen.line(&format!("note        {note}")))
}

fn replica(screen: &mut Screen, replica: &ExplainedReplica) -> Result<(), Error> {
    let mut rows = Vec::new();
    for (position, stage) in replica.stages.iter().enumerate() {
        let time = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| Millis(ms).to_string());
        rows.push([
            position.to_string(),
            place(&stage.stage),
            blocks(&stage.stage),
            time(stage.planned_ms),
            Millis(stage.predicted_ms).to_string(),
            time(stage.measured_ms),
            stage.error_ratio.map_or_else(|| "-".to_owned(), |error| format!("{:+.0} %", error * 100.0)),
            stage.runs.to_string(),
            replica.hops_ms.get(position).map_or_else(String::new, |hop| Millis(*hop).to_string()),
            format!("{} of {}", Bytes(stage.memory_bytes), Bytes(stage.memory_bytes_max)),
        ]);
    }
    screen.table(["stage", "offer", "blocks", "planned", "predicted", "measured", "error", "runs", "hop", "memory"], &rows)?;
    screen.line(&format!("one request takes {}, one is answered each {}", Millis(replica.latency_ms), Millis(replica.period_ms)))?;
    bottleneck(replica).map_or(Ok(()), |line| screen.line(&format!("bottleneck  {line}")))
}

/// What takes longest of a chain: a stage, or a way between two. Nothing of a single stage, which is all there is.
fn bottleneck(replica: &ExplainedReplica) -> Option<String> {
    let slowest = replica.stages.get(replica.bottleneck as usize).filter(|_| replica.stages.len() > 1)?;
    let hops = (0..).zip(&replica.hops_ms).max_by(|(_, one), (_, other)| one.total_cmp(other));
    if let Some((position, hop)) = hops.filter(|(_, hop)| **hop > slowest.predicted_ms) {
        let end = |position: usize| replica.stages.get(position).map(|stage| stage.stage.device.as_str()).unwrap_or_default();
        return Some(format!("the way from {} to {}, {}", end(position), end(position + 1), Millis(*hop)));
    }
    Some(format!("stage {} on {}, {}", replica.bottleneck, place(&slowest.stage), Millis(slowest.predicted_ms)))
}

/// Why there is no plan, or no better one, and what each offer could hold.
fn refused(screen: &mut Screen, refused: &Refused, explanation: &Explanation) -> Result<(), Error> {
    screen.line(&format!("refused     {}", refused.reason))?;
    let fails = if refused.constraint.is_empty() { "none fails" } else { refused.constraint.as_str() };
    screen.line(&format!("constraint  {fails}: {}", refused.shortfall))?;
    let row = |room: &host_wire::admin::Room| {
        let lacks = if room.missing_roles.is_empty() { String::new() } else { format!("not as {}", room.missing_roles.join(" or ")) };
        [
            room.offer.clone(),
            Bytes(room.free_bytes).to_string(),
            Bytes(room.whole_bytes).to_string(),
            format!("{} of {}", room.blocks, explanation.blocks),
            lacks,
        ]
    };
    let rows: Vec<[String; 5]> = refused.rooms.iter().map(row).collect();
    screen.table(["offer", "free", "all of it takes", "blocks", ""], &rows)
}

fn worth(explanation: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(error) = &explanation.prediction {
        let (mean, max) = (error.mean_ratio * 100.0, error.max_ratio * 100.0);
        lines.push(format!("prediction  {mean:.0} % off what was measured, at most {max:.0} %, over {} stages", error.stages));
    }
    if explanation.replicas.is_empty() {
        return lines;
    }
    lines.push(format!("throughput  {:.1} requests/s expected", explanation.throughput_per_s));
    if explanation.bound_per_s > 0.0 {
        lines.push(format!("bound       {:.1} requests/s, which no plan can exceed", explanation.bound_per_s));
        lines.push(format!("gap         {:.1} %", explanation.gap_ratio() * 100.0));
    }
    lines
}

fn helps(helps: &[Help]) -> Vec<String> {
    let line = |(index, help): (usize, &Help)| {
        let gain = help.gain_ratio.map_or_else(|| "it could be served then".to_owned(), |gain| format!("{:+.0} %", gain * 100.0));
        format!("{}  {}: {gain}", if index == 0 { "helps most" } else { "then      " }, help.change)
    };
    helps.iter().take(HELPS_SHOWN).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use host_wire::admin::{ExplainedStage, Stage};

    use super::*;

    fn stage(device: &str, predicted_ms: f64) -> ExplainedStage {
        ExplainedStage {
            stage: Stage { device: device.into(), accelerator: "cpu".into(), start: 0, end: 1 },
            predicted_ms,
            planned_ms: None,
            measured_ms: None,
            error_ratio: None,
            runs: 0,
            memory_bytes: 0,
            memory_bytes_max: 0,
        }
    }

    fn chain(stages_ms: &[f64], hops_ms: &[f64], bottleneck: u32) -> ExplainedReplica {
        let stages = ["a", "b", "c"].iter().zip(stages_ms).map(|(device, ms)| stage(device, *ms)).collect();
        ExplainedReplica { stages, hops_ms: hops_ms.to_vec(), latency_ms: 0.0, period_ms: 0.0, bottleneck }
    }

    #[test]
    fn the_bottleneck_is_a_stage_or_a_way_between_two() {
        let cases = [
            (chain(&[5.0], &[], 0), None),
            (chain(&[5.0, 20.0, 1.0], &[1.0, 2.0], 1), Some("stage 1 on b/cpu, 20.0 ms")),
            (chain(&[5.0, 20.0, 1.0], &[1.0, 40.0], 1), Some("the way from b to c, 40.0 ms")),
        ];
        for (replica, expected) in cases {
            assert_eq!(bottleneck(&replica).as_deref(), expected);
        }
    }

    #[test]
    fn what_helps_most_comes_first_and_a_few_more_after_it() {
        let help = |change: &str, gain_ratio| Help { change: change.into(), kind: "device".into(), gain_ratio };
        let lines = helps(&[help("one more device like a", None), help("b", Some(0.48)), help("c", Some(0.1)), help("d", Some(0.02))]);
        assert_eq!(lines, ["helps most  one more device like a: it could be served then", "then        b: +48 %", "then        c: +10 %"]);
    }
}
