//! The admin socket: what the command line asks of a running host. Anyone who can open the socket may ask anything, so it
//! is made for its owner alone.

mod conversions;
mod devices;
mod order_fault;
mod orders;
mod plugins;
mod tokens;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path as Segment, RawQuery, State, connect_info::Connected},
    response::Response,
    routing::{get, post},
    serve::IncomingStream,
};
use host_wire::admin::{self, ExplainQuery, HistoryQuery, ModelQuery, SplitQuery};
use tokio::net::UnixListener;

pub use order_fault::OrderFault;
pub use orders::DeviceOrders;

use crate::{
    api::{counted, metadata_tensors, no_route, read_query, wrong_method},
    error::{Error, Fault},
    metrics::Metrics,
    models::Model,
    pki::Tokens,
    service::Service,
    shelf::Shelf,
    status,
    store::Store,
};

/// The socket's name in the data directory.
const SOCKET_FILE: &str = "admin.sock";
/// Longest path of a Unix socket, without the zero behind it.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Plans or generations that are listed when nobody says how many.
const HISTORY_DEFAULT: u32 = 20;
/// Most cuts of one `split`.
const CUTS_MAX: usize = 4_096;

/// What the handlers work with.
#[derive(Clone, Debug)]
pub struct AdminDoor {
    /// Who answers.
    pub service: Arc<dyn Service>,
    /// Plans and generations of the past.
    pub store: Store,
    /// What was counted: of a device that has joined, which opens no HTTP door, this is the only way to it.
    pub metrics: Arc<Metrics>,
    /// The plugins.
    pub shelf: Shelf,
    /// Join tokens.
    pub tokens: Tokens,
    /// Where clients reach the host.
    pub http: Option<String>,
    /// Largest plugin that is taken.
    pub component_bytes_max: usize,
}

/// Where the socket of a data directory is.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join(SOCKET_FILE)
}

/// Opens the socket for its owner. Whoever calls holds the data directory's lock, so a socket that is there is a dead one.
pub fn listen(data: &Path) -> Result<UnixListener, Error> {
    let path = socket_path(data);
    let text = path.display().to_string();
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(Fault::SocketPath { path: text, bytes, max: SOCKET_PATH_BYTES_MAX }.into());
    }
    let fault = |error: io::Error| Error::from(Fault::Address { what: "the admin socket", address: text.clone() }).because(error);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(fault)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(fault)?;
    Ok(listener)
}

/// Every route.
pub fn router(door: AdminDoor) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/models", get(models))
        .route("/models/{model}", get(model))
        .route("/models/{model}/split", post(split))
        .route("/plan", get(plan))
        .route("/plan/history", get(history))
        .route("/plan/explain/{model}", get(explain))
        .merge(conversions::routes())
        .merge(devices::routes())
        .merge(plugins::routes())
        .merge(tokens::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(door)
}

async fn status(State(door): State<AdminDoor>) -> Json<admin::Status> {
    Json(admin::Status { http: door.http.clone(), ..door.service.status() })
}

async fn metrics(State(door): State<AdminDoor>) -> Response {
    counted(door.service.as_ref(), &door.metrics)
}

async fn models(State(door): State<AdminDoor>) -> Json<Vec<admin::Model>> {
    Json(door.service.models().iter().map(|model| describe(&door, model)).collect())
}

async fn model(State(door): State<AdminDoor>, Segment(name): Segment<String>, RawQuery(query): RawQuery) -> Result<Json<admin::Model>, Error> {
    let query: ModelQuery = read_query(query.as_deref())?;
    if query.threads == Some(0) {
        return Err(Fault::Query { what: "threads", reason: "there must be 1 or more".into() }.into());
    }
    let (name, version) = match name.split_once('@') {
        Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
        None => (name, None),
    };
    let unknown = || Error::from(Fault::Query { what: "the version", reason: "it must be a whole number".into() });
    let version = version.map(|version| version.parse().map_err(|_| unknown())).transpose()?;
    let model = door.service.model(&name, version)?;
    blocking(move || Ok(admin::Model { engines: door.service.shard_engines(&model, &query)?, ..describe(&door, &model) })).await
}

async fn split(State(door): State<AdminDoor>, Segment(name): Segment<String>, RawQuery(query): RawQuery) -> Result<Json<Vec<String>>, Error> {
    let query: SplitQuery = read_query(query.as_deref())?;
    let fault = |reason: String| Error::from(Fault::Query { what: "the cuts", reason });
    let words: Vec<&str> = query.cuts.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.len() > CUTS_MAX {
        return Err(fault(format!("there are {}, at most {CUTS_MAX} are taken", words.len())));
    }
    let cuts = words.iter().map(|word| word.parse().map_err(|_| fault(format!("`{word}` is no block number")))).collect::<Result<Vec<u32>, _>>()?;
    Ok(Json(door.service.split(&name, cuts, PathBuf::from(query.folder)).await?))
}

async fn plan(State(door): State<AdminDoor>) -> Json<admin::Plan> {
    Json(door.service.plan())
}

async fn history(State(door): State<AdminDoor>, RawQuery(query): RawQuery) -> Result<Json<Vec<admin::PlanRecord>>, Error> {
    let query: HistoryQuery = read_query(query.as_deref())?;
    let count = query.count.unwrap_or(HISTORY_DEFAULT);
    // One more, for what the oldest one changed.
    blocking(move || Ok(status::history(door.store.plans(count.saturating_add(1))?, count))).await
}

async fn explain(State(door): State<AdminDoor>, Segment(name): Segment<String>, RawQuery(query): RawQuery) -> Result<Json<admin::Explanation>, Error> {
    let query: ExplainQuery = read_query(query.as_deref())?;
    blocking(move || if query.advise { door.service.advise(&name) } else { door.service.explain(&name) }).await
}

fn describe(door: &AdminDoor, model: &Model) -> admin::Model {
    let profile = model.profile();
    admin::Model {
        name: model.id.name.to_string(),
        version: model.id.version,
        ready: door.service.model_ready(model),
        blocks: profile.whole().count(),
        weight_bytes: profile.weights(profile.whole()).0,
        max_batch_size: model.manifest.max_batch_size,
        inputs: metadata_tensors(&model.inputs),
        outputs: metadata_tensors(&model.outputs),
        labels: model.manifest.labels.clone(),
        engines: Vec::new(),
    }
}

/// Who asks: the user that the system names at the other end of the socket.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().map_or_else(|_| "unknown user".to_owned(), |peer| format!("user {}", peer.uid())))
    }
}

/// The store waits for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<Json<T>, Error> {
    let failed = |error: tokio::task::JoinError| Error::from(crate::stage_fault::StageFault::Thread { reason: error.to_string() });
    Ok(Json(tokio::task::spawn_blocking(work).await.map_err(failed)??))
}
