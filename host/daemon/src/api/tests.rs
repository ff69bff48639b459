//! The HTTP door before a small service that computes nothing: what clients send, and what they get for it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use axum::http::{Request as HttpRequest, Response as HttpResponse, StatusCode};
use bytes::Bytes;
use host_core::{
    ids::{ModelId, ModelName},
    reservations::Access,
    units::Millis,
};
use host_engine::{Tensor, TensorSpec};
use host_wire::{admin, oip};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    manifest::Manifest,
    models::Model,
    request::{Answer, Request},
    service::Pending,
};

/// Answers every output with 0, 1, 2, … in each row.
#[derive(Debug)]
struct Counting {
    models: Vec<Arc<Model>>,
    ready: bool,
    /// Those of the requests so far.
    accesses: Mutex<Vec<Access>>,
    /// Those of the requests so far.
    routings: Mutex<Vec<Option<String>>>,
}

impl Service for Counting {
    fn ready(&self) -> bool {
        self.ready
    }
    fn models(&self) -> Vec<Arc<Model>> {
        self.models.clone()
    }
    fn model(&self, name: &str, version: Option<u32>) -> Result<Arc<Model>, Error> {
        let found = self.models.iter().find(|model| model.id.name.as_str() == name);
        let found = found.cloned().ok_or_else(|| Error::from(Fault::UnknownModel { name: name.into() }))?;
        match version {
            Some(version) if version != found.id.version => {
                Err(Fault::UnknownVersion { name: name.into(), version: version.to_string(), loaded: vec![found.id.version] }.into())
            }
            _ => Ok(found),
        }
    }
    fn model_ready(&self, _: &Model) -> bool {
        self.ready
    }
    fn shard_engines(&self, _: &Model, _: &admin::ModelQuery) -> Result<Vec<admin::ShardEngine>, Error> {
        Ok(Vec::new())
    }
    fn deadline(&self, timeout: Option<Millis>) -> Millis {
        timeout.unwrap_or(Millis(1e3))
    }
    fn class(&self, priority: Option<i64>) -> Result<u32, Error> {
        Ok(priority.and_then(|priority| u32::try_from(priority).ok()).unwrap_or(0))
    }
    fn routing(&self, _: &Model, asked: Option<&str>) -> Result<Option<String>, Error> {
        Ok(asked.map(str::to_owned))
    }
    fn infer(&self, request: Request) -> Pending<'_, Answer> {
        if !self.ready {
            return Box::pin(async { Err(Fault::Draining.into()) });
        }
        self.accesses.lock().expect("nobody panics while it holds this").push(request.access);
        self.routings.lock().expect("nobody panics while it holds this").push(request.routing.clone());
        let rows = request.inputs[0].1.shape()[0];
        let counted = |spec: &TensorSpec| {
            let width: usize = spec.shape[1..].iter().filter_map(|dimension| dimension.fixed()).product();
            let values: Vec<f32> = (0..rows * width).map(|index| (index % width) as f32).collect();
            (spec.name.clone(), Tensor::from_f32(&[rows, width], &values).expect("as many values as the shape says"))
        };
        let outputs = request.model.outputs.iter().map(counted).collect();
        Box::pin(async move { Ok(Answer { outputs, policy: "round-robin-routing generation 3 sha256:abc".into() }) })
    }
    fn schedule(&self, strategy: &schedule::Strategy, model: Option<&str>, sequence_key: u32) -> Result<schedule::Answer, Error> {
        let device = if sequence_key == 0 { "local-1" } else { "local-2" };
        Ok(schedule::Answer { device: device.into(), address: String::new(), strategy: strategy.word().into(), model: model.map(str::to_owned) })
    }
    fn status(&self) -> admin::Status {
        let state = |model: &Arc<Model>| admin::ModelState { name: model.id.name.to_string(), version: 1, ready: self.ready, reason: String::new() };
        admin::Status { models: self.models.iter().map(state).collect(), ..admin::Status::default() }
    }
    fn devices(&self) -> Vec<admin::Device> {
        Vec::new()
    }
    fn order(&self, _: &str, device: &str, _: &admin::DeviceOrder) -> Result<admin::Ordered, Error> {
        Err(Fault::Unknown { what: "device", name: device.into(), known: "none".into() }.into())
    }
    fn census(&self) -> Option<admin::Census> {
        let states = std::collections::BTreeMap::from([("ready".to_owned(), 2)]);
        Some(admin::Census { devices_total: 2, states, ..admin::Census::default() })
    }
    fn plan(&self) -> admin::Plan {
        admin::Plan::default()
    }
    fn explain(&self, name: &str) -> Result<admin::Explanation, Error> {
        Err(Fault::UnknownModel { name: name.into() }.into())
    }
    fn advise(&self, name: &str) -> Result<admin::Explanation, Error> {
        self.explain(name)
    }
    fn split(&self, _: &str, _: Vec<u32>, _: PathBuf) -> Pending<'_, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn models() -> Vec<Arc<Model>> {
    static MODELS: OnceLock<Vec<Arc<Model>>> = OnceLock::new();
    let load = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name);
        let path = folder.join("model.yaml");
        let manifest = Manifest::parse(&path, &std::fs::read_to_string(&path).expect("in the repository")).expect("sound");
        let id = ModelId { name: ModelName::parse(name).expect("a name"), version: 1 };
        Arc::new(Model::load(id, &folder.join("1/model.onnx"), manifest).expect("loads"))
    };
    MODELS.get_or_init(|| vec![load("digits"), load("mlp")]).clone()
}

fn counting(ready: bool) -> Counting {
    Counting { models: models(), ready, accesses: Mutex::default(), routings: Mutex::default() }
}

fn door(ready: bool) -> Door {
    door_of(Arc::new(counting(ready)))
}

fn door_of(service: Arc<Counting>) -> Door {
    Door { service, metrics: Arc::new(Metrics::new()), traces: Traces::none(), body_bytes_max: 20_000, image_pixels_max: 1024 }
}

async fn send(door: &Door, request: HttpRequest<Body>) -> HttpResponse<Bytes> {
    let (parts, body) = router(door.clone()).oneshot(request).await.expect("routers do not fail").into_parts();
    HttpResponse::from_parts(parts, axum::body::to_bytes(body, 1 << 20).await.expect("a small answer"))
}

fn get_at(path: &str) -> HttpRequest<Body> {
    HttpRequest::get(path).body(Body::empty()).expect("a request")
}

fn post_to(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> HttpRequest<Body> {
    let builder = headers.iter().fold(HttpRequest::post(path), |builder, (name, value)| builder.header(*name, *value));
    builder.body(body.into()).expect("a request")
}

fn json_of(response: &HttpResponse<Bytes>) -> Value {
    serde_json::from_slice(response.body()).expect("JSON")
}

#[tokio::test]
async fn metadata_and_health_read_like_the_protocol() {
    let (up, down) = (door(true), door(false));
    let cases = [
        (&up, "/v2/health/live", 200, json!({"live": true})),
        (&up, "/v2/health/ready?verbose=1", 200, json!({"ready": true})),
        (&down, "/v2/health/ready", 503, json!({"ready": false})),
        (&up, "/v2/models", 200, json!({"models": ["digits", "mlp"]})),
        (&up, "/v2/models/mlp/ready", 200, json!({"name": "mlp", "ready": true})),
        (&down, "/v2/models/mlp/versions/1/ready", 503, json!({"name": "mlp", "ready": false})),
        (
            &up,
            "/v2/models/mlp/versions/1",
            200,
            json!({"name": "mlp", "versions": ["1"], "platform": "onnx_onnxv1",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}], "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]}),
        ),
        (&up, "/schedule?stargety=roundrobin", 200, json!({"device": "local-1", "address": "", "strategy": "roundrobin"})),
        (&up, "/schedule?strategy=sticky&sequence_id=7", 200, json!({"device": "local-2", "address": "", "strategy": "sticky"})),
    ];
    for (door, path, status, body) in cases {
        let response = send(door, get_at(path)).await;
        assert_eq!((response.status().as_u16(), json_of(&response)), (status, body), "{path}");
    }
    for path in ["/v2", "/v2/"] {
        assert_eq!(json_of(&send(&up, get_at(path)).await)["name"], "shardhost", "{path}");
    }
    let index = json_of(&send(&up, post_to("/v2/repository/index", &[], "{\"ready\":true}")).await);
    assert_eq!(index[1], json!({"name": "mlp", "version": "1", "state": "READY", "reason": ""}));
}

#[tokio::test]
async fn a_json_request_is_answered_in_json_with_its_id_and_the_policy() {
    let door = door(true);
    let body = json!({"id": "42", "inputs": [{"name": "x", "shape": [2, 16], "datatype": "FP32", "data": vec![0.5; 32]}]});
    let response = send(&door, post_to("/v2/models/mlp/infer", &[], body.to_string())).await;
    assert_eq!(response.status(), StatusCode::OK, "{:?}", response.body());
    assert_eq!(response.headers()["x-host-policy"], "round-robin-routing generation 3 sha256:abc");
    let expected = json!({"model_name": "mlp", "model_version": "1", "id": "42",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 4], "data": [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0]}]});
    assert_eq!(json_of(&response), expected);
    assert!(door.metrics.text().contains("host_requests_total{model=\"mlp\",version=\"1\",outcome=\"success\"} 1"));
}

#[tokio::test]
async fn binary_data_goes_in_and_comes_out() {
    let door = door(true);
    let head = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","shape":[1,16],"datatype":"FP32","parameters":{"binary_data_size":64}}]}"#;
    let body = [head.as_bytes(), &[0; 64]].concat();
    let length = head.len().to_string();
    let response = send(&door, post_to("/v2/models/mlp/infer", &[("inference-header-content-length", &length)], body)).await;
    let length: usize = response.headers()["inference-header-content-length"].to_str().expect("digits").parse().expect("a number");
    let answer = oip::Answer::parse(response.body(), Some(length)).expect("an answer");
    assert_eq!(answer.outputs[0].tensor.data.len(), 16);
    let raw = send(&door, post_to("/v2/models/mlp/infer", &[("inference-header-content-length", "0")], vec![0; 192])).await;
    assert_eq!(json_of(&raw)["outputs"][0]["shape"], json!([3, 4]));
}

#[tokio::test]
async fn a_picture_goes_through_the_models_preprocessing_and_comes_back_as_labels() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/digits/samples/000_9.png");
    let picture = std::fs::read(sample).expect("in the repository");
    let response = send(&door(true), post_to("/v2/models/digits/infer?classification=2", &[("content-type", "image/png")], picture.clone())).await;
    assert_eq!(
        json_of(&response)["outputs"][0],
        json!({"name": "probabilities", "datatype": "BYTES", "shape": [1, 2], "data": ["9.000000:9:9", "8.000000:8:8"]})
    );
    let plain = send(&door(true), post_to("/v2/models/digits/infer", &[("content-type", "image/png")], picture)).await;
    assert_eq!(json_of(&plain)["outputs"][0]["shape"], json!([1, 10]));
}

#[tokio::test]
async fn a_request_asks_for_its_devices_alone_in_its_parameters_or_in_the_query() {
    let service = Arc::new(counting(true));
    let door = door_of(service.clone());
    let body = |parameters: Value| json!({"parameters": parameters, "inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": vec![1; 16]}]});
    let picture = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/digits/samples/000_9.png")).expect("in the repository");
    let (mlp, digits, png) = ("/v2/models/mlp/infer", "/v2/models/digits/infer", [("content-type", "image/png")]);
    let cases: Vec<(HttpRequest<Body>, Access)> = vec![
        (post_to(mlp, &[], body(json!({})).to_string()), Access::Shared),
        (post_to(mlp, &[], body(json!({"exclusive": false})).to_string()), Access::Shared),
        (post_to(mlp, &[], body(json!({"exclusive": true})).to_string()), Access::Exclusive),
        (post_to(&format!("{mlp}?exclusive=true"), &[], body(json!({})).to_string()), Access::Exclusive),
        (post_to(&format!("{mlp}?exclusive=true"), &[("inference-header-content-length", "0")], vec![0; 64]), Access::Exclusive),
        (post_to(digits, &png, picture.clone()), Access::Shared),
        (post_to(&format!("{digits}?classification=1&exclusive=true"), &png, picture), Access::Exclusive),
    ];
    for (request, access) in cases {
        let asked = format!("{} {}", request.uri(), access.word());
        assert_eq!(send(&door, request).await.status(), StatusCode::OK, "{asked}");
        assert_eq!(service.accesses.lock().expect("nobody panics while it holds this").pop(), Some(access), "{asked}");
    }
}

/// A request that asks for a routing policy in its parameters.
fn asking(policy: &str) -> Value {
    json!({"parameters": {"routing": policy}, "inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": vec![1; 16]}]})
}

#[tokio::test]
async fn a_request_asks_for_a_routing_policy_in_a_header_or_in_its_parameters() {
    let service = Arc::new(counting(true));
    let door = door_of(service.clone());
    let plain = json!({"inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": vec![1; 16]}]}).to_string();
    let mlp = "/v2/models/mlp/infer";
    let raw = [("inference-header-content-length", "0"), ("x-host-routing", "sticky")];
    let cases: Vec<(HttpRequest<Body>, Option<&str>)> = vec![
        (post_to(mlp, &[], plain.clone()), None),
        (post_to(mlp, &[("x-host-routing", "random")], plain), Some("random")),
        (post_to(mlp, &[], asking("sticky").to_string()), Some("sticky")),
        (post_to(mlp, &[("x-host-routing", "sticky")], asking("sticky").to_string()), Some("sticky")),
        (post_to(mlp, &raw, vec![0; 64]), Some("sticky")),
    ];
    for (request, routing) in cases {
        assert_eq!(send(&door, request).await.status(), StatusCode::OK, "{routing:?}");
        assert_eq!(service.routings.lock().expect("nobody panics while it holds this").pop(), Some(routing.map(str::to_owned)));
    }
}

#[tokio::test]
async fn bad_input_gets_the_right_status_and_names_what_disagrees() {
    let up = door(true);
    let infer = "/v2/models/mlp/infer";
    let input = |input: Value| json!({ "inputs": [input] }).to_string();
    let x = |shape: &[usize], datatype: &str, count: usize| input(json!({"name": "x", "shape": shape, "datatype": datatype, "data": vec![1; count]}));
    let nan = r#"{"inputs":[{"name":"x","shape":[1,16],"datatype":"FP32","data":[NaN,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}]}"#.to_owned();
    let cases: Vec<(HttpRequest<Body>, u16, &str)> = vec![
        (post_to(infer, &[], x(&[1, 15], "FP32", 15)), 400, "model mlp@1: shape of input `x` must be [batch, 16], it is [1, 15]"),
        (post_to(infer, &[], x(&[1, 16], "INT64", 16)), 400, "model mlp@1: datatype of input `x` must be FP32, it is INT64"),
        (post_to(infer, &[], x(&[65, 16], "FP32", 65 * 16)), 400, "model mlp@1: the batch of input `x` must be 1 to 64, it is 65"),
        (post_to(infer, &[], x(&[1, 16], "FP32", 17)), 400, "`x`: shape [1, 16] has 16 elements, its data has 17"),
        (post_to(infer, &[], input(json!({"name": "z", "shape": [1], "datatype": "FP32", "data": [1]}))), 400, "input `z` does not exist, there are x"),
        (
            post_to(
                infer,
                &[],
                json!({"parameters": {"exclusive": 1}, "inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": vec![1; 16]}]}).to_string(),
            ),
            400,
            "parameter `exclusive` is not understood: it must be true or false",
        ),
        (post_to(&format!("{infer}?exclusive=yes"), &[], x(&[1, 16], "FP32", 16)), 400, "the query is not understood: "),
        (post_to(infer, &[], nan), 400, "`x` is FP32, but its element 0 is NaN, infinite or null, which JSON has no number for; binary data can hold it"),
        (post_to(infer, &[("inference-header-content-length", "99")], "{}"), 400, "header Inference-Header-Content-Length is 99, but the body has 2 bytes"),
        (post_to(infer, &[], vec![b' '; 20_001]), 413, "the body has 20001 bytes, at most 20000 are accepted"),
        (post_to(infer, &[("content-type", "text/csv")], "1"), 415, "content type `text/csv` is not known"),
        (post_to(infer, &[("content-type", "image/png")], "x"), 400, "model mlp@1 takes no pictures: its model.yaml has no `preprocess`"),
        (post_to("/v2/models/digits/infer", &[("content-type", "image/png")], "x"), 400, "the body is no picture that can be read"),
        (post_to("/v2/models/none/infer", &[], "{}"), 404, "Request for unknown model: 'none' is not found"),
        (post_to("/v2/models/mlp/versions/7/infer", &[], "{}"), 404, "Request for unknown model: 'mlp' version 7 is not found, loaded are [1]"),
        (get_at("/v2/models/mlp/versions/x"), 404, "Request for unknown model: 'mlp' version x is not found, loaded are [1]"),
        (get_at("/v3"), 404, "there is nothing at /v3"),
        (get_at(infer), 405, "/v2/models/mlp/infer cannot be asked with GET"),
        (
            post_to(infer, &[("x-host-routing", "st\u{e9}cky")], x(&[1, 16], "FP32", 16)),
            400,
            "header `x-host-routing` is not understood: it must be the name of a routing policy",
        ),
        (post_to("/v2/repository/models/mlp/load", &[], ""), 501, "loading and unloading on demand is not offered"),
    ];
    for (request, status, message) in cases {
        let response = send(&up, request).await;
        let error = json_of(&response)["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(response.status().as_u16(), status, "{error}");
        assert!(error.starts_with(message), "{error}\nis not\n{message}");
    }
    assert_eq!(send(&up, post_to(infer, &[], x(&[1, 16], "FP32", 16))).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_host_that_stops_says_when_to_come_again() {
    let body = json!({"inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": vec![1; 16]}]});
    let response = send(&door(false), post_to("/v2/models/mlp/infer", &[], body.to_string())).await;
    assert_eq!((response.status(), response.headers()["retry-after"].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, &b"1"[..]));
    assert_eq!(json_of(&response)["error"], "the host is stopping and takes no new requests");
}

#[test]
fn who_is_turned_away_is_told_in_whole_seconds_when_to_come_again() {
    let late = || Error::from(crate::stage_fault::StageFault::Late { doing: "waiting for its turn" });
    let cases = [(late(), "1"), (late().with_retry_after(Millis(1.0)), "1"), (late().with_retry_after(Millis(2_001.0)), "3")];
    for (error, seconds) in cases {
        let response = axum::response::IntoResponse::into_response(error);
        assert_eq!((response.status(), response.headers()["retry-after"].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, seconds.as_bytes()));
    }
}

#[tokio::test]
async fn metrics_show_the_pool_as_it_is_when_they_are_read() {
    let response = send(&door(true), get_at("/metrics")).await;
    let text = String::from_utf8_lossy(response.body());
    assert!(text.lines().any(|line| line == "host_devices{state=\"ready\"} 2"), "{text}");
}
