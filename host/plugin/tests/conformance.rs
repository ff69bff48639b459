//! The conformance suite against plugins that keep the rules and plugins that break one each.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;

use std::{sync::Arc, time::Duration};

use guests::guest;
use host_engine::Engines;
use host_plugin::{Limits, Measurements, PluginSource, Rule, TestReport, TestSettings, Workbench};

fn bench(source: &PluginSource, config: Option<&str>) -> Workbench {
    let config = config.map(|how| format!("{how:?}"));
    Workbench::open(source, None, config, &Limits::default(), None, Arc::new(Engines::default())).unwrap()
}

fn builtin(name: &str) -> Workbench {
    bench(&PluginSource::builtin(name).unwrap(), None)
}

fn few() -> TestSettings {
    TestSettings { inputs: 60, ..TestSettings::default() }
}

#[test]
fn the_built_in_plugins_keep_every_rule() {
    for name in host_plugin::BUILTIN_PLUGINS {
        let report = builtin(name).test(&few()).unwrap();
        assert!(report.passed(), "{name}: {:?}", report.failures);
        if name.ends_with("-adapter") && name != "cpu-adapter" {
            // No test machine is sure to have these accelerators, so they find nothing and say so.
            assert!(report.findings.iter().any(|finding| finding.starts_with("it finds nothing to drive on this machine")), "{name}: {report:?}");
            continue;
        }
        assert!(report.rules.iter().any(|rule| rule.rule == Rule::Proved && rule.checked > 0), "{name}: {report:?}");
        assert!(report.possible.0 > 0 && report.possible.1 < report.possible.0, "{name} refuses everything: {report:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let what = |report: TestReport| (report.inputs, report.refused, report.possible, report.rules, report.findings);
    let routing = builtin("least-loaded-routing");
    assert_eq!(what(routing.test(&few()).unwrap()), what(routing.test(&few()).unwrap()));
}

#[test]
fn each_broken_rule_is_named_with_a_smaller_input() {
    struct Case {
        guest: &'static str,
        how: &'static str,
        rule: Rule,
        says: &'static str,
        input_lines_max: usize,
    }
    let cases = [
        Case { guest: "misbehaving-routing", how: "trap", rule: Rule::Answers, says: "index out of bounds", input_lines_max: 4 },
        Case { guest: "misbehaving-routing", how: "wrong-index", rule: Rule::Proved, says: "segment 4000000000 does not exist", input_lines_max: 4 },
        Case { guest: "misbehaving-routing", how: "gap", rule: Rule::Proved, says: "does not exist", input_lines_max: 4 },
        Case { guest: "misbehaving-routing", how: "counts", rule: Rule::Repeats, says: "then path", input_lines_max: 8 },
        Case { guest: "misbehaving-routing", how: "keeps-pressure", rule: Rule::NoPast, says: "then path", input_lines_max: 8 },
        Case { guest: "misbehaving-allocation", how: "unknown-offer", rule: Rule::Proved, says: "offer 77 does not exist", input_lines_max: 3 },
        Case { guest: "misbehaving-allocation", how: "nothing", rule: Rule::Proved, says: "0 replicas", input_lines_max: 3 },
        Case { guest: "misbehaving-allocation", how: "not-a-number", rule: Rule::Proved, says: "bound is NaN", input_lines_max: 3 },
        Case { guest: "misbehaving-allocation", how: "review-trap", rule: Rule::Answers, says: "review: trap", input_lines_max: 4 },
        Case { guest: "misbehaving-allocation", how: "review-silent", rule: Rule::SoundRefusal, says: "gives no reason", input_lines_max: 4 },
        Case { guest: "misbehaving-adapter", how: "trap", rule: Rule::Answers, says: "this adapter always fails", input_lines_max: 1 },
        Case { guest: "misbehaving-adapter", how: "returns-inputs", rule: Rule::Proved, says: "expected [batch, 10], found", input_lines_max: 1 },
    ];
    for Case { guest: name, how, rule, says, input_lines_max } in cases {
        let report = bench(&guest(name), Some(how)).test(&few()).unwrap();
        let failure = report.failures.iter().find(|failure| failure.rule == rule);
        let failure = failure.unwrap_or_else(|| panic!("{how}: {rule:?} is not broken: {report:?}"));
        assert!(!report.passed());
        assert!(failure.says.contains(says), "{how}: {}", failure.says);
        assert!(failure.input.lines().count() <= input_lines_max, "{how}: the input is still large\n{}", failure.input);
    }
}

#[test]
fn a_plugin_that_refuses_everything_breaks_no_rule_but_is_found_out() {
    let report = bench(&guest("misbehaving-routing"), Some("refuse")).test(&few()).unwrap();
    assert!(report.passed(), "{:?}", report.failures);
    assert!(report.findings.iter().any(|finding| finding.contains("decides nothing")), "{:?}", report.findings);
}

#[test]
fn a_policy_that_wants_another_plan_and_has_none_is_found_out() {
    let report = bench(&guest("misbehaving-allocation"), Some("review-stubborn")).test(&TestSettings::default()).unwrap();
    assert!(report.findings.iter().any(|finding| finding.starts_with("its review wants another plan where it has no other")), "{:?}", report.findings);
}

#[test]
fn copies_and_what_a_plan_depends_on_are_told_without_failing() {
    let report = bench(&guest("misbehaving-adapter"), Some("copies")).test(&few()).unwrap();
    assert!(report.passed(), "{:?}", report.failures);
    assert!(report.findings.iter().any(|finding| finding.contains("tensor bytes")), "{:?}", report.findings);
}

#[test]
fn exact_plans_are_measured_as_good_as_the_best_and_greedy_ones_are_not() {
    let quality = |name: &str| match builtin(name).measure(Duration::from_secs(30)).unwrap().measurements {
        Measurements::Allocation(plans, _) => plans,
        other => panic!("{other:?}"),
    };
    for plans in quality("balanced-allocation") {
        assert!(plans.problems >= 5 && plans.refused == 0, "{plans:?}");
        assert!(plans.mean > 0.99 && plans.worst > 0.9, "{plans:?}");
    }
    let greedy = quality("greedy-allocation");
    assert!(greedy.iter().any(|plans| plans.mean < 0.9), "{greedy:?}");
}

#[test]
fn routing_is_measured_up_to_a_thousand_segments() {
    let Measurements::Routing(rows) = builtin("round-robin-routing").measure(Duration::from_secs(5)).unwrap().measurements else { panic!("routing") };
    assert_eq!(rows.iter().map(|row| row.size).collect::<Vec<_>>(), [4, 16, 64, 256, 1024]);
    assert!(rows.iter().all(|row| row.calls > 0 && row.p50 <= row.p99), "{rows:?}");
}
