//! `host run`: settings, store, doors, central, in this order; and back in the opposite one.

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use host_plugin::PluginHost;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Global, path_flag, text_flag};
use crate::{
    admin::{self, AdminDoor},
    api::{self, Door},
    central::Central,
    clock,
    config::{self, Config, Flag},
    error::{Error, Fault},
    joined::Joined,
    metrics::Metrics,
    pki::{JoinDoor, Tokens},
    service::Service,
    store::Store,
    telemetry::{logging, traces::Traces},
};

/// How often a host that others can reach without TLS says so.
const INSECURE_WARNING_EVERY: Duration = Duration::from_secs(60);
/// Connections that are still open when draining is over are cut after this.
const CLOSE_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Folder of plugins to install
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Folder of models [default: models]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Config file [default: what HOST_CONFIG names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients reach the host [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Let devices join, where they reach this host [default: closed; without an address 127.0.0.1:23457]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = config::JOIN_ADDRESS)]
    join_listen: Option<String>,
    /// Announce the join port on the local network, for devices that join with `--join auto`
    #[arg(long)]
    join_announce: bool,
    /// Join the central at this address as a device; `auto` looks for it on the local network
    #[arg(long, value_name = "ADDRESS|auto")]
    join: Option<String>,
    /// Token to join with the first time, which `host token create` prints on the central
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Who this host is as a device
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// Where other hosts reach this one, if it cannot know itself
    #[arg(long, value_name = "ADDRESS")]
    advertise: Option<String>,
    /// Devices inside this process: how many, or the files of their profiles with commas between them [default: 1]
    #[arg(long, value_name = "N|FILE,FILE")]
    local_devices: Option<String>,
    /// Simulate the device of this profile
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Allow addresses that others can reach, without TLS and tokens
    #[arg(long)]
    insecure: bool,
    /// Take plugins without a signature from anywhere
    #[arg(long)]
    allow_unsigned: bool,
    /// Record every decision with all that it depended on, for `host replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Any other setting, as `host config show` names it
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl RunArgs {
    fn flags(&self, global: &Global) -> Result<Vec<Flag>, Error> {
        let mut flags = Vec::new();
        for setting in &self.set {
            let fault = || Error::from(Fault::Usage { reason: format!("--set {setting}: it must be KEY=VALUE") });
            let (key, value) = setting.split_once('=').ok_or_else(fault)?;
            flags.push(text_flag("--set", key.trim(), value));
        }
        flags.extend(global.flags());
        flags.extend(self.plugins.iter().map(|path| path_flag("--plugins", "plugins", path)));
        flags.extend(self.record.iter().map(|path| path_flag("--record", "record", path)));
        flags.extend(self.models.iter().map(|path| path_flag("--models", "models", path)));
        flags.extend(self.http.iter().map(|address| text_flag("--http", "http.address", address)));
        let joining = [
            ("--join-listen", "join.address", &self.join_listen),
            ("--join", "join.central", &self.join),
            ("--token", "join.token", &self.token),
            ("--device-id", "join.device_id", &self.device_id),
            ("--advertise", "join.advertise", &self.advertise),
        ];
        flags.extend(joining.into_iter().filter_map(|(flag, key, value)| Some(text_flag(flag, key, value.as_ref()?))));
        flags.extend(self.local_devices.iter().map(|devices| text_flag("--local-devices", "local_devices", devices)));
        flags.extend(self.profile.iter().map(|path| path_flag("--profile", "profile", path)));
        if self.join_announce {
            flags.push(text_flag("--join-announce", "join.announce", "true"));
        }
        if self.allow_unsigned {
            flags.push(text_flag("--allow-unsigned", "plugin_trust.allow_unsigned", "always"));
        }
        if self.insecure {
            flags.push(text_flag("--insecure", "insecure", "true"));
        }
        Ok(flags)
    }
}

/// Runs a host until it is told to stop.
pub(super) fn run(global: &Global, args: RunArgs) -> Result<(), Error> {
    let resolved = config::load(args.config.clone(), args.flags(global)?)?;
    logging::start(&resolved.config.log)?;
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::from(Fault::File { doing: "start", path: "the runtime".into() }).because(error))?;
    let done = runtime.block_on(serve(Arc::new(resolved.config)));
    // A thread that is busy with a plugin or an engine does not keep the process.
    runtime.shutdown_timeout(CLOSE_MAX);
    done
}

/// Runs a device of a central until it is told to stop.
async fn serve_device(config: Arc<Config>) -> Result<(), Error> {
    let started = clock::now();
    let stop = stop_signal()?;
    let store = Store::open(&config.data, config.store.clone())?;
    say(&format!("data      {}", config.data.display()));
    let socket = admin::listen(&config.data)?;
    let closing = CancellationToken::new();
    let metrics = Arc::new(Metrics::new());
    let traces = Traces::start(&config.traces)?;
    let starting = Joined::start(config.clone(), store.clone(), metrics.clone(), traces.clone(), closing.clone());
    let joined = tokio::select! {
        joined = starting => joined?,
        () = stop.cancelled() => return Ok(()),
    };
    let tokens = Tokens::new(store.clone(), &config.join, None);
    let component_bytes_max = config.plugin_limits.guest.component_bytes_max;
    let admin_door = AdminDoor { service: Arc::new(joined.clone()), store, metrics, shelf: joined.shelf().clone(), tokens, http: None, component_bytes_max };
    let mut doors = JoinSet::new();
    spawn_admin(&mut doors, socket, admin::router(admin_door), closing.clone());
    say(&format!("device    {}", joined.id()));
    say(&format!("central   {}", joined.central()));
    say(&format!("peers     {}", joined.address()));
    say(&format!("ready     in {:.0} ms; stop with Ctrl-C", started.elapsed().as_secs_f64() * 1e3));
    let attended = joined.attend(stop).await;
    closing.cancel();
    traces.finish().await;
    let _ = tokio::time::timeout(CLOSE_MAX, async { while doors.join_next().await.is_some() {} }).await;
    let _ = std::fs::remove_file(admin::socket_path(&config.data));
    attended
}

async fn serve(config: Arc<Config>) -> Result<(), Error> {
    if config.join.central.is_some() {
        return serve_device(config).await;
    }
    let started = clock::now();
    let stop = stop_signal()?;
    let store = Store::open(&config.data, config.store.clone())?;
    say(&format!("data      {}", config.data.display()));
    let socket = admin::listen(&config.data)?;
    let http = bind("http", config.http.address).await?;
    let address = http.local_addr().map_err(|error| Error::from(Fault::Address { what: "http", address: config.http.address.to_string() }).because(error))?;
    let joining = match config.join.address {
        Some(address) => Some(bind("the join port", address).await?),
        None => None,
    };
    let joined_at = joining.as_ref().and_then(|listener| listener.local_addr().ok());
    let join = joined_at.map(|address| JoinDoor::open(&config.data, &config.join, address)).transpose()?;
    let tokens = Tokens::new(store.clone(), &config.join, join);
    let metrics = Arc::new(Metrics::new());
    let traces = Traces::start(&config.traces)?;
    let starting = Central::start(config.clone(), store.clone(), metrics.clone(), traces.clone(), joining);
    let central = tokio::select! {
        central = starting => central?,
        () = stop.cancelled() => return Ok(()),
    };
    let service: Arc<dyn Service> = Arc::new(central.clone());
    let mut doors = JoinSet::new();
    let closing = CancellationToken::new();
    let client_door = api::router(Door::new(service.clone(), metrics.clone(), traces.clone(), &config));
    let shelf = central.shelf().clone();
    let watch = shelf.watch()?;
    let component_bytes_max = config.plugin_limits.guest.component_bytes_max;
    let admin_door = AdminDoor { service, store, metrics, shelf, tokens, http: Some(address.to_string()), component_bytes_max };
    spawn_http(&mut doors, http, client_door, closing.clone());
    spawn_admin(&mut doors, socket, admin::router(admin_door), closing.clone());
    if !address.ip().is_loopback() {
        doors.spawn(warn_insecure(address, closing.clone()));
    }
    announce(&central, address, started.elapsed());
    start_rest(central.shelf().plugins().clone());
    stop.cancelled().await;
    tracing::info!("stopping");
    drop(watch);
    central.drain().await;
    closing.cancel();
    let closed = tokio::time::timeout(CLOSE_MAX, async { while doors.join_next().await.is_some() {} }).await;
    if closed.is_err() {
        tracing::warn!(open_ms_max = CLOSE_MAX.as_millis() as u64, "connections were still open and are cut");
    }
    traces.finish().await;
    // The next host makes its own; leaving it would only show commands a door that nobody opens.
    let _ = std::fs::remove_file(admin::socket_path(&config.data));
    Ok(())
}

/// Starts in the background what few requests ask for.
fn start_rest(plugins: Arc<PluginHost>) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = plugins.start_rest() {
            tracing::warn!(%error, "a built-in routing policy could not be started");
        }
    });
}

async fn bind(what: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::from(Fault::Address { what, address: address.to_string() }).because(error))
}

fn spawn_http(doors: &mut JoinSet<()>, listener: TcpListener, router: axum::Router, closing: CancellationToken) {
    use axum::serve::ListenerExt;
    // Small answers go out at once instead of waiting for more bytes.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay could not be set");
        }
    });
    doors.spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(closing.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the http door has closed");
        }
    });
}

fn spawn_admin(doors: &mut JoinSet<()>, listener: UnixListener, router: axum::Router, closing: CancellationToken) {
    doors.spawn(async move {
        let service = router.into_make_service_with_connect_info::<admin::Caller>();
        let served = axum::serve(listener, service).with_graceful_shutdown(closing.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin socket has closed");
        }
    });
}

async fn warn_insecure(address: std::net::SocketAddr, closing: CancellationToken) {
    let mut ticks = tokio::time::interval(INSECURE_WARNING_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => tracing::warn!(%address, "others can reach this host without TLS and tokens, because --insecure allows it"),
            () = closing.cancelled() => return,
        }
    }
}

/// What a person who started the host wants to know first.
fn announce(central: &Central, address: std::net::SocketAddr, took: Duration) {
    let status = central.status();
    let model = |model: &host_wire::admin::ModelState| format!("{}@{}{}", model.name, model.version, if model.ready { "" } else { " (not ready)" });
    let models: Vec<String> = status.models.iter().map(model).collect();
    say(&format!("http      http://{address}"));
    say(&format!("devices   {}", status.devices.join(", ")));
    say(&format!("models    {}", if models.is_empty() { "none; the models folder is empty or missing".to_owned() } else { models.join(", ") }));
    for skipped in &status.skipped {
        say(&format!("skipped   {}: {}", skipped.folder, skipped.reason));
    }
    say(&format!("ready     in {:.0} ms; stop with Ctrl-C", took.as_secs_f64() * 1e3));
}

fn say(line: &str) {
    // A host whose output nobody reads any more serves all the same.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Cancelled with the first SIGTERM or SIGINT; the second one ends the process at once.
pub(super) fn stop_signal() -> Result<CancellationToken, Error> {
    let fault = |error: std::io::Error| Error::from(Fault::File { doing: "listen for", path: "signals".into() }).because(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(130);
            }
            told.cancel();
        }
    });
    Ok(stop)
}
