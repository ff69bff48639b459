//! `host plugin`.

mod build;
mod new;
mod pack;
mod templates;
mod toolchain;

use std::path::PathBuf;

use clap::Subcommand;
use host_core::units::{Bytes, Millis};
use host_wire::admin::{Generation, HistoryQuery, InstallQuery, Installed, Plugin, RollbackQuery};

use super::{Global, client::Admin, plan::utc, screen::Screen};
use crate::{
    component,
    error::{Error, Fault},
};

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Write the folder of a new plugin, ready to build
    New(new::NewArgs),
    /// Build the plugin in a folder with the tools of its language
    Build(build::BuildArgs),
    /// Make an installable component of a core module, or describe a component
    Pack(pack::PackArgs),
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
    /// List what a slot has held
    History {
        /// The slot
        slot: String,
    },
}

pub(super) async fn plugin(global: &Global, screen: &mut Screen, command: PluginCommand) -> Result<(), Error> {
    match command {
        PluginCommand::New(args) => new::new(screen, &args),
        PluginCommand::Build(args) => build::build(screen, &args),
        PluginCommand::Pack(args) => pack::pack_file(screen, args),
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
        PluginCommand::History { slot } => {
            let generations: Vec<Generation> = Admin::find(global)?.query("/plugins/generations", &HistoryQuery { count: None, slot: Some(slot) }).await?;
            if screen.is_json() { screen.json(&generations) } else { history(screen, &generations) }
        }
    }
}

fn installed(screen: &mut Screen, installed: &Installed) -> Result<(), Error> {
    if screen.is_json() {
        return screen.json(installed);
    }
    let replaced = installed.replaced.as_ref().map_or_else(String::new, |plugin| format!(", in place of {plugin}"));
    screen.line(&format!("{} serves {} as generation {}{replaced}", installed.plugin, installed.slot, installed.generation))?;
    screen.line(&format!("digest sha256:{}", installed.digest))?;
    if let Some(rehearsal) = &installed.rehearsal {
        screen.line(&format!("rehearsed with {} calls, p99 {}", rehearsal.calls, Millis(rehearsal.call_us_p99 / 1e3)))?;
    }
    screen.line(&format!("prepared in {}, swapped in {}", Millis(installed.prepare_ms), Millis(installed.swap_ms)))
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
