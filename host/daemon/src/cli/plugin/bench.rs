//! `host plugin bench`: how long a plugin takes at growing sizes, and how near its plans come to the best ones.

use std::time::Duration;

use clap::Args;
use host_core::{problem::Objective, units::Millis};
use host_plugin::{AdapterTimes, CallTimes, Measured, Measurements, PlanQuality};
use serde_json::{Value, json};

use super::{Global, Screen, Subject};
use crate::error::Error;

#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArgs {
    #[command(flatten)]
    subject: Subject,
    /// Measure for so many seconds at most
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds_max: u64,
}

pub(super) fn bench(global: &Global, screen: &mut Screen, args: BenchArgs) -> Result<(), Error> {
    let bench = args.subject.open(global)?;
    let measured = bench.measure(Duration::from_secs(args.seconds_max))?;
    if screen.is_json() {
        return screen.json(&as_json(&measured));
    }
    screen.line(&format!("{} as {}, sha256:{}", measured.plugin, bench.kind(), measured.digest))?;
    match &measured.measurements {
        Measurements::Routing(rows) => calls(screen, "segments", rows),
        Measurements::Queueing(rows) => calls(screen, "classes", rows),
        Measurements::Allocation(quality, rows) => plans(screen, quality).and_then(|()| calls(screen, "offers", rows)),
        Measurements::Adapter(rows) => shards(screen, rows),
    }
}

fn calls(screen: &mut Screen, what: &str, rows: &[CallTimes]) -> Result<(), Error> {
    let row = |row: &CallTimes| {
        let fault = row.fault.as_ref().map(ToString::to_string).unwrap_or_default();
        [row.size.to_string(), row.calls.to_string(), micros(row.p50), micros(row.p99), fault]
    };
    screen.table([what, "calls", "p50", "p99", "stopped by"], &rows.iter().map(row).collect::<Vec<_>>())
}

fn plans(screen: &mut Screen, quality: &[PlanQuality]) -> Result<(), Error> {
    let row = |row: &PlanQuality| {
        [word(row.objective).to_owned(), row.problems.to_string(), row.refused.to_string(), row.best.to_string(), ratio(row.mean), ratio(row.worst)]
    };
    screen.line("plans of at most 4 offers and 8 blocks, against the best ones (1 is as good)")?;
    screen.table(["objective", "problems", "refused", "best", "mean", "worst"], &quality.iter().map(row).collect::<Vec<_>>())?;
    screen.line("")
}

fn shards(screen: &mut Screen, rows: &[AdapterTimes]) -> Result<(), Error> {
    let row = |row: &AdapterTimes| {
        let fault = row.fault.clone().unwrap_or_default();
        [
            row.shard.clone(),
            micros(row.engine_p50),
            micros(row.adapter_p50),
            micros(row.adapter_p50.saturating_sub(row.engine_p50)),
            micros(row.adapter_p99),
            fault,
        ]
    };
    screen.table(["shard", "engine p50", "adapter p50", "added", "adapter p99", "stopped by"], &rows.iter().map(row).collect::<Vec<_>>())
}

fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 100.0 { format!("{micros:.1} µs") } else { Millis(micros / 1e3).to_string() }
}

fn ratio(value: f64) -> String {
    format!("{value:.3}")
}

fn word(objective: Objective) -> &'static str {
    match objective {
        Objective::Latency => "latency",
        Objective::Throughput => "throughput",
        Objective::Balanced => "balanced",
    }
}

fn as_json(measured: &Measured) -> Value {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let call = |what: &str, rows: &[CallTimes]| -> Vec<Value> {
        let fault = |row: &CallTimes| row.fault.as_ref().map(ToString::to_string);
        rows.iter().map(|row| json!({ what: row.size, "calls": row.calls, "us_p50": us(row.p50), "us_p99": us(row.p99), "fault": fault(row) })).collect()
    };
    let quality = |row: &PlanQuality| json!({ "objective": word(row.objective), "problems": row.problems, "refused": row.refused, "best": row.best, "mean": row.mean, "worst": row.worst });
    let shard = |row: &AdapterTimes| {
        let added = us(row.adapter_p50.saturating_sub(row.engine_p50));
        json!({ "shard": row.shard, "engine_us_p50": us(row.engine_p50), "adapter_us_p50": us(row.adapter_p50), "added_us_p50": added, "adapter_us_p99": us(row.adapter_p99), "fault": row.fault })
    };
    let measurements = match &measured.measurements {
        Measurements::Routing(rows) => json!({ "route": call("segments", rows) }),
        Measurements::Queueing(rows) => json!({ "admit": call("classes", rows) }),
        Measurements::Allocation(plans, rows) => json!({ "plans": plans.iter().map(quality).collect::<Vec<_>>(), "allocate": call("offers", rows) }),
        Measurements::Adapter(rows) => json!({ "run": rows.iter().map(shard).collect::<Vec<_>>() }),
    };
    json!({ "plugin": &*measured.plugin, "digest": measured.digest.to_string(), "measurements": measurements })
}
