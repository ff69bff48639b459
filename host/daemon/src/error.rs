//! What can go wrong in the daemon, in words. One error for the crate; `kind` says what the caller should do, and
//! `api/error.rs` alone turns it into a status.

use std::{error::Error as StdError, fmt};

pub use host_core::error::ErrorKind;
use host_core::{
    ids::{DeviceId, ModelId},
    units::Millis,
};

use crate::{
    admin::OrderFault,
    convert::ConversionFault,
    pki::PkiFault,
    stage_fault::StageFault,
    store::{BlobFault, JoinRefusal},
};

/// An error of the daemon.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    fault: Fault,
    source: Option<Box<dyn StdError + Send + Sync>>,
    retry_after: Option<Millis>,
}

/// Each thing that can be wrong, with the values that disagree.
#[derive(Debug)]
pub enum Fault {
    /// Passed on from host-core.
    Core(host_core::error::Error),
    /// Passed on from host-wire.
    Wire(host_wire::error::Error),
    /// Passed on from host-engine.
    Engine(host_engine::Error),
    /// Passed on from host-plugin.
    Plugin(host_plugin::Error),
    /// What went wrong on the way through the stages.
    Stage(StageFault),
    /// What is wrong with keys and certificates.
    Pki(PkiFault),
    /// Why a device gets no certificate.
    Join(JoinRefusal),
    /// Two plugins of the plugins folder that name the same slot.
    TwoClaims { slot: String, one: String, two: String },
    /// Words that say no place where a plugin is.
    Origin { text: String, reason: String },
    /// A plugin that could not be brought from where it is.
    Fetch { origin: String },
    /// The same, because it is too large.
    FetchTooLarge { origin: String, bytes_max: usize },
    /// The same, because it took too long.
    FetchLate { origin: String, ms_max: u64 },
    /// A component with another digest than was asked for.
    Digest { source: String, expected: String, found: String },
    /// A component that nobody trusted has signed.
    Untrusted { source: String, reason: String },
    /// A plugin that somebody disabled.
    Disabled { plugin: String },
    /// A built-in plugin, which cannot be taken away.
    PartOfHost { plugin: String },
    /// A file in the plugins folder for a slot that the config binds.
    BoundByConfig { slot: String, path: String },
    /// A command that does not say enough, or something that cannot be.
    Usage { reason: String },
    /// A command that did only a part of its work; what failed was said before.
    SomeFailed { failed: usize, all: usize },
    /// A plugin that breaks rules of its world; which ones was said before.
    NotConformant { plugin: String, broken: usize },
    /// An adapter that fails checks of its conformance suite; which ones was said before.
    ChecksFailed { plugin: String, failed: usize, all: usize },
    /// Everything that is wrong with file, environment and flags.
    Config { faults: Vec<String> },
    /// A file or folder that could not be read or written.
    File { doing: &'static str, path: String },
    /// Another host uses the data directory.
    DataLocked { data: String, pid: String },
    /// An address that cannot be listened on.
    Address { what: &'static str, address: String },
    /// A device that this machine cannot simulate.
    Simulation { device: DeviceId, reason: String },
    /// A device that names an adapter that is not here.
    UnknownAdapter { device: String, kind: String, known: Vec<String> },
    /// A device whose adapters find no accelerator.
    NothingToDrive { device: String, adapters: Vec<String> },
    /// Spans that cannot be sent as the environment says.
    Traces,
    /// A socket path longer than the system takes.
    SocketPath { path: String, bytes: usize, max: usize },
    /// The store failed.
    Store { doing: &'static str },
    /// A store that a newer host has written.
    StoreVersion { path: String, found: i64, known: i64 },
    /// More writes wait than may.
    StoreBusy { waiting_max: usize },
    /// A blob that is not there, or not right.
    Blob(BlobFault),
    /// What is wrong with a conversion, or with what one made.
    Conversion(ConversionFault),
    /// A model.yaml that is not understood.
    Manifest { path: String, reason: String },
    /// A model that is not loaded.
    UnknownModel { name: String },
    /// A version that is not loaded.
    UnknownVersion { name: String, version: String, loaded: Vec<u32> },
    /// A name that is none of those there are.
    Unknown { what: &'static str, name: String, known: String },
    /// A routing policy that the config lets no request ask for, and those that one may.
    RoutingNotAllowed { name: String, allowed: Vec<String> },
    /// Something that cannot be asked of a device.
    Order(OrderFault),
    /// An input that is not there.
    MissingInput { model: ModelId, input: String },
    /// A tensor that is not what the model takes.
    Tensor { model: ModelId, input: String, what: &'static str, expected: String, found: String },
    /// A raw body for a model that takes more than bytes can say.
    RawBody { model: ModelId, reason: String },
    /// A body over the limit.
    BodyTooLarge { found: Option<u64>, bytes_max: usize },
    /// A body that ended early.
    BodyBroken,
    /// A content type that nobody reads.
    ContentType { found: String, known: &'static str },
    /// Bytes that are no picture.
    Picture { reason: String },
    /// A picture with too many pixels.
    PictureTooLarge { width: u32, height: u32, pixels_max: u64 },
    /// A picture for a model that takes none.
    NoPreprocess { model: ModelId },
    /// A query or header that is not understood.
    Query { what: &'static str, reason: String },
    /// A path that leads nowhere.
    NoRoute { path: String },
    /// A path that is asked in the wrong way.
    Method { method: String, path: String },
    /// Something that the protocol has and this host does not.
    NotOffered { what: &'static str, instead: &'static str },
    /// A host that stops.
    Draining,
    /// A command that found no running host.
    NoHost { socket: String },
    /// A central that does not take this host as a device.
    Enrol { central: String, reason: String },
    /// A central that was looked for on the local network and not found.
    NoCentral { reason: String },
    /// mDNS that does not work here.
    Mdns { doing: &'static str, reason: String },
    /// A central that has this device no more.
    SentAway { device: DeviceId, reason: String },
    /// A host that answered with an error.
    Answer { message: String },
    /// A compiler that is not here.
    Tool { tool: String, install: String },
    /// A compiler that did not succeed; what it said was printed before.
    ToolFailed { tool: String, status: String },
    /// A host that could not be reached or whose answer was cut short.
    Call { url: String },
}

impl Error {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match &self.0.fault {
            Fault::Core(error) => error.kind(),
            Fault::Wire(error) => error.kind(),
            Fault::Engine(error) => error.kind(),
            Fault::Plugin(error) => error.kind(),
            Fault::Stage(fault) => fault.kind(),
            Fault::Pki(fault) => fault.kind(),
            Fault::StoreBusy { .. } => ErrorKind::Busy,
            Fault::Blob(fault) => fault.kind(),
            Fault::Conversion(fault) => fault.kind(),
            Fault::UnknownModel { .. }
            | Fault::UnknownVersion { .. }
            | Fault::Draining
            | Fault::NoHost { .. }
            | Fault::Enrol { .. }
            | Fault::NoCentral { .. }
            | Fault::SentAway { .. }
            | Fault::Call { .. }
            | Fault::Fetch { .. }
            | Fault::FetchLate { .. } => ErrorKind::Unavailable,
            Fault::Store { .. } | Fault::File { .. } | Fault::Mdns { .. } => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    /// The same, if it went wrong on the way through the stages.
    pub fn stage_fault(&self) -> Option<&StageFault> {
        if let Fault::Stage(fault) = self.fault() { Some(fault) } else { None }
    }

    /// The values behind it.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// Whether it is said at once, instead of waiting for a turn.
    pub fn is_shed(&self) -> bool {
        match self.fault() {
            Fault::Stage(StageFault::Shed { .. }) => true,
            // A line that is full.
            Fault::Core(error) => error.kind() == ErrorKind::Busy,
            _ => false,
        }
    }

    /// When it may be worth trying again, if more is known of that than that it may be.
    pub fn retry_after(&self) -> Option<Millis> {
        self.0.retry_after
    }

    /// Adds when it may be worth trying again.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Millis) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self(Box::new(Inner { fault, source: None, retry_after: None }))
    }
}

impl From<OrderFault> for Error {
    fn from(fault: OrderFault) -> Self {
        Fault::Order(fault).into()
    }
}

impl From<BlobFault> for Error {
    fn from(fault: BlobFault) -> Self {
        Fault::Blob(fault).into()
    }
}

impl From<ConversionFault> for Error {
    fn from(fault: ConversionFault) -> Self {
        Fault::Conversion(fault).into()
    }
}

impl From<StageFault> for Error {
    fn from(fault: StageFault) -> Self {
        Fault::Stage(fault).into()
    }
}

impl From<PkiFault> for Error {
    fn from(fault: PkiFault) -> Self {
        Fault::Pki(fault).into()
    }
}

impl From<JoinRefusal> for Error {
    fn from(refusal: JoinRefusal) -> Self {
        Fault::Join(refusal).into()
    }
}

impl From<host_core::error::Error> for Error {
    fn from(error: host_core::error::Error) -> Self {
        Fault::Core(error).into()
    }
}

impl From<host_wire::error::Error> for Error {
    fn from(error: host_wire::error::Error) -> Self {
        Fault::Wire(error).into()
    }
}

impl From<host_engine::Error> for Error {
    fn from(error: host_engine::Error) -> Self {
        Fault::Engine(error).into()
    }
}

impl From<host_plugin::Error> for Error {
    fn from(error: host_plugin::Error) -> Self {
        Fault::Plugin(error).into()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fault.fmt(f)?;
        self.0.source.as_ref().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

/// Names in a row.
pub fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(error) => error.fmt(f),
            Self::Wire(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::Plugin(error) => error.fmt(f),
            Self::Stage(fault) => fault.fmt(f),
            Self::Blob(fault) => fault.fmt(f),
            Self::Conversion(fault) => fault.fmt(f),
            Self::Order(fault) => fault.fmt(f),
            Self::Pki(fault) => fault.fmt(f),
            Self::Join(refusal) => refusal.fmt(f),
            Self::TwoClaims { slot, one, two } => write!(f, "slot {slot} is claimed by `{one}` and by `{two}`; bind one of them in the config"),
            Self::Origin { text, reason } => write!(f, "`{text}` names no plugin: {reason}"),
            Self::Fetch { origin } => write!(f, "`{origin}` could not be fetched"),
            Self::FetchTooLarge { origin, bytes_max } => write!(f, "`{origin}` has more than the {bytes_max} bytes that are accepted"),
            Self::FetchLate { origin, ms_max } => write!(f, "`{origin}` was not fetched within {ms_max} ms"),
            Self::Digest { source, expected, found } => write!(f, "`{source}` has digest sha256:{found}, sha256:{expected} was asked for"),
            Self::Untrusted { source, reason } => write!(f, "`{source}` is not trusted: {reason}"),
            Self::Disabled { plugin } => write!(f, "plugin `{plugin}` is disabled; `host plugin enable {plugin}` lets it serve again"),
            Self::PartOfHost { plugin } => write!(f, "plugin `{plugin}` is part of the host and stays; put another one in its slot instead"),
            Self::BoundByConfig { slot, path } => write!(f, "slot {slot} is bound by the config, `{path}` is left alone"),
            Self::Usage { reason: text } | Self::Answer { message: text } => f.write_str(text),
            Self::SomeFailed { failed, all } => write!(f, "{failed} of {all} failed"),
            Self::NotConformant { plugin, broken } => write!(f, "`{plugin}` breaks {broken} of the rules of its world"),
            Self::ChecksFailed { plugin, failed, all } => write!(f, "`{plugin}` fails {failed} of {all} checks"),
            Self::Config { faults } => f.write_str(&faults.join("\n")),
            Self::File { doing, path } => write!(f, "cannot {doing} `{path}`"),
            Self::DataLocked { data, pid } => write!(f, "data directory `{data}` is used by the host with pid {pid}; stop it or choose another with --data"),
            Self::Address { what, address } => write!(f, "{what} cannot listen on {address}"),
            Self::Simulation { device, reason } => write!(f, "device {device} cannot be simulated: {reason}"),
            Self::UnknownAdapter { device, kind, known } => write!(f, "device {device} names adapter `{kind}`, there are {}", known.join(", ")),
            Self::NothingToDrive { device, adapters } => nothing_to_drive(f, device, adapters),
            Self::Traces => f.write_str("spans cannot be sent as the OTEL variables say"),
            Self::SocketPath { path, bytes, max } => socket_path(f, path, *bytes, *max),
            Self::Store { doing } => write!(f, "the store could not {doing}"),
            Self::StoreVersion { path, found, known } => write!(f, "store `{path}` has version {found}, this host knows up to {known}; use a newer host"),
            Self::StoreBusy { waiting_max } => write!(f, "the store is busy: {waiting_max} writes are waiting"),
            Self::Manifest { path, reason } => write!(f, "{path}: {reason}"),
            Self::UnknownModel { name } => write!(f, "Request for unknown model: '{name}' is not found"),
            Self::UnknownVersion { name, version, loaded } => {
                write!(f, "Request for unknown model: '{name}' version {version} is not found, loaded are {loaded:?}")
            }
            Self::Unknown { what, name, known } => write!(f, "{what} `{name}` does not exist, there are {known}"),
            Self::RoutingNotAllowed { name, allowed } => write!(f, "routing policy `{name}` may not be asked for, routing_requests allows {}", listed(allowed)),
            Self::MissingInput { model, input } => write!(f, "model {model} needs input `{input}`, the request does not have it"),
            Self::Tensor { model, input, what, expected, found } => write!(f, "model {model}: {what} of input `{input}` must be {expected}, it is {found}"),
            Self::RawBody { model, reason } => write!(f, "model {model} cannot take a raw body: {reason}"),
            Self::BodyTooLarge { found: Some(found), bytes_max } => write!(f, "the body has {found} bytes, at most {bytes_max} are accepted"),
            Self::BodyTooLarge { found: None, bytes_max } => write!(f, "the body has more than the {bytes_max} bytes that are accepted"),
            Self::BodyBroken => f.write_str("the body could not be read to its end"),
            Self::ContentType { found, known } => write!(f, "content type `{found}` is not known, it must be one of {known}"),
            Self::Picture { reason } => write!(f, "the body is no picture that can be read: {reason}"),
            Self::PictureTooLarge { width, height, pixels_max } => picture_too_large(f, *width, *height, *pixels_max),
            Self::NoPreprocess { model } => write!(f, "model {model} takes no pictures: its model.yaml has no `preprocess`"),
            Self::Query { what, reason } => write!(f, "{what} is not understood: {reason}"),
            Self::NoRoute { path } => write!(f, "there is nothing at {path}"),
            Self::Method { method, path } => write!(f, "{path} cannot be asked with {method}"),
            Self::NotOffered { what, instead } => write!(f, "{what} is not offered; {instead}"),
            Self::Draining => f.write_str("the host is stopping and takes no new requests"),
            Self::Enrol { central, reason } => write!(f, "the central at {central} was not joined: {reason}"),
            Self::NoCentral { reason } => write!(f, "no central was found: {reason}"),
            Self::Mdns { doing, reason } => write!(f, "mDNS cannot {doing}: {reason}"),
            Self::SentAway { device, reason } => write!(f, "the central has sent device {device} away: {reason}"),
            Self::NoHost { socket } => write!(f, "no host answers at `{socket}`; start one with `host run`, or name its data directory with --data"),
            Self::Tool { tool, install } => write!(f, "{tool} is not on this machine: {install}"),
            Self::ToolFailed { tool, status } => write!(f, "`{tool}` failed with {status}, what it said is above"),
            Self::Call { url } => write!(f, "cannot call {url}"),
        }
    }
}

fn nothing_to_drive(f: &mut fmt::Formatter<'_>, device: &str, adapters: &[String]) -> fmt::Result {
    write!(f, "device {device} has nothing to compute with: adapter {} finds nothing on this machine, its log says why", adapters.join(" and "))
}

fn socket_path(f: &mut fmt::Formatter<'_>, path: &str, bytes: usize, max: usize) -> fmt::Result {
    write!(f, "socket path `{path}` has {bytes} bytes, the system takes {max}; choose a shorter data directory with --data")
}

fn picture_too_large(f: &mut fmt::Formatter<'_>, width: u32, height: u32, pixels_max: u64) -> fmt::Result {
    let pixels = u64::from(width) * u64::from(height);
    write!(f, "the picture has {width} x {height} = {pixels} pixels, at most {pixels_max} are accepted")
}
