//! Devices that a request has to itself, on a real host: one such request at a time on each device, side by side on different
//! ones, and given back when it ends, when its client goes away and when its time is over. What happened is read from counters.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use running::{Host, PATIENCE, client, root, samples};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Rows of a request that takes a while on a slow device: as many as the model takes at once.
const ROWS: usize = 64;
/// Nothing is given up early, and reservations last.
const PATIENT: &str = "timeout_ms: 120000, attempt_ms_min: 120000, exclusive_ms_max: 120000";

/// A host with so many slow devices, each of which holds the whole of the one model.
struct Scene {
    host: Host,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start(devices: usize, requests: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        one_model(&folder.path().join("models"));
        let devices: Vec<String> = (0..devices).map(|index| format!("{{ id: slow-{index}, slowdown: 400 }}")).collect();
        let config = folder.path().join("host.yaml");
        fs::write(&config, format!("requests: {{ {requests} }}\nlocal_devices: [{}]\n", devices.join(", "))).expect("written");
        let host = Host::start(&["--config", &config.display().to_string(), "--models", &folder.path().join("models").display().to_string()]);
        Self { host, client: client(), _folder: folder }
    }

    /// Sends a request; what it is answered with.
    fn ask(&self, rows: usize, exclusive: bool) -> JoinHandle<(u16, Value)> {
        let data: Vec<usize> = (0..rows * 16).map(|index| index % 16).collect();
        let body = json!({ "parameters": { "exclusive": exclusive }, "inputs": [{ "name": "x", "datatype": "FP32", "shape": [rows, 16], "data": data }] });
        let request = self.client.post(format!("{}/v2/models/mlp/infer", self.host.url)).body(body.to_string());
        tokio::spawn(async move {
            let answer = request.send().await.expect("the host answers");
            let status = answer.status().as_u16();
            (status, serde_json::from_str(&answer.text().await.expect("whole")).expect("JSON"))
        })
    }

    /// What a counter or gauge says now; 0 if there is none yet.
    async fn metric(&self, name: &str) -> usize {
        let text = self.client.get(format!("{}/metrics", self.host.url)).send().await.expect("metrics").text().await.expect("whole");
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or_default()
    }

    async fn until(&self, name: &str, value: usize) {
        let started = Instant::now();
        while self.metric(name).await != value {
            assert!(started.elapsed() < PATIENCE, "{name} never was {value}");
            tokio::task::yield_now().await;
        }
    }
}

/// The small model in a folder of its own, never cut.
fn one_model(folder: &Path) {
    let (from, to) = (root().join("models/mlp"), folder.join("mlp"));
    fs::create_dir_all(to.join("1")).expect("made");
    fs::copy(from.join("1/model.onnx"), to.join("1/model.onnx")).expect("copied");
    let manifest = fs::read_to_string(from.join("model.yaml")).expect("readable");
    fs::write(to.join("model.yaml"), format!("{manifest}\nplacement: {{ objective: throughput, stages_max: 1 }}\n")).expect("written");
}

const ACTIVE: &str = "host_reservations_active";
const WAITING: &str = "host_reservations_waiting";
const ROWS_DONE: &str = "host_stage_duration_seconds_count{model=\"mlp@1\",stage=\"0\"}";

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_that_want_one_device_alone_never_have_it_together() {
    let scene = Scene::start(1, PATIENT);
    let first = scene.ask(ROWS, true);
    scene.until(ACTIVE, 1).await;
    let second = scene.ask(ROWS, true);
    scene.until(WAITING, 1).await;
    assert_eq!(scene.host.json(&["status"])["reservations"], 1);
    scene.until(WAITING, 0).await;
    assert!(scene.metric(ROWS_DONE).await >= ROWS, "the second one has the device before the first one's rows are done");
    let (first, second) = (first.await.expect("asked"), second.await.expect("asked"));
    assert_eq!((first.0, second.0), (200, 200), "{first:?} {second:?}");
    assert_eq!((scene.metric(ROWS_DONE).await, scene.metric(ACTIVE).await), (2 * ROWS, 0));
    assert_eq!(scene.metric("host_reservation_wait_seconds_count{access=\"exclusive\"}").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_want_different_devices_alone_have_them_at_the_same_time() {
    let scene = Scene::start(2, PATIENT);
    let explanation = scene.host.json(&["plan", "explain", "mlp"]);
    let replicas = explanation["replicas"].as_array().expect("a list");
    let devices: BTreeSet<&str> = replicas.iter().filter_map(|replica| replica["stages"][0]["device"].as_str()).collect();
    assert_eq!((replicas.len(), devices.len()), (2, 2), "{explanation}");
    let both = [scene.ask(ROWS, true), scene.ask(ROWS, true)];
    scene.until(ACTIVE, 2).await;
    for asked in both {
        let answer = asked.await.expect("asked");
        assert_eq!(answer.0, 200, "{answer:?}");
    }
    assert_eq!(scene.metric(ACTIVE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_gives_its_devices_back() {
    let scene = Scene::start(1, PATIENT);
    let first = scene.ask(ROWS, true);
    scene.until(ACTIVE, 1).await;
    let second = scene.ask(1, false);
    scene.until(WAITING, 1).await;
    first.abort();
    let answer = second.await.expect("asked");
    assert_eq!(answer.0, 200, "{answer:?}");
    assert_eq!(scene.metric(ACTIVE).await, 0);
    scene.until("host_requests_total{model=\"mlp\",version=\"1\",outcome=\"cancelled\"}", 1).await;
    assert!(scene.metric(ROWS_DONE).await < ROWS, "rows are computed that nobody waits for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_devices_alone_for_too_long_is_told_so_and_loses_them() {
    let scene = Scene::start(1, "exclusive_ms_max: 50");
    let (status, answer) = scene.ask(ROWS, true).await.expect("asked");
    let said = "the request has had slow-0 to itself for 50 ms, requests.exclusive_ms_max allows no more";
    assert_eq!((status, &answer["error"]), (503, &json!(said)));
    assert_eq!(scene.metric(ACTIVE).await, 0);
    let answer = scene.ask(1, false).await.expect("asked");
    assert_eq!(answer.0, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_ask_for_devices_alone_from_the_command_line() {
    let host = Host::start(&["--local-devices", "2", "--models", "models"]);
    let files: Vec<String> = samples().iter().take(5).map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> = ["infer", "digits", "--exclusive"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let printed = host.ok(&arguments);
    assert!(printed.contains("5 pictures, "), "{printed}");
    let text = client().get(format!("{}/metrics", host.url)).send().await.expect("metrics").text().await.expect("whole");
    assert!(text.contains("host_reservation_wait_seconds_count{access=\"exclusive\"} 5\n"), "{text}");
}
