//! What the host says of itself and its models.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use host_engine::TensorSpec;
use host_wire::oip::{IndexEntry, IndexRequest, Live, ModelList, ModelMetadata, ModelReady, Ready, ServerMetadata, TensorMetadata};

use super::{Door, WORDS_BYTES_MAX, body, error::health};
use crate::{
    error::{Error, Fault},
    models::Model,
    service::Service,
};

/// What is spoken beside the protocol's core.
const EXTENSIONS: [&str; 4] = ["binary_tensor_data", "classification", "model_repository(index)", "parameters"];

pub(super) async fn server() -> Json<ServerMetadata> {
    let extensions = EXTENSIONS.iter().map(|name| (*name).to_owned()).collect();
    Json(ServerMetadata { name: "shardhost".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), extensions })
}

pub(super) async fn live() -> Json<Live> {
    Json(Live { live: true })
}

pub(super) async fn ready(State(door): State<Door>) -> Response {
    let ready = door.service.ready();
    (health(ready), Json(Ready { ready })).into_response()
}

pub(super) async fn models(State(door): State<Door>) -> Json<ModelList> {
    let mut models: Vec<String> = door.service.models().iter().map(|model| model.id.name.to_string()).collect();
    models.dedup();
    Json(ModelList { models })
}

pub(super) async fn model(State(door): State<Door>, Path(name): Path<String>) -> Result<Json<ModelMetadata>, Error> {
    Ok(Json(describe(&door, &*find(&door, &name, None)?)))
}

pub(super) async fn version(State(door): State<Door>, Path((name, version)): Path<(String, String)>) -> Result<Json<ModelMetadata>, Error> {
    Ok(Json(describe(&door, &*find(&door, &name, Some(&version))?)))
}

pub(super) async fn model_ready(State(door): State<Door>, Path(name): Path<String>) -> Result<Response, Error> {
    let model = find(&door, &name, None)?;
    Ok(model_health(&door, &model))
}

pub(super) async fn version_ready(State(door): State<Door>, Path((name, version)): Path<(String, String)>) -> Result<Response, Error> {
    let model = find(&door, &name, Some(&version))?;
    Ok(model_health(&door, &model))
}

pub(super) async fn index(State(door): State<Door>, body: Body) -> Result<Json<Vec<IndexEntry>>, Error> {
    let request: IndexRequest = body::json(&body::read(body, WORDS_BYTES_MAX).await?)?;
    let states = door.service.status().models.into_iter().filter(|state| state.ready || !request.ready);
    let entry = |state: host_wire::admin::ModelState| IndexEntry {
        name: state.name,
        version: state.version.to_string(),
        state: if state.ready { "READY" } else { "UNAVAILABLE" }.to_owned(),
        reason: state.reason,
    };
    Ok(Json(states.map(entry).collect()))
}

/// Finds a model by the words of a path.
pub(super) fn find(door: &Door, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
    let number = version.map(str::parse::<u32>).transpose();
    let Ok(number) = number else {
        let loaded = door.service.models().iter().filter(|model| model.id.name.as_str() == name).map(|model| model.id.version).collect();
        return Err(Fault::UnknownVersion { name: name.to_owned(), version: version.unwrap_or_default().to_owned(), loaded }.into());
    };
    door.service.model(name, number)
}

/// Inputs or outputs as the protocol names them.
pub(crate) fn tensors(specs: &[TensorSpec]) -> Vec<TensorMetadata> {
    let length = |fixed: Option<usize>| fixed.map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX));
    let tensor = |spec: &TensorSpec| TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.element_type.protocol_name().to_owned(),
        shape: spec.shape.iter().map(|dimension| length(dimension.fixed())).collect(),
    };
    specs.iter().map(tensor).collect()
}

fn describe(door: &Door, model: &Model) -> ModelMetadata {
    ModelMetadata {
        name: model.id.name.to_string(),
        versions: versions(door.service.as_ref(), model),
        platform: "onnx_onnxv1".to_owned(),
        inputs: tensors(&model.inputs),
        outputs: tensors(&model.outputs),
    }
}

fn versions(service: &dyn Service, model: &Model) -> Vec<String> {
    service.models().iter().filter(|other| other.id.name == model.id.name).map(|other| other.id.version.to_string()).collect()
}

fn model_health(door: &Door, model: &Model) -> Response {
    let ready = door.service.model_ready(model);
    (health(ready), Json(ModelReady { name: model.id.name.to_string(), ready })).into_response()
}
