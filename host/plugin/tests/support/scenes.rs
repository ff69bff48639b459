//! Topologies, problems and hosts that tests of several files ask for.
#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use host_core::{
    cost::CostModel,
    device::{Pressures, Roles},
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId},
    link::{Links, Speed},
    model::{Block, ModelProfile},
    plan::{OfferCapacity, Stage},
    problem::{Placement, Problem, ProblemDevice, ProblemOffer},
    shard::BlockRange,
    topology::{PressureTable, RouteRequest, RoutingSnapshot, Segment, ServedModel, Topology, TopologyDevice},
    units::{Bytes, Millis},
};
use host_engine::Engines;
use host_plugin::{CodeFolder, EventSink, PluginConfig, PluginEvent, PluginHost};

pub fn model_id() -> ModelId {
    ModelId { name: ModelName::parse("digits").expect("a name"), version: 1 }
}

fn offer_id(index: u32) -> OfferId {
    OfferId { device: DeviceId::parse(&format!("d{index}")).expect("a name"), accelerator: AcceleratorName::parse("cpu").expect("a name") }
}

/// A model in so many replicas of two stages each.
pub fn snapshot(number: u32, replicas: u32, pressure: f64) -> RoutingSnapshot {
    let segment = |replica: u32, position: u32| Segment {
        stage: Stage { offer: offer_id(replica), range: BlockRange::new(position, position + 1).expect("not empty") },
        device: replica,
        replica,
        position,
        run: Millis(1.0),
        divisible: false,
    };
    let segments = (0..replicas).flat_map(|replica| [segment(replica, 0), segment(replica, 1)]).collect();
    let topology = Topology {
        number,
        models: vec![ServedModel { id: model_id(), blocks: 2, borders: vec![Bytes(64); 2], segments }],
        devices: (0..replicas).map(|index| TopologyDevice { id: offer_id(index).device, site: 0 }).collect(),
        links: Links::default(),
        ..Topology::default()
    };
    let pressure_of = |index: u32| Pressures { cpu: if index == 0 { pressure } else { 0.0 }, ..Pressures::default() };
    let pressures = PressureTable { number: (pressure * 10.0) as u64 + 1, devices: (0..replicas).map(|index| (index, pressure_of(index))).collect() };
    RoutingSnapshot { topology: Arc::new(topology), pressures: Arc::new(pressures) }
}

pub fn request(ordinal: u32, segments: u32) -> RouteRequest {
    RouteRequest { model: 0, ordinal, random: 0.5, sequence_key: 0, input: Bytes(64), outstanding: vec![0; segments as usize] }
}

/// Six blocks of 1 MiB on so many devices that hold them all.
pub fn problem(devices: u32, stages_min: u32) -> Problem {
    let block = Block { flops: 1e9, weights: Bytes::mib(1), border: Bytes(1024), ..Block::default() };
    let offer = |index: u32| ProblemOffer {
        id: offer_id(index),
        device: index,
        capacity: OfferCapacity { pool: 0, memory: Bytes::mib(64), weight_factor: 1.2, fixed: Bytes::mib(1), roles: Roles::ALL },
        cost: CostModel::UNCALIBRATED,
        busy_ratio: 0.0,
        joined: index,
        held: Vec::new(),
    };
    Problem {
        model: Arc::new(ModelProfile::new(model_id(), vec![block; 6], Vec::new(), Bytes(64)).expect("a sound model")),
        devices: (0..devices).map(|index| ProblemDevice { id: offer_id(index).device, site: 0 }).collect(),
        offers: (0..devices).map(offer).collect(),
        links: Vec::new(),
        within_site: Speed::FREE,
        between_sites: Speed::FREE,
        placement: Placement { stages_min, ..Placement::default() }.clamped(6, devices),
        current: Vec::new(),
        horizon: Millis(600_000.0),
        exclusions: Vec::new(),
    }
}

/// A host whose events are kept.
pub struct Scene {
    pub host: PluginHost,
    events: Arc<Mutex<Vec<PluginEvent>>>,
}

impl Scene {
    pub fn new(config: PluginConfig) -> Self {
        Self::with_engines(config, Engines::default())
    }

    /// Native code is kept between tests and runs, unless the config says where or a child is to compile.
    pub fn with_engines(mut config: PluginConfig, engines: Engines) -> Self {
        if config.compiler.is_none() {
            config.code.get_or_insert_with(|| CodeFolder::at(concat!(env!("CARGO_TARGET_TMPDIR"), "/native-code")));
        }
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        let host = PluginHost::start(config, Arc::new(engines), EventSink::new(move |event| sink.lock().expect("no test panics here").push(event)));
        Self { host: host.expect("the built-in plugins start"), events }
    }

    pub fn events(&self) -> Vec<PluginEvent> {
        self.events.lock().expect("no test panics here").clone()
    }

    /// Waits until an event comes that is wanted; panics after 30 s.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&PluginEvent) -> bool) -> PluginEvent {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(event) = self.events().into_iter().find(|event| wanted(event)) {
                return event;
            }
            assert!(Instant::now() < end, "no {what} came: {:?}", self.events());
            std::thread::yield_now();
        }
    }
}
