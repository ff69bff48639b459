//! `host plugin`.

mod bench;
mod build;
mod dev;
mod edits;
mod entry;
mod new;
mod pack;
mod report;
mod templates;
mod test;
mod toolchain;
mod trade;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use host_core::units::{Bytes, Millis};
use host_engine::Engines;
use host_plugin::{BUILTIN_PLUGINS, Identified, PluginHost, PluginSource, SlotName, Workbench};
use host_wire::admin::{Changed, Compared, InstallQuery, Installed, Plugin, PluginQuery, Rehearsal, RollbackQuery, SlotQuery};

use super::{Global, client::Admin, screen::Screen};
use crate::{
    component, config,
    error::{Error, Fault},
    shelf::{self, Origin, Reach},
};

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Write the folder of a new plugin, ready to build
    New(new::NewArgs),
    /// Build the plugin in a folder with the tools of its language
    Build(build::BuildArgs),
    /// Build the plugin in a folder and install it, again each time that its sources are saved, as with
    /// `install --accept-worse`; Ctrl-C ends it and leaves the last version that was installed in service
    Dev(dev::DevArgs),
    /// Make an installable component of a core module, or describe a component
    Pack(pack::PackArgs),
    /// Fetch, verify, compile and rehearse a component, and swap it in while requests run
    Install(InstallArgs),
    /// List built-in and installed plugins
    List,
    /// Show a plugin, by name or as a file that is not installed
    Inspect {
        /// A name or a file
        plugin: String,
        /// For a file: config file with the limits and trusted keys [default: what HOST_CONFIG names]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
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
    /// Put the plugin that is on trial in a slot in service
    Promote {
        /// The slot
        slot: String,
    },
    /// End the canary or the shadow of a slot
    StopTrial {
        /// The slot
        slot: String,
    },
    /// Take a plugin out of every slot and forget it
    Uninstall {
        /// Its name
        plugin: String,
    },
    /// Let a disabled plugin serve again
    Enable {
        /// Its name
        plugin: String,
    },
    /// Take a plugin out of every slot and keep it for later
    Disable {
        /// Its name
        plugin: String,
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
    /// Show what a plugin wrote, and what the host says of it
    Logs {
        /// Its name
        plugin: String,
        /// Newest lines
        #[arg(long, default_value_t = 100)]
        count: u32,
    },
    /// Show what the plugin in each slot did: calls, strikes, memory, trials
    Stats,
    /// Show who did what to plugins, step by step
    Audit {
        /// Newest lines
        #[arg(long, default_value_t = 100)]
        count: u32,
    },
    /// Say whether a component may be installed here, and why not: digest, signature, what it asks for
    Verify {
        /// A file, an https URL, or oci:// and an image
        source: String,
        /// The digest that it must have
        #[arg(long)]
        digest: Option<String>,
        /// Config file with the trusted keys [default: what HOST_CONFIG names]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Put a component into an OCI registry
    Push {
        /// The component; a signature FILE.minisig beside it goes along
        file: PathBuf,
        /// REGISTRY/NAME:TAG
        image: String,
        /// Config file with the registry's login [default: what HOST_CONFIG names]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Get a component from an OCI registry or a URL as a file
    Pull {
        /// An https URL, or oci:// and an image
        source: String,
        /// The file to write; a signature goes beside it
        file: PathBuf,
        /// The digest that it must have
        #[arg(long)]
        digest: Option<String>,
        /// Config file with trusted keys and logins [default: what HOST_CONFIG names]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// A file, an https URL, or oci:// and an image
    source: String,
    /// The slot that it shall serve [default: what it says, or the only one that fits]
    #[arg(long)]
    slot: Option<String>,
    /// Its configuration
    #[arg(long = "plugin-config", value_name = "JSON")]
    config: Option<String>,
    /// The digest that it must have
    #[arg(long)]
    digest: Option<String>,
    /// Let it answer this share of the requests, such as 10%, and compare it with the one in service
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["shadow", "accept_worse"])]
    canary: Option<f64>,
    /// Compare it with the one in service and let it answer nothing
    #[arg(long, conflicts_with = "accept_worse")]
    shadow: bool,
    /// Keep it even if it decides worse than the one before
    #[arg(long)]
    accept_worse: bool,
}

/// `10%` or `0.1`.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 100.0));
    let share = number.trim().parse::<f64>().map_err(|error| error.to_string())? / unit;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("a share lies above 0 % and up to 100 %".to_owned()) }
}

pub(super) async fn plugin(global: &Global, screen: &mut Screen, command: PluginCommand) -> Result<(), Error> {
    match command {
        PluginCommand::New(args) => new::new(screen, &args),
        PluginCommand::Build(args) => build::build(screen, &args),
        PluginCommand::Dev(args) => dev::dev(global, screen, args).await,
        PluginCommand::Pack(args) => pack::pack_file(screen, args),
        PluginCommand::Install(args) => install(global, screen, args).await,
        PluginCommand::Swap { slot, plugin, config } => {
            let query = InstallQuery { source: plugin.clone(), name: Some(plugin), slot: Some(slot), config, ..InstallQuery::default() };
            installed(screen, &Admin::find(global)?.post("/plugins", &query, Vec::new()).await?)
        }
        PluginCommand::Rollback { slot, to } => {
            installed(screen, &Admin::find(global)?.post("/plugins/rollback", &RollbackQuery { slot, to }, Vec::new()).await?)
        }
        PluginCommand::Promote { slot } => installed(screen, &Admin::find(global)?.post("/plugins/promote", &SlotQuery { slot }, Vec::new()).await?),
        PluginCommand::StopTrial { slot } => {
            let stopped: Installed = Admin::find(global)?.post("/plugins/stop-trial", &SlotQuery { slot }, Vec::new()).await?;
            if screen.is_json() { screen.json(&stopped) } else { screen.line(&format!("{} is no longer on trial in {}", stopped.plugin, stopped.slot)) }
        }
        PluginCommand::Uninstall { plugin } => change(global, screen, ("uninstall", "uninstalled"), plugin).await,
        PluginCommand::Enable { plugin } => change(global, screen, ("enable", "enabled"), plugin).await,
        PluginCommand::Disable { plugin } => change(global, screen, ("disable", "disabled"), plugin).await,
        PluginCommand::List => {
            let plugins: Vec<Plugin> = Admin::find(global)?.get("/plugins").await?;
            if screen.is_json() { screen.json(&plugins) } else { list(screen, &plugins) }
        }
        PluginCommand::Inspect { plugin, config } => inspect(global, screen, &plugin, config).await,
        PluginCommand::Test(args) => test::test(global, screen, args),
        PluginCommand::Bench(args) => bench::bench(global, screen, args),
        PluginCommand::History { slot } => report::history(global, screen, slot).await,
        PluginCommand::Logs { plugin, count } => report::logs(global, screen, plugin, count).await,
        PluginCommand::Stats => report::stats(global, screen).await,
        PluginCommand::Audit { count } => report::audit(global, screen, count).await,
        PluginCommand::Verify { source, digest, config } => trade::verify(global, screen, config, &source, digest.as_deref()).await,
        PluginCommand::Push { file, image, config } => trade::push(global, screen, config, &file, &image).await,
        PluginCommand::Pull { source, file, digest, config } => trade::pull(global, screen, config, &source, &file, digest.as_deref()).await,
    }
}

async fn install(global: &Global, screen: &mut Screen, args: InstallArgs) -> Result<(), Error> {
    installed(screen, &sent(global, &Admin::find(global)?, args).await?)
}

/// Has the running host install a plugin.
async fn sent(global: &Global, admin: &Admin, args: InstallArgs) -> Result<Installed, Error> {
    let InstallArgs { source, slot, config, digest, canary, shadow, accept_worse } = args;
    let query = InstallQuery { source: source.clone(), slot, config, digest, canary, shadow, accept_worse, ..InstallQuery::default() };
    let origin = Origin::parse(&source)?;
    if origin.is_remote() {
        return admin.post("/plugins", &InstallQuery { remote: Some(source), ..query }, Vec::new()).await;
    }
    // What a file says is for the host to verify; here nothing limits it but memory.
    let found = origin.fetch(&config::load(None, global.flags())?.config.plugin_fetch, usize::MAX).await?;
    let query = InstallQuery { manifest: found.manifest, signature: found.signature, ..query };
    admin.post("/plugins", &query, found.bytes).await
}

async fn change(global: &Global, screen: &mut Screen, (action, done): (&str, &str), plugin: String) -> Result<(), Error> {
    let query = PluginQuery { plugin, count: None };
    let changed: Changed = Admin::find(global)?.post(&format!("/plugins/{action}"), &query, Vec::new()).await?;
    if screen.is_json() {
        return screen.json(&changed);
    }
    screen.line(&format!("{} is {done}", changed.plugin))?;
    changed.slots.iter().try_for_each(|(slot, plugin)| screen.line(&format!("{slot} holds {}", if plugin.is_empty() { "nothing" } else { plugin })))
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
        let settings = config::load(self.file.clone(), global.flags())?.config;
        let slot = self.slot.as_deref().map(SlotName::parse).transpose()?;
        let config = self.config.clone().or(config);
        Ok(Workbench::open(
            &source(plugin)?,
            slot,
            config,
            &settings.plugin_limits.guest,
            Some(&shelf::native_code_folder(&settings)),
            Arc::new(Engines::default()),
        )?)
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
pub(super) fn source(plugin: &Path) -> Result<PluginSource, Error> {
    let name = plugin.display().to_string();
    if BUILTIN_PLUGINS.contains(&name.as_str()) && !plugin.is_file() { Ok(PluginSource::builtin(&name)?) } else { component::read(plugin) }
}

fn installed(screen: &mut Screen, installed: &Installed) -> Result<(), Error> {
    if screen.is_json() {
        return screen.json(installed);
    }
    let beside = installed.replaced.as_deref().unwrap_or("nothing");
    screen.line(&match &installed.trial {
        Some(trial) => format!("{} is on trial in {} as {trial}, beside {beside}", installed.plugin, installed.slot),
        None => format!("{} serves {} as generation {}, in place of {beside}", installed.plugin, installed.slot, installed.generation),
    })?;
    screen.line(&format!("digest sha256:{}", installed.digest))?;
    if let Some(rehearsal) = &installed.rehearsal {
        let Rehearsal { calls, recorded, call_us_p99, is_known, .. } = rehearsal;
        let p99 = if *call_us_p99 > 0.0 { format!(", p99 {}", Millis(call_us_p99 / 1e3)) } else { String::new() };
        screen.line(&if *is_known {
            format!("has passed its rehearsal before{p99}; now asked {recorded} recorded questions")
        } else {
            format!("rehearsed with {calls} calls, {recorded} of them on recorded questions{p99}")
        })?;
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
        let origin = match (plugin.built_in, plugin.is_earlier) {
            (true, _) => "built in".to_owned(),
            (false, true) => format!("{} (replaced since)", plugin.source),
            (false, false) => plugin.source.clone(),
        };
        let digest = plugin.digest.chars().take(12).collect();
        [plugin.name.clone(), plugin.version.clone(), plugin.kinds.join(", "), plugin.slots.join(", "), digest, origin]
    };
    let rows: Vec<[String; 6]> = plugins.iter().map(row).collect();
    screen.table(["plugin", "version", "kind", "serves", "sha256", "from"], &rows)
}

async fn inspect(global: &Global, screen: &mut Screen, name: &str, config: Option<PathBuf>) -> Result<(), Error> {
    let path = PathBuf::from(name);
    let plugin = if path.is_file() { of_file(global, path, config).await? } else { from_host(global, name).await? };
    if screen.is_json() {
        return screen.json(&plugin);
    }
    let lines = [
        ("plugin", format!("{} {}", plugin.name, plugin.version)),
        ("does", plugin.description.clone()),
        ("kind", plugin.kinds.join(", ")),
        ("world", plugin.worlds.join(", ")),
        ("licence", plugin.licence.clone()),
        ("digest", format!("sha256:{}", plugin.digest)),
        ("size", Bytes(plugin.component_bytes).to_string()),
        ("from", if plugin.built_in { "built in".to_owned() } else { plugin.source.clone() }),
        ("serves", serves(&plugin)),
        ("contract", plugin.contract.clone()),
        ("imports", plugin.imports.join(", ")),
        ("signer", signer(&plugin).to_owned()),
        ("asks for", asks(&plugin)),
        ("limits", plugin.limits.iter().map(|(what, most)| format!("{what} = {most}")).collect::<Vec<_>>().join(", ")),
        ("runs here", if plugin.unfit.is_empty() { "yes".to_owned() } else { format!("no: {}", plugin.unfit) }),
    ];
    lines.iter().try_for_each(|(name, value)| screen.line(&format!("{name:9}  {value}")))
}

async fn from_host(global: &Global, name: &str) -> Result<Plugin, Error> {
    let plugins: Vec<Plugin> = Admin::find(global)?.get("/plugins").await?;
    let known = plugins.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>().join(", ");
    let missing = Fault::Unknown { what: "plugin", name: name.to_owned(), known };
    let of_name = plugins.into_iter().filter(|plugin| plugin.name == name);
    of_name.min_by_key(|plugin| plugin.is_earlier).ok_or_else(|| missing.into())
}

/// A file, with the signature beside it held against the config.
async fn of_file(global: &Global, path: PathBuf, config: Option<PathBuf>) -> Result<Plugin, Error> {
    let config = config::load(config, global.flags())?.config;
    let from = path.display().to_string();
    let fetched = Origin::File(path).fetch(&config.plugin_fetch, usize::MAX).await?;
    let file = Identified::of(fetched.component());
    let trusted = shelf::verify(&config.plugin_trust, &from, &file, None, fetched.signature.as_deref(), Reach::Local);
    let plugin = component::describe(&file, &from, &config.plugin_limits.guest)?;
    Ok(match trusted {
        Ok(signer) => Plugin { signer: signer.unwrap_or_default(), ..plugin },
        Err(error) if plugin.unfit.is_empty() => Plugin { unfit: error.to_string(), ..plugin },
        Err(_) => plugin,
    })
}

/// The slots that a plugin serves.
fn serves(plugin: &Plugin) -> String {
    match plugin.slots.as_slice() {
        _ if !plugin.enabled => "nothing, it is disabled".to_owned(),
        [] => "nothing".to_owned(),
        slots => slots.join(", "),
    }
}

/// Who vouches for a plugin.
fn signer(plugin: &Plugin) -> &str {
    match plugin.signer.as_str() {
        _ if plugin.built_in => "nobody, it is part of the host",
        "" => "nobody that is trusted",
        key => key,
    }
}

/// What a plugin asks for beyond the host's defaults.
fn asks(plugin: &Plugin) -> String {
    let asks: Vec<String> = plugin.asks.iter().map(|asked| format!("{} = {} (granted up to {})", asked.what, asked.asked, asked.granted_max)).collect();
    if asks.is_empty() { "nothing beyond the host's defaults".to_owned() } else { asks.join(", ") }
}
