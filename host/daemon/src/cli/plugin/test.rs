//! `host plugin test`: the conformance suite of a plugin's world, and what it found, for its author.

use std::time::Duration;

use clap::Args;
use host_core::units::Millis;
use host_plugin::{Failure, TestReport, TestSettings};
use serde_json::{Value, json};

use super::{Global, Screen, Subject};
use crate::error::{Error, Fault};

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    #[command(flatten)]
    subject: Subject,
    /// Inputs to generate; adapters get a tenth, as each loads a shard
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    inputs: u32,
    /// The same seed gives the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after so many seconds with what was seen
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds_max: u64,
}

pub(super) fn test(global: &Global, screen: &mut Screen, args: TestArgs) -> Result<(), Error> {
    let bench = args.subject.open(global)?;
    let time_max = Duration::from_secs(args.seconds_max);
    let report = bench.test(&TestSettings { seed: args.seed, inputs: args.inputs, time_max, ..TestSettings::default() })?;
    if screen.is_json() {
        screen.json(&as_json(&report))?
    } else {
        lines(&report).iter().try_for_each(|line| screen.line(line))?
    }
    match report.failures.len() {
        0 => Ok(()),
        broken => Err(Fault::NotConformant { plugin: report.plugin.to_string(), broken }.into()),
    }
}

fn lines(report: &TestReport) -> Vec<String> {
    let mut lines = vec![
        format!("{} as {}, {} inputs of seed {} in {}", report.plugin, report.kind, report.inputs, report.seed, millis(report.took)),
        format!("digest sha256:{}", report.digest),
    ];
    for rule in &report.rules {
        let kept = if rule.broken == 0 { "holds ".to_owned() } else { format!("BROKEN by {} of", rule.broken) };
        lines.push(format!("{kept} {:4}  {}", rule.checked, rule.rule.words()));
    }
    lines.extend(report.findings.iter().map(|finding| format!("note         {finding}")));
    lines.extend(report.failures.iter().flat_map(failure));
    lines
}

fn failure(failure: &Failure) -> Vec<String> {
    let how = if failure.shrink_steps > 0 { format!("made smaller in {} steps", failure.shrink_steps) } else { "as it is".to_owned() };
    let head = [String::new(), format!("broken: {}", failure.rule.words()), format!("  {}", failure.says), format!("  input {}, {how}:", failure.number)];
    head.into_iter().chain(failure.input.lines().map(|line| format!("    {line}"))).collect()
}

fn millis(took: Duration) -> Millis {
    Millis(took.as_secs_f64() * 1e3)
}

fn as_json(report: &TestReport) -> Value {
    let rules: Vec<Value> = report
        .rules
        .iter()
        .map(|rule| json!({ "rule": rule.rule.word(), "says": rule.rule.words(), "checked": rule.checked, "broken": rule.broken }))
        .collect();
    let failures: Vec<Value> = report
        .failures
        .iter()
        .map(|failure| json!({ "rule": failure.rule.word(), "says": failure.says, "number": failure.number, "input": failure.input, "shrink_steps": failure.shrink_steps }))
        .collect();
    json!({
        "plugin": &*report.plugin,
        "digest": report.digest.to_string(),
        "kind": report.kind.word(),
        "seed": report.seed,
        "inputs": report.inputs,
        "refused": report.refused,
        "possible": report.possible.0,
        "possible_refused": report.possible.1,
        "rules": rules,
        "failures": failures,
        "findings": report.findings,
        "passed": report.passed(),
        "took_ms": millis(report.took).0,
    })
}
