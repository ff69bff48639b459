//! Who chooses the way of a request, on a real host: the policy that a model's `model.yaml`, the config or the request names, and
//! clear words where none of that name is there or it may not be asked for.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{collections::BTreeSet, fs, path::Path};

use running::{Host, client, root};
use serde_json::{Value, json};

/// A host with three devices, each of which holds the whole of the one model, and more lines in `model.yaml` and in `host.yaml`.
struct Scene {
    host: Host,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start(manifest: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = Host::start(&arguments(folder.path(), manifest, config).iter().map(String::as_str).collect::<Vec<_>>());
        Self { host, client: client(), _folder: folder }
    }

    /// What a request is answered with: its status, which plugin chose its way, and the body.
    async fn ask(&self, header: Option<&str>, parameters: Value) -> (u16, String, Value) {
        let body = json!({ "parameters": parameters, "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 16], "data": vec![1; 16] }] });
        let request = self.client.post(format!("{}/v2/models/mlp/infer", self.host.url)).body(body.to_string());
        let request = header.into_iter().fold(request, |request, policy| request.header("x-host-routing", policy));
        let answer = request.send().await.expect("the host answers");
        let policy = answer.headers().get("x-host-policy").map(|policy| policy.to_str().expect("a text").to_owned());
        let status = answer.status().as_u16();
        (status, policy.unwrap_or_default(), serde_json::from_str(&answer.text().await.expect("whole")).expect("JSON"))
    }

    /// The plugin that chose the way of a request.
    async fn plugin(&self, header: Option<&str>, parameters: Value) -> String {
        let (status, policy, body) = self.ask(header, parameters).await;
        assert_eq!(status, 200, "{body}");
        policy.split(' ').next().unwrap_or_default().to_owned()
    }

    /// Why a request was refused.
    async fn refused(&self, header: Option<&str>, parameters: Value) -> String {
        let (status, _, body) = self.ask(header, parameters).await;
        assert_eq!(status, 400, "{body}");
        body["error"].as_str().expect("a reason").to_owned()
    }

    async fn schedule(&self, query: &str) -> (u16, Value) {
        let answer = self.client.get(format!("{}/schedule?model=mlp&{query}", self.host.url)).send().await.expect("the host answers");
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.expect("whole")).expect("JSON"))
    }

    async fn device(&self, query: &str) -> String {
        let (status, answer) = self.schedule(query).await;
        assert_eq!(status, 200, "{answer}");
        answer["device"].as_str().expect("a device").to_owned()
    }
}

/// Writes the small model, never cut, and a config; what a host is started with.
fn arguments(folder: &Path, manifest: &str, config: &str) -> Vec<String> {
    let (from, to) = (root().join("models/mlp"), folder.join("models/mlp"));
    fs::create_dir_all(to.join("1")).expect("made");
    fs::copy(from.join("1/model.onnx"), to.join("1/model.onnx")).expect("copied");
    let stated = fs::read_to_string(from.join("model.yaml")).expect("readable");
    fs::write(to.join("model.yaml"), format!("{stated}\nplacement: {{ objective: throughput, stages_max: 1 }}\n{manifest}\n")).expect("written");
    fs::write(folder.join("host.yaml"), format!("local_devices: 3\n{config}\n")).expect("written");
    let path = |name: &str| folder.join(name).display().to_string();
    vec!["--config".to_owned(), path("host.yaml"), "--models".to_owned(), path("models")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_names_its_routing_policy_and_a_request_another_one() {
    let scene = Scene::start("routing: round-robin", "");
    assert_eq!(scene.plugin(None, json!({})).await, "round-robin-routing");
    assert_eq!(scene.plugin(Some("least-loaded"), json!({})).await, "least-loaded-routing");
    assert_eq!(scene.plugin(None, json!({ "routing": "least-loaded" })).await, "least-loaded-routing");
    let disagree = "header `x-host-routing` is not understood: it is `least-loaded`, but parameter `routing` is `round-robin`";
    assert_eq!(scene.refused(Some("least-loaded"), json!({ "routing": "round-robin" })).await, disagree);
    let unknown = scene.refused(Some("best"), json!({})).await;
    assert!(unknown.starts_with("routing policy `best` does not exist, there are ") && unknown.contains("least-loaded"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_wins_over_the_model_and_says_what_requests_may_ask_for() {
    let scene = Scene::start("routing: round-robin", "routing_models: { mlp: least-loaded }\nrouting_requests: [round-robin]");
    assert_eq!(scene.plugin(None, json!({})).await, "least-loaded-routing");
    assert_eq!(scene.plugin(Some("round-robin"), json!({})).await, "round-robin-routing");
    let refused = "routing policy `least-loaded` may not be asked for, routing_requests allows round-robin";
    assert_eq!(scene.refused(Some("least-loaded"), json!({})).await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_ones_own_is_called_by_the_name_of_its_slot() {
    let scene = Scene::start("", "routing: mine\nslots: { routing/mine: round-robin-routing }");
    assert_eq!(scene.plugin(None, json!({})).await, "round-robin-routing");
    assert_eq!(scene.plugin(Some("mine"), json!({})).await, "round-robin-routing");
    assert!(scene.device("strategy=mine").await.starts_with("local-"));
}

#[test]
fn a_config_that_names_a_policy_which_is_not_there_stops_the_start_with_the_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = arguments(folder.path(), "", "routing: best\nrouting_models: { mlp: worst }");
    let mut flags = vec!["--http", "127.0.0.1:0"];
    flags.extend(arguments.iter().map(String::as_str));
    let ended = Host::refused(&flags);
    assert_ne!(ended.code, Some(0));
    for line in ["routing: routing policy `best` does not exist, there are ", "routing_models.mlp: routing policy `worst` does not exist, there are "] {
        assert!(ended.said.contains(line), "{}", ended.said);
    }
}

#[test]
fn a_model_that_names_a_policy_which_is_not_there_is_named_and_left_out() {
    let scene = Scene::start("routing: best", "");
    assert_eq!(scene.host.json(&["model", "list"]), json!([]));
    let said = scene.host.said().join("\n");
    assert!(said.contains("routing policy `best` does not exist"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn schedule_asks_any_policy_by_name_and_names_those_there_are() {
    let scene = Scene::start("", "");
    let (one, next) = (scene.device("strategy=round-robin").await, scene.device("strategy=round-robin").await);
    assert_ne!(one, next);
    let (status, answer) = scene.schedule("strategy=best").await;
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(status == 400 && error.starts_with("strategy `best` does not exist, there are load, roundrobin, "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_a_sequence_stay_on_one_device_under_the_sticky_policy() {
    let scene = Scene::start("", "slots: { routing/to-one-place: sticky-routing }");
    let mut devices = BTreeSet::new();
    for sequence in 1..=24 {
        let query = format!("strategy=to-one-place&sequence_id={sequence}");
        let device = scene.device(&query).await;
        assert_eq!(scene.device(&query).await, device, "sequence {sequence}");
        devices.insert(device);
        assert_eq!(scene.plugin(Some("to-one-place"), json!({ "sequence_id": sequence })).await, "sticky-routing");
    }
    assert_eq!(devices.len(), 3, "24 sequences are spread over all devices");
}
