//! The HTTP door for clients: Open Inference Protocol v2, metrics, and where a task would go. Parses, asks the service,
//! writes; decides nothing. Statuses are in `error`.

mod body;
pub mod error;
mod infer;
mod metadata;
mod postprocess;
mod preprocess;
mod render;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{RawQuery, State},
    http::{Method, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use host_wire::schedule;

use crate::{
    config::Config,
    error::{Error, Fault},
    metrics::{Metrics, TEXT_TYPE},
    service::Service,
    telemetry::traces::Traces,
};

/// Largest body of a route that takes a few words.
pub(crate) const WORDS_BYTES_MAX: usize = 64 << 10;

/// What the handlers work with.
#[derive(Clone, Debug)]
pub struct Door {
    /// Who answers.
    pub service: Arc<dyn Service>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Where their traces begin.
    pub traces: Traces,
    /// Largest body of a request.
    pub body_bytes_max: usize,
    /// Largest picture.
    pub image_pixels_max: u64,
}

impl Door {
    /// With the limits of a config.
    pub fn new(service: Arc<dyn Service>, metrics: Arc<Metrics>, traces: Traces, config: &Config) -> Self {
        Self { service, metrics, traces, body_bytes_max: config.http.body_bytes_max, image_pixels_max: config.requests.image_pixels_max }
    }
}

/// Every route.
pub fn router(door: Door) -> Router {
    Router::new()
        .route("/v2", get(metadata::server))
        .route("/v2/", get(metadata::server))
        .route("/v2/health/live", get(metadata::live))
        .route("/v2/health/ready", get(metadata::ready))
        .route("/v2/models", get(metadata::models))
        .route("/v2/models/{model}", get(metadata::model))
        .route("/v2/models/{model}/ready", get(metadata::model_ready))
        .route("/v2/models/{model}/infer", post(infer::infer))
        .route("/v2/models/{model}/versions/{version}", get(metadata::version))
        .route("/v2/models/{model}/versions/{version}/ready", get(metadata::version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer::infer_version))
        .route("/v2/repository/index", post(metadata::index))
        .route("/v2/repository/models/{model}/load", post(no_model_control))
        .route("/v2/repository/models/{model}/unload", post(no_model_control))
        .route("/schedule", get(schedule_get).post(schedule_post))
        .route("/metrics", get(metrics))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(door)
}

async fn no_model_control() -> Error {
    Fault::NotOffered { what: "loading and unloading on demand", instead: "the models folder is read when the host starts" }.into()
}

async fn metrics(State(door): State<Door>) -> Response {
    counted(door.service.as_ref(), &door.metrics)
}

/// The metrics, with the pool as it is now; also the admin socket's answer.
pub(crate) fn counted(service: &dyn Service, metrics: &Metrics) -> Response {
    if let Some(census) = service.census() {
        metrics.census(census);
    }
    ([(header::CONTENT_TYPE, TEXT_TYPE)], metrics.text()).into_response()
}

async fn schedule_get(State(door): State<Door>, RawQuery(query): RawQuery) -> Result<Json<schedule::Answer>, Error> {
    schedule(&door, &body::query(query.as_deref())?)
}

async fn schedule_post(State(door): State<Door>, RawQuery(query): RawQuery, body: Body) -> Result<Json<schedule::Answer>, Error> {
    let stated: schedule::Query = body::query(query.as_deref())?;
    let bytes = body::read(body, WORDS_BYTES_MAX).await?;
    let in_body: schedule::Query = body::json(&bytes)?;
    let sequence_id = stated.sequence_id.or(in_body.sequence_id);
    schedule(&door, &schedule::Query { strategy: stated.strategy.or(in_body.strategy), model: stated.model.or(in_body.model), sequence_id })
}

fn schedule(door: &Door, query: &schedule::Query) -> Result<Json<schedule::Answer>, Error> {
    let sequence_key = query.sequence_id.as_deref().map_or(0, infer::sequence_key_of);
    Ok(Json(door.service.schedule(&query.strategy(), query.model.as_deref(), sequence_key)?))
}

/// Also the admin socket's answer to a path that leads nowhere.
pub(crate) async fn no_route(uri: Uri) -> Error {
    Fault::NoRoute { path: uri.path().to_owned() }.into()
}

/// Also the admin socket's answer to a wrong method.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Error {
    Fault::Method { method: method.to_string(), path: uri.path().to_owned() }.into()
}

pub(crate) use body::{query as read_query, read as read_body};
pub(crate) use metadata::tensors as metadata_tensors;

#[cfg(test)]
mod tests;
