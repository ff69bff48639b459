//! Problems, observations and proposals as a recording has them.

use std::sync::Arc;

use host_core::{
    cost::CostModel,
    device::Roles,
    model::{self, ModelProfile},
    plan::OfferCapacity,
    policy,
    problem::{self, Objective, Placement, ProblemDevice, ProblemLink, ProblemOffer, ProposedReplica, ProposedStage},
    shard::{BlockRange, ShardId},
    units::Bytes,
};
use serde::{Deserialize, Serialize};

use super::{
    Exact,
    routing::{Model, Speed, device_id, offer_id, refused},
};
use crate::error::{Error, Fault};

/// Everything that an allocation may depend on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Problem {
    #[serde(flatten)]
    id: Model,
    blocks: Vec<Block>,
    shared_weights: Vec<SharedWeight>,
    input_bytes: u64,
    sequences: u32,
    tokens: u32,
    /// Device and index of its site.
    devices: Vec<(String, u32)>,
    offers: Vec<Offer>,
    links: Vec<(u32, u32, Speed)>,
    within_site: Speed,
    between_sites: Speed,
    objective: String,
    stages_min: u32,
    stages_max: u32,
    replicas_max: u32,
    current: Vec<Vec<Stage>>,
    horizon_ms: Exact,
    exclusions: Vec<Exclusion>,
}

/// Offer, first block, one past the last block.
type Stage = (u32, u32, u32);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Block {
    name: String,
    flops: Exact,
    weight_bytes: u64,
    activation_bytes: u64,
    border_bytes: u64,
    kv_bytes_per_token: u64,
    workspace_bytes: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct SharedWeight {
    bytes: u64,
    blocks: Vec<u32>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Offer {
    id: String,
    device: u32,
    memory_pool: u32,
    memory_bytes: u64,
    weight_factor: Exact,
    fixed_bytes: u64,
    head: bool,
    body: bool,
    tail: bool,
    gflop_ms: Exact,
    weight_mb_ms: Exact,
    activation_mb_ms: Exact,
    fixed_ms: Exact,
    busy_ratio: Exact,
    joined: u32,
    /// Not in recordings that were made before it was asked for.
    #[serde(default)]
    held: Vec<(u32, u32)>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Exclusion {
    offer: String,
    #[serde(flatten)]
    id: Model,
    start: u32,
    end: u32,
    reason: String,
}

/// What a policy is asked to review.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Observation {
    problem: Problem,
    /// Replica, stage, predicted and measured milliseconds, runs.
    stages: Vec<(u32, u32, Exact, Exact, u32)>,
    pressure_max: Exact,
    pressure_mean: Exact,
    arrival_ms: Exact,
}

/// The replicas that should serve a model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    replicas: Vec<Vec<Stage>>,
    bound: Exact,
}

fn written(replicas: &[ProposedReplica]) -> Vec<Vec<Stage>> {
    replicas.iter().map(|stages| stages.iter().map(|stage| (stage.offer, stage.start, stage.end)).collect()).collect()
}

fn read(replicas: Vec<Vec<Stage>>) -> Vec<ProposedReplica> {
    let stage = |(offer, start, end): Stage| ProposedStage { offer, start, end };
    replicas.into_iter().map(|stages| stages.into_iter().map(stage).collect()).collect()
}

impl From<&problem::Proposal> for Proposal {
    fn from(proposal: &problem::Proposal) -> Self {
        Self { replicas: written(&proposal.replicas), bound: Exact(proposal.bound) }
    }
}

impl From<Proposal> for problem::Proposal {
    fn from(proposal: Proposal) -> Self {
        Self { replicas: read(proposal.replicas), bound: proposal.bound.0 }
    }
}

fn word(objective: Objective) -> &'static str {
    match objective {
        Objective::Latency => "latency",
        Objective::Throughput => "throughput",
        Objective::Balanced => "balanced",
    }
}

fn objective(text: &str) -> Result<Objective, Error> {
    let unknown = || Fault::UnknownWord { what: "objective", word: text.to_owned(), known: "latency, throughput, balanced" };
    [Objective::Latency, Objective::Throughput, Objective::Balanced].into_iter().find(|objective| word(*objective) == text).ok_or_else(|| unknown().into())
}

impl From<&problem::Problem> for Problem {
    fn from(problem: &problem::Problem) -> Self {
        let (model, place) = (&problem.model, problem.placement);
        let exclusion = |exclusion: &problem::Exclusion| Exclusion {
            offer: exclusion.offer.to_string(),
            id: (&exclusion.shard.model).into(),
            start: exclusion.shard.range.start(),
            end: exclusion.shard.range.end(),
            reason: exclusion.reason.clone(),
        };
        Self {
            id: model.id().into(),
            blocks: model.blocks().iter().map(Into::into).collect(),
            shared_weights: model.shared().iter().map(|weight| SharedWeight { bytes: weight.size.0, blocks: weight.blocks.clone() }).collect(),
            input_bytes: model.input().0,
            sequences: model.sequences(),
            tokens: model.tokens(),
            devices: problem.devices.iter().map(|device| (device.id.to_string(), device.site)).collect(),
            offers: problem.offers.iter().map(Into::into).collect(),
            links: problem.links.iter().map(|link| (link.source, link.target, link.speed.into())).collect(),
            within_site: problem.within_site.into(),
            between_sites: problem.between_sites.into(),
            objective: word(place.objective).to_owned(),
            stages_min: place.stages_min,
            stages_max: place.stages_max,
            replicas_max: place.replicas_max,
            current: written(&problem.current),
            horizon_ms: problem.horizon.into(),
            exclusions: problem.exclusions.iter().map(exclusion).collect(),
        }
    }
}

impl TryFrom<Problem> for problem::Problem {
    type Error = Error;

    fn try_from(problem: Problem) -> Result<Self, Error> {
        let shared = problem.shared_weights.into_iter().map(|weight| model::SharedWeight { size: Bytes(weight.bytes), blocks: weight.blocks });
        let blocks = problem.blocks.into_iter().map(Into::into).collect();
        let profile = ModelProfile::new(problem.id.try_into()?, blocks, shared.collect(), Bytes(problem.input_bytes)).map_err(refused)?;
        let exclusion = |exclusion: Exclusion| -> Result<problem::Exclusion, Error> {
            let range = BlockRange::new(exclusion.start, exclusion.end).map_err(refused)?;
            Ok(problem::Exclusion { offer: offer_id(&exclusion.offer)?, shard: ShardId { model: exclusion.id.try_into()?, range }, reason: exclusion.reason })
        };
        Ok(Self {
            model: Arc::new(profile.with_sequences(problem.sequences, problem.tokens)),
            devices: problem.devices.into_iter().map(|(id, site)| Ok(ProblemDevice { id: device_id(&id)?, site })).collect::<Result<_, Error>>()?,
            offers: problem.offers.into_iter().map(TryInto::try_into).collect::<Result<_, Error>>()?,
            links: problem.links.into_iter().map(|(source, target, speed)| ProblemLink { source, target, speed: speed.into() }).collect(),
            within_site: problem.within_site.into(),
            between_sites: problem.between_sites.into(),
            placement: Placement {
                objective: objective(&problem.objective)?,
                stages_min: problem.stages_min,
                stages_max: problem.stages_max,
                replicas_max: problem.replicas_max,
            },
            current: read(problem.current),
            horizon: problem.horizon_ms.into(),
            exclusions: problem.exclusions.into_iter().map(exclusion).collect::<Result<_, Error>>()?,
        })
    }
}

impl From<&model::Block> for Block {
    fn from(block: &model::Block) -> Self {
        Self {
            name: block.name.clone(),
            flops: Exact(block.flops),
            weight_bytes: block.weights.0,
            activation_bytes: block.activations.0,
            border_bytes: block.border.0,
            kv_bytes_per_token: block.kv_per_token.0,
            workspace_bytes: block.workspace.0,
        }
    }
}

impl From<Block> for model::Block {
    fn from(block: Block) -> Self {
        Self {
            name: block.name,
            flops: block.flops.0,
            weights: Bytes(block.weight_bytes),
            activations: Bytes(block.activation_bytes),
            border: Bytes(block.border_bytes),
            kv_per_token: Bytes(block.kv_bytes_per_token),
            workspace: Bytes(block.workspace_bytes),
        }
    }
}

impl From<&ProblemOffer> for Offer {
    fn from(offer: &ProblemOffer) -> Self {
        let (capacity, cost) = (&offer.capacity, offer.cost);
        Self {
            id: offer.id.to_string(),
            device: offer.device,
            memory_pool: capacity.pool,
            memory_bytes: capacity.memory.0,
            weight_factor: Exact(capacity.weight_factor),
            fixed_bytes: capacity.fixed.0,
            head: capacity.roles.head,
            body: capacity.roles.body,
            tail: capacity.roles.tail,
            gflop_ms: Exact(cost.gflop_ms),
            weight_mb_ms: Exact(cost.weight_mb_ms),
            activation_mb_ms: Exact(cost.activation_mb_ms),
            fixed_ms: Exact(cost.fixed_ms),
            busy_ratio: Exact(offer.busy_ratio),
            joined: offer.joined,
            held: offer.held.iter().map(|range| (range.start(), range.end())).collect(),
        }
    }
}

impl TryFrom<Offer> for ProblemOffer {
    type Error = Error;

    fn try_from(offer: Offer) -> Result<Self, Error> {
        Ok(Self {
            id: offer_id(&offer.id)?,
            device: offer.device,
            capacity: OfferCapacity {
                pool: offer.memory_pool,
                memory: Bytes(offer.memory_bytes),
                weight_factor: offer.weight_factor.0,
                fixed: Bytes(offer.fixed_bytes),
                roles: Roles { head: offer.head, body: offer.body, tail: offer.tail },
            },
            cost: CostModel {
                gflop_ms: offer.gflop_ms.0,
                weight_mb_ms: offer.weight_mb_ms.0,
                activation_mb_ms: offer.activation_mb_ms.0,
                fixed_ms: offer.fixed_ms.0,
            },
            busy_ratio: offer.busy_ratio.0,
            joined: offer.joined,
            held: offer.held.into_iter().map(|(start, end)| BlockRange::new(start, end).map_err(refused)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&policy::Observation> for Observation {
    fn from(observation: &policy::Observation) -> Self {
        let stages = observation.stages.iter().map(|stage| (stage.replica, stage.stage, stage.predicted.into(), stage.measured.into(), stage.runs));
        Self {
            problem: (&observation.problem).into(),
            stages: stages.collect(),
            pressure_max: Exact(observation.pressure_max),
            pressure_mean: Exact(observation.pressure_mean),
            arrival_ms: observation.arrival.into(),
        }
    }
}

impl TryFrom<Observation> for policy::Observation {
    type Error = Error;

    fn try_from(observation: Observation) -> Result<Self, Error> {
        let stage = |(replica, stage, predicted, measured, runs): (u32, u32, Exact, Exact, u32)| policy::StageObservation {
            replica,
            stage,
            predicted: predicted.into(),
            measured: measured.into(),
            runs,
        };
        Ok(Self {
            problem: observation.problem.try_into()?,
            stages: observation.stages.into_iter().map(stage).collect(),
            pressure_max: observation.pressure_max.0,
            pressure_mean: observation.pressure_mean.0,
            arrival: observation.arrival_ms.into(),
        })
    }
}
