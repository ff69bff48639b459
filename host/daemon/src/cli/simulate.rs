//! `host simulate`: policies over a described fleet and its requests, on a virtual clock. Nothing runs but the policies.

mod fleet;
mod given;
mod guests;
mod host_settings;
mod models;
mod report;
mod text;
mod traffic;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use host_core::{
    policy::{AllocationPolicy, QueueingPolicy},
    simulate::{FleetModel, GivenPlan, Outcome, Policies, Scenario, Traffic, simulate as simulated},
    units::Millis,
};
use host_engine::Engines;
use host_plugin::{PluginKind, Replayer, Workbench};

use super::{Global, plugin::source, screen::Screen, token::time_ms};
use crate::{
    config::{self, Config},
    error::{Error, Fault},
    shelf::native_code_folder,
};
use fleet::Fleet;
use guests::Guest;
use traffic::TrafficSource;

/// Most policies that are put side by side.
const COMPARED_MAX: usize = 16;

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// The fleet: devices, links, models, requests and settings, as in the folder `fleets`
    #[arg(value_name = "FLEET.toml")]
    fleet: PathBuf,
    /// Who places models: a WebAssembly component, or the name of a built-in plugin
    #[arg(long, value_name = "FILE|NAME", default_value = "balanced-allocation")]
    allocation: PathBuf,
    /// Simulate this plan as it is, and place nothing anew: what `host plan show -o json` prints. The fleet names its devices
    #[arg(long, value_name = "FILE", conflicts_with_all = ["allocation", "compare"])]
    plan: Option<PathBuf>,
    /// Who routes requests
    #[arg(long, value_name = "FILE|NAME", default_value = "least-loaded-routing")]
    routing: PathBuf,
    /// Who ranks requests that wait [default: they go in the order in which they come]
    #[arg(long, value_name = "FILE|NAME")]
    queueing: Option<PathBuf>,
    /// Run once for each of these, in the place of the policy of its kind, and show them side by side
    #[arg(long, value_name = "FILE|NAME,…", value_delimiter = ',')]
    compare: Vec<PathBuf>,
    /// The same seed gives the same run [default: what the fleet says]
    #[arg(long)]
    seed: Option<u64>,
    /// How long requests come that count, such as 90s, 10m or 24h [default: what the fleet says]
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    duration: Option<u64>,
    /// A trace of requests in the place of the fleet's: JSON lines with `at_ms`, or what `host run --record` wrote
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
    /// Write a report with plots, a file that needs no other
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Config file with the limits that plugins get [default: what HOST_CONFIG names]
    #[arg(long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The policies of one run, and what came of it.
#[derive(Debug)]
struct Run {
    /// What tells it from the others.
    label: String,
    allocation: String,
    routing: String,
    /// Empty where there is none.
    queueing: String,
    outcome: Outcome,
}

/// What all runs have in common.
#[derive(Debug)]
struct Setting {
    fleet: String,
    seed: u64,
    devices: usize,
    models: Vec<FleetModel>,
}

pub(super) fn simulate(global: &Global, screen: &mut Screen, args: SimulateArgs) -> Result<(), Error> {
    if args.compare.len() > COMPARED_MAX {
        let reason = format!("{} policies are compared, at most {COMPARED_MAX} may be", args.compare.len());
        return Err(Fault::Usage { reason }.into());
    }
    let (name, scenario) = scenario(&args)?;
    let config = config::load(args.config.clone(), global.flags())?.config;
    let runs = runs(&args, &config, &scenario)?;
    let setting = Setting { fleet: name, seed: scenario.settings().seed, devices: scenario.devices().len(), models: scenario.models().to_vec() };
    if let Some(file) = &args.html {
        let page = report::page(&setting, &runs)?;
        fs::write(file, page).map_err(|error| Error::from(Fault::File { doing: "write", path: file.display().to_string() }).because(error))?;
    }
    if screen.is_json() { screen.json(&text::as_json(&setting, &runs)) } else { text::print(screen, &setting, &runs) }
}

/// The fleet, with what the flags say in its place.
fn scenario(args: &SimulateArgs) -> Result<(String, Scenario), Error> {
    let Fleet { name, devices, events, links, models, traffic, mut settings } = fleet::read(&args.fleet)?;
    settings.seed = args.seed.unwrap_or(settings.seed);
    if let Some(duration_ms) = args.duration {
        settings.duration = Millis(duration_ms as f64);
    }
    let models = models.iter().map(|model| model.load(&args.fleet)).collect::<Result<Vec<_>, _>>()?.concat();
    let traffic: Vec<Traffic> = match &args.requests {
        // A flag's path is relative to where the command runs, and a fleet's to its own folder.
        Some(file) => vec![TrafficSource::of_trace(file.clone()).load(Path::new(""), &models)?],
        None => traffic.iter().map(|traffic| traffic.load(&args.fleet, &models)).collect::<Result<_, _>>()?,
    };
    Ok((name, Scenario::new(devices, events, links, models, traffic, settings)?))
}

/// One run for each policy that is compared, or one in all.
fn runs(args: &SimulateArgs, config: &Config, scenario: &Scenario) -> Result<Vec<Run>, Error> {
    let open = |plugin: &Path, kind: Option<PluginKind>| opened(plugin, kind, config);
    let (given, allocation);
    let placer = match &args.plan {
        Some(file) => {
            given = given::read(file, scenario)?;
            Placer::Given(&given)
        }
        None => {
            allocation = open(&args.allocation, Some(PluginKind::Allocation))?;
            Placer::Plugin(&allocation)
        }
    };
    let routing = open(&args.routing, Some(PluginKind::Routing))?;
    let queueing = args.queueing.as_ref().map(|plugin| open(plugin, Some(PluginKind::Queueing))).transpose()?;
    let base = Benches { allocation: placer, routing: &routing, queueing: queueing.as_ref() };
    if args.compare.is_empty() {
        return Ok(vec![base.run(scenario, args.fleet_label())?]);
    }
    let compared = args.compare.iter().map(|plugin| open(plugin, None)).collect::<Result<Vec<_>, _>>()?;
    compared.iter().map(|bench| base.with(bench)?.run(scenario, bench.plugin().to_string())).collect()
}

/// Compiles and starts a plugin, and holds it to the kind that is wanted.
fn opened(plugin: &Path, wanted: Option<PluginKind>, config: &Config) -> Result<Workbench, Error> {
    let bench = Workbench::open(&source(plugin)?, None, None, &config.plugin_limits.guest, Some(&native_code_folder(config)), Arc::new(Engines::default()))?;
    match wanted {
        Some(kind) if kind != bench.kind() => {
            let reason = format!("`{}` is of the kind `{}`, `{kind}` is wanted", bench.plugin(), bench.kind());
            Err(Fault::Usage { reason }.into())
        }
        _ => Ok(bench),
    }
}

/// What places models.
#[derive(Clone, Copy)]
enum Placer<'a> {
    Plugin(&'a Workbench),
    Given(&'a GivenPlan),
}

impl<'a> Placer<'a> {
    fn policy(self) -> Result<Box<dyn AllocationPolicy + 'a>, Error> {
        let policy: Box<dyn AllocationPolicy + 'a> = match self {
            Self::Plugin(bench) => Box::new(asking(bench)?),
            Self::Given(plan) => Box::new(plan.clone()),
        };
        Ok(policy)
    }

    fn name(self) -> String {
        match self {
            Self::Plugin(bench) => bench.plugin().to_string(),
            Self::Given(plan) => plan.to_string(),
        }
    }
}

/// Who decides in one run.
#[derive(Clone, Copy)]
struct Benches<'a> {
    allocation: Placer<'a>,
    routing: &'a Workbench,
    queueing: Option<&'a Workbench>,
}

impl<'a> Benches<'a> {
    /// The same with another plugin in the place of that of its kind.
    fn with(self, other: &'a Workbench) -> Result<Self, Error> {
        match other.kind() {
            PluginKind::Allocation => Ok(Self { allocation: Placer::Plugin(other), ..self }),
            PluginKind::Routing => Ok(Self { routing: other, ..self }),
            PluginKind::Queueing => Ok(Self { queueing: Some(other), ..self }),
            PluginKind::Adapter => Err(drives(other)),
        }
    }

    fn run(self, scenario: &Scenario, label: String) -> Result<Run, Error> {
        let mut allocation = self.allocation.policy()?;
        let mut routing = asking(self.routing)?;
        let mut queueing = self.queueing.map(asking).transpose()?;
        let policies =
            Policies { allocation: allocation.as_mut(), routing: &mut routing, queueing: queueing.as_mut().map(|guest| guest as &mut dyn QueueingPolicy) };
        let outcome = simulated(scenario, policies);
        let name = |bench: &Workbench| bench.plugin().to_string();
        let queueing = self.queueing.map(name).unwrap_or_default();
        Ok(Run { label, allocation: self.allocation.name(), routing: name(self.routing), queueing, outcome })
    }
}

fn asking(bench: &Workbench) -> Result<Guest<'_>, Error> {
    let replayer: Option<Replayer<'_>> = bench.replayer();
    replayer.map(Guest).ok_or_else(|| drives(bench))
}

fn drives(bench: &Workbench) -> Error {
    Fault::Usage { reason: format!("`{}` drives accelerators and decides nothing that could be simulated", bench.plugin()) }.into()
}

impl SimulateArgs {
    fn fleet_label(&self) -> String {
        self.fleet.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}
