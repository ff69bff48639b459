//! Guests of every released version of the contract, in every language: they must load for ever, and answer as they did.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/released.rs"]
mod released;
#[path = "support/scenes.rs"]
mod scenes;

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use host_core::{
    policy::{Arrival, ClassState, LineState, Observation, Refusal, Verdict},
    topology::{RouteRequest, RoutingSnapshot, Topology},
    units::{Bytes, Millis},
};
use host_engine::{Digest, Engines, Kind, LoadOptions, MlpSize, Tensor, generate, inspect, split};
use host_plugin::{Decision, Entry, PluginConfig, PluginSource, RunCall, SlotName};
use released::{folders, recorded, root};
use scenes::{Scene, model_id, problem, request, snapshot};

/// The guests of each version.
const RELEASED: [(&str, &[&str]); 1] = [(
    "0.1.0",
    &[
        "cpu-adapter",
        "fastest-first-c",
        "fastest-first-rust",
        "fewest-outstanding-c",
        "fewest-outstanding-javascript",
        "fewest-outstanding-python",
        "fewest-outstanding-rust",
        "fewest-outstanding-rust-without-wasi",
        "order-of-arrival-c",
        "order-of-arrival-rust",
    ],
)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released")
}

/// Where the guest of a version and a name is kept, as an author would hand it over.
fn component(version: &str, name: &str) -> PluginSource {
    let packed = fs::read(folder().join(version).join(format!("{name}.wasm.gz"))).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    PluginSource { name: format!("{name}.wasm"), bytes: bytes.into(), manifest: None }
}

/// Runs a check on each guest whose name begins so, in service on a host of its own.
fn each(named: &str, slot: Option<SlotName>, check: impl Fn(&Scene, &str)) {
    let mut found = 0;
    for (version, names) in RELEASED {
        for name in names.iter().filter(|name| name.starts_with(named)) {
            let scene = Scene::new(PluginConfig::default());
            let prepared = scene.host.prepare(&component(version, name), slot.clone(), None).unwrap_or_else(|error| panic!("{version}: {error}"));
            let installed = scene.host.enter(prepared, Entry::Settled).unwrap();
            assert_eq!(&*installed.plugin, *name);
            check(&scene, name);
            found += 1;
        }
    }
    assert!(found > 0, "no guest is called {named}");
}

/// What the guest itself answered.
fn own<T>(decision: Decision<T>, name: &str) -> Result<T, Refusal> {
    assert_eq!(decision.fallback, None, "{name} failed, and another answered");
    assert_eq!(&*decision.by.plugin, name);
    decision.answer
}

#[test]
fn guests_of_released_versions_are_all_there_and_never_replaced() {
    let versions: Vec<&str> = RELEASED.iter().map(|(version, _)| *version).collect();
    assert_eq!(folders(&root().join("wit/released")), versions, "each released version of the contract has guests here");
    assert_eq!(folders(&folder()), versions);
    for (version, names) in RELEASED {
        let recorded = recorded(&folder().join(version).join("sha256sums"));
        let files: BTreeSet<String> =
            fs::read_dir(folder().join(version)).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        let expected = names.iter().map(|name| format!("{name}.wasm.gz")).chain(["sha256sums".to_owned()]);
        assert_eq!(files, expected.collect::<BTreeSet<_>>(), "{version}");
        assert_eq!(recorded.len(), names.len());
        for name in names {
            let digest = Digest::of(&component(version, name).bytes).to_string();
            assert_eq!(digest, recorded[&format!("{name}.wasm")], "{name} of {version} was replaced");
        }
    }
}

#[test]
fn routing_policies_in_every_language_find_the_paths_that_they_found() {
    struct Case {
        topology: u32,
        replicas: u32,
        ordinal: u32,
        outstanding: &'static [u32],
        path: &'static [u32],
    }
    let cases = [
        Case { topology: 1, replicas: 3, ordinal: 0, outstanding: &[3, 0, 0, 1, 2, 2], path: &[2, 3] },
        Case { topology: 1, replicas: 3, ordinal: 0, outstanding: &[1, 1, 1, 1, 0, 1], path: &[4, 5] },
        Case { topology: 1, replicas: 3, ordinal: 4, outstanding: &[0, 0, 0, 0, 0, 0], path: &[2, 3] },
        Case { topology: 1, replicas: 3, ordinal: 1, outstanding: &[0, 1, 2, 2, 1, 0], path: &[4, 5] },
        Case { topology: 2, replicas: 2, ordinal: 2, outstanding: &[5, 5, 5, 5], path: &[0, 1] },
        Case { topology: 1, replicas: 3, ordinal: 2, outstanding: &[0, 0, 0, 0, 0, 0], path: &[4, 5] },
    ];
    each("fewest-outstanding-", None, |scene, name| {
        let slot = scene.host.routing(None).unwrap();
        for Case { topology, replicas, ordinal, outstanding, path } in &cases {
            let request = RouteRequest { outstanding: outstanding.to_vec(), ..request(*ordinal, 0) };
            let answer = own(slot.route(&snapshot(*topology, *replicas, 0.5), &request).unwrap(), name).unwrap();
            assert_eq!(answer.segments(), *path, "{name}: {outstanding:?}");
        }
        let mut half = Topology::clone(&snapshot(3, 1, 0.0).topology);
        half.models[0].segments.truncate(1);
        let snapshot = RoutingSnapshot { topology: Arc::new(half), ..RoutingSnapshot::default() };
        let refusal = own(slot.route(&snapshot, &request(0, 1)).unwrap(), name).unwrap_err();
        assert!(refusal.reason.contains("digits@1 has no complete replica"), "{name}: {refusal}");
    });
}

#[test]
fn allocation_policies_make_the_plans_that_they_made() {
    each("fastest-first-", None, |scene, name| {
        let slot = scene.host.allocation();
        let allocated = own(slot.allocate(&problem(3, 3)).unwrap(), name).unwrap();
        let stages: Vec<Vec<_>> =
            allocated.proposal.replicas.iter().map(|stages| stages.iter().map(|stage| (stage.offer, stage.start, stage.end)).collect()).collect();
        assert_eq!(stages, [[(0, 0, 4), (1, 4, 5), (2, 5, 6)]], "{name}");
        let mut small = problem(2, 1);
        small.offers.iter_mut().for_each(|offer| offer.capacity.memory = Bytes::mib(3));
        let refusal = own(slot.allocate(&small).unwrap(), name).unwrap_err();
        assert!(refusal.reason.contains("of digits@1 found no place"), "{name}: {refusal}");
        let observation = Observation { problem: problem(2, 1), stages: Vec::new(), pressure_max: 0.9, pressure_mean: 0.5, arrival: Millis(3.0) };
        assert_eq!(own(slot.review(&observation).unwrap(), name).unwrap(), Verdict::Keep, "{name}");
    });
}

#[test]
fn queueing_policies_rank_and_refuse_as_they_did() {
    let arrival = |now: f64, deadline: Option<f64>, depth: u32| Arrival {
        ordinal: 7,
        class: 1,
        now: Millis(now),
        deadline: deadline.map(Millis),
        expected: Millis(5.0),
        classes: vec![ClassState { depth, last_rank: 2.5 }, ClassState { depth: 1, last_rank: 0.0 }],
        depth_max: 4,
        line: LineState { served_rank: 1.5, turn: Some(Millis(2.0)) },
    };
    each("order-of-arrival-", None, |scene, name| {
        let slot = scene.host.queueing();
        let ask = |arrival: &Arrival| own(slot.admit(arrival).unwrap(), name);
        assert_eq!(ask(&arrival(12.5, None, 2)), Ok(12.5), "{name}");
        assert_eq!(ask(&arrival(13.5, Some(5.0), 0)), Ok(13.5), "{name}");
        assert_eq!(ask(&arrival(1.0, None, 3)).unwrap_err().reason, "4 requests wait, at most 4 may", "{name}");
        assert_eq!(ask(&arrival(1.0, Some(4.0), 0)).unwrap_err().reason, "the answer takes 5 ms, the deadline is in 4 ms", "{name}");
    });
}

#[test]
fn adapters_compute_what_the_engine_computes() {
    let model = generate(&Kind::Mlp(MlpSize { inputs: 64, hidden: 64, layers: 4, outputs: 10 }), 7).unwrap();
    let inspection = inspect(&model, model_id()).unwrap();
    let shard = split(&inspection, &[]).unwrap().into_iter().map(Arc::new).next().unwrap();
    let values: Vec<f32> = (0_u8..64).map(|index| f32::from(index) / 64.0).collect();
    let inputs = vec![Tensor::from_f32(&[1, 64], &values).unwrap()];
    let expected = Engines::default().load("tract", &shard, &LoadOptions::default()).unwrap().run(inputs.clone()).unwrap();
    each("cpu-adapter", Some(SlotName::Adapter("cpu".to_owned())), |scene, name| {
        let adapter = scene.host.adapter("cpu").unwrap();
        assert_eq!(adapter.probe().unwrap()[0].accelerator, "cpu", "{name}");
        let mut instance = adapter.open(Arc::clone(&shard), 0).unwrap();
        assert!(instance.fit().memory.0 > 0, "{name}");
        assert_eq!(instance.run(&RunCall { batch: 1, ..RunCall::default() }, inputs.clone()).unwrap(), expected, "{name}");
        assert_eq!(instance.copied_bytes(), 0, "{name}");
        assert!(adapter.bearer().unwrap().generation.0 == 2 && adapter.status().counts.faults == 0, "{name} itself computed");
    });
}
