//! Policies in service: what answers, what happens when it fails, and what a swap does to calls in flight.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/scenes.rs"]
mod scenes;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use guests::guest;
use host_core::{
    ids::Generation,
    policy::{Arrival, ClassState, LineState, Observation, StrikeKind},
    strikes::StrikePolicy,
    units::Millis,
};
use host_plugin::{Fault, Limits, PluginConfig, PluginEvent, PluginSource, SlotName, SwapReason};
use scenes::{Scene, problem, request, snapshot};

fn scene(strikes_max: u32) -> Scene {
    let strikes = StrikePolicy { strikes_max, retry_first: Millis(3_600_000.0), retry_max: Millis(3_600_000.0), ..StrikePolicy::default() };
    Scene::new(PluginConfig { strikes, ..PluginConfig::default() })
}

fn install(scene: &Scene, name: &str, config: &str) -> Generation {
    let prepared = scene.host.prepare(&guest(name), None, Some(format!("{config:?}"))).unwrap();
    scene.host.commit(prepared).unwrap().generation
}

#[test]
fn the_built_in_policies_answer_on_a_fresh_host() {
    let scene = scene(3);
    let decided = scene.host.allocation().allocate(&problem(3, 3)).unwrap();
    let allocated = decided.answer.unwrap();
    assert_eq!((allocated.replicas.len(), allocated.replicas[0].stages.len()), (1, 3));
    assert_eq!(&*decided.by.plugin, "balanced-allocation");
    let snapshot = snapshot(1, 3, 0.0);
    for (name, plugin) in [(None, "least-loaded-routing"), (Some("round-robin"), "round-robin-routing"), (Some("least-loaded"), "least-loaded-routing")] {
        let slot = scene.host.routing(name).unwrap();
        let paths: Vec<Vec<u32>> = (0..4).map(|ordinal| slot.route(&snapshot, &request(ordinal, 6)).unwrap().answer.unwrap().segments().to_vec()).collect();
        assert_eq!(paths, [[0, 1], [2, 3], [4, 5], [0, 1]]);
        assert_eq!(&*slot.bearer().unwrap().plugin, plugin);
    }
    let slots: Vec<_> = scene.host.list().iter().map(|status| status.slot.to_string()).collect();
    assert_eq!(slots, ["adapter/cpu", "allocation", "queueing", "routing", "routing/least-loaded", "routing/round-robin"]);
}

#[test]
fn every_kind_of_failure_is_answered_by_the_built_in_and_rolls_back_in_the_end() {
    struct Case {
        guest: &'static str,
        kind: StrikeKind,
        says: &'static str,
    }
    let cases = [
        Case { guest: "trap", kind: StrikeKind::Trap, says: "index out of bounds" },
        Case { guest: "loop", kind: StrikeKind::Late, says: "route did not answer within 2 ms" },
        Case { guest: "memory", kind: StrikeKind::Memory, says: "bytes of memory, 67108864 are allowed" },
        Case { guest: "wrong-index", kind: StrikeKind::Invalid, says: "segment 4000000000 does not exist, there are 6" },
        Case { guest: "gap", kind: StrikeKind::Invalid, says: "block 0 should come next" },
        Case { guest: "huge", kind: StrikeKind::Memory, says: "it handed over more than 1048576 bytes" },
    ];
    let snapshot = snapshot(1, 3, 0.0);
    for Case { guest: how, kind, says } in cases {
        let scene = scene(2);
        let mut source = guest("misbehaving-routing");
        // Filling 64 MiB takes longer than 2 ms, so this one gets more time to do its worst.
        source.manifest = (how == "memory").then(|| "call_ms_max = 5000\n".to_owned());
        let prepared = scene.host.prepare(&source, None, Some(format!("{how:?}"))).unwrap();
        assert_eq!(scene.host.commit(prepared).unwrap().generation, Generation(2));
        let slot = scene.host.routing(None).unwrap();
        for ordinal in 0..2 {
            let decided = slot.route(&snapshot, &request(ordinal, 6)).unwrap();
            assert_eq!(&*decided.by.plugin, "least-loaded-routing", "{how}");
            assert!(decided.answer.is_ok(), "{how}");
            let fault = decided.fallback.unwrap();
            assert_eq!(fault.kind, kind, "{how}: {fault}");
            assert!(fault.message.contains(says), "{how}: {fault}");
        }
        let bearer = slot.bearer().unwrap();
        assert_eq!((&*bearer.plugin, bearer.generation), ("least-loaded-routing", Generation(3)), "{how} was rolled back");
        let decided = slot.route(&snapshot, &request(2, 6)).unwrap();
        assert_eq!((decided.fallback, decided.by.generation), (None, Generation(3)));
        let strikes = scene.events().into_iter().filter(|event| matches!(event, PluginEvent::Strike { .. })).count();
        let rolled_back = |event: &PluginEvent| matches!(event, PluginEvent::Swapped { reason: SwapReason::Strikes, .. });
        assert_eq!((strikes, scene.events().iter().filter(|event| rolled_back(event)).count()), (2, 1));
        assert_eq!(slot.status().fallbacks, 2);
    }
}

#[test]
fn a_refusal_is_an_answer_and_never_a_strike() {
    let scene = scene(1);
    install(&scene, "misbehaving-routing", "refuse");
    let slot = scene.host.routing(None).unwrap();
    for ordinal in 0..5 {
        let decided = slot.route(&snapshot(1, 2, 0.0), &request(ordinal, 4)).unwrap();
        assert_eq!(decided.answer.unwrap_err().reason, "this plugin never finds a path");
        assert_eq!(decided.fallback, None);
    }
    assert_eq!(slot.bearer().unwrap().generation, Generation(2));
    assert_eq!(slot.status().counts.refusals, 5);
}

#[test]
fn plans_that_break_a_rule_never_come_out() {
    let problem = problem(2, 1);
    for how in ["unknown-offer", "gap", "reversed", "nothing", "too-many", "not-a-number", "huge"] {
        let strikes = StrikePolicy { strikes_max: 1, ..StrikePolicy::default() };
        let limits = Limits { allocation_returned_bytes_max: 1 << 20, ..Limits::default() };
        let scene = Scene::new(PluginConfig { strikes, limits, ..PluginConfig::default() });
        install(&scene, "misbehaving-allocation", how);
        let decided = scene.host.allocation().allocate(&problem).unwrap();
        assert_eq!(&*decided.by.plugin, "balanced-allocation", "{how}");
        let expected = if how == "huge" { StrikeKind::Memory } else { StrikeKind::Invalid };
        assert_eq!(decided.fallback.unwrap().kind, expected, "{how}");
        assert_eq!(decided.answer.unwrap().replicas.len(), 2);
        assert_eq!(&*scene.host.allocation().bearer().unwrap().plugin, "balanced-allocation");
    }
}

#[test]
fn a_plugin_that_fails_in_rehearsal_or_refuses_its_configuration_never_serves() {
    let scene = scene(3);
    let source = guest("misbehaving-routing");
    let error = scene.host.prepare(&source, None, Some("\"refuse-configuration\"".to_owned())).expect_err("it says so").to_string();
    assert_eq!(error, "`misbehaving-routing` refuses its configuration: this configuration is refused");
    let error =
        scene.host.prepare(&PluginSource::builtin("round-robin-routing").unwrap(), None, Some("{\"a\":1}".to_owned())).expect_err("no settings").to_string();
    assert!(error.contains("has no settings"), "{error}");
    assert_eq!(scene.host.routing(None).unwrap().bearer().unwrap().generation, Generation(1));
}

#[test]
fn a_plugin_that_refuses_all_that_can_be_done_is_not_installed() {
    let scene = scene(3);
    for (name, says) in [
        (
            "misbehaving-allocation",
            "failed its rehearsal in allocate: it refuses every one of 3 questions that have an answer, the last one with `not in rehearsal`",
        ),
        ("misbehaving-routing", "failed its rehearsal in route: it refuses every one of "),
        ("misbehaving-queueing", "failed its rehearsal in admit: it refuses every one of "),
    ] {
        let error = scene.host.prepare(&guest(name), None, Some("\"refuse-unrehearsed\"".to_owned())).expect_err(name).to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_plugin_that_breaks_a_rule_on_what_the_host_was_asked_is_not_installed() {
    for (kept_max, refused) in [(8, true), (0, false)] {
        let scene = Scene::new(PluginConfig { rehearsed_problems_max: kept_max, ..PluginConfig::default() });
        scene.host.routing(None).unwrap().route(&snapshot(1, 3, 0.0), &request(0, 6)).unwrap();
        // Sound on synthetic topologies, and only on those.
        let prepared = scene.host.prepare(&guest("misbehaving-routing"), None, Some("\"wrong-index\"".to_owned()));
        match prepared {
            Ok(prepared) => assert!(!refused && prepared.rehearsal().recorded == 0 && prepared.rehearsal().compared.is_some()),
            Err(error) => {
                let says = "failed its rehearsal in route: on a question that this host was asked: invalid: segment 4000000000 does not exist";
                assert!(refused && error.to_string().contains(says), "{error}");
            }
        }
    }
}

#[test]
fn a_policy_that_fails_on_a_review_that_the_host_asked_is_not_installed() {
    for (kept_max, refused) in [(8, true), (0, false)] {
        let scene = Scene::new(PluginConfig { rehearsed_problems_max: kept_max, ..PluginConfig::default() });
        let observation = Observation { problem: problem(2, 1), stages: Vec::new(), pressure_max: 0.5, pressure_mean: 0.5, arrival: Millis(3.0) };
        scene.host.allocation().review(&observation).unwrap();
        // Sound in the reviews of rehearsals, and only in those.
        let prepared = scene.host.prepare(&guest("misbehaving-allocation"), None, Some("\"review-trap\"".to_owned()));
        match prepared {
            Ok(prepared) => assert!(!refused && prepared.rehearsal().recorded == 0),
            Err(error) => {
                let says = "failed its rehearsal in review: on a question that this host was asked: trap";
                assert!(refused && error.to_string().contains(says), "{error}");
            }
        }
    }
}

#[test]
fn fail_closed_fails_the_request_instead_of_falling_back() {
    let scene = scene(9);
    let mut source = guest("misbehaving-routing");
    source.manifest = Some("failure_policy = \"fail_closed\"\n".to_owned());
    let prepared = scene.host.prepare(&source, None, Some("\"trap\"".to_owned())).unwrap();
    scene.host.commit(prepared).unwrap();
    let error = scene.host.routing(None).unwrap().route(&snapshot(1, 2, 0.0), &request(0, 4)).expect_err("nothing else may decide");
    assert!(matches!(error.fault(), Fault::InService { function: "route", .. }), "{error}");
}

#[test]
fn a_plugin_that_takes_far_longer_than_it_rehearsed_is_struck_though_it_is_in_time() {
    let scene = scene(1);
    install_with_time(&scene);
    let slot = scene.host.routing(None).unwrap();
    let snapshot = snapshot(1, 2, 0.0);
    for ordinal in 0..400 {
        let decided = slot.route(&snapshot, &request(ordinal, 4)).unwrap();
        assert!(decided.answer.is_ok() && decided.fallback.is_none());
        if slot.bearer().unwrap().generation != Generation(2) {
            break;
        }
    }
    let strike = scene.wait_for("strike", |event| matches!(event, PluginEvent::Strike { .. }));
    let PluginEvent::Strike { fault, .. } = strike else { panic!("{strike:?}") };
    assert_eq!(fault.kind, StrikeKind::OverBudget);
    assert_eq!(&*slot.bearer().unwrap().plugin, "least-loaded-routing");
}

/// The slow guest, with a deadline that it keeps on any machine.
fn install_with_time(scene: &Scene) {
    let mut source = guest("misbehaving-routing");
    source.manifest = Some("call_ms_max = 5000\n".to_owned());
    let prepared = scene.host.prepare(&source, None, Some("\"slow\"".to_owned())).unwrap();
    scene.host.commit(prepared).unwrap();
}

#[test]
fn a_rolled_back_plugin_is_tried_again_after_a_while() {
    let strikes = StrikePolicy { strikes_max: 1, retry_first: Millis(1.0), retry_max: Millis(1.0), ..StrikePolicy::default() };
    let scene = Scene::new(PluginConfig { strikes, ..PluginConfig::default() });
    install(&scene, "misbehaving-routing", "trap");
    let slot = scene.host.routing(None).unwrap();
    slot.route(&snapshot(1, 2, 0.0), &request(0, 4)).unwrap();
    let retried = |event: &PluginEvent| matches!(event, PluginEvent::Swapped { reason: SwapReason::Retried, .. });
    scene.wait_for("retry", retried);
    let decided = slot.route(&snapshot(1, 2, 0.0), &request(1, 4)).unwrap();
    assert!(decided.fallback.is_some(), "it traps still, and the request is answered still");
}

#[test]
fn no_call_fails_or_is_answered_by_an_older_generation_when_plugins_are_swapped() {
    let scene = Scene::new(PluginConfig::default());
    let slot = scene.host.routing(None).unwrap();
    let snapshot = snapshot(1, 3, 0.0);
    let (stop, committed, calls) = (AtomicBool::new(false), AtomicU64::new(1), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut ordinal = 0;
                while !stop.load(Ordering::SeqCst) {
                    let oldest = committed.load(Ordering::SeqCst);
                    let decided = slot.route(&snapshot, &request(ordinal, 6)).unwrap();
                    assert!(decided.answer.is_ok() && decided.fallback.is_none(), "{decided:?}");
                    assert!(decided.by.generation.0 >= oldest, "{} answered after {oldest} was installed", decided.by.generation);
                    calls.fetch_add(1, Ordering::SeqCst);
                    ordinal += 1;
                }
            });
        }
        for swap in 0..40 {
            let name = if swap % 2 == 0 { "round-robin-routing" } else { "least-loaded-routing" };
            let prepared = scene.host.prepare(&PluginSource::builtin(name).unwrap(), None, None).unwrap();
            let installed = scene.host.commit(prepared).unwrap();
            committed.store(installed.generation.0, Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(slot.bearer().unwrap().generation, Generation(41));
    assert!(calls.load(Ordering::SeqCst) > 40);
    assert!(!scene.events().iter().any(|event| matches!(event, PluginEvent::Strike { .. })), "no strikes");
}

#[test]
fn a_slot_goes_back_to_a_generation_that_it_remembers_and_names_those_it_does() {
    let scene = scene(3);
    for name in ["round-robin-routing", "least-loaded-routing"] {
        let prepared = scene.host.prepare(&PluginSource::builtin(name).unwrap(), None, None).unwrap();
        scene.host.commit(prepared).unwrap();
    }
    let slot = SlotName::Routing(None);
    let back = scene.host.rollback(&slot, Some(Generation(2))).unwrap();
    assert_eq!((&*back.plugin, back.generation), ("round-robin-routing", Generation(4)));
    let error = scene.host.rollback(&slot, Some(Generation(77))).expect_err("never was").to_string();
    assert_eq!(error, "slot `routing` does not remember generation 77, it remembers `1`, `3`");
    assert_eq!(scene.host.rollback(&slot, None).unwrap().generation, Generation(5));
}

#[test]
fn warm_instances_that_were_told_less_are_caught_up_before_they_answer() {
    let scene = scene(3);
    install(&scene, "misbehaving-routing", "told");
    let slot = scene.host.routing(None).unwrap();
    let snapshots = [snapshot(1, 4, 0.1), snapshot(2, 4, 0.2), snapshot(2, 4, 0.3), snapshot(5, 3, 0.0)];
    let ask = |index: usize| slot.route(&snapshots[index], &request(7, 8)).unwrap().answer.unwrap().segments().to_vec();
    let alone: Vec<_> = (0..snapshots.len()).map(ask).collect();
    thread::scope(|scope| {
        for shift in 0..3 {
            let (ask, alone) = (&ask, &alone);
            scope.spawn(move || {
                for turn in 0..200 {
                    let index = (turn * (shift + 1) + shift) % alone.len();
                    assert_eq!(ask(index), alone[index]);
                }
            });
        }
    });
}

#[test]
fn the_same_question_always_gets_the_same_answer_bit_for_bit() {
    let (first, second) = (scene(3), scene(3));
    for (devices, stages_min) in [(1, 1), (3, 3), (5, 2), (16, 1)] {
        let problem = problem(devices, stages_min);
        let ask = |scene: &Scene| scene.host.allocation().allocate(&problem).unwrap().answer.unwrap();
        let (a, b, again) = (ask(&first), ask(&second), ask(&first));
        assert_eq!((a.proposal.bound.to_bits(), &a.proposal.replicas), (b.proposal.bound.to_bits(), &b.proposal.replicas));
        assert_eq!(a, again);
        let solved = host_core::problem::Problem { current: a.proposal.replicas.clone(), ..problem.clone() };
        assert_eq!(first.host.allocation().allocate(&solved).unwrap().answer.unwrap().proposal.replicas, a.proposal.replicas, "solving again moves nothing");
    }
}

#[test]
fn a_guest_that_logs_too_much_is_cut_short_and_answers_still() {
    let scene = scene(3);
    install(&scene, "misbehaving-routing", "chatty");
    scene.host.routing(None).unwrap().route(&snapshot(1, 2, 0.0), &request(0, 4)).unwrap().answer.unwrap();
    let lines = scene.events().into_iter().filter(|event| matches!(event, PluginEvent::Log { .. })).count();
    assert_eq!(lines, 32);
}

#[test]
fn without_a_queueing_plugin_requests_wait_in_the_order_of_arrival() {
    let scene = scene(3);
    let arrival = |ordinal: u32, depth: u32| Arrival {
        ordinal,
        class: 0,
        now: Millis(f64::from(ordinal)),
        deadline: None,
        expected: Millis(1.0),
        classes: vec![ClassState { depth, last_rank: 0.0 }],
        depth_max: 4,
        line: LineState::default(),
    };
    let rank = |ordinal| scene.host.queueing().admit(&arrival(ordinal, 1)).unwrap().answer.unwrap();
    assert!(rank(1) < rank(2));
    let refusal = scene.host.queueing().admit(&arrival(3, 4)).unwrap().answer.unwrap_err();
    assert_eq!(refusal.reason, "4 requests are waiting, at most 4 may");
}
