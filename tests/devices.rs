//! Devices in processes of their own: they join with a token, share a model, and when one dies nothing is lost.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use pooled::{central, classify, is_loaded, serves, stages, wait_until};
use running::{Host, text};

#[test]
fn three_devices_join_share_a_model_and_classify_real_pictures() {
    let central = central();
    assert!(!serves(&central, "digits"), "there is no device yet");
    let devices: Vec<Host> = ["a", "b", "c"].into_iter().map(|id| Host::join(&central, id, &[])).collect();
    wait_until("a plan over all three", || stages(&central, "digits").len() == 3 && serves(&central, "digits"));
    let (answered, right) = classify(&central, 50);
    assert!(answered == 50 && right >= 48, "{answered} answered, {right} right");
    drop(devices);
}

#[test]
fn a_device_that_is_killed_in_the_middle_of_it_costs_no_answer() {
    let central = central();
    let mut devices: Vec<Host> = ["a", "b", "c", "d"].into_iter().map(|id| Host::join(&central, id, &[])).collect();
    wait_until("a plan", || serves(&central, "digits") && stages(&central, "digits").len() >= 3);
    let used = stages(&central, "digits");
    let victim = ["a", "b", "c", "d"].iter().position(|id| used.contains(*id)).expect("one holds a stage");
    let victim = devices.remove(victim);
    let (answered, right) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| classify(&central, 200));
        std::thread::sleep(std::time::Duration::from_millis(150));
        let _data = victim.kill();
        asking.join().expect("asked")
    });
    assert!(answered == 200 && right >= 194, "{answered} answered, {right} right");
}

#[test]
fn plans_that_come_and_go_under_load_cost_no_answer() {
    let central = central();
    let _devices: Vec<Host> = ["a", "b", "c"].into_iter().map(|id| Host::join(&central, id, &[])).collect();
    wait_until("a plan over all three", || stages(&central, "digits").len() == 3 && serves(&central, "digits"));
    let changing = AtomicBool::new(true);
    let rounds = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut rounds = vec![classify(&central, 50)];
            while changing.load(Ordering::Acquire) {
                rounds.push(classify(&central, 50));
            }
            rounds
        });
        // What is on its way is of the plan before each time: a stage that has dropped its shard, or got it back, sends it elsewhere.
        for device in ["b", "c", "b"] {
            central.ok(&["device", "drain", device, "--wait"]);
            wait_until("a plan without it", || !stages(&central, "digits").contains(device));
            central.ok(&["device", "undrain", device]);
            wait_until("a plan with it", || stages(&central, "digits").len() == 3);
        }
        changing.store(false, Ordering::Release);
        asking.join().expect("every request was answered")
    });
    assert!(rounds.iter().all(|&(answered, right)| answered == 50 && right >= 48), "{rounds:?}");
    let plan = central.json(&["status"])["plan"].as_u64();
    assert!(plan >= Some(7), "six plans follow the first: {plan:?}");
}

/// Waits until the device is in this state, as its central sees it.
fn wait_for_state(central: &Host, device: &str, state: &str) {
    wait_until(&format!("device {device} {state}"), || {
        let devices = central.json(&["device", "list"]);
        devices.as_array().is_some_and(|devices| devices.iter().any(|entry| entry["id"] == device && entry["state"] == state))
    });
}

/// Classifies all pictures, and does something in the middle of it.
fn classify_while(central: &Host, meanwhile: impl FnOnce()) {
    let (answered, right) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| classify(central, 200));
        std::thread::sleep(std::time::Duration::from_millis(150));
        meanwhile();
        asking.join().expect("asked")
    });
    assert!(answered == 200 && right >= 194, "{answered} answered, {right} right");
}

#[test]
fn a_device_that_hangs_is_lost_costs_no_answer_and_comes_back() {
    let central = central();
    let devices: Vec<Host> = ["a", "b", "c", "d"].into_iter().map(|id| Host::join(&central, id, &[])).collect();
    wait_until("a plan", || serves(&central, "digits") && stages(&central, "digits").len() >= 3);
    let used = stages(&central, "digits");
    let (id, victim) = ["a", "b", "c", "d"].into_iter().zip(&devices).find(|(id, _)| used.contains(*id)).expect("one holds a stage");
    classify_while(&central, || victim.signal("STOP"));
    wait_for_state(&central, id, "lost");
    victim.signal("CONT");
    wait_for_state(&central, id, "ready");
    classify_while(&central, || {});
}

#[test]
fn a_device_that_joins_takes_part_in_the_next_plan() {
    let central = central();
    let mut devices: Vec<Host> = ["a", "b"].into_iter().map(|id| Host::join(&central, id, &[])).collect();
    wait_until("a plan over two", || stages(&central, "digits").len() == 2 && serves(&central, "digits"));
    classify_while(&central, || devices.push(Host::join(&central, "c", &[])));
    wait_until("a plan over three", || stages(&central, "digits").len() == 3 && serves(&central, "digits"));
    classify_while(&central, || {});
}

#[test]
fn devices_come_back_to_a_central_that_was_killed_and_serve_by_the_same_plan() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let listen = format!("127.0.0.1:{port}");
    let flags = ["--join-listen", &listen, "--local-devices", "0", "--models", "models"];
    let central = Host::start(&flags);
    let devices: Vec<Host> = ["a", "b", "c"].into_iter().map(|id| Host::join(&central, id, &[])).collect();
    wait_until("a plan over all three", || stages(&central, "digits").len() == 3 && is_loaded(&central, "digits"));
    let plan = central.json(&["plan", "show"]);
    let loads = |device: &Host| device.said().iter().filter(|line| line.contains("a shard is loaded")).count();
    let loaded: Vec<usize> = devices.iter().map(loads).collect();
    let central = Host::start_in(central.kill(), &flags);
    wait_until("the plan of before", || serves(&central, "digits"));
    assert_eq!(central.json(&["plan", "show"]), plan);
    assert_eq!(devices.iter().map(loads).collect::<Vec<_>>(), loaded, "what they held was not loaded again");
    classify_while(&central, || {});
}

#[test]
fn a_stuck_request_goes_on_from_the_stage_before_on_another_replica() {
    let models = tempfile::tempdir().expect("a folder");
    two_replicas_of_two_stages(models.path());
    let central = Host::start(&["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", &models.path().display().to_string()]);
    let mut devices: BTreeMap<&str, Host> = ["a", "b", "c", "d"].into_iter().map(|id| (id, Host::join(&central, id, &[]))).collect();
    wait_until("two replicas", || stages(&central, "digits").len() == 4 && is_loaded(&central, "digits"));
    let replicas = central.json(&["plan", "explain", "digits"])["replicas"].clone();
    let second = replicas[0]["stages"][1]["device"].as_str().expect("a device").to_owned();
    let victim = devices.remove(second.as_str()).expect("it is one of them");
    classify_while(&central, || {
        victim.signal("STOP");
        // Requests pile up before it, while the stage before still holds what they are computed from.
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(victim.kill());
    });
    let metrics = fetch(&central, "/metrics");
    let same_cut = replicas[0]["stages"][1]["start"] == replicas[1]["stages"][1]["start"];
    let taken = metrics.lines().any(|line| line.starts_with("host_resumes_total{outcome=\"taken\"}") && !line.ends_with(" 0"));
    assert!(taken || !same_cut, "no request went on another way: {metrics}");
}

/// A folder with the digits model, to be placed in two replicas of two stages.
fn two_replicas_of_two_stages(folder: &Path) {
    let (from, to) = (running::root().join("models/digits"), folder.join("digits"));
    std::fs::create_dir_all(to.join("1")).expect("made");
    std::fs::copy(from.join("1/model.onnx"), to.join("1/model.onnx")).expect("copied");
    let manifest = std::fs::read_to_string(from.join("model.yaml")).expect("readable");
    let placed = manifest.replace("stages_min: 3", "stages_min: 2\n  stages_max: 2\n  replicas_max: 2\n  objective: throughput");
    let placed = placed.replace("  objective: balanced\n", "");
    std::fs::write(to.join("model.yaml"), placed).expect("written");
}

fn fetch(host: &Host, path: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { running::client().get(format!("{}{path}", host.url)).send().await.expect("answered").text().await.expect("whole") })
}

#[test]
fn a_wrong_token_is_refused_in_words() {
    let central = central();
    let token = central.json(&["token", "create"]);
    let (address, text_of) = (token["central"].as_str().expect("an address"), token["text"].as_str().expect("a token"));
    central.ok(&["token", "revoke", token["id"].as_str().expect("an id")]);
    let data = tempfile::tempdir().expect("a temporary folder");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["run", "--join", address, "--token", text_of, "--data"])
        .arg(data.path())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("was not joined") && said.contains("the token cannot be used"), "{said}");
}
