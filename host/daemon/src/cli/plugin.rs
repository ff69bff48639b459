//! `host plugin`.

mod bench;
mod test;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use host_core::units::{Bytes, Millis};
use host_engine::Engines;
use host_plugin::{BUILTIN_PLUGINS, PluginHost, PluginSource, SlotName, Workbench};
use host_wire::admin::{Compared, Generation, HistoryQuery, InstallQuery, Installed, Plugin, Rehearsal, RollbackQuery};

use super::{Global, client::Admin, plan::utc, screen::Screen};
use crate::{
    component, config,
    error::{Error, Fault},
    shelf,
};

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Verify, compile and rehearse a component, and swap it in while requests run
    Install {
        /// A WebAssembly component
        file: PathBuf,
        /// The slot that it shall serve [default: what it says, or the only one that fits]
        #[arg(long)]
        slot: Option<String>,
        /// Its configuration
        #[arg(long = "plugin-config", value_name = "JSON")]
        config: Option<String>,
    },
    /// List built-in and installed plugins
    List,
    /// Show a plugin, by name or as a file that is not installed
    Inspect {
        /// A name or a file
        plugin: String,
    },
    /// Go back to an earlier generation of a slot
    Rollback {
        /// The slot
        slot: String,
        /// The generation [default: the one before]
        #[arg(long)]
        to: Option<u64>,
    },
    /// Put another built-in or installed plugin in a slot
    Swap {
        /// The slot
        slot: String,
        /// Name of the plugin
        plugin: String,
        /// Its configuration
        #[arg(long = "plugin-config", value_name = "JSON")]
        config: Option<String>,
    },
    /// Put hundreds of generated inputs to a plugin and prove every answer; needs no running host
    Test(test::TestArgs),
    /// Measure a plugin's latency and the quality of its plans; needs no running host
    Bench(bench::BenchArgs),
    /// List what a slot has held
    History {
        /// The slot
        slot: String,
    },
}

pub(super) async fn plugin(global: &Global, screen: &mut Screen, command: PluginCommand) -> Result<(), Error> {
    match command {
        PluginCommand::Install { file, slot, config } => {
            let found = component::read(&file)?;
            let query = InstallQuery { source: file.display().to_string(), slot, config, manifest: found.manifest, ..InstallQuery::default() };
            installed(screen, &Admin::find(global)?.post("/plugins", &query, found.bytes.to_vec()).await?)
        }
        PluginCommand::Swap { slot, plugin, config } => {
            let query = InstallQuery { source: plugin.clone(), name: Some(plugin), slot: Some(slot), config, manifest: None };
            installed(screen, &Admin::find(global)?.post("/plugins", &query, Vec::new()).await?)
        }
        PluginCommand::Rollback { slot, to } => {
            installed(screen, &Admin::find(global)?.post("/plugins/rollback", &RollbackQuery { slot, to }, Vec::new()).await?)
        }
        PluginCommand::List => {
            let plugins: Vec<Plugin> = Admin::find(global)?.get("/plugins").await?;
            if screen.is_json() { screen.json(&plugins) } else { list(screen, &plugins) }
        }
        PluginCommand::Inspect { plugin } => inspect(global, screen, &plugin).await,
        PluginCommand::Test(args) => test::test(global, screen, args),
        PluginCommand::Bench(args) => bench::bench(global, screen, args),
        PluginCommand::History { slot } => {
            let generations: Vec<Generation> = Admin::find(global)?.query("/plugins/generations", &HistoryQuery { count: None, slot: Some(slot) }).await?;
            if screen.is_json() { screen.json(&generations) } else { history(screen, &generations) }
        }
    }
}

/// A plugin alone, as tests, measurements and replays need it: a file, or the name of a built-in one.
#[derive(Debug, Args)]
pub(super) struct Subject {
    /// A WebAssembly component, or the name of a built-in plugin
    #[arg(value_name = "FILE")]
    plugin: PathBuf,
    #[command(flatten)]
    how: How,
}

/// How a plugin is opened.
#[derive(Debug, Args)]
pub(super) struct How {
    /// The slot that it is meant for, where it is of several kinds
    #[arg(long)]
    slot: Option<String>,
    /// Its configuration
    #[arg(long = "plugin-config", value_name = "JSON")]
    config: Option<String>,
    /// Config file with the limits that it gets [default: what HOST_CONFIG names]
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Subject {
    fn open(&self, global: &Global) -> Result<Workbench, Error> {
        self.how.open(global, &self.plugin, None)
    }
}

impl How {
    /// Compiles and starts the plugin. `config` is for one that is given none here.
    pub(super) fn open(&self, global: &Global, plugin: &Path, config: Option<String>) -> Result<Workbench, Error> {
        let limits = shelf::guest_limits(&config::load(self.file.clone(), global.flags())?.config.plugin_limits);
        let slot = self.slot.as_deref().map(SlotName::parse).transpose()?;
        let config = self.config.clone().or(config);
        Ok(Workbench::open(&source(plugin)?, slot, config, &limits, Arc::new(Engines::default()))?)
    }

    /// The plugin's digest. Nothing is compiled.
    pub(super) fn digest(&self, plugin: &Path) -> Result<String, Error> {
        Ok(PluginHost::inspect(&source(plugin)?)?.digest.to_string())
    }

    /// The slot that is meant.
    pub(super) fn slot(&self) -> Option<&str> {
        self.slot.as_deref()
    }
}

/// A file, or a built-in plugin where no file has its name.
fn source(plugin: &Path) -> Result<PluginSource, Error> {
    let name = plugin.display().to_string();
    if BUILTIN_PLUGINS.contains(&name.as_str()) && !plugin.is_file() { Ok(PluginSource::builtin(&name)?) } else { component::read(plugin) }
}

fn installed(screen: &mut Screen, installed: &Installed) -> Result<(), Error> {
    if screen.is_json() {
        return screen.json(installed);
    }
    let replaced = installed.replaced.as_ref().map_or_else(String::new, |plugin| format!(", in place of {plugin}"));
    screen.line(&format!("{} serves {} as generation {}{replaced}", installed.plugin, installed.slot, installed.generation))?;
    screen.line(&format!("digest sha256:{}", installed.digest))?;
    if let Some(rehearsal) = &installed.rehearsal {
        let Rehearsal { calls, recorded, call_us_p99, .. } = rehearsal;
        let p99 = if *call_us_p99 > 0.0 { format!(", p99 {}", Millis(call_us_p99 / 1e3)) } else { String::new() };
        screen.line(&format!("rehearsed with {calls} calls, {recorded} of them on recorded questions{p99}"))?;
        rehearsal.compared.as_ref().map_or(Ok(()), |compared| screen.line(&against(compared)))?;
    }
    screen.line(&format!("prepared in {}, swapped in {}", Millis(installed.prepare_ms), Millis(installed.swap_ms)))
}

/// The new plugin beside the one that it replaces.
fn against(compared: &Compared) -> String {
    let Compared { with, questions, same, refused, refused_before, failed_before, .. } = compared;
    let value = compared.value_ratio.map_or_else(String::new, |ratio| format!(", plans worth {ratio:.3} of its plans"));
    let (p99, p99_before) = (Millis(compared.call_us_p99 / 1e3), Millis(compared.call_us_p99_before / 1e3));
    let (memory, memory_before) = (Bytes(compared.memory_bytes), Bytes(compared.memory_bytes_before));
    let failed = if *failed_before > 0 { format!(", which failed on {failed_before}") } else { String::new() };
    format!(
        "against {with}: {same} of {questions} answers alike{value}; refused {refused} for {refused_before}, p99 {p99} for {p99_before}, memory {memory} for {memory_before}{failed}"
    )
}

fn list(screen: &mut Screen, plugins: &[Plugin]) -> Result<(), Error> {
    let row = |plugin: &Plugin| {
        let origin = if plugin.built_in { "built in".to_owned() } else { plugin.source.clone() };
        let digest = plugin.digest.chars().take(12).collect();
        [plugin.name.clone(), plugin.version.clone(), plugin.kinds.join(", "), plugin.slots.join(", "), digest, origin]
    };
    let rows: Vec<[String; 6]> = plugins.iter().map(row).collect();
    screen.table(["plugin", "version", "kind", "serves", "sha256", "from"], &rows)
}

async fn inspect(global: &Global, screen: &mut Screen, name: &str) -> Result<(), Error> {
    let path = PathBuf::from(name);
    let plugin = if path.is_file() { component::describe(&component::read(&path)?, &path.display().to_string())? } else { from_host(global, name).await? };
    if screen.is_json() {
        return screen.json(&plugin);
    }
    let lines = [
        ("plugin", format!("{} {}", plugin.name, plugin.version)),
        ("does", plugin.description.clone()),
        ("kind", plugin.kinds.join(", ")),
        ("licence", plugin.licence.clone()),
        ("digest", format!("sha256:{}", plugin.digest)),
        ("size", Bytes(plugin.component_bytes).to_string()),
        ("from", if plugin.built_in { "built in".to_owned() } else { plugin.source.clone() }),
        ("serves", plugin.slots.join(", ")),
    ];
    lines.iter().try_for_each(|(name, value)| screen.line(&format!("{name:8}  {value}")))
}

async fn from_host(global: &Global, name: &str) -> Result<Plugin, Error> {
    let plugins: Vec<Plugin> = Admin::find(global)?.get("/plugins").await?;
    let known = plugins.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>().join(", ");
    let missing = Fault::Unknown { what: "plugin", name: name.to_owned(), known };
    plugins.into_iter().find(|plugin| plugin.name == name).ok_or_else(|| missing.into())
}

fn history(screen: &mut Screen, generations: &[Generation]) -> Result<(), Error> {
    let row = |generation: &Generation| {
        let digest = generation.digest.chars().take(12).collect();
        [generation.generation.to_string(), utc(generation.at_ms), generation.plugin.clone(), generation.reason.clone(), digest]
    };
    let rows: Vec<[String; 5]> = generations.iter().map(row).collect();
    screen.table(["generation", "since (UTC)", "plugin", "why", "sha256"], &rows)
}
