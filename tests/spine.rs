//! The product's first promise, as a user meets it: a host starts, three devices share a model, pictures are classified, a
//! plugin is swapped while requests run, and nothing fails.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use running::{Host, root, samples, text};
use serde_json::{Value, json};

const THREE: [&str; 4] = ["--local-devices", "3", "--models", "models"];

fn built_in(name: &str) -> Vec<u8> {
    host_plugin::PluginSource::builtin(name).expect("it is built in").bytes.to_vec()
}

/// The same component with another digest: a custom section says nothing to anyone.
fn rebuilt(name: &str, mark: u8) -> Vec<u8> {
    let mut bytes = built_in(name);
    bytes.extend([0, 6, 4, b'm', b'a', b'r', b'k', mark]);
    bytes
}

fn post(url: &str, content_type: &str, body: Vec<u8>) -> (u16, Value) {
    let client = running::client();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let answer = client.post(url).header("content-type", content_type).body(body).send().await.expect("the host answers");
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.expect("whole")).expect("JSON"))
    })
}

#[test]
fn two_hundred_real_digits_are_classified_over_three_devices() {
    let host = Host::start(&THREE);
    let files: Vec<String> = samples().iter().map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> = ["infer", "digits"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let printed = host.ok(&arguments);
    let summary = printed.lines().last().expect("a summary");
    let right: u32 = summary
        .split(", ")
        .nth(1)
        .and_then(|part| part.split(' ').next())
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no count in {summary}"));
    assert!(right >= 194, "{summary}");

    let explanation = host.json(&["plan", "explain", "digits"]);
    let devices: BTreeSet<&str> =
        explanation["replicas"][0]["stages"].as_array().expect("stages").iter().filter_map(|stage| stage["device"].as_str()).collect();
    assert_eq!(devices.len(), 3, "{explanation}");

    let picture = fs::read(&samples()[0]).expect("readable");
    let (status, answer) = post(&format!("{}/v2/models/digits/infer", host.url), "image/png", picture);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn http_and_command_line_give_the_same_answers() {
    let host = Host::start(&THREE);
    for file in samples().iter().step_by(40) {
        let line = host.json(&["infer", "digits", &file.display().to_string()]);
        let (status, answer) = post(&format!("{}/v2/models/digits/infer", host.url), "image/png", fs::read(file).expect("readable"));
        assert_eq!(status, 200, "{answer}");
        let probabilities: Vec<f64> = answer["outputs"][0]["data"].as_array().expect("data").iter().filter_map(Value::as_f64).collect();
        let best = (0..10).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).expect("ten classes");
        assert_eq!(line["label"].as_str().map(str::to_owned), Some(best.to_string()), "{line}");
    }
}

#[test]
fn an_allocation_plugin_is_swapped_while_pictures_are_classified() {
    let host = Arc::new(Host::start(&THREE));
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let load = {
        let (host, stop, answered) = (host.clone(), stop.clone(), answered.clone());
        let picture = fs::read(&samples()[0]).expect("readable");
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let (status, answer) = post(&format!("{}/v2/models/digits/infer", host.url), "image/png", picture.clone());
                assert_eq!(status, 200, "{answer}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let file = host.data().join("greedy_allocation.wasm");
    for round in 0..4_u8 {
        fs::write(&file, rebuilt(if round % 2 == 0 { "greedy-allocation" } else { "balanced-allocation" }, round)).expect("written");
        let before = answered.load(Ordering::Relaxed);
        let installed = host.json(&["plugin", "install", &file.display().to_string(), "--slot", "allocation"]);
        assert_eq!(installed["slot"], "allocation", "{installed}");
        let deadline = std::time::Instant::now() + running::PATIENCE;
        while answered.load(Ordering::Relaxed) < before + 20 {
            assert!(std::time::Instant::now() < deadline && !load.is_finished(), "requests stopped being answered");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    let back = host.json(&["plugin", "rollback", "allocation"]);
    assert_eq!(back["slot"], "allocation", "{back}");
    stop.store(true, Ordering::Relaxed);
    load.join().expect("no request failed");
}

#[test]
fn installs_generations_and_plan_numbers_survive_a_kill() {
    let host = Host::start(&THREE);
    let file = host.data().join("mine.wasm");
    fs::write(&file, rebuilt("round-robin-routing", 7)).expect("written");
    let installed = host.json(&["plugin", "install", &file.display().to_string(), "--slot", "routing"]);
    let plan = host.json(&["status"])["plan"].as_u64().expect("a plan number");
    let host = Host::start_in(host.kill(), &THREE);
    let status = host.json(&["status"]);
    let slot = status["slots"].as_array().expect("slots").iter().find(|slot| slot["slot"] == "routing").expect("a routing slot").clone();
    assert_eq!(slot["digest"], installed["digest"], "{slot}");
    assert!(slot["generation"].as_u64() >= installed["generation"].as_u64(), "{slot} after {installed}");
    assert_eq!(status["plan"], plan, "the plan of before is in force again");
    let (code, _) = host.stop();
    assert_eq!(code, Some(0));
}

#[test]
fn a_stop_lets_requests_in_flight_finish_and_exits_with_0() {
    let host = Host::start(&["--local-devices", "1", "--models", "models"]);
    let url = format!("{}/v2/models/digits/infer", host.url);
    let picture = fs::read(&samples()[3]).expect("readable");
    let client = std::thread::spawn(move || {
        let mut answers = Vec::new();
        for _ in 0..10_000 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let sent = runtime.block_on(async {
                running::client().post(&url).header("content-type", "image/png").body(picture.clone()).send().await.map(|answer| answer.status().as_u16())
            });
            match sent {
                Ok(status) => answers.push(status),
                Err(_) => break,
            }
        }
        answers
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    let (code, _) = host.stop();
    assert_eq!(code, Some(0));
    let answers = client.join().expect("the client lives");
    assert!(answers.contains(&200));
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
}

#[test]
fn an_empty_models_folder_starts_an_empty_host_that_says_so() {
    let empty = tempfile::tempdir().expect("a folder");
    let host = Host::start(&["--models", &empty.path().display().to_string()]);
    assert_eq!(host.json(&["model", "list"]), json!([]));
    assert!(text(host.command(&["infer", "digits", &samples()[0].display().to_string()]).stderr.as_slice()).contains("unknown model"));
}

#[test]
fn a_second_host_on_the_same_data_is_refused_by_name() {
    let host = Host::start(&["--models", "models"]);
    let output = host.command(&["run", "--http", "127.0.0.1:0"]);
    let said = text(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&host.pid().to_string()) && said.contains(&host.data().display().to_string()), "{said}");
}

#[test]
fn schedule_names_a_device_by_both_strategies() {
    let host = Host::start(&THREE);
    for query in ["strategy=load", "strategy=roundrobin", "stargety=load"] {
        let (status, answer) = post(&format!("{}/schedule?{query}&model=mlp", host.url), "application/json", Vec::new());
        assert_eq!(status, 200, "{answer}");
        assert!(answer["device"].as_str().is_some_and(|device| device.starts_with("local-")), "{answer}");
    }
    assert!(root().join("Cargo.toml").is_file());
}
