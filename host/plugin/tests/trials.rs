//! Plugins beside the one in service: canaries, shadows and probation, and what becomes of one that decides worse.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/scenes.rs"]
mod scenes;

use std::collections::BTreeMap;

use guests::guest;
use host_core::{ids::Generation, topology::RouteRequest};
use host_plugin::{Entry, PluginConfig, PluginEvent, PluginSource, SlotName, SwapReason, TrialEnd, TrialKind};
use scenes::{Scene, problem, request, snapshot};

const ROUTING: SlotName = SlotName::Routing(None);
const REPLICAS: u32 = 2;

fn scene() -> Scene {
    Scene::new(PluginConfig::default())
}

/// Lets a built-in plugin into the routing slot, where another one serves.
fn enter(scene: &Scene, plugin: &str, entry: Entry) {
    let prepared = scene.host.prepare(&PluginSource::builtin(plugin).unwrap(), Some(ROUTING), None).unwrap();
    scene.host.enter(prepared, entry).unwrap();
}

/// The replica whose turn it is is busy: whoever takes turns decides worse than whoever looks.
fn busy(ordinal: u32) -> RouteRequest {
    let outstanding = if ordinal.is_multiple_of(2) { vec![9, 9, 0, 0] } else { vec![0, 0, 9, 9] };
    RouteRequest { outstanding, ..request(ordinal, 2 * REPLICAS) }
}

/// Routes so many requests, all of which must be answered, and counts who answered them.
fn route(scene: &Scene, count: u32, ask: impl Fn(u32) -> RouteRequest) -> BTreeMap<String, u32> {
    let mut answered = BTreeMap::new();
    for ordinal in 0..count {
        let decision = scene.host.routing(None).unwrap().route(&snapshot(1, REPLICAS, 0.0), &ask(ordinal)).unwrap();
        assert!(decision.answer.is_ok());
        *answered.entry(decision.by.plugin.to_string()).or_default() += 1;
    }
    answered
}

fn ended(scene: &Scene) -> Vec<(TrialKind, TrialEnd)> {
    let end = |event| match event {
        PluginEvent::TrialEnded { kind, end, .. } => Some((kind, end)),
        _ => None,
    };
    scene.events().into_iter().filter_map(end).collect()
}

#[test]
fn a_canary_answers_its_share_and_no_more() {
    for (share, expected) in [(0.1, 100), (0.25, 250), (1.0, 1000)] {
        let scene = scene();
        enter(&scene, "round-robin-routing", Entry::Canary { share });
        let answered = route(&scene, 1000, |ordinal| request(ordinal, 2 * REPLICAS));
        assert_eq!(answered.get("round-robin-routing"), Some(&expected), "{share}");
        let status = scene.host.routing(None).unwrap().status();
        assert_eq!(status.current.unwrap().plugin.as_ref(), "least-loaded-routing");
        assert_eq!(status.trial.unwrap().comparison.questions, expected, "each is compared");
    }
}

#[test]
fn a_canary_that_decides_worse_ends_after_twenty_questions() {
    let scene = scene();
    enter(&scene, "round-robin-routing", Entry::Canary { share: 0.01 });
    let answered = route(&scene, 4000, busy);
    assert_eq!(answered.get("round-robin-routing"), Some(&20), "one request in a hundred until it is certain");
    let [(TrialKind::Canary { .. }, TrialEnd::Worse { cost_ratio })] = ended(&scene)[..] else { panic!("{:?}", ended(&scene)) };
    assert!(cost_ratio > 1.05, "{cost_ratio}");
    assert!(scene.host.routing(None).unwrap().status().trial.is_none());
}

#[test]
fn a_shadow_is_compared_and_answers_nothing() {
    let scene = scene();
    enter(&scene, "round-robin-routing", Entry::Shadow);
    let answered = route(&scene, 200, |ordinal| request(ordinal, 2 * REPLICAS));
    assert_eq!(answered.keys().map(String::as_str).collect::<Vec<_>>(), ["least-loaded-routing"]);
    let trial = scene.host.routing(None).unwrap().status().trial.unwrap();
    assert_eq!((trial.comparison.questions, trial.comparison.cost_ratio()), (200, Some(1.0)), "idle replicas cost the same");
    assert_eq!(trial.comparison.agreed, 200, "both take idle replicas in turns");
}

#[test]
fn a_plugin_on_probation_that_decides_worse_is_rolled_back() {
    let scene = scene();
    enter(&scene, "round-robin-routing", Entry::Probation);
    let answered = route(&scene, 1000, busy);
    assert_eq!(answered.get("round-robin-routing"), Some(&153), "one question in eight is compared, and the twentieth decides");
    let last = scene.events().into_iter().rev().find_map(|event| match event {
        PluginEvent::Swapped { now, reason, .. } => Some((now.plugin.to_string(), now.generation, reason)),
        _ => None,
    });
    assert_eq!(last, Some(("least-loaded-routing".to_owned(), Generation(3), SwapReason::Worse)));
    let history = scene.host.routing(None).unwrap().status().history;
    assert!(history.is_empty(), "what was worse is no place to go back to: {history:?}");
}

#[test]
fn a_plugin_that_decides_as_well_passes_its_probation() {
    let scene = scene();
    enter(&scene, "round-robin-routing", Entry::Probation);
    route(&scene, 1000, |ordinal| request(ordinal, 2 * REPLICAS));
    assert_eq!(ended(&scene), [(TrialKind::Probation, TrialEnd::Passed)]);
    assert_eq!(scene.host.routing(None).unwrap().bearer().unwrap().plugin.as_ref(), "round-robin-routing");
}

#[test]
fn a_plugin_that_somebody_chose_stays_even_if_it_decides_worse() {
    let scene = scene();
    enter(&scene, "round-robin-routing", Entry::Settled);
    assert_eq!(route(&scene, 1000, busy).get("round-robin-routing"), Some(&1000));
}

#[test]
fn a_canary_that_traps_costs_no_request_and_ends_after_its_strikes() {
    let scene = scene();
    let prepared = scene.host.prepare(&guest("misbehaving-routing"), Some(ROUTING), Some("\"trap\"".to_owned())).unwrap();
    scene.host.enter(prepared, Entry::Canary { share: 0.5 }).unwrap();
    let answered = route(&scene, 100, |ordinal| request(ordinal, 2 * REPLICAS));
    assert_eq!(answered.get("least-loaded-routing"), Some(&100));
    assert_eq!(ended(&scene), [(TrialKind::Canary { share: 0.5 }, TrialEnd::Strikes)]);
    assert_eq!(scene.host.routing(None).unwrap().bearer().unwrap().generation, Generation(1), "what served was never touched");
}

#[test]
fn a_canary_is_promoted_or_stopped_by_hand() {
    let scene = scene();
    enter(&scene, "round-robin-routing", Entry::Canary { share: 0.5 });
    let promoted = scene.host.promote(&ROUTING).unwrap();
    assert_eq!((promoted.plugin.as_ref(), promoted.generation), ("round-robin-routing", Generation(3)));
    assert_eq!(route(&scene, 10, |ordinal| request(ordinal, 2 * REPLICAS)).get("round-robin-routing"), Some(&10));

    enter(&scene, "least-loaded-routing", Entry::Shadow);
    assert_eq!(scene.host.stop_trial(&ROUTING).unwrap().plugin.as_ref(), "least-loaded-routing");
    for nothing in [scene.host.promote(&ROUTING), scene.host.stop_trial(&ROUTING)] {
        assert_eq!(nothing.unwrap_err().to_string(), "nothing is on trial in slot `routing`");
    }
}

#[test]
fn allocation_policies_are_compared_by_what_their_plans_cost() {
    let scene = scene();
    let slot = SlotName::Allocation;
    let prepared = scene.host.prepare(&PluginSource::builtin("greedy-allocation").unwrap(), Some(slot), None).unwrap();
    scene.host.enter(prepared, Entry::Shadow).unwrap();
    for devices in 1..4 {
        assert!(scene.host.allocation().allocate(&problem(devices, 1)).unwrap().answer.is_ok());
    }
    let comparison = scene.host.allocation().status().trial.unwrap().comparison;
    assert_eq!(comparison.questions, 3);
    assert!(comparison.cost_ratio().unwrap() >= 1.0, "nothing beats the exact plan: {comparison:?}");
}

#[test]
fn adapters_drive_and_decide_nothing_so_they_take_no_trial() {
    let scene = scene();
    let slot = SlotName::Adapter("cpu".to_owned());
    let prepared = scene.host.prepare(&PluginSource::builtin("cpu-adapter").unwrap(), Some(slot), None).unwrap();
    let error = scene.host.enter(prepared, Entry::Canary { share: 0.5 }).unwrap_err().to_string();
    assert_eq!(error, "slot `adapter/cpu` takes no canary: only a policy can be compared, and only with one that serves");
}

#[test]
fn a_plugin_that_is_forgotten_leaves_the_built_in_one_and_no_trace() {
    let scene = scene();
    let install = || {
        let prepared = scene.host.prepare(&guest("misbehaving-routing"), Some(ROUTING), None).unwrap();
        scene.host.commit(prepared).unwrap()
    };
    let digest = install().digest;
    enter(&scene, "round-robin-routing", Entry::Settled);
    assert_eq!(scene.host.forget(digest, SwapReason::Uninstalled), [], "it did not serve");
    assert!(scene.host.routing(None).unwrap().status().history.iter().all(|bearer| bearer.digest != digest));
    install();
    let changed = scene.host.forget(digest, SwapReason::Uninstalled);
    let [(ROUTING, Some(now))] = &changed[..] else { panic!("{changed:?}") };
    assert_eq!(now.plugin.as_ref(), "least-loaded-routing");
    assert_eq!(route(&scene, 10, |ordinal| request(ordinal, 2 * REPLICAS)).get("least-loaded-routing"), Some(&10));
}
