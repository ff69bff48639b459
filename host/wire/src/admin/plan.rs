//! Plans as people read them and as the store keeps them, and why a plan is as it is.

use std::collections::BTreeMap;

use host_core::{
    error::Error as CoreError,
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId, PlanNumber},
    plan,
    shard::BlockRange,
};
use serde::{Deserialize, Serialize};

/// The intended replicas of all models.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Counts plans.
    pub number: u64,
    /// Sorted by name and version. A model without replicas does not fit at present.
    pub models: Vec<PlannedModel>,
}

/// One model in a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedModel {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Chains that can answer.
    pub replicas: Vec<Replica>,
}

/// One complete chain of stages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// In the order in which a request goes through them.
    pub stages: Vec<Stage>,
}

/// Blocks on an offer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// The device.
    pub device: String,
    /// Its accelerator.
    pub accelerator: String,
    /// First block.
    pub start: u32,
    /// One past the last block.
    pub end: u32,
}

/// A plan with its place in history.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlanRecord {
    /// When it was made, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// Why it was made.
    pub reason: String,
    /// The allocation policy that was asked about all of it last. None until all of it is answered, and of plans that hosts kept
    /// before they noted it.
    #[serde(default)]
    pub policy: Option<PlanPolicy>,
    /// What was expected of each model when it was made.
    #[serde(default)]
    pub expected: Vec<ExpectedModel>,
    /// What differs from the plan before it, a sentence for each model. Empty where that one is forgotten.
    #[serde(default)]
    pub changes: Vec<String>,
    /// The plan.
    pub plan: Plan,
}

/// An allocation policy as it served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanPolicy {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of its file, as hexadecimal digits.
    pub digest: String,
    /// What it was configured with, as JSON.
    pub config: String,
}

/// What a plan should do for one model, by the costs that were known when it was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExpectedModel {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// `latency`, `throughput` or `balanced`.
    pub objective: String,
    /// Requests per second over all replicas.
    pub throughput_per_s: f64,
    /// Time of one request through an idle replica, the mean over them by their share of the throughput.
    pub latency_ms: f64,
}

/// Where one model is, what that should cost, and how far it is from the best there could be.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// The plan in force.
    pub plan: u64,
    /// The plugin that placed it.
    pub policy: String,
    /// Generation of the allocation slot that placed it.
    pub generation: u64,
    /// `latency`, `throughput` or `balanced`.
    pub objective: String,
    /// Blocks of the model.
    pub blocks: u32,
    /// Its chains.
    pub replicas: Vec<ExplainedReplica>,
    /// Expected requests per second over all replicas.
    pub throughput_per_s: f64,
    /// Requests per second that no plan can exceed; 0 where none is known.
    pub bound_per_s: f64,
    /// How far predicted stage times are from measured ones; none before any was measured.
    #[serde(default)]
    pub prediction: Option<PredictionError>,
    /// Why it could not be placed, or not better, when it was last tried.
    #[serde(default)]
    pub refused: Option<Refused>,
    /// What would make the plan better, the most helpful first. Empty unless it was asked for.
    #[serde(default)]
    pub helps: Vec<Help>,
    /// Sentences that a reader should know, such as which devices share cores, or why the model is not placed.
    pub notes: Vec<String>,
}

/// One chain with what it is expected to do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExplainedReplica {
    /// In order.
    pub stages: Vec<ExplainedStage>,
    /// Time on the way from each stage to the next.
    pub hops_ms: Vec<f64>,
    /// Time of one request through the idle chain.
    pub latency_ms: f64,
    /// Time between two answers when requests queue.
    pub period_ms: f64,
    /// Index of the slowest stage.
    pub bottleneck: u32,
}

/// One stage with what it takes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExplainedStage {
    /// Where and which blocks.
    #[serde(flatten)]
    pub stage: Stage,
    /// What a plan made now would reckon with: the cost model, refined by what stages of the model were measured to take.
    pub predicted_ms: f64,
    /// What was expected when the stage became part of the plan; none after a restart of the central.
    #[serde(default)]
    pub planned_ms: Option<f64>,
    /// What was measured, once there are runs.
    pub measured_ms: Option<f64>,
    /// How much more is predicted than was measured: 0.1 for a tenth, below 0 where it takes longer than predicted.
    #[serde(default)]
    pub error_ratio: Option<f64>,
    /// Runs behind what was measured.
    #[serde(default)]
    pub runs: u32,
    /// Memory that the shard takes there.
    pub memory_bytes: u64,
    /// Memory that the offer's pool has.
    pub memory_bytes_max: u64,
}

/// How far predictions of stages are from what was measured, without the direction.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PredictionError {
    /// Stages that were measured.
    pub stages: u32,
    /// The mean over them: 0.1 for a tenth.
    pub mean_ratio: f64,
    /// The largest.
    pub max_ratio: f64,
}

/// Why a model has no plan, or keeps the one before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// What the policy said.
    pub reason: String,
    /// What fails: `memory`, `roles`, `stages_min`, `exclusions` or `devices`; empty if there is room and the policy had a reason of
    /// its own.
    pub constraint: String,
    /// The same in a sentence, with how much is missing where it is nearest to being enough.
    pub shortfall: String,
    /// The offer that is nearest to being enough.
    pub nearest: Option<String>,
    /// Memory that it lacks; 0 where memory is not what fails.
    pub short_bytes: u64,
    /// What each offer could hold.
    pub rooms: Vec<Room>,
    /// Loads that were refused and are not tried again, each with its reason.
    pub exclusions: Vec<String>,
}

/// What one offer could hold of a model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Room {
    /// Which offer.
    pub offer: String,
    /// Memory that is left for the model.
    pub free_bytes: u64,
    /// Memory that all of it would take there.
    pub whole_bytes: u64,
    /// The most consecutive blocks that fit.
    pub blocks: u32,
    /// Places in a chain that the offer does not take.
    pub missing_roles: Vec<String>,
}

/// Something that would make a plan better.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Help {
    /// What is changed, such as `one more device like pi-4`.
    pub change: String,
    /// `anew`, `device`, `memory` or `link`.
    pub kind: String,
    /// What is gained in the model's objective: 0.5 for half as much again; none where the model could be served at all only so.
    pub gain_ratio: Option<f64>,
}

/// The query of `GET /plan/explain/MODEL`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExplainQuery {
    /// Whether to ask the allocation policy what would help.
    #[serde(default)]
    pub advise: bool,
}

impl Explanation {
    /// How far below the bound the plan is: 0 for none, 0.1 for a tenth.
    pub fn gap_ratio(&self) -> f64 {
        if self.bound_per_s > 0.0 { (1.0 - self.throughput_per_s / self.bound_per_s).max(0.0) } else { 0.0 }
    }
}

impl From<&plan::Plan> for Plan {
    fn from(plan: &plan::Plan) -> Self {
        let model = |(id, replicas): (&ModelId, &Vec<plan::Replica>)| PlannedModel {
            name: id.name.to_string(),
            version: id.version,
            replicas: replicas.iter().map(|replica| Replica { stages: replica.stages.iter().map(Stage::from).collect() }).collect(),
        };
        Self { number: plan.number.0, models: plan.models.iter().map(model).collect() }
    }
}

impl From<&plan::Stage> for Stage {
    fn from(stage: &plan::Stage) -> Self {
        Self { device: stage.offer.device.to_string(), accelerator: stage.offer.accelerator.to_string(), start: stage.range.start(), end: stage.range.end() }
    }
}

impl TryFrom<Plan> for plan::Plan {
    type Error = CoreError;

    fn try_from(wire: Plan) -> Result<Self, CoreError> {
        let mut models = BTreeMap::new();
        for model in wire.models {
            let id = ModelId { name: ModelName::parse(&model.name)?, version: model.version };
            let replica =
                |replica: Replica| Ok(plan::Replica { stages: replica.stages.into_iter().map(plan::Stage::try_from).collect::<Result<_, CoreError>>()? });
            models.insert(id, model.replicas.into_iter().map(replica).collect::<Result<Vec<_>, CoreError>>()?);
        }
        Ok(Self { number: PlanNumber(wire.number), models })
    }
}

impl TryFrom<Stage> for plan::Stage {
    type Error = CoreError;

    fn try_from(wire: Stage) -> Result<Self, CoreError> {
        let offer = OfferId { device: DeviceId::parse(&wire.device)?, accelerator: AcceleratorName::parse(&wire.accelerator)? };
        Ok(Self { offer, range: BlockRange::new(wire.start, wire.end)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_as_it_was_written() {
        let json = r#"{"number":3,"models":[{"name":"digits","version":1,"replicas":[{"stages":[{"device":"local-1","accelerator":"cpu","start":0,"end":4},{"device":"local-2","accelerator":"cpu","start":4,"end":9}]}]}]}"#;
        let wire: Plan = serde_json::from_str(json).expect("a plan");
        let domain = plan::Plan::try_from(wire.clone()).expect("names and ranges are sound");
        assert_eq!(domain.number, PlanNumber(3));
        assert_eq!(Plan::from(&domain), wire);
        assert_eq!(serde_json::to_string(&wire).expect("to memory"), json);
    }

    #[test]
    fn a_plan_with_an_empty_range_is_refused() {
        let stage = Stage { device: "a".into(), accelerator: "cpu".into(), start: 4, end: 4 };
        assert_eq!(plan::Stage::try_from(stage).expect_err("empty").to_string(), "range [4..4) holds no block");
    }
}
