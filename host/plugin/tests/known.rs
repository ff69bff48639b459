//! Plugins that this host knows: what has passed a rehearsal is asked little before it serves again, also by the host's next process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/scenes.rs"]
mod scenes;

use std::path::Path;

use guests::guest;
use host_core::{strikes::StrikePolicy, units::Millis};
use host_plugin::{Error, Limits, PluginConfig, PluginSource, Rehearsal, SlotName, SparePolicy, SwapReason};
use scenes::{Scene, request, snapshot};

/// A host over this folder that keeps so many questions, with as many routes behind it.
fn scene(folder: &Path, kept_max: usize, limits: Limits) -> Scene {
    let config = PluginConfig { passes: Some(folder.to_owned()), rehearsed_problems_max: kept_max, limits, ..PluginConfig::default() };
    let scene = Scene::new(config);
    let routing = scene.host.routing(None).unwrap();
    // The ordinal 0 is always kept.
    (0..kept_max).for_each(|_| drop(routing.route(&snapshot(1, 3, 0.0), &request(0, 6)).unwrap()));
    scene
}

fn rehearsed(scene: &Scene, how: &str) -> Result<Rehearsal, Error> {
    Ok(scene.host.prepare(&guest("misbehaving-routing"), None, Some(format!("{how:?}")))?.rehearsal().clone())
}

#[test]
fn a_plugin_that_has_passed_is_known_with_its_budget_and_one_with_another_configuration_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = rehearsed(&scene(folder.path(), 0, Limits::default()), "told").unwrap();
    assert!(!first.is_known && first.calls > 8 && first.p99.is_some(), "{first:?}");
    let next = scene(folder.path(), 0, Limits::default());
    let known = rehearsed(&next, "told").unwrap();
    assert_eq!((known.is_known, known.calls, known.p99, known.memory_bytes), (true, 0, first.p99, first.memory_bytes));
    assert!(!rehearsed(&next, "sound").unwrap().is_known, "another configuration");
    let limits = Limits { returned_bytes_max: 2 << 20, ..Limits::default() };
    assert!(!rehearsed(&scene(folder.path(), 0, limits), "told").unwrap().is_known, "other limits");
}

#[test]
fn a_known_plugin_is_asked_a_few_recorded_questions_and_compared_on_them() {
    let folder = tempfile::tempdir().unwrap();
    rehearsed(&scene(folder.path(), 0, Limits::default()), "sound").unwrap();
    let known = rehearsed(&scene(folder.path(), 20, Limits::default()), "sound").unwrap();
    // It stops when its time is over, but not before it was asked once.
    assert!(known.is_known && known.recorded == known.calls && (1..=8).contains(&known.calls), "{known:?}");
    assert!(known.compared.is_none_or(|compared| compared.questions == known.calls && &*compared.with == "least-loaded-routing"));
}

#[test]
fn a_known_plugin_that_fails_is_not_installed_and_not_known_any_more() {
    let folder = tempfile::tempdir().unwrap();
    // Sound on synthetic topologies, and only on those.
    assert!(!rehearsed(&scene(folder.path(), 0, Limits::default()), "wrong-index").unwrap().is_known);
    let error = rehearsed(&scene(folder.path(), 4, Limits::default()), "wrong-index").expect_err("it breaks a rule").to_string();
    assert!(error.contains("on a question that this host was asked: invalid: segment 4000000000 does not exist"), "{error}");
    assert!(!rehearsed(&scene(folder.path(), 0, Limits::default()), "wrong-index").unwrap().is_known);
}

#[test]
fn what_fails_its_rehearsal_is_never_known() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene(folder.path(), 0, Limits::default());
    for _ in 0..2 {
        let error = rehearsed(&scene, "wrong-index-unrehearsed").expect_err("it breaks a rule").to_string();
        assert!(error.contains("failed its rehearsal in route: invalid"), "{error}");
    }
}

/// Two plugins that both have passed, one after the other, in a host that remembers nothing on disk.
fn swapped(config: PluginConfig) -> Scene {
    let scene = Scene::new(config);
    put(&scene, "round-robin-routing");
    put(&scene, "least-loaded-routing");
    scene
}

/// Puts a built-in plugin in service; whether it was known.
fn put(scene: &Scene, name: &str) -> bool {
    let prepared = scene.host.prepare(&PluginSource::builtin(name).unwrap(), None, None).unwrap();
    let is_known = prepared.rehearsal().is_known;
    scene.host.commit(prepared).unwrap();
    is_known
}

#[test]
fn what_served_until_a_short_while_ago_is_ready_to_serve_again() {
    let scene = swapped(PluginConfig::default());
    let slot = scene.host.routing(None).unwrap();
    for round in 0..4 {
        assert!(put(&scene, "round-robin-routing"), "round {round}");
        slot.route(&snapshot(round, 3, 0.0), &request(round, 6)).unwrap().answer.unwrap();
        assert_eq!(slot.status().counts.calls, 1, "it is counted from when it came");
        assert!(put(&scene, "least-loaded-routing"), "round {round}");
    }
}

#[test]
fn what_served_is_kept_within_bounds_and_not_after_it_was_uninstalled() {
    let none = SparePolicy { plugins_max: 0, ..SparePolicy::default() };
    assert!(!put(&swapped(PluginConfig { spares: none, ..PluginConfig::default() }), "round-robin-routing"));
    let small = SparePolicy { memory_bytes_max: 1, ..SparePolicy::default() };
    assert!(!put(&swapped(PluginConfig { spares: small, ..PluginConfig::default() }), "round-robin-routing"));
    let scene = swapped(PluginConfig::default());
    let digest = host_plugin::Identified::builtin("round-robin-routing").unwrap().digest();
    scene.host.forget(digest, SwapReason::Uninstalled);
    assert!(!put(&scene, "round-robin-routing"));
}

#[test]
fn what_was_rolled_back_is_not_kept() {
    let strikes = StrikePolicy { strikes_max: 1, retry_first: Millis(3_600_000.0), retry_max: Millis(3_600_000.0), ..StrikePolicy::default() };
    let scene = Scene::new(PluginConfig { strikes, ..PluginConfig::default() });
    let prepare = || scene.host.prepare(&guest("misbehaving-routing"), None, Some("\"trap\"".to_owned())).unwrap();
    scene.host.commit(prepare()).unwrap();
    let slot = scene.host.routing(None).unwrap();
    assert!(slot.route(&snapshot(1, 3, 0.0), &request(1, 6)).unwrap().fallback.is_some());
    assert_eq!(&*slot.bearer().unwrap().plugin, "least-loaded-routing");
    // The question that it failed on is not among those that it is rehearsed on: one in 64 is kept.
    assert!(!prepare().rehearsal().is_known);
}

#[test]
fn a_roll_back_takes_what_is_kept_and_counts_on() {
    let scene = swapped(PluginConfig::default());
    let back = scene.host.rollback(&SlotName::Routing(None), None).unwrap();
    assert_eq!(&*back.plugin, "round-robin-routing");
    let slot = scene.host.routing(None).unwrap();
    assert_eq!(&*slot.route(&snapshot(1, 3, 0.0), &request(0, 6)).unwrap().by.plugin, "round-robin-routing");
    assert!(put(&scene, "least-loaded-routing"), "what the roll back replaced is kept too");
}
