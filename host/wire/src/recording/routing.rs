//! Topologies, pressures and requests as a recording has them.

use host_core::{
    device,
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId, PlanNumber},
    link::{self, Links},
    plan::Stage,
    shard::BlockRange,
    topology,
    units::Bytes,
};
use serde::{Deserialize, Serialize};

use super::Exact;
use crate::error::{Error, Fault};

/// What can be served.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Topology {
    number: u32,
    plan: u64,
    models: Vec<ServedModel>,
    /// Device and index of its site.
    devices: Vec<(String, u32)>,
    links: Vec<(String, String, Speed)>,
    within_site: Speed,
    between_sites: Speed,
}

/// What it costs to send something.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Speed {
    latency_ms: Exact,
    bytes_per_ms: Exact,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct ServedModel {
    #[serde(flatten)]
    id: Model,
    blocks: u32,
    border_bytes: Vec<u64>,
    segments: Vec<Segment>,
}

/// A model's name and version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Model {
    model: String,
    version: u32,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Segment {
    offer: String,
    start: u32,
    end: u32,
    device: u32,
    replica: u32,
    stage: u32,
    run_ms: Exact,
    divisible: bool,
}

/// How hard the devices of a topology work.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pressures {
    /// Number of the topology whose devices are meant.
    pub(super) topology: u32,
    number: u64,
    /// Device, then cpu, memory, accelerator, bandwidth as ratios, then latency in milliseconds.
    devices: Vec<(u32, [Exact; 5])>,
}

/// One request to route.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RouteRequest {
    model: u32,
    ordinal: u32,
    random: Exact,
    sequence_key: u32,
    input_bytes: u64,
    outstanding: Vec<u32>,
}

impl From<link::Speed> for Speed {
    fn from(speed: link::Speed) -> Self {
        Self { latency_ms: speed.latency.into(), bytes_per_ms: Exact(speed.bytes_per_ms) }
    }
}

impl From<Speed> for link::Speed {
    fn from(speed: Speed) -> Self {
        Self { latency: speed.latency_ms.into(), bytes_per_ms: speed.bytes_per_ms.0 }
    }
}

impl From<&ModelId> for Model {
    fn from(id: &ModelId) -> Self {
        Self { model: id.name.to_string(), version: id.version }
    }
}

impl TryFrom<Model> for ModelId {
    type Error = Error;

    fn try_from(id: Model) -> Result<Self, Error> {
        Ok(Self { name: ModelName::parse(&id.model).map_err(refused)?, version: id.version })
    }
}

/// `device/accelerator`.
pub(super) fn offer_id(text: &str) -> Result<OfferId, Error> {
    let (device, accelerator) = text.split_once('/').ok_or_else(|| Error::from(Fault::Recording { what: format!("offer `{text}` names no accelerator") }))?;
    Ok(OfferId { device: device_id(device)?, accelerator: AcceleratorName::parse(accelerator).map_err(refused)? })
}

pub(super) fn device_id(text: &str) -> Result<DeviceId, Error> {
    DeviceId::parse(text).map_err(refused)
}

/// What the domain says to a value that a recording holds.
pub(super) fn refused(error: host_core::error::Error) -> Error {
    Fault::Recording { what: error.to_string() }.into()
}

impl From<&topology::Topology> for Topology {
    fn from(topology: &topology::Topology) -> Self {
        let links = topology.links.measured.iter();
        Self {
            number: topology.number,
            plan: topology.plan.0,
            models: topology.models.iter().map(Into::into).collect(),
            devices: topology.devices.iter().map(|device| (device.id.to_string(), device.site)).collect(),
            links: links.map(|((source, target), speed)| (source.to_string(), target.to_string(), (*speed).into())).collect(),
            within_site: topology.links.within_site.into(),
            between_sites: topology.links.between_sites.into(),
        }
    }
}

impl TryFrom<Topology> for topology::Topology {
    type Error = Error;

    fn try_from(topology: Topology) -> Result<Self, Error> {
        let link = |(source, target, speed): (String, String, Speed)| Ok(((device_id(&source)?, device_id(&target)?), speed.into()));
        let device = |(id, site): (String, u32)| Ok(topology::TopologyDevice { id: device_id(&id)?, site });
        Ok(Self {
            number: topology.number,
            plan: PlanNumber(topology.plan),
            models: topology.models.into_iter().map(TryInto::try_into).collect::<Result<_, Error>>()?,
            devices: topology.devices.into_iter().map(device).collect::<Result<_, Error>>()?,
            links: Links {
                measured: topology.links.into_iter().map(link).collect::<Result<_, Error>>()?,
                within_site: topology.within_site.into(),
                between_sites: topology.between_sites.into(),
            },
        })
    }
}

impl From<&topology::ServedModel> for ServedModel {
    fn from(model: &topology::ServedModel) -> Self {
        let segment = |segment: &topology::Segment| Segment {
            offer: segment.offer().to_string(),
            start: segment.range().start(),
            end: segment.range().end(),
            device: segment.device,
            replica: segment.replica,
            stage: segment.position,
            run_ms: segment.run.into(),
            divisible: segment.divisible,
        };
        Self {
            id: (&model.id).into(),
            blocks: model.blocks,
            border_bytes: model.borders.iter().map(|border| border.0).collect(),
            segments: model.segments.iter().map(segment).collect(),
        }
    }
}

impl TryFrom<ServedModel> for topology::ServedModel {
    type Error = Error;

    fn try_from(model: ServedModel) -> Result<Self, Error> {
        let segment = |segment: Segment| -> Result<topology::Segment, Error> {
            let range = BlockRange::new(segment.start, segment.end).map_err(refused)?;
            Ok(topology::Segment {
                stage: Stage { offer: offer_id(&segment.offer)?, range },
                device: segment.device,
                replica: segment.replica,
                position: segment.stage,
                run: segment.run_ms.into(),
                divisible: segment.divisible,
            })
        };
        Ok(Self {
            id: model.id.try_into()?,
            blocks: model.blocks,
            borders: model.border_bytes.into_iter().map(Bytes).collect(),
            segments: model.segments.into_iter().map(segment).collect::<Result<_, Error>>()?,
        })
    }
}

impl Pressures {
    pub(super) fn of(topology: u32, table: &topology::PressureTable) -> Self {
        let ratios =
            |pressures: &device::Pressures| [pressures.cpu, pressures.memory, pressures.accelerator, pressures.bandwidth, pressures.latency.0].map(Exact);
        Self { topology, number: table.number, devices: table.devices.iter().map(|(device, pressures)| (*device, ratios(pressures))).collect() }
    }
}

impl From<Pressures> for topology::PressureTable {
    fn from(pressures: Pressures) -> Self {
        let device = |(device, [cpu, memory, accelerator, bandwidth, latency]): (u32, [Exact; 5])| {
            (device, device::Pressures { cpu: cpu.0, memory: memory.0, accelerator: accelerator.0, bandwidth: bandwidth.0, latency: latency.into() })
        };
        Self { number: pressures.number, devices: pressures.devices.into_iter().map(device).collect() }
    }
}

impl From<&topology::RouteRequest> for RouteRequest {
    fn from(request: &topology::RouteRequest) -> Self {
        Self {
            model: request.model,
            ordinal: request.ordinal,
            random: Exact(request.random),
            sequence_key: request.sequence_key,
            input_bytes: request.input.0,
            outstanding: request.outstanding.clone(),
        }
    }
}

impl From<RouteRequest> for topology::RouteRequest {
    fn from(request: RouteRequest) -> Self {
        Self {
            model: request.model,
            ordinal: request.ordinal,
            random: request.random.0,
            sequence_key: request.sequence_key,
            input: Bytes(request.input_bytes),
            outstanding: request.outstanding,
        }
    }
}
