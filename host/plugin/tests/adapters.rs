//! Adapters in service: shards through the sandbox against the engine itself, and what happens when an adapter fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/scenes.rs"]
mod scenes;

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use guests::guest;
use host_core::{ids::Generation, policy::StrikeKind, strikes::StrikePolicy, units::Millis};
use host_engine::{Engine, EngineInfo, Engines, Graph, Kind, LoadOptions, MlpSize, Shard, Tensor, TractEngine, generate, inspect, split};
use host_plugin::{AdapterInstance, EngineErrorKind, Fault, PluginConfig, PluginEvent, PluginSource, RunCall, SlotName};
use scenes::{Scene, model_id};

/// A small generated model in two shards.
fn shards() -> Vec<Arc<Shard>> {
    let model = generate(&Kind::Mlp(MlpSize { inputs: 64, hidden: 64, layers: 4, outputs: 10 }), 7).unwrap();
    let inspection = inspect(&model, model_id()).unwrap();
    let cuts = inspection.legal_cuts();
    split(&inspection, &cuts[cuts.len() / 2..=cuts.len() / 2]).unwrap().into_iter().map(Arc::new).collect()
}

fn input() -> Tensor {
    let values: Vec<f32> = (0_u8..64).map(|index| f32::from(index) / 64.0).collect();
    Tensor::from_f32(&[1, 64], &values).unwrap()
}

fn scene(strikes_max: u32) -> Scene {
    let strikes = StrikePolicy { strikes_max, retry_first: Millis(3_600_000.0), retry_max: Millis(3_600_000.0), ..StrikePolicy::default() };
    Scene::new(PluginConfig { strikes, ..PluginConfig::default() })
}

fn install(scene: &Scene, how: &str) -> Generation {
    let slot = Some(SlotName::Adapter("cpu".to_owned()));
    let prepared = scene.host.prepare(&guest("misbehaving-adapter"), slot, Some(format!("{how:?}"))).unwrap();
    scene.host.commit(prepared).unwrap().generation
}

#[test]
fn the_cpu_adapter_offers_the_hosts_default_engine_or_the_one_that_it_is_told() {
    let scene = scene(3);
    let infos = Engines::default().info();
    let offered = |name: &str| {
        let offers = scene.host.adapter("cpu").unwrap().probe().unwrap();
        let info = infos.iter().find(|info| info.name == name).unwrap();
        assert_eq!(offers.len(), 1, "one device has one CPU");
        assert_eq!((offers[0].memory, offers[0].weight_factor, offers[0].fixed), (info.memory, info.weight_factor, info.fixed_bytes));
        assert_eq!(offers[0].element_types, info.element_types);
        assert_eq!(offers[0].attributes[0], ("engine".to_owned(), info.name.clone()));
    };
    offered(&infos[0].name);
    for name in ["rten", "auto"] {
        let (slot, config) = (Some(SlotName::Adapter("cpu".to_owned())), Some(format!(r#"{{"engine":"{name}"}}"#)));
        let prepared = scene.host.prepare(&PluginSource::builtin("cpu-adapter").unwrap(), slot, config).unwrap();
        scene.host.commit(prepared).unwrap();
        offered(name);
        let mut instance = scene.host.adapter("cpu").unwrap().open(Arc::clone(&shards()[0]), 0).unwrap();
        assert!(instance.run(&RunCall::default(), vec![input()]).is_ok(), "{name} computes");
    }
    assert!(matches!(scene.host.adapter("npu").unwrap_err().fault(), Fault::Unbound { .. }));
}

#[test]
fn a_chain_of_shards_through_adapters_equals_the_engine_and_copies_no_byte() {
    let scene = scene(3);
    let adapter = scene.host.adapter("cpu").unwrap();
    let engines = Engines::default();
    let (mut through, mut direct) = (vec![input()], vec![input()]);
    for shard in shards() {
        let mut graph = engines.load("tract", &shard, &LoadOptions::default()).unwrap();
        let mut instance = adapter.open(Arc::clone(&shard), 0).unwrap();
        assert!(instance.fit().memory.0 > 0);
        for _ in 0..3 {
            assert_eq!(instance.run(&RunCall::default(), through.clone()).unwrap(), graph.run(direct.clone()).unwrap());
        }
        through = instance.run(&RunCall::default(), through).unwrap();
        direct = graph.run(direct).unwrap();
        assert_eq!(instance.copied_bytes(), 0);
    }
    assert_eq!(through, direct);
    assert_eq!(adapter.status().counts.copied_bytes, 0);
}

#[test]
fn bytes_that_an_adapter_takes_through_its_own_memory_are_counted() {
    let scene = scene(3);
    install(&scene, "copies");
    let shard = Arc::clone(&shards()[0]);
    let mut instance = scene.host.adapter("cpu").unwrap().open(shard, 0).unwrap();
    instance.run(&RunCall::default(), vec![input()]).unwrap();
    assert_eq!(instance.copied_bytes(), 2 * 64 * 4);
}

#[test]
fn an_engines_error_comes_back_as_it_is_and_is_no_strike() {
    let scene = scene(1);
    let mut instance = scene.host.adapter("cpu").unwrap().open(Arc::clone(&shards()[0]), 0).unwrap();
    let wrong = Tensor::from_f32(&[1, 3], &[0.0; 3]).unwrap();
    let error = instance.run(&RunCall::default(), vec![wrong]).expect_err("three numbers for 64");
    assert!(matches!(error.fault(), Fault::Engine { kind: EngineErrorKind::Invalid, .. }), "{error}");
    assert!(scene.events().is_empty());
    assert!(instance.run(&RunCall::default(), vec![input()]).is_ok(), "the instance goes on");
}

#[test]
fn a_refused_load_names_the_shard_and_what_is_missing() {
    let scene = scene(3);
    install(&scene, "refuse-load");
    let error = scene.host.adapter("cpu").unwrap().open(Arc::clone(&shards()[0]), 0).expect_err("it refuses");
    let Fault::Refused { refusal, .. } = error.fault() else { panic!("{error}") };
    assert_eq!(refusal.short.0, 42);
    install(&scene, "unknown-engine");
    let error = scene.host.adapter("cpu").unwrap().open(Arc::clone(&shards()[0]), 0).expect_err("no such engine").to_string();
    assert!(error.contains("engine `abacus` is not here"), "{error}");
}

#[test]
fn an_adapter_that_traps_now_and_then_is_replaced_by_a_fresh_instance_in_the_same_request() {
    let scene = scene(100);
    install(&scene, "trap-once-in-two");
    let mut instance = scene.host.adapter("cpu").unwrap().open(Arc::clone(&shards()[0]), 0).unwrap();
    let answers: Vec<_> = (0..5).map(|_| instance.run(&RunCall::default(), vec![input()]).unwrap()).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let strike = scene.wait_for("strike", |event| matches!(event, PluginEvent::Strike { .. }));
    let PluginEvent::Strike { fault, .. } = strike else { panic!("{strike:?}") };
    assert_eq!(fault.kind, StrikeKind::Trap);
    assert!(fault.message.contains("this adapter fails in its second run"), "{fault}");
}

#[test]
fn an_adapter_that_always_fails_is_rolled_back_and_the_one_before_answers_the_same_request() {
    for (how, kind) in [("trap", StrikeKind::Trap), ("no-output", StrikeKind::Invalid), ("returns-inputs", StrikeKind::Invalid)] {
        let scene = scene(1);
        assert_eq!(install(&scene, how), Generation(2));
        let adapter = scene.host.adapter("cpu").unwrap();
        // The last shard, whose outputs have another shape than its inputs.
        let mut instance = adapter.open(Arc::clone(&shards()[1]), 0).unwrap();
        let border = Tensor::from_f32(&[1, 64], &[0.5; 64]).unwrap();
        let answer = instance.run(&RunCall::default(), vec![border]).unwrap();
        assert_eq!(answer.len(), 1);
        let strike = scene.wait_for("strike", |event| matches!(event, PluginEvent::Strike { .. }));
        let PluginEvent::Strike { fault, .. } = strike else { panic!("{strike:?}") };
        assert_eq!(fault.kind, kind, "{how}");
        assert_eq!((&*adapter.bearer().unwrap().plugin, instance.bearer().unwrap().generation), ("cpu-adapter", Generation(3)));
    }
}

/// Installs the built-in adapter of the CPU anew, with settings under which the engine loads anew.
fn swap(scene: &Scene, settings: &str) {
    let slot = Some(SlotName::Adapter("cpu".to_owned()));
    let prepared = scene.host.prepare(&PluginSource::builtin("cpu-adapter").unwrap(), slot, Some(settings.to_owned())).unwrap();
    scene.host.commit(prepared).unwrap();
}

/// Runs until a generation drives the shard, and sees that every run is answered well. Panics after 30 s.
fn run_until(instance: &mut AdapterInstance, generation: Generation, expected: &[Tensor]) {
    let end = Instant::now() + Duration::from_secs(30);
    while instance.bearer().unwrap().generation != generation {
        assert!(Instant::now() < end, "it stays with {:?}", instance.bearer());
        assert_eq!(instance.run(&RunCall::default(), vec![input()]).unwrap(), expected);
    }
}

#[test]
fn an_instance_moves_to_a_newer_generation_between_two_runs() {
    let scene = scene(3);
    let adapter = scene.host.adapter("cpu").unwrap();
    let mut instance = adapter.open(Arc::clone(&shards()[0]), 0).unwrap();
    let before = instance.run(&RunCall::default(), vec![input()]).unwrap();
    swap(&scene, "{}");
    run_until(&mut instance, Generation(2), &before);
    assert_eq!(instance.run(&RunCall::default(), vec![input()]).unwrap(), before);
}

/// Loads when it is let.
#[derive(Debug, Default)]
struct Gated {
    /// Loads that began, and how many of them may end.
    gate: Mutex<(usize, usize)>,
    moved: Condvar,
}

impl Gated {
    fn wait(&self, until: impl Fn(&(usize, usize)) -> bool) {
        let gate = self.gate.lock().unwrap();
        let (_gate, waited) = self.moved.wait_timeout_while(gate, Duration::from_secs(30), |gate| !until(gate)).unwrap();
        assert!(!waited.timed_out());
    }

    fn change(&self, change: impl FnOnce(&mut (usize, usize))) {
        change(&mut self.gate.lock().unwrap());
        self.moved.notify_all();
    }
}

#[derive(Debug)]
struct GatedEngine(Arc<Gated>);

impl Engine for GatedEngine {
    fn info(&self) -> EngineInfo {
        TractEngine.info()
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, host_engine::Error> {
        let mut number = 0;
        self.0.change(|gate| {
            gate.0 += 1;
            number = gate.0;
        });
        self.0.wait(|gate| gate.1 >= number);
        TractEngine.load(shard, options)
    }
}

#[test]
fn no_run_waits_for_a_newer_generation_to_load() {
    let gated = Arc::new(Gated::default());
    gated.change(|gate| gate.1 = 1);
    let scene = Scene::with_engines(PluginConfig::default(), Engines::new(vec![Arc::new(GatedEngine(Arc::clone(&gated)))]));
    let mut instance = scene.host.adapter("cpu").unwrap().open(Arc::clone(&shards()[0]), 0).unwrap();
    let before = instance.run(&RunCall::default(), vec![input()]).unwrap();
    swap(&scene, r#"{"threads":2}"#);
    // The first run after the swap has it loaded; that load does not end, and runs go on.
    assert_eq!(instance.run(&RunCall::default(), vec![input()]).unwrap(), before);
    gated.wait(|gate| gate.0 == 2);
    for _ in 0..10 {
        assert_eq!(instance.run(&RunCall::default(), vec![input()]).unwrap(), before);
        assert_eq!(instance.bearer().unwrap().generation, Generation(1));
    }
    gated.change(|gate| gate.1 = usize::MAX);
    run_until(&mut instance, Generation(2), &before);
}

#[test]
fn a_newer_generation_that_refuses_the_shard_is_asked_once_and_the_one_before_goes_on() {
    let scene = scene(3);
    let mut instance = scene.host.adapter("cpu").unwrap().open(Arc::clone(&shards()[0]), 0).unwrap();
    let before = instance.run(&RunCall::default(), vec![input()]).unwrap();
    install(&scene, "refuse-load");
    let end = Instant::now() + Duration::from_secs(30);
    let refusals = || scene.host.adapter("cpu").unwrap().status().counts.refusals;
    while refusals() == 0 {
        assert!(Instant::now() < end, "it was never asked");
        assert_eq!(instance.run(&RunCall::default(), vec![input()]).unwrap(), before);
    }
    for _ in 0..50 {
        assert_eq!(instance.run(&RunCall::default(), vec![input()]).unwrap(), before);
    }
    assert_eq!((refusals(), instance.bearer().unwrap().generation), (1, Generation(1)));
}
