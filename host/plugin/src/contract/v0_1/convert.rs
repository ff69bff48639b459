//! Between the contract's types and those of the domain, both ways. The only place where both are named.

use host_core::{
    cost::CostModel,
    device::{Pressures, Roles},
    ids::DeviceId,
    link::Speed,
    model::Block,
    policy::{Arrival, LineState, Observation, Refusal, StageObservation, Verdict},
    problem::{Objective, Problem, ProblemOffer, Proposal, ProposedReplica, ProposedStage},
    topology::{RouteRequest, Segment, ServedModel, Topology},
    units::{Bytes, Millis},
};
use host_engine::{ElementType, EngineInfo};

use super::bindings::{self, engine, log, types};
use crate::{
    adapter::{AdapterOffer, EngineFailure, Fit, Phase, RunCall},
    error::EngineErrorKind,
    events::LogLevel,
};

use bindings::{
    adapter::exports::shardhost::plugin::adapter as wit_adapter, allocation::exports::shardhost::plugin::allocation as wit_allocation,
    queueing::exports::shardhost::plugin::queueing as wit_queueing, routing::exports::shardhost::plugin::routing as wit_routing,
};

impl From<log::Level> for LogLevel {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Debug => Self::Debug,
            log::Level::Info => Self::Info,
            log::Level::Warn => Self::Warn,
            log::Level::Error => Self::Error,
        }
    }
}

/// Longest reason of a refusal that is kept, in characters.
const REASON_CHARACTERS_MAX: usize = 1000;

impl From<types::Refusal> for Refusal {
    fn from(refusal: types::Refusal) -> Self {
        let reason = refusal.reason.chars().take(REASON_CHARACTERS_MAX).collect();
        Self { reason, nearest: refusal.nearest, short: Bytes::from_f64(refusal.short_bytes) }
    }
}

macro_rules! element_types {
    ($($name:ident),*) => {
        impl From<ElementType> for types::ElementType {
            fn from(element_type: ElementType) -> Self {
                match element_type { $(ElementType::$name => Self::$name,)* }
            }
        }
        impl From<types::ElementType> for ElementType {
            fn from(element_type: types::ElementType) -> Self {
                match element_type { $(types::ElementType::$name => Self::$name,)* }
            }
        }
    };
}
element_types!(Fp64, Fp32, Fp16, Bf16, Int64, Int32, Int16, Int8, Uint64, Uint32, Uint16, Uint8, Boolean);

pub(crate) fn engine_info(info: &EngineInfo) -> engine::EngineInfo {
    engine::EngineInfo {
        name: info.name.clone(),
        version: info.version.clone(),
        accelerator: info.accelerator.clone(),
        memory_bytes: info.memory.map_or(0.0, Bytes::as_f64),
        weight_factor: info.weight_factor,
        fixed_bytes: info.fixed_bytes.as_f64(),
        element_types: info.element_types.iter().map(|&element_type| element_type.into()).collect(),
        attributes: info.attributes.clone(),
    }
}

pub(crate) fn engine_error(error: &host_engine::Error) -> engine::EngineError {
    use host_engine::Fault;

    let kind = match error.fault() {
        Fault::UnknownEngine { .. } => engine::EngineErrorKind::UnknownEngine,
        Fault::Unsupported { .. } => engine::EngineErrorKind::Unsupported,
        Fault::TooLarge { .. } => engine::EngineErrorKind::Exhausted,
        Fault::Probe { .. } => engine::EngineErrorKind::ProbeFailed,
        Fault::Engine { .. } => engine::EngineErrorKind::Failed,
        _ => engine::EngineErrorKind::Invalid,
    };
    engine::EngineError { kind, message: error.to_string() }
}

impl From<engine::EngineErrorKind> for EngineErrorKind {
    fn from(kind: engine::EngineErrorKind) -> Self {
        match kind {
            engine::EngineErrorKind::UnknownEngine => Self::UnknownEngine,
            engine::EngineErrorKind::Unsupported => Self::Unsupported,
            engine::EngineErrorKind::Invalid => Self::Invalid,
            engine::EngineErrorKind::Exhausted => Self::Exhausted,
            engine::EngineErrorKind::ProbeFailed => Self::ProbeFailed,
            engine::EngineErrorKind::Failed => Self::Failed,
        }
    }
}

impl From<engine::EngineError> for EngineFailure {
    fn from(error: engine::EngineError) -> Self {
        Self { kind: error.kind.into(), message: error.message }
    }
}

impl From<&RunCall> for wit_adapter::Call {
    fn from(call: &RunCall) -> Self {
        let phase = match call.phase {
            Phase::Whole => wit_adapter::Phase::Whole,
            Phase::Prefill => wit_adapter::Phase::Prefill,
            Phase::Decode => wit_adapter::Phase::Decode,
        };
        Self { request: call.request, sequence: call.sequence, phase, past_tokens: call.past_tokens, new_tokens: call.new_tokens, batch: call.batch }
    }
}

impl From<wit_adapter::Fit> for Fit {
    fn from(fit: wit_adapter::Fit) -> Self {
        Self { memory: Bytes::from_f64(fit.memory_bytes), attributes: fit.attributes }
    }
}

impl From<wit_adapter::Offer> for AdapterOffer {
    fn from(offer: wit_adapter::Offer) -> Self {
        let takes = |role| offer.roles.contains(role);
        Self {
            roles: Roles { head: takes(wit_adapter::Roles::HEAD), body: takes(wit_adapter::Roles::BODY), tail: takes(wit_adapter::Roles::TAIL) },
            accelerator: offer.accelerator,
            memory_pool: offer.memory_pool,
            memory: (offer.memory_bytes > 0.0).then(|| Bytes::from_f64(offer.memory_bytes)),
            weight_factor: offer.weight_factor,
            fixed: Bytes::from_f64(offer.fixed_bytes),
            element_types: offer.element_types.into_iter().map(ElementType::from).collect(),
            attributes: offer.attributes,
        }
    }
}

/// A speed without a limit becomes the fastest that every language can read.
fn bytes_per_ms(speed: Speed) -> f64 {
    speed.bytes_per_ms.min(1e15)
}

impl From<Speed> for wit_allocation::Speed {
    fn from(speed: Speed) -> Self {
        Self { latency_ms: speed.latency.0, bytes_per_ms: bytes_per_ms(speed) }
    }
}

impl From<Speed> for wit_routing::Speed {
    fn from(speed: Speed) -> Self {
        Self { latency_ms: speed.latency.0, bytes_per_ms: bytes_per_ms(speed) }
    }
}

impl From<&Block> for wit_allocation::Block {
    fn from(block: &Block) -> Self {
        Self {
            flops: block.flops,
            weight_bytes: block.weights.as_f64(),
            activation_bytes: block.activations.as_f64(),
            border_bytes: block.border.as_f64(),
            kv_bytes_per_token: block.kv_per_token.as_f64(),
            workspace_bytes: block.workspace.as_f64(),
        }
    }
}

impl From<CostModel> for wit_allocation::Cost {
    fn from(cost: CostModel) -> Self {
        Self { gflop_ms: cost.gflop_ms, weight_mb_ms: cost.weight_mb_ms, activation_mb_ms: cost.activation_mb_ms, fixed_ms: cost.fixed_ms }
    }
}

impl From<Roles> for wit_allocation::Roles {
    fn from(roles: Roles) -> Self {
        let flag = |takes: bool, role: Self| if takes { role } else { Self::empty() };
        flag(roles.head, Self::HEAD) | flag(roles.body, Self::BODY) | flag(roles.tail, Self::TAIL)
    }
}

impl From<&ProblemOffer> for wit_allocation::Offer {
    fn from(offer: &ProblemOffer) -> Self {
        Self {
            id: offer.id.to_string(),
            device: offer.device,
            memory_pool: offer.capacity.pool,
            memory_bytes: offer.capacity.memory.as_f64(),
            weight_factor: offer.capacity.weight_factor,
            fixed_bytes: offer.capacity.fixed.as_f64(),
            roles: offer.capacity.roles.into(),
            cost: offer.cost.into(),
            busy_ratio: offer.busy_ratio,
            joined: offer.joined,
            attributes: offer.held.iter().map(|range| ("holds".to_owned(), format!("{}..{}", range.start(), range.end()))).collect(),
        }
    }
}

fn replica(stages: &ProposedReplica) -> wit_allocation::Replica {
    wit_allocation::Replica { stages: stages.iter().map(|stage| wit_allocation::Stage { offer: stage.offer, start: stage.start, end: stage.end }).collect() }
}

impl From<&Problem> for wit_allocation::Problem {
    fn from(problem: &Problem) -> Self {
        let model = &problem.model;
        let place = problem.placement;
        let objective = match place.objective {
            Objective::Latency => wit_allocation::Objective::Latency,
            Objective::Throughput => wit_allocation::Objective::Throughput,
            Objective::Balanced => wit_allocation::Objective::Balanced,
        };
        let index = |offer| problem.offers.iter().zip(0_u32..).find(|(known, _)| known.id == offer).map(|(_, index)| index);
        let exclusions = problem.exclusions.iter().filter(|exclusion| exclusion.shard.model == *model.id()).filter_map(|exclusion| {
            let range = exclusion.shard.range;
            Some(wit_allocation::Exclusion { offer: index(exclusion.offer.clone())?, start: range.start(), end: range.end(), reason: exclusion.reason.clone() })
        });
        Self {
            model: model.id().to_string(),
            blocks: model.blocks().iter().map(Into::into).collect(),
            shared_weights: model
                .shared()
                .iter()
                .map(|weight| wit_allocation::SharedWeight { bytes: weight.size.as_f64(), blocks: weight.blocks.clone() })
                .collect(),
            input_bytes: model.input().as_f64(),
            sequences: model.sequences(),
            tokens: model.tokens(),
            devices: problem
                .devices
                .iter()
                .map(|device| wit_allocation::Device { id: device.id.to_string(), site: device.site, attributes: Vec::new() })
                .collect(),
            offers: problem.offers.iter().map(Into::into).collect(),
            links: problem.links.iter().map(|link| wit_allocation::Link { source: link.source, target: link.target, speed: link.speed.into() }).collect(),
            within_site: problem.within_site.into(),
            between_sites: problem.between_sites.into(),
            placement: wit_allocation::Placement { objective, stages_min: place.stages_min, stages_max: place.stages_max, replicas_max: place.replicas_max },
            current: problem.current.iter().map(replica).collect(),
            horizon_ms: problem.horizon.0,
            exclusions: exclusions.collect(),
            attributes: Vec::new(),
        }
    }
}

impl From<wit_allocation::Proposal> for Proposal {
    fn from(proposal: wit_allocation::Proposal) -> Self {
        let stage = |stage: wit_allocation::Stage| ProposedStage { offer: stage.offer, start: stage.start, end: stage.end };
        let replicas = proposal.replicas.into_iter().map(|replica| replica.stages.into_iter().map(stage).collect());
        Self { replicas: replicas.collect(), bound: proposal.bound }
    }
}

impl From<&Observation> for wit_allocation::Observation {
    fn from(observation: &Observation) -> Self {
        let stage = |stage: &StageObservation| wit_allocation::StageObservation {
            replica: stage.replica,
            stage: stage.stage,
            predicted_ms: stage.predicted.0,
            measured_ms: stage.measured.0,
            runs: stage.runs,
        };
        Self {
            problem: (&observation.problem).into(),
            stages: observation.stages.iter().map(stage).collect(),
            pressure_max: observation.pressure_max,
            pressure_mean: observation.pressure_mean,
            arrival_ms: observation.arrival.0,
        }
    }
}

impl From<wit_allocation::Verdict> for Verdict {
    fn from(verdict: wit_allocation::Verdict) -> Self {
        match verdict {
            wit_allocation::Verdict::Keep => Self::Keep,
            wit_allocation::Verdict::Replan(reason) => Self::Replan(reason.chars().take(REASON_CHARACTERS_MAX).collect()),
        }
    }
}

impl From<&Segment> for wit_routing::Segment {
    fn from(segment: &Segment) -> Self {
        let range = segment.range();
        Self {
            device: segment.device,
            replica: segment.replica,
            stage: segment.position,
            start: range.start(),
            end: range.end(),
            run_ms: segment.run.0,
            divisible: segment.divisible,
        }
    }
}

impl From<&ServedModel> for wit_routing::ServedModel {
    fn from(model: &ServedModel) -> Self {
        Self {
            id: model.id.to_string(),
            blocks: model.blocks,
            border_bytes: model.borders.iter().map(|size| size.as_f64()).collect(),
            segments: model.segments.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Topology> for wit_routing::Topology {
    fn from(topology: &Topology) -> Self {
        let index = |id: &DeviceId| topology.devices.iter().zip(0_u32..).find(|(device, _)| device.id == *id).map(|(_, index)| index);
        let links = topology
            .links
            .measured
            .iter()
            .filter_map(|((source, target), &speed)| Some(wit_routing::Link { source: index(source)?, target: index(target)?, speed: speed.into() }));
        Self {
            number: topology.number,
            models: topology.models.iter().map(Into::into).collect(),
            devices: topology
                .devices
                .iter()
                .map(|device| wit_routing::Device { id: device.id.to_string(), site: device.site, attributes: Vec::new() })
                .collect(),
            links: links.collect(),
            within_site: topology.links.within_site.into(),
            between_sites: topology.links.between_sites.into(),
        }
    }
}

pub(crate) fn pressure((device, pressures): &(u32, Pressures)) -> wit_routing::Pressure {
    wit_routing::Pressure {
        device: *device,
        cpu: pressures.cpu,
        memory: pressures.memory,
        accelerator: pressures.accelerator,
        bandwidth: pressures.bandwidth,
        latency_ms: pressures.latency.0,
    }
}

/// The request keeps its list of outstanding requests: a guest is handed a copy.
pub(crate) fn route_request(request: &RouteRequest) -> wit_routing::RouteRequest {
    wit_routing::RouteRequest {
        model: request.model,
        ordinal: request.ordinal,
        random: request.random,
        sequence_key: request.sequence_key,
        input_bytes: request.input.as_f64(),
        outstanding: request.outstanding.clone(),
    }
}

impl From<&Arrival> for wit_queueing::Arrival {
    fn from(arrival: &Arrival) -> Self {
        Self {
            ordinal: arrival.ordinal,
            class: arrival.class,
            now_ms: arrival.now.0,
            deadline_ms: arrival.deadline.unwrap_or(Millis::ZERO).0,
            expected_ms: arrival.expected.0,
            classes: arrival.classes.iter().map(|class| wit_queueing::ClassState { depth: class.depth, last_rank: class.last_rank }).collect(),
            depth_max: arrival.depth_max,
            attributes: line_attributes(&arrival.line),
        }
    }
}

/// What the contract's record has no fields for, by the names that the SDK reads.
fn line_attributes(line: &LineState) -> Vec<(String, String)> {
    let turn = line.turn.map(|turn| ("turn-ms".to_owned(), turn.0.to_string()));
    [("served-rank".to_owned(), line.served_rank.to_string())].into_iter().chain(turn).collect()
}
