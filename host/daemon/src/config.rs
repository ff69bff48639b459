//! Everything that can be set, with its default and its unit. Made only by `resolve`, from file, environment and flags;
//! what it says was checked. Nothing else in the daemon reads the environment or a config file.

mod address;
mod conversion;
mod engines;
mod local_device;
mod opentelemetry;
mod predictions;
mod profile;
mod resolve;
mod review;
mod routing;
mod section;
mod settings;
mod structures;

use std::{collections::BTreeMap, fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use host_core::{ids::DeviceId, profile::DeviceProfile};
use host_plugin::Limits;
use host_wire::join::JoinToken;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use address::{CentralAddress, HostAddress};
pub use conversion::Conversion;
pub use engines::EngineSettings;
pub use local_device::LocalDevice;
pub use predictions::Predictions;
pub use profile::{described as described_profile, network as described_network, read as read_profile};
pub use resolve::{Flag, Resolved, load};
pub use review::Review;
pub use routing::{AllowedPolicies, Routing, is_policy_name};
pub use section::Section;
pub use settings::show;

/// Where devices join a host that says no more than that they may.
pub const JOIN_ADDRESS: &str = "127.0.0.1:23457";
/// How long a join token may be good: a second to a year.
pub const TOKEN_TTL_MS: RangeInclusive<u64> = 1_000..=365 * DAY_MS;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What one host does.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where plans, plugins and the admin socket live.
    pub data: PathBuf,
    /// Folder of models.
    pub models: PathBuf,
    /// Folder of plugins to install at the start.
    pub plugins: Option<PathBuf>,
    /// Allows addresses that others can reach, without TLS and tokens.
    pub insecure: bool,
    /// How long a stopping host waits for requests that it has taken.
    pub drain_ms_max: u64,
    /// Time spent on measuring what each local device can do.
    pub calibration_ms: u64,
    /// The HTTP door.
    pub http: Http,
    /// What a request may take.
    pub requests: Requests,
    /// Devices inside this process.
    pub local_devices: Vec<LocalDevice>,
    /// The profile of the devices that name none.
    pub profile: Option<PathBuf>,
    /// How many times slower than in reality the devices of profiles run, network and outages included.
    pub profile_time_ratio: f64,
    /// What the profiles say that are named above, in that slower world, by file. `load` reads them.
    pub profiles: BTreeMap<PathBuf, DeviceProfile>,
    /// Which plugin serves which slot. Slots that are not here have the built-in, or what was installed.
    pub slots: BTreeMap<String, SlotBinding>,
    /// Which routing policy chooses the way of whose requests.
    pub routing: Routing,
    /// What a plugin may take.
    pub plugin_limits: PluginLimits,
    /// Whose plugins are trusted.
    pub plugin_trust: PluginTrust,
    /// How plugins are fetched.
    pub plugin_fetch: PluginFetch,
    /// Where decisions are recorded; none without a file.
    pub recording: Recording,
    /// How devices in other processes come to this host, or how this host comes to a central.
    pub join: Join,
    /// What hosts send each other.
    pub peers: Peers,
    /// When a device counts as lost.
    pub leases: Leases,
    /// When plans are reviewed.
    pub review: Review,
    /// How the ways between hosts are measured.
    pub links: LinkMeasuring,
    /// How what stages take is predicted.
    pub predictions: Predictions,
    /// How shards are converted for accelerators that do not take them as they are.
    pub conversion: Conversion,
    /// What was fetched by digest.
    pub cache: CacheLimits,
    /// Native code of plugins.
    pub native_code: NativeCode,
    /// The store.
    pub store: StoreLimits,
    /// Which engines there are.
    pub engines: EngineSettings,
    /// Whether spans are sent, and how long at the end.
    pub traces: Traces,
    /// What is logged, and how.
    pub log: Log,
}

/// The HTTP door.
#[derive(Clone, PartialEq, Debug)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    /// Largest body.
    pub body_bytes_max: usize,
}

/// What a request may take.
#[derive(Clone, PartialEq, Debug)]
pub struct Requests {
    /// From its arrival to its answer.
    pub timeout_ms: u64,
    /// Requests that run at once; the others wait.
    pub running_max: u32,
    /// Requests that may wait.
    pub queue_depth_max: u32,
    /// Runs of one request, the first included, when stages fail under it.
    pub attempts_max: u32,
    /// How long a request waits for a replica of a model that is about to get one.
    pub replica_wait_ms_max: u64,
    /// A run of a request is given up, where another replica is ready, once it has taken as many times what was expected of it.
    pub attempt_ratio_max: f64,
    /// No run is given up before that.
    pub attempt_ms_min: u64,
    /// How long a request may have its devices to itself.
    pub exclusive_ms_max: u64,
    /// Rows that may wait for one stage.
    pub stage_jobs_max: usize,
    /// Priorities that a client may name, 1 the most urgent. Each is a class of its own to queueing policies.
    pub priority_levels: u32,
    /// That of clients who name none.
    pub priority_default: u32,
    /// The longest time after which a client that is turned away is told to come again.
    pub retry_after_ms_max: u64,
    /// Largest picture.
    pub image_pixels_max: u64,
}

/// A plugin in a slot, as the config names it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotBinding {
    /// A built-in or installed plugin's name, the path of a component, an https URL, or `oci://` and an image.
    pub plugin: String,
    /// The digest that it must have.
    #[serde(default)]
    pub digest: Option<String>,
    /// What the plugin is configured with.
    #[serde(default)]
    pub config: Option<Value>,
}

/// What a plugin may take, and what happens when it fails.
#[derive(Clone, PartialEq, Debug)]
pub struct PluginLimits {
    /// What each guest and each of its calls may take.
    pub guest: Limits,
    /// Failures within the window that roll a slot back.
    pub strikes_max: u32,
    /// Older failures are forgotten.
    pub strike_window_ms: u64,
    /// Wait before a plugin that was rolled back is tried again; doubles each time.
    pub retry_first_ms: u64,
    /// Longest such wait.
    pub retry_ms_max: u64,
    /// The last questions of each kind that are kept, for new plugins to rehearse on.
    pub rehearsed_problems_max: usize,
    /// How many of them a plugin is asked that has passed its rehearsal before; the synthetic ones it is not asked again.
    pub brief_rehearsal_questions_max: usize,
    /// How long that may take.
    pub brief_rehearsal_ms_max: u64,
    /// Plugins of each slot that are kept ready after they served, so that swapping back costs little; 0 for none.
    pub spare_plugins_max: usize,
    /// Linear memory of their instances, in each slot.
    pub spare_memory_bytes_max: usize,
    /// How long they are kept.
    pub spare_ms_max: u64,
    /// Time to compile one plugin, in a child process.
    pub compile_ms_max: u64,
    /// Memory to compile one plugin.
    pub compile_memory_bytes_max: u64,
    /// Questions on which a newly installed policy is compared with the one before it; 0 for none.
    pub probation_questions: u32,
    /// A policy whose answers cost more than this many times the other's is worse, and goes.
    pub cost_ratio_max: f64,
    /// Lines kept of each plugin for `plugin logs`.
    pub log_lines_kept_max: usize,
    /// Size of the audit log; then it is set aside and a new one begun.
    pub audit_bytes_max: u64,
}

/// Whose plugins are trusted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PluginTrust {
    /// minisign public keys, in base64.
    pub keys: Vec<String>,
    /// What may go without a signature.
    pub allow_unsigned: AllowUnsigned,
}

/// What may go without a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AllowUnsigned {
    /// Nothing.
    Never,
    /// Files of this machine, what comes over the admin socket, and what is named with its digest.
    #[default]
    Files,
    /// Everything.
    Always,
}

impl AllowUnsigned {
    /// The word in the config.
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Files => "files",
            Self::Always => "always",
        }
    }
}

/// How plugins are fetched.
#[derive(Clone, PartialEq, Debug)]
pub struct PluginFetch {
    /// From the first byte that is asked for to the last one that came.
    pub fetch_ms_max: u64,
    /// Certificates that are trusted beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Who this host says that it is, by registry.
    pub registries: BTreeMap<String, RegistryLogin>,
}

/// A login at a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryLogin {
    /// The name.
    pub username: String,
    /// The password or token; never shown.
    #[serde(skip_serializing)]
    pub password: String,
}

impl fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Where decisions are recorded, for `host replay`.
#[derive(Clone, PartialEq, Debug)]
pub struct Recording {
    /// The file; what is in it stays.
    pub file: Option<PathBuf>,
    /// Recording stops when the file is as large.
    pub bytes_max: u64,
    /// Decisions that may wait to be written; further ones are counted instead.
    pub waiting_max: usize,
}

/// What hosts send each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peers {
    /// Where a device listens for its peers; 0 for any port that is free.
    pub port: u16,
    /// Activations up to this size never wait behind larger ones.
    pub small_bytes_max: usize,
    /// Largest activation.
    pub message_bytes_max: usize,
    /// Bytes of activations that may wait on a device at once.
    pub held_bytes_max: usize,
    /// After a device is gone, how long whoever holds what it should have computed from has time to say so.
    pub holder_ms_max: u64,
    /// How long that is held for a stage that takes up at the same block, while no replica is ready.
    pub resume_ms_max: u64,
    /// Peers that a device asks for a shard's file before it asks the central; 0 for none.
    pub sources_max: usize,
}

/// How devices in other processes come to this host, or how this host comes to a central. A host does one or the other.
#[derive(Clone, PartialEq, Debug)]
pub struct Join {
    /// Where devices join. The port stays closed unless an address is given. It needs no `--insecure`: whoever comes needs a token
    /// or a certificate, and everything goes over TLS.
    pub address: Option<SocketAddr>,
    /// How long a join token is good when whoever creates it does not say.
    pub token_ttl_ms: u64,
    /// How long a certificate is good, of a device or of the central. A host gets the next one after two thirds of that.
    pub certificate_ms: u64,
    /// From the opening of a connection until it is known who is there.
    pub handshake_ms_max: u64,
    /// Connections of hosts that have proved who they are, at once.
    pub connections_max: usize,
    /// Connections beside them, of those who have not yet. One more takes the place of one that has said nothing.
    pub handshakes_max: usize,
    /// How long a connection without a certificate stays open. It comes to enrol.
    pub enrol_ms_max: u64,
    /// Most memory that a device may say it has. What it says is planned with.
    pub device_memory_bytes_max: u64,
    /// How long a device that is told that its id is taken waits for its own connection of before to end.
    pub id_taken_ms_max: u64,
    /// Whether this host tells devices on the local network by mDNS that they may join.
    pub announce: bool,
    /// How long a device looks for its central.
    pub discover_ms_max: u64,
    /// A device that has found its central by itself looks for it again when that has not answered for so long.
    pub search_after_ms: u64,
    /// The only network interface to announce or look on, by its name or address; all, or that of `address`, where none is given.
    pub discover_interface: Option<String>,
    /// The central that this host joins as a device.
    pub central: Option<CentralAddress>,
    /// What it joins with the first time; never shown.
    pub token: Option<JoinToken>,
    /// Who it wants to be.
    pub device_id: Option<DeviceId>,
    /// Where other hosts reach this one, where it is not where it listens.
    pub advertise: Option<HostAddress>,
}

/// When a device counts as lost, and when as one that comes and goes too often.
#[derive(Clone, PartialEq, Debug)]
pub struct Leases {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// After the last heartbeat.
    pub lost_after_ms: u64,
    /// A device whose connection ended this often within `flap_window_ms` is damped when it is back.
    pub flaps_max: u32,
    /// Ends of a connection that lie further apart do not count together.
    pub flap_window_ms: u64,
    /// How long a device is damped the first time; twice as long each further time.
    pub damp_ms: u64,
    /// The longest that it is damped.
    pub damp_ms_max: u64,
}

/// How the ways between hosts are measured. When is up to the central, how to each device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkMeasuring {
    /// From one measurement of a link to the next; each wait is up to a quarter shorter or longer.
    pub measure_ms: u64,
    /// Measurements that go on at once in the whole pool.
    pub at_once_max: usize,
    /// Between the beginnings of two measurements in the whole pool.
    pub pause_ms: u64,
    /// How long the largest echo of a measurement should take.
    pub echo_ms: u64,
    /// The largest echo.
    pub bytes_max: usize,
    /// How long one echo may take. A peer whose first one is later than that is not reached.
    pub answer_ms_max: u64,
}

/// What the cache may keep of what was fetched by digest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CacheLimits {
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// Most of what is free on its disk when the host starts, what it holds already included.
    pub disk_ratio_max: f64,
}

/// Where native code of plugins is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct NativeCode {
    /// The folder; without one it is shared with the other hosts of this user, in their folder for caches.
    pub folder: Option<PathBuf>,
    /// Most bytes in it; what was used longest ago goes first.
    pub bytes_max: u64,
}

/// What the store may take.
#[derive(Clone, PartialEq, Debug)]
pub struct StoreLimits {
    /// Plans kept for `plan history`.
    pub plans_kept_max: u32,
    /// Plugins that are kept of each name beside the newest, so that slots can go back to them; those that serve are kept anyway.
    pub earlier_plugins_kept_max: u32,
    /// All artefacts together; those that were used longest ago make room.
    pub artefact_bytes_max: u64,
    /// Writes that share one commit.
    pub batch_writes_max: usize,
    /// Writes that may wait.
    pub waiting_writes_max: usize,
}

/// Spans for a collector. The standard variables of OpenTelemetry say the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traces {
    /// Whether they name a collector.
    pub export: bool,
    /// How long a stopping host sends what is left.
    pub flush_ms_max: u64,
}

/// What is logged, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Log {
    /// `info`, or by target: `info,host_plugin=debug`.
    pub filter: String,
    /// For people or for programs.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where a value came from; a later one wins.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The config file.
    File(String),
    /// An environment variable.
    Environment(String),
    /// A flag of the command.
    Flag(String),
}

impl Config {
    /// What a host does when nobody says anything.
    pub fn with_data(data: PathBuf) -> Self {
        Self {
            data,
            models: PathBuf::from("models"),
            plugins: None,
            insecure: false,
            drain_ms_max: 10_000,
            calibration_ms: 100,
            http: Http { address: SocketAddr::from(([127, 0, 0, 1], 8000)), body_bytes_max: 64 << 20 },
            requests: Requests {
                timeout_ms: 30_000,
                running_max: 64,
                queue_depth_max: 1024,
                attempts_max: 10,
                replica_wait_ms_max: 20_000,
                attempt_ratio_max: 20.0,
                attempt_ms_min: 2_000,
                exclusive_ms_max: 10_000,
                stage_jobs_max: 4096,
                priority_levels: 3,
                priority_default: 2,
                retry_after_ms_max: 60_000,
                image_pixels_max: 64_000_000,
            },
            local_devices: LocalDevice::numbered(1),
            profile: None,
            profile_time_ratio: 1.0,
            profiles: BTreeMap::new(),
            slots: BTreeMap::new(),
            routing: Routing::default(),
            plugin_limits: PluginLimits::default(),
            plugin_trust: PluginTrust::default(),
            plugin_fetch: PluginFetch { fetch_ms_max: 60_000, ca_file: None, registries: BTreeMap::new() },
            recording: Recording { file: None, bytes_max: 1 << 30, waiting_max: 8_192 },
            join: Join::default(),
            peers: Peers::default(),
            leases: Leases { heartbeat_ms: 500, lost_after_ms: 1_500, flaps_max: 3, flap_window_ms: 60_000, damp_ms: 10_000, damp_ms_max: 600_000 },
            engines: EngineSettings::default(),
            review: Review::default(),
            links: LinkMeasuring { measure_ms: 120_000, at_once_max: 2, pause_ms: 250, echo_ms: 20, bytes_max: 4 << 20, answer_ms_max: 5_000 },
            predictions: Predictions::default(),
            conversion: Conversion::default(),
            cache: CacheLimits { bytes_max: 20 << 30, disk_ratio_max: 0.5 },
            native_code: NativeCode { folder: None, bytes_max: 4 << 30 },
            store: StoreLimits::default(),
            traces: Traces { export: false, flush_ms_max: 2_000 },
            log: Log { filter: "info".to_owned(), format: LogFormat::Text },
        }
    }

    /// What a device of this process simulates.
    pub fn profile_of(&self, device: &LocalDevice) -> Option<&DeviceProfile> {
        self.profiles.get(device.profile.as_ref().or(self.profile.as_ref())?)
    }
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            guest: Limits::default(),
            strikes_max: 3,
            strike_window_ms: 60_000,
            retry_first_ms: 5_000,
            retry_ms_max: 600_000,
            compile_ms_max: 300_000,
            compile_memory_bytes_max: 4 << 30,
            probation_questions: 100,
            cost_ratio_max: 1.05,
            log_lines_kept_max: 1_000,
            audit_bytes_max: 16 << 20,
            rehearsed_problems_max: 32,
            brief_rehearsal_questions_max: 8,
            brief_rehearsal_ms_max: 20,
            spare_plugins_max: 4,
            spare_memory_bytes_max: 128 << 20,
            spare_ms_max: 600_000,
        }
    }
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            port: 0,
            small_bytes_max: 256 << 10,
            message_bytes_max: 256 << 20,
            held_bytes_max: 1 << 30,
            holder_ms_max: 300,
            resume_ms_max: 3_000,
            sources_max: 3,
        }
    }
}

impl Default for Join {
    fn default() -> Self {
        Self {
            address: None,
            token_ttl_ms: DAY_MS,
            certificate_ms: 30 * DAY_MS,
            handshake_ms_max: 5_000,
            connections_max: 1_024,
            handshakes_max: 256,
            enrol_ms_max: 10_000,
            device_memory_bytes_max: 4 << 40,
            id_taken_ms_max: 10_000,
            announce: false,
            discover_ms_max: 5_000,
            search_after_ms: 10_000,
            discover_interface: None,
            central: None,
            token: None,
            device_id: None,
            advertise: None,
        }
    }
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { plans_kept_max: 1_000, earlier_plugins_kept_max: 8, artefact_bytes_max: 20 << 30, batch_writes_max: 512, waiting_writes_max: 4_096 }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) | Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}
