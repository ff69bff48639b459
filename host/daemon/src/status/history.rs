//! What plans were expected to do when they were made, and what they changed. Computes; keeps nothing.

use std::collections::BTreeSet;

use host_core::{cluster::Cluster, ids::ModelId};
use host_wire::admin::{ExpectedModel, Plan, PlanRecord, PlannedModel, Replica};

use super::explain::word;

/// What the plan in force should do for a model, by the costs that are known now. None if it is not placed.
pub fn expected(cluster: &Cluster, model: &ModelId) -> Option<ExpectedModel> {
    let problem = cluster.problem_in_force(model).filter(|problem| !problem.current.is_empty())?;
    let worth = problem.worth(&problem.current);
    // What no number says is not known: JSON has no infinity.
    let known = |number: f64| if number.is_finite() { number } else { 0.0 };
    Some(ExpectedModel {
        name: model.name.to_string(),
        version: model.version,
        objective: word(problem.placement.objective).to_owned(),
        throughput_per_s: known(worth.throughput * 1e3),
        latency_ms: known(worth.latency.0),
    })
}

/// So many of the newest plans, each with what it changed. `records` are as the store gives them, newest first, with one more where
/// there is one: the plan before the oldest that is wanted.
pub fn history(mut records: Vec<PlanRecord>, count: u32) -> Vec<PlanRecord> {
    // Before the first plan of all there was none.
    let nothing = Plan::default();
    let changed = |index: usize, record: &PlanRecord| {
        let before = records.get(index + 1).map(|record| &record.plan).or_else(|| (record.plan.number <= 1).then_some(&nothing));
        before.map(|before| changes(before, &record.plan)).unwrap_or_default()
    };
    let changed: Vec<Vec<String>> = records.iter().enumerate().map(|(index, record)| changed(index, record)).collect();
    for (record, changes) in records.iter_mut().zip(changed) {
        record.changes = changes;
    }
    records.truncate(count as usize);
    records
}

/// What differs between two plans, by model: the chains that are new, and those that are gone.
fn changes(before: &Plan, after: &Plan) -> Vec<String> {
    let names: BTreeSet<(&str, u32)> = before.models.iter().chain(&after.models).map(|model| (model.name.as_str(), model.version)).collect();
    let of = |plan: &Plan, name: &str, version: u32| -> Vec<String> {
        let named = |model: &&PlannedModel| model.name == name && model.version == version;
        plan.models.iter().find(named).map(|model| model.replicas.iter().map(chain).collect()).unwrap_or_default()
    };
    let mut said = Vec::new();
    for (name, version) in names {
        let (mut gone, mut new) = (of(before, name, version), of(after, name, version));
        gone.retain(|chain| match new.iter().position(|other| other == chain) {
            Some(same) => {
                new.remove(same);
                false
            }
            None => true,
        });
        let parts = [("gets", new), ("loses", gone)];
        let parts = parts.into_iter().filter(|(_, chains)| !chains.is_empty()).map(|(word, chains)| format!("{word} {}", chains.join(", ")));
        let parts: Vec<String> = parts.collect();
        if !parts.is_empty() {
            said.push(format!("{name}@{version} {}", parts.join(" and ")));
        }
    }
    said
}

/// `a/cpu[0..4) > b/cpu[4..9)`
fn chain(replica: &Replica) -> String {
    let stages = replica.stages.iter().map(|stage| format!("{}/{}[{}..{})", stage.device, stage.accelerator, stage.start, stage.end));
    stages.collect::<Vec<_>>().join(" > ")
}

#[cfg(test)]
mod tests {
    use host_wire::admin::Stage;

    use super::*;

    /// Stages as `(device, start, end)`.
    type Chain<'a> = &'a [(&'a str, u32, u32)];

    /// A plan of models, each with its chains.
    fn plan(number: u64, models: &[(&str, &[Chain<'_>])]) -> Plan {
        let stage = |&(device, start, end): &(&str, u32, u32)| Stage { device: device.into(), accelerator: "cpu".into(), start, end };
        let replica = |stages: &Chain<'_>| Replica { stages: stages.iter().map(stage).collect() };
        let model = |&(name, replicas): &(&str, &[Chain<'_>])| PlannedModel { name: name.into(), version: 1, replicas: replicas.iter().map(replica).collect() };
        Plan { number, models: models.iter().map(model).collect() }
    }

    fn record(plan: Plan) -> PlanRecord {
        PlanRecord { made_at_ms: 0, reason: String::new(), policy: None, expected: Vec::new(), changes: Vec::new(), plan }
    }

    #[test]
    fn each_plan_says_which_chains_are_new_and_which_are_gone() {
        let records = vec![
            record(plan(3, &[("m", &[&[("b", 0, 4)]]), ("n", &[&[("a", 0, 2), ("b", 2, 4)]])])),
            record(plan(2, &[("m", &[&[("a", 0, 4)], &[("b", 0, 4)]]), ("n", &[])])),
            record(plan(1, &[("m", &[&[("a", 0, 4)]])])),
        ];
        let said: Vec<Vec<String>> = history(records, 3).into_iter().map(|record| record.changes).collect();
        let expected: [&[&str]; 3] = [&["m@1 loses a/cpu[0..4)", "n@1 gets a/cpu[0..2) > b/cpu[2..4)"], &["m@1 gets b/cpu[0..4)"], &["m@1 gets a/cpu[0..4)"]];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_chain_that_is_there_twice_is_lost_once() {
        let twice = plan(1, &[("m", &[&[("a", 0, 4)], &[("a", 0, 4)]])]);
        assert_eq!(changes(&twice, &plan(2, &[("m", &[&[("a", 0, 4)]])])), ["m@1 loses a/cpu[0..4)"]);
        assert_eq!(changes(&twice, &twice), [""; 0]);
        let moved = plan(2, &[("m", &[&[("b", 0, 4)], &[("a", 0, 4)]])]);
        assert_eq!(changes(&twice, &moved), ["m@1 gets b/cpu[0..4) and loses a/cpu[0..4)"]);
    }

    #[test]
    fn the_plan_before_the_oldest_one_wanted_is_only_looked_at() {
        let records = vec![record(plan(9, &[("m", &[&[("b", 0, 4)]])])), record(plan(8, &[("m", &[&[("a", 0, 4)]])]))];
        let wanted = history(records.clone(), 1);
        assert_eq!((wanted.len(), wanted[0].changes.len()), (1, 1));
        assert_eq!(history(records, 2)[1].changes, [""; 0], "what was before is forgotten");
    }
}
