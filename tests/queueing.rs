//! Who waits, on a real host: a queueing plugin that is swapped in lets the urgent go first and turns away what the line
//! does not take, and clients are told so.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::sync::Arc;

use running::{Host, PATIENCE, client};
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet};

/// One request runs at a time, and slowly, so that the others wait; none gives up, however slow the machine is.
const CONFIG: &str = "requests: { running_max: 1, queue_depth_max: 10, timeout_ms: 600000 }\nlocal_devices: [{ id: slow, slowdown: 6000 }]\n";

struct Scene {
    host: Host,
    client: reqwest::Client,
    /// Priorities in the order in which their requests were answered.
    order: Arc<Mutex<Vec<u32>>>,
}

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("host.yaml");
        std::fs::write(&config, CONFIG).expect("written");
        let host = Host::start(&["--config", &config.display().to_string(), "--models", "models"]);
        Self { host, client: client(), order: Arc::default() }
    }

    /// Sends one request; what it answers.
    async fn ask(&self, priority: u32) -> (u16, Value, bool) {
        self.ask_with(&json!({ "priority": priority })).await
    }

    /// Sends one request with these parameters; its status, what it says, and whether it says when to come again.
    async fn ask_with(&self, parameters: &Value) -> (u16, Value, bool) {
        let data: Vec<u32> = (0..16).collect();
        let body = json!({ "parameters": parameters, "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 16], "data": data }] });
        let answer = self.client.post(format!("{}/v2/models/mlp/infer", self.host.url)).body(body.to_string()).send().await.expect("the host answers");
        let (status, waits) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        (status, serde_json::from_str(&answer.text().await.expect("whole")).expect("JSON"), waits)
    }

    /// Waits until so many requests are in the line.
    async fn waiting(&self, count: u32) {
        let started = std::time::Instant::now();
        loop {
            let text = self.metrics().await;
            let depth = |line: &str| line.strip_prefix("host_queue_depth{").and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
            if text.lines().filter_map(depth).sum::<u32>() == count {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{count} requests never waited: {text}");
            tokio::task::yield_now().await;
        }
    }

    /// Sends requests of these priorities, each when the one before waits (the first runs), and gives what all were answered.
    async fn in_turn(self: &Arc<Self>, priorities: &[u32]) -> Vec<(u16, Value, bool)> {
        let mut under_way = JoinSet::new();
        for (&priority, waiting) in priorities.iter().zip(0..) {
            let scene = self.clone();
            under_way.spawn(async move {
                let answer = scene.ask(priority).await;
                scene.order.lock().await.push(priority);
                answer
            });
            self.waiting(waiting).await;
            if waiting == 0 {
                // The first is not in the line but runs.
                while !self.runs().await {}
            }
        }
        under_way.join_all().await
    }

    async fn runs(&self) -> bool {
        self.metrics().await.lines().any(|line| line == "host_requests_running 1")
    }

    async fn metrics(&self) -> String {
        self.client.get(format!("{}/metrics", self.host.url)).send().await.expect("metrics").text().await.expect("whole")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_plugin_requests_wait_in_the_order_in_which_they_came() {
    let scene = Arc::new(Scene::start());
    let answers = scene.in_turn(&[2, 3, 1, 2]).await;
    assert!(answers.iter().all(|(status, ..)| *status == 200), "{answers:?}");
    assert_eq!(*scene.order.lock().await, [2, 3, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queueing_plugin_that_is_swapped_in_lets_the_urgent_go_first_and_sheds_the_others() {
    let scene = Arc::new(Scene::start());
    let installed = scene.host.json(&["plugin", "swap", "queueing", "priority-queueing"]);
    assert_eq!(installed["plugin"], "priority-queueing");
    // The line takes ten; of priority 3 it takes eight.
    let answers = scene.in_turn(&[3, 3, 3, 3, 3, 3, 3, 3, 3, 1]).await;
    assert!(answers.iter().all(|(status, ..)| *status == 200), "{answers:?}");
    assert_eq!(scene.order.lock().await[..3], [3, 1, 3], "the one that runs, then the urgent one");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shed_is_told_at_once_why_and_to_come_back() {
    let scene = Arc::new(Scene::start());
    scene.host.json(&["plugin", "swap", "queueing", "priority-queueing"]);
    let full = {
        let scene = scene.clone();
        tokio::spawn(async move { scene.in_turn(&[3; 9]).await })
    };
    scene.waiting(8).await;
    let (status, body, retry_after) = scene.ask(3).await;
    assert_eq!((status, &body["error"], retry_after), (503, &json!("the host is busy: 8 requests are waiting, priority 3 may be one of 8"), true));
    let (status, body, _) = scene.ask(7).await;
    assert_eq!((status, &body["error"]), (400, &json!("parameter `priority` is not understood: it is 7, this host has 1 to 3, and 0 for its default")));
    assert!(full.await.expect("answered").iter().all(|(status, ..)| *status == 200));
    let metrics = scene.metrics().await;
    for line in [
        "host_plugin_calls_total{plugin=\"priority-queueing\",function=\"admit\",outcome=\"refused\"} 1",
        "host_requests_shed_total{model=\"mlp\",version=\"1\",class=\"3\",reason=\"refused\"} 1",
        "host_requests_total{model=\"mlp\",version=\"1\",outcome=\"shed\"} 1",
        // The nine that were answered: neither the one that was shed nor the one whose priority there is not.
        "host_queue_wait_seconds_count{model=\"mlp\",version=\"1\",class=\"3\"} 9",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let memory = metrics.lines().find_map(|line| line.strip_prefix("host_plugin_memory_bytes{plugin=\"priority-queueing\"} ")?.parse::<u64>().ok());
    assert!(memory > Some(0), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_that_the_host_does_not_have_is_refused_with_those_that_it_has() {
    let scene = Arc::new(Scene::start());
    for priority in [json!(4), json!(-1), json!(i64::MAX)] {
        let (status, body, _) = scene.ask_with(&json!({ "priority": priority })).await;
        let error = format!("parameter `priority` is not understood: it is {priority}, this host has 1 to 3, and 0 for its default");
        assert_eq!((status, &body["error"]), (400, &json!(error)));
    }
    let (status, body, _) = scene.ask_with(&json!({ "priority": "high" })).await;
    assert_eq!((status, &body["error"]), (400, &json!("parameter `priority` is not understood: it must be a whole number")));
    for parameters in [json!({}), json!({ "priority": 0 }), json!({ "priority": 1 })] {
        assert_eq!(scene.ask_with(&parameters).await.0, 200, "{parameters}");
    }
    let metrics = scene.metrics().await;
    let waits = metrics.lines().filter_map(|line| line.strip_prefix("host_queue_wait_seconds_count{")).collect::<Vec<_>>();
    // Priorities that were refused are no labels.
    assert_eq!(waits.len(), 2, "{metrics}");
    assert!(waits.iter().any(|line| line.ends_with("class=\"1\"} 1")) && waits.iter().any(|line| line.ends_with("class=\"2\"} 2")), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_queueing_plugin_of_the_host_serves_what_waits() {
    let scene = Arc::new(Scene::start());
    for plugin in ["first-come-queueing", "deadline-queueing", "priority-queueing"] {
        let installed = scene.host.json(&["plugin", "swap", "queueing", plugin]);
        assert_eq!(installed["plugin"], plugin);
        let answers = scene.in_turn(&[3, 2, 1]).await;
        assert!(answers.iter().all(|(status, ..)| *status == 200), "{plugin}: {answers:?}");
    }
    assert_eq!(*scene.order.lock().await, [3, 2, 1, 3, 2, 1, 3, 1, 2], "only the last one lets the urgent go first");
}
