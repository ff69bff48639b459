//! `host conformance`: the conformance suite of adapters, on this machine, with the engines and converters of the config. Needs no running
//! host.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Args;
use host_core::units::{Bytes, Millis};
use host_engine::{Lengths, Shard};
use host_plugin::{AdapterReport, AdapterSettings, BUILTIN_PLUGINS, Check, NotConverted, Verdict, Workbench};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{Global, plugin::source, screen::Screen};
use crate::{
    config::{self, Config},
    convert::{Alone, ConversionFault},
    error::{Error, Fault},
    metrics::Metrics,
    shelf::native_code_folder,
    stage_fault::StageFault,
    start::engines,
};

/// The folder that converters work in, in the data directory.
const FOLDER: &str = "conformance";
/// What the names of built-in adapters end with, and people may leave out.
const SUFFIX: &str = "-adapter";
/// The field of an adapter's configuration that names its engine.
const ENGINE: &str = "engine";
/// Attributes of an offer that the first line repeats.
const SHOWN: [&str; 4] = ["engine", "engine-version", "gpu", "needs-artefacts"];

#[derive(Debug, Args)]
pub(super) struct ConformanceArgs {
    /// A built-in adapter, such as cpu-adapter or cpu, or a WebAssembly component
    #[arg(long, value_name = "NAME|FILE")]
    adapter: PathBuf,
    /// The engine that it is to use, where its configuration can say so
    #[arg(long)]
    engine: Option<String>,
    /// Its configuration [default: that of the first slot of the config that names it]
    #[arg(long = "plugin-config", value_name = "JSON")]
    plugin_config: Option<String>,
    /// Config file with engines, converters and limits [default: what HOST_CONFIG names]
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which of its offers, counted from 0
    #[arg(long, default_value_t = 0)]
    offer: u32,
    /// What to convert for where it takes nothing else, as in `host model convert` [default: what its offer says]
    #[arg(long = "for", value_name = "TARGET")]
    target: Option<String>,
    /// Loads and unloads in a row; 0 leaves them out
    #[arg(long, default_value_t = 1000)]
    cycles: u32,
    /// How much this process may have grown after them, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    growth_mib: u64,
    /// Threads that run at the same time; 0 leaves them out
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=256))]
    threads: u32,
    /// Runs of each thread
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// Weights that are loaded side by side, or as many as fit, in MiB; 0 leaves them out
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    fill_mib: u64,
    /// Largest difference from the reference, as a part of an output's largest value [default: 0.001, and 0.02 where floats of 16 bits or
    /// quantised products are computed with]
    #[arg(long, value_name = "RATIO")]
    tolerance: Option<f64>,
    /// Checks that may not be refused beside the basic ones, by name; all for every one
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    require: Vec<String>,
}

impl ConformanceArgs {
    fn settings(&self) -> Result<AdapterSettings, Error> {
        if let Some(tolerance) = self.tolerance.filter(|tolerance| !tolerance.is_finite() || *tolerance < 0.0) {
            return Err(Fault::Usage { reason: format!("--tolerance is {tolerance}, it must be a number not below 0") }.into());
        }
        Ok(AdapterSettings {
            offer: self.offer,
            cycles: self.cycles,
            growth_max: Bytes::mib(1).times(self.growth_mib),
            threads: self.threads,
            runs: self.runs,
            fill: Bytes::mib(1).times(self.fill_mib),
            tolerance: self.tolerance,
            required: self.require.iter().cloned().collect::<BTreeSet<_>>(),
        })
    }

    /// A file, or else the whole name of a built-in adapter.
    fn plugin(&self) -> PathBuf {
        let whole = format!("{}{SUFFIX}", self.adapter.display());
        if BUILTIN_PLUGINS.contains(&whole.as_str()) && !self.adapter.is_file() { whole.into() } else { self.adapter.clone() }
    }

    /// What the plugin is configured with; none for what its manifest says.
    fn configuration(&self, config: &Config, plugin: &Path) -> Result<Option<String>, Error> {
        let name = plugin.display().to_string();
        let bound = config.slots.values().find(|binding| binding.plugin == name).and_then(|binding| binding.config.as_ref());
        let text = self.plugin_config.clone().or_else(|| bound.map(Value::to_string));
        let Some(engine) = &self.engine else { return Ok(text) };
        let wrong = |reason: String| Error::from(Fault::Usage { reason: format!("the configuration of {name} {reason}") });
        let mut value: Value = match &text {
            Some(text) => serde_json::from_str(text).map_err(|error| wrong(format!("is no JSON: {error}")))?,
            None => json!({}),
        };
        let fields = value.as_object_mut().ok_or_else(|| wrong("must be a JSON object".to_owned()))?;
        fields.insert(ENGINE.to_owned(), json!(engine));
        Ok(Some(value.to_string()))
    }
}

pub(super) async fn conformance(global: &Global, screen: &mut Screen, args: ConformanceArgs) -> Result<(), Error> {
    let config = config::load(args.file.clone(), global.flags())?.config;
    let settings = args.settings()?;
    // Converters are children, which this thread hears while the other one examines.
    let waiting = Handle::current();
    let examining = tokio::task::spawn_blocking(move || examined(&config, &args, &settings, &waiting));
    let report = examining.await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))??;
    if screen.is_json() {
        screen.json(&as_json(&report))?;
    } else {
        show(screen, &report)?;
    }
    match report.failed() {
        0 => Ok(()),
        failed => Err(Fault::ChecksFailed { plugin: report.plugin.to_string(), failed, all: report.checks.len() }.into()),
    }
}

fn examined(config: &Config, args: &ConformanceArgs, settings: &AdapterSettings, waiting: &Handle) -> Result<AdapterReport, Error> {
    let plugin = args.plugin();
    let source = source(&plugin)?;
    let configuration = args.configuration(config, &plugin)?;
    let engines = engines::start(config, &Metrics::new())?;
    let bench = Workbench::open(&source, None, configuration, &config.plugin_limits.guest, Some(&native_code_folder(config)), engines)?;
    let folder = config.data.join(FOLDER);
    let convert = |offered: &str, shard: &Shard, buckets: &[Lengths]| {
        let target = args.target.as_deref().unwrap_or(offered);
        let made = Alone::new(config.conversion.clone(), &folder).and_then(|alone| waiting.block_on(alone.convert(target, shard, buckets)));
        made.map_err(not_converted)
    };
    let report = bench.examine(settings, &convert)?;
    let other = || Fault::Usage { reason: format!("`{}` is no adapter, it is a plugin for {}", bench.plugin(), bench.kind()) };
    report.ok_or_else(|| other().into())
}

/// A tool that was asked and does not take a shard has refused it; all else says nothing of the shard.
fn not_converted(error: Error) -> NotConverted {
    match error.fault() {
        Fault::Conversion(ConversionFault::Failed { .. } | ConversionFault::NothingWritten { .. }) => NotConverted::Refused(error.to_string()),
        _ => NotConverted::Unable(error.to_string()),
    }
}

fn show(screen: &mut Screen, report: &AdapterReport) -> Result<(), Error> {
    let attributes = report.attributes.iter().filter(|(name, _)| SHOWN.contains(&name.as_str()));
    let offered: String = attributes.map(|(name, value)| format!(", {name} {value}")).collect();
    let accelerator = if report.accelerator.is_empty() { "nothing" } else { &report.accelerator };
    let took = Millis(report.took.as_secs_f64() * 1e3);
    screen.line(&format!("{} on {accelerator}{offered}: {} checks in {took}", report.plugin, report.checks.len()))?;
    screen.line(&format!("digest sha256:{}", report.digest))?;
    let rows: Vec<[String; 4]> = report.checks.iter().map(row).collect();
    screen.table(["about", "check", "result", "says"], &rows)?;
    let count = |word: &str| report.checks.iter().filter(|check| check.verdict.word() == word).count();
    let counts: Vec<String> = ["ok", "refused", "wrong", "missing"].iter().map(|word| format!("{} {word}", count(word))).collect();
    screen.line(&counts.join(", "))
}

fn row(check: &Check) -> [String; 4] {
    let required = if check.is_required && matches!(check.verdict, Verdict::Refused(_)) { ", required" } else { "" };
    let says = check.verdict.says().lines().map(str::trim).collect::<Vec<_>>().join(" | ");
    [check.subject.word().to_owned(), check.name.clone(), format!("{}{required}", check.verdict.word()), says]
}

fn as_json(report: &AdapterReport) -> Value {
    let check = |check: &Check| {
        json!({
            "about": check.subject.word(),
            "name": check.name,
            "required": check.is_required,
            "result": check.verdict.word(),
            "says": check.verdict.says(),
            "passed": check.passed(),
        })
    };
    let attributes: Vec<[&str; 2]> = report.attributes.iter().map(|(name, value)| [name.as_str(), value.as_str()]).collect();
    json!({
        "plugin": &*report.plugin,
        "digest": report.digest.to_string(),
        "accelerator": report.accelerator,
        "attributes": attributes,
        "checks": report.checks.iter().map(check).collect::<Vec<_>>(),
        "failed": report.failed(),
        "took_ms": report.took.as_secs_f64() * 1e3,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::SlotBinding;

    use super::*;

    fn args(adapter: &str, engine: Option<&str>, plugin_config: Option<&str>) -> ConformanceArgs {
        let (engine, plugin_config) = (engine.map(str::to_owned), plugin_config.map(str::to_owned));
        let (file, target, tolerance, require) = (None, None, None, Vec::new());
        let (offer, cycles, growth_mib, threads, runs, fill_mib) = (0, 1, 1, 1, 1, 1);
        let adapter = adapter.into();
        ConformanceArgs { adapter, engine, plugin_config, file, offer, target, cycles, growth_mib, threads, runs, fill_mib, tolerance, require }
    }

    #[test]
    fn an_adapter_is_configured_by_the_command_or_else_by_its_slot() {
        let mut config = Config::with_data("/nowhere".into());
        let binding = SlotBinding { plugin: "rknn-adapter".to_owned(), digest: None, config: Some(json!({ "target": "rk3588" })) };
        config.slots.insert("adapter/rknn".to_owned(), binding);
        let configured = |args: ConformanceArgs| {
            let text = args.configuration(&config, &args.plugin()).map_err(|error| error.to_string())?;
            Ok::<_, String>(text.map(|text| serde_json::from_str::<Value>(&text).expect("JSON")))
        };
        assert_eq!(configured(args("cpu", None, None)), Ok(None));
        assert_eq!(configured(args("cpu", Some("rten"), None)), Ok(Some(json!({ "engine": "rten" }))));
        assert_eq!(configured(args("cpu", Some("rten"), Some(r#"{"threads":2}"#))), Ok(Some(json!({ "engine": "rten", "threads": 2 }))));
        assert_eq!(configured(args("rknn", None, None)), Ok(Some(json!({ "target": "rk3588" }))));
        assert_eq!(configured(args("rknn-adapter", None, Some("{}"))), Ok(Some(json!({}))));
        let error = configured(args("cpu", Some("rten"), Some("[]"))).expect_err("a list");
        assert_eq!(error, "the configuration of cpu-adapter must be a JSON object");
    }

    #[test]
    fn a_tool_that_does_not_take_a_shard_refuses_it_and_one_that_is_not_there_says_nothing_of_it() {
        let missing = ConversionFault::NoTool { tool: "`atc`".to_owned(), install: "install it".to_owned() };
        assert!(matches!(not_converted(missing.into()), NotConverted::Unable(text) if text.contains("atc")));
        let shard = host_engine::Specimen::classes().expect("sound").remove(0).shard.id;
        let failed = ConversionFault::NothingWritten { tool: "atc".to_owned(), shard };
        assert!(matches!(not_converted(failed.into()), NotConverted::Refused(_)));
    }

    #[test]
    fn a_tolerance_that_is_no_number_is_refused() {
        let args = ConformanceArgs { tolerance: Some(f64::NAN), ..args("cpu", None, None) };
        assert_eq!(args.settings().expect_err("no number").to_string(), "--tolerance is NaN, it must be a number not below 0");
    }
}
