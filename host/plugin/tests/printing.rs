//! What a guest prints the way that its language does it: every line arrives in its log, within the log's limits, and what it
//! said last is in the reason of a failure.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/scenes.rs"]
mod scenes;

use guests::guest;
use host_core::policy::{PolicyFault, StrikeKind};
use host_plugin::{LogLevel, PluginConfig, PluginEvent, PluginSource};
use scenes::{Scene, request, snapshot};

/// A host in whose routing slot the printing guest serves.
fn printing(how: &str) -> Scene {
    let scene = Scene::new(PluginConfig::default());
    // What it prints thousands of lines in takes longer than a route may.
    let source = PluginSource { manifest: Some("call_ms_max = 5000\n".to_owned()), ..guest("printing-routing") };
    scene.host.commit(scene.host.prepare(&source, None, Some(format!("{how:?}"))).unwrap()).unwrap();
    scene
}

/// Asks once; why the plugin failed, if it did.
fn ask(scene: &Scene, ordinal: u32) -> Option<PolicyFault> {
    let decided = scene.host.routing(None).unwrap().route(&snapshot(1, 3, 0.0), &request(ordinal, 6)).unwrap();
    assert!(decided.answer.is_ok());
    decided.fallback
}

fn lines(scene: &Scene) -> Vec<(LogLevel, String)> {
    let line = |event| match event {
        PluginEvent::Log { level, line, .. } => Some((level, line)),
        _ => None,
    };
    scene.events().into_iter().filter_map(line).collect()
}

#[test]
fn lines_arrive_in_order_from_the_start_of_the_guest_on_and_the_end_of_a_call_ends_the_last() {
    let scene = printing("lines");
    assert_eq!((ask(&scene, 0), ask(&scene, 1)), (None, None));
    let (info, warn) = (|text: &str| (LogLevel::Info, text.to_owned()), |text: &str| (LogLevel::Warn, text.to_owned()));
    let expected = [warn("it is started"), info("it is configured"), info("it is told topology 1"), info("out 0"), warn("err 0"), info("out 1"), warn("err 1")];
    assert_eq!(lines(&scene), expected);
}

#[test]
fn what_is_printed_counts_against_the_limits_of_the_log() {
    let scene = printing("flood");
    assert_eq!(ask(&scene, 0), None);
    let kept: Vec<_> = lines(&scene).into_iter().filter(|(_, line)| line.starts_with("line ")).collect();
    assert_eq!((kept.len(), kept.last().unwrap().1.as_str()), (32, "line 31"));
    assert_eq!(scene.host.routing(None).unwrap().status().counts.log_lines_dropped, 1000 - 32);

    let scene = printing("long-line");
    assert_eq!(ask(&scene, 0), None);
    assert_eq!(lines(&scene).last().unwrap().1, "ä".repeat(2048));
}

#[test]
fn a_guest_that_looks_around_finds_nothing_and_serves() {
    let scene = printing("look-around");
    assert_eq!(ask(&scene, 0), None);
    assert_eq!(lines(&scene).last().unwrap().1, "0 arguments, 0 variables, a file: false");
}

#[test]
fn the_reason_of_a_failure_holds_what_the_guest_said_last() {
    let scene = printing("panic");
    let fault = ask(&scene, 0).unwrap();
    assert_eq!(fault.kind, StrikeKind::Trap);
    assert!(fault.message.contains("unreachable") && fault.message.contains("panicked at") && fault.message.contains(" | it was told to"), "{fault}");
    assert!(lines(&scene).contains(&(LogLevel::Warn, "it was told to".to_owned())), "{:?}", lines(&scene));

    let fault = ask(&printing("exit"), 0).unwrap();
    assert!(fault.message.contains("it called `wasi:cli/exit@") && fault.message.ends_with(", which no guest is granted: it gives up"), "{fault}");

    let scene = Scene::new(PluginConfig::default());
    let error = scene.host.prepare(&guest("printing-routing"), None, Some("\"panic-in-configure\"".to_owned())).unwrap_err().to_string();
    assert!(error.contains("`printing-routing` does not start: ") && error.contains("it was told to"), "{error}");
}
