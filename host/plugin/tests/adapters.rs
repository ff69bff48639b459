//! Adapters in service: shards through the sandbox against the engine itself, and what happens when an adapter fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/scenes.rs"]
mod scenes;

use std::sync::Arc;

use guests::guest;
use host_core::{ids::Generation, policy::StrikeKind, strikes::StrikePolicy, units::Millis};
use host_engine::{Engines, Kind, LoadOptions, MlpSize, Shard, Tensor, generate, inspect, split};
use host_plugin::{EngineErrorKind, Fault, PluginConfig, PluginEvent, PluginSource, RunCall, SlotName};
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
fn the_cpu_adapter_offers_what_the_engines_say() {
    let scene = scene(3);
    let offers = scene.host.adapter("cpu").unwrap().probe().unwrap();
    let infos: Vec<_> = Engines::default().info().into_iter().filter(|info| info.accelerator == "cpu").collect();
    assert_eq!(offers.len(), infos.len());
    for (offer, info) in offers.iter().zip(&infos) {
        assert_eq!((offer.memory, offer.weight_factor, offer.fixed), (info.memory, info.weight_factor, info.fixed_bytes));
        assert_eq!(offer.element_types, info.element_types);
        assert_eq!(offer.attributes[0], ("engine".to_owned(), info.name.clone()));
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

#[test]
fn an_instance_moves_to_a_newer_generation_between_two_runs() {
    let scene = scene(3);
    let adapter = scene.host.adapter("cpu").unwrap();
    let mut instance = adapter.open(Arc::clone(&shards()[0]), 0).unwrap();
    let before = instance.run(&RunCall::default(), vec![input()]).unwrap();
    let slot = Some(SlotName::Adapter("cpu".to_owned()));
    let prepared = scene.host.prepare(&PluginSource::builtin("cpu-adapter").unwrap(), slot, None).unwrap();
    scene.host.commit(prepared).unwrap();
    assert_eq!(instance.run(&RunCall::default(), vec![input()]).unwrap(), before);
    assert_eq!(instance.bearer().unwrap().generation, Generation(2));
}
