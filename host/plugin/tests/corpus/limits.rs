//! Limits that a plugin meets without failing: it serves on, within them.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use host_core::policy::StrikeKind;
use host_plugin::{Limits, PluginConfig, PluginEvent, PluginSource, SlotName, SlotStatus};

use crate::{
    components::{self, Core, changed, contract},
    crowd::Crowd,
    guests::guest,
    scenes::{Scene, request, snapshot},
};

/// Installs in a slot of its own, asks 100 times, and expects an answer of the plugin itself each time.
fn serves(name: &str, source: &PluginSource) -> SlotStatus {
    let host = &Crowd::get().host;
    let slot = SlotName::Routing(Some(name.to_owned()));
    host.commit(host.prepare(source, Some(slot), Some(format!("{name:?}"))).unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap();
    let slot = host.routing(Some(name)).unwrap();
    for ordinal in 0..100 {
        let decided = slot.route(&snapshot(1, 3, 0.0), &request(ordinal, 6)).unwrap();
        assert!(decided.answer.is_ok() && decided.fallback.is_none(), "{name}: {decided:?}");
    }
    let status = slot.status();
    assert_eq!(status.counts.strikes, [0; StrikeKind::ALL.len()], "{name}");
    status
}

fn hand_made(contract: &str, core: &Core) -> PluginSource {
    PluginSource { name: "hand-made.wasm".to_owned(), bytes: components::routing(contract, core).into(), manifest: None }
}

fn lines(slot: &str) -> Vec<String> {
    let line = |event| match event {
        PluginEvent::Log { line, .. } => Some(line),
        _ => None,
    };
    Crowd::get().events(&SlotName::Routing(Some(slot.to_owned()))).into_iter().filter_map(line).collect()
}

#[test]
fn a_plugin_that_exports_more_than_it_must_serves() {
    let contract = changed("export routing;\n}", "export routing;\n    export extra;\n}\ninterface extra { shout: func(); }");
    let core = Core { definitions: r#"(func (export "shardhost:plugin/extra@0.1.0#shout"))"#.to_owned(), ..Core::default() };
    Crowd::get().under_load(&[()], |()| drop(serves("extra-exports", &hand_made(&contract, &core))));
}

#[test]
fn a_plugin_of_a_compatible_version_serves_and_its_log_arrives() {
    let core = Core {
        imports: r#"(import "shardhost:plugin/log@0.1.7" "write" (func $write (param i32 i32 i32)))"#.to_owned(),
        definitions: r#"(data (i32.const 128) "from 0.1.7")"#.to_owned(),
        route: "(call $write (i32.const 1) (i32.const 128) (i32.const 10))".to_owned(),
        ..Core::default()
    };
    serves("compatible-version", &hand_made(&changed("shardhost:plugin@0.1.0", "shardhost:plugin@0.1.7"), &core));
    assert_eq!(lines("compatible-version"), ["from 0.1.7"; 100]);
}

#[test]
fn a_plugin_that_takes_all_the_tables_it_can_get_serves() {
    let core = Core {
        definitions: "(table $table 1 funcref)".to_owned(),
        route: "(loop $more (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 10000)) (i32.const -1)))) \
                (if (i32.gt_u (table.size $table) (i32.const 100000)) (then unreachable))"
            .to_owned(),
        ..Core::default()
    };
    serves("all-tables", &hand_made(&contract(), &core));
}

#[test]
fn a_log_flood_is_cut_short_and_each_line_of_it_is_counted() {
    for (name, written, kept_of_each, bytes_max) in [("chatty", 1000, 32, 4096), ("long-lines", 10, 10, 4096)] {
        let source = PluginSource { manifest: Some("call_ms_max = 5000\n".to_owned()), ..guest("misbehaving-routing") };
        let started = Instant::now();
        let status = serves(name, &source);
        let (kept, seconds) = (lines(name), started.elapsed().as_secs());
        assert!(kept.len() <= 100 * kept_of_each && kept.iter().all(|line| line.len() <= bytes_max), "{name}: {}", kept.len());
        // In each second at most so many, and calls may begin and end within one.
        assert!(kept.len() as u64 <= 1000 * (seconds + 2), "{name}: {} lines in {seconds} s", kept.len());
        assert_eq!(kept.len() as u64 + status.counts.log_lines_dropped, 100 * written, "{name}");
    }
}

/// As much as it dares: half of its deadline, on whichever machine this is and however much else it has to do.
#[test]
fn a_plugin_that_keeps_its_deadline_by_a_hair_is_struck_for_being_slower_than_it_rehearsed() {
    const DEADLINE_MS: u64 = 20;
    const STEPS: u64 = 500_000;
    let crowd = Crowd::get();
    let install = |name: &str, steps: u64, deadline_ms: u64| {
        let source = PluginSource { manifest: Some(format!("call_ms_max = {deadline_ms}\nstrikes_max = 1000\n")), ..guest("misbehaving-routing") };
        let slot = SlotName::Routing(Some(name.to_owned()));
        crowd.host.commit(crowd.host.prepare(&source, Some(slot), Some(format!("\"spin {steps}\""))).unwrap()).unwrap();
        crowd.host.routing(Some(name)).unwrap()
    };
    crowd.under_load(&[()], |()| {
        let measured = install("hair-measured", STEPS, 5_000);
        let mut times: Vec<_> = (0..21).map(|ordinal| measured.route(&snapshot(1, 3, 0.0), &request(ordinal, 6)).unwrap().took).collect();
        times.sort();
        let steps = STEPS as f64 * 0.5 * DEADLINE_MS as f64 / (times[10].as_secs_f64() * 1e3);
        let slot = install("hair", steps as u64, DEADLINE_MS);
        let over_budget = StrikeKind::ALL.iter().position(|kind| *kind == StrikeKind::OverBudget).unwrap();
        let (mut answered, mut late) = (0, 0);
        while slot.status().counts.strikes[over_budget] == 0 {
            let decided = slot.route(&snapshot(1, 3, 0.0), &request(answered, 6)).unwrap();
            assert!(decided.answer.is_ok());
            match decided.fallback {
                None => answered += 1,
                // A processor is not always as fast as a moment ago.
                Some(fault) => {
                    assert_eq!(fault.kind, StrikeKind::Late);
                    late += 1;
                }
            }
            assert!(answered + late < 1_000, "{answered} answered, {late} late, and it was never over budget");
        }
        assert!(answered > 100 && late < 100, "{answered} answered, {late} late");
    });
}

#[test]
fn requests_beyond_the_most_instances_are_answered_by_the_built_in_without_a_strike() {
    let scene = Scene::new(PluginConfig { limits: Limits { instances_max: 2, ..Limits::default() }, ..PluginConfig::default() });
    let source = PluginSource { manifest: Some("call_ms_max = 5000\n".to_owned()), ..guest("misbehaving-routing") };
    scene.host.commit(scene.host.prepare(&source, None, Some("\"spin 300000\"".to_owned())).unwrap()).unwrap();
    let slot = scene.host.routing(None).unwrap();
    let (own, others) = (AtomicU32::new(0), AtomicU32::new(0));
    let end = Instant::now() + Duration::from_secs(60);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                // Each waits until it has seen both, which three times as many threads as instances soon do.
                while own.load(Ordering::Relaxed) < 20 || others.load(Ordering::Relaxed) < 20 {
                    assert!(Instant::now() < end, "{own:?} by the plugin, {others:?} by the built-in");
                    let decided = slot.route(&snapshot(1, 3, 0.0), &request(0, 6)).unwrap();
                    assert!(decided.answer.is_ok());
                    match decided.fallback {
                        None => own.fetch_add(1, Ordering::Relaxed),
                        Some(fault) => {
                            assert_eq!(fault.message, "2 of its instances are in use, at most 2 may be");
                            others.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
    });
    assert!(!scene.events().iter().any(|event| matches!(event, PluginEvent::Strike { .. })), "to be asked too much is no fault");
    assert_eq!(&*slot.bearer().unwrap().plugin, "misbehaving-routing");
}
