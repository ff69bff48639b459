//! Devices as people manage them: drained, cordoned, labelled and removed, while requests run and over restarts.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use pooled::{central, classify, serves, stages, wait_until};
use running::{Ended, Host, text};
use serde_json::{Value, json};

/// A device as the central lists it.
fn device(central: &Host, id: &str) -> Option<Value> {
    let devices = central.json(&["device", "list"]);
    devices.as_array().expect("a list").iter().find(|device| device["id"] == id).cloned()
}

fn is(central: &Host, id: &str, state: &str) -> bool {
    device(central, id).is_some_and(|device| device["state"] == state)
}

/// What a command prints that must succeed, without the end of the last line.
fn told(host: &Host, arguments: &[&str]) -> String {
    host.ok(arguments).trim_end().to_owned()
}

/// The exit code of a command that must fail, and what it said.
fn refused(host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
    let output = host.command(arguments);
    assert!(!output.status.success(), "{arguments:?} printed {}", text(&output.stdout));
    (output.status.code(), text(&output.stderr))
}

/// Where devices join.
fn door(central: &Host) -> String {
    central.json(&["status"])["join"].as_str().expect("the join port is open").to_owned()
}

fn ids(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_device_that_drains_under_load_gives_its_work_away_without_a_failed_request() {
    let central = central();
    let devices = ["a", "b", "c"].map(|id| Host::join(&central, id, &[]));
    wait_until("a plan over all three", || stages(&central, "digits").len() == 3 && serves(&central, "digits"));
    let (busy, draining) = (AtomicBool::new(false), AtomicBool::new(true));
    let (drained, rounds) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut rounds = Vec::new();
            // The last round begins when the device is drained.
            loop {
                let last = !draining.load(Ordering::Acquire);
                rounds.push(classify(&central, 50));
                busy.store(true, Ordering::Release);
                if last {
                    return rounds;
                }
            }
        });
        wait_until("requests are answered", || busy.load(Ordering::Acquire));
        let drained = central.command(&["device", "drain", "b", "--wait", "-o", "json"]);
        draining.store(false, Ordering::Release);
        (drained, asking.join().expect("every request was answered"))
    });
    assert!(drained.status.success(), "{}", text(&drained.stderr));
    let drained: Value = serde_json::from_slice(&drained.stdout).expect("JSON");
    assert_eq!((&drained["drained"], &drained["state"], &drained["shards"]), (&json!(true), &json!("draining"), &json!([])));
    assert!(rounds.len() >= 2 && rounds.iter().all(|&(answered, right)| answered == 50 && right >= 48), "{rounds:?}");
    for model in ["digits", "mlp"] {
        let stages = stages(&central, model);
        assert!(!stages.is_empty() && stages.is_subset(&ids(&["a", "c"])), "{model} is on {stages:?}");
    }
    let computed = told(&devices[0], &["metrics"]);
    let runs = computed.lines().find_map(|line| line.strip_prefix("host_stage_duration_seconds_count{model=\"digits@1\",stage=\"")).expect("it had a stage");
    assert!(runs.rsplit(' ').next().and_then(|runs| runs.parse().ok()).is_some_and(|runs: u32| runs > 0), "{runs}");
    let shown = told(&central, &["device", "show", "b"]);
    assert!(shown.starts_with("device    b (drained), site ") && shown.contains("\nrelease   0."), "{shown}");

    assert_eq!(told(&central, &["device", "undrain", "b"]), "device b is ready");
    let (code, said) = refused(&central, &["device", "undrain", "b"]);
    assert!(code == Some(1) && said.contains("device b is ready, it cannot be undrained"), "{said}");
    wait_until("it has work again", || stages(&central, "digits").len() == 3);
}

#[test]
fn a_cordoned_device_keeps_what_it_serves() {
    let central = central();
    let _a = Host::join(&central, "a", &[]);
    wait_until("a serves", || serves(&central, "digits") && stages(&central, "digits") == ids(&["a"]));
    assert_eq!(told(&central, &["device", "cordon", "a"]), "device a is cordoned");
    let _b = Host::join(&central, "b", &[]);
    wait_until("b is there", || is(&central, "b", "ready"));
    let (answered, right) = classify(&central, 50);
    assert!(answered == 50 && right >= 48, "{answered} answered, {right} right");
    assert!(stages(&central, "digits").contains("a") && is(&central, "a", "cordoned"), "{:?}", device(&central, "a"));

    let printed = told(&central, &["device", "drain", "a", "--wait=1h"]);
    assert_eq!(printed, "device a is draining\ndevice a is drained, it may be switched off");
    assert_eq!(stages(&central, "digits"), ids(&["b"]));
    let (_, said) = refused(&central, &["device", "uncordon", "a"]);
    assert!(said.contains("device a is draining, it cannot be uncordoned"), "{said}");
}

#[test]
fn what_people_asked_of_devices_outlives_a_restart_of_the_central() {
    let central = central();
    let address = door(&central);
    let _a = Host::join(&central, "a", &[]);
    let b = Host::join(&central, "b", &[]);
    wait_until("both are there", || is(&central, "a", "ready") && is(&central, "b", "ready"));
    let labelled = told(&central, &["device", "label", "a", "room=attic", "rack=b"]);
    assert!(labelled.starts_with("device a has labels ") && labelled.contains(" rack=b, room=attic"), "{labelled}");
    let labelled = told(&central, &["device", "label", "a", "rack-", "floor=3"]);
    assert!(labelled.contains(" floor=3,") && labelled.contains(" room=attic") && !labelled.contains("rack"), "{labelled}");
    assert_eq!(told(&central, &["device", "cordon", "a"]), "device a is cordoned");
    b.stop();

    let central = Host::start_in(central.kill(), &["--join-listen", &address, "--local-devices", "0", "--models", "models"]);
    wait_until("a is back and cordoned", || is(&central, "a", "cordoned"));
    let labels = central.json(&["device", "show", "a"])["labels"].clone();
    assert_eq!((&labels["floor"], &labels["room"], labels.get("rack")), (&json!("3"), &json!("attic"), None), "{labels}");

    // The other one has enrolled and does not come back.
    let lost = device(&central, "b").expect("it is not forgotten");
    assert_eq!((&lost["state"], lost.get("lease_age_ms")), (&json!("lost"), None), "{lost}");
    assert_eq!(told(&central, &["device", "label", "b", "room=cellar"]), "device b has labels room=cellar");
    assert_eq!(told(&central, &["device", "drain", "b"]), "device b is lost, and draining when it comes back");
    assert_eq!(told(&central, &["device", "remove", "b"]), "device b is removed; to join again it needs a new token");
    let (_, said) = refused(&central, &["device", "show", "b"]);
    assert!(said.contains("device `b` does not exist, there are a"), "{said}");
}

#[test]
fn a_removed_device_ends_with_the_reason_and_comes_back_only_with_a_new_token() {
    let central = central();
    let address = door(&central);
    let a = Host::join(&central, "a", &[]);
    let _b = Host::join(&central, "b", &[]);
    wait_until("a plan over both", || stages(&central, "digits").len() == 2 && serves(&central, "digits"));
    central.ok(&["device", "remove", "a"]);
    let Ended { code, said, data } = a.ended();
    let reason = "the central has sent device a away: somebody removed it; to join again it needs a new token";
    assert!(code == Some(1) && said.contains(reason), "{code:?} {said}");
    assert!(device(&central, "a").is_none() && serves(&central, "digits"));
    assert_eq!(stages(&central, "digits"), ids(&["b"]));

    let Ended { code, said, data } = Host::launch_in(data, &["--join", &address]).ended();
    assert!(code == Some(1) && said.contains("as it does when somebody removes the device"), "{code:?} {said}");
    assert!(device(&central, "a").is_none(), "its certificate does not let it in");

    let token = central.json(&["token", "create"]);
    let again = Host::join_in(data, &["--join", &address, "--token", token["text"].as_str().expect("a token")]);
    wait_until("it is back under its id", || is(&central, "a", "ready"));

    // One that is not there is removed at once.
    again.stop();
    wait_until("it is gone", || is(&central, "a", "lost"));
    assert_eq!(told(&central, &["device", "remove", "a"]), "device a is removed; to join again it needs a new token");
    assert!(device(&central, "a").is_none());
}

#[test]
fn what_cannot_be_asked_of_a_device_is_said_in_words() {
    let host = Host::start(&["--local-devices", "2", "--models", "no-models"]);
    for order in ["drain", "undrain", "cordon", "uncordon", "remove", "show"] {
        let (code, said) = refused(&host, &["device", order, "x"]);
        assert!(code == Some(1) && said.contains("device `x` does not exist, there are local-1, local-2"), "{order}: {said}");
    }
    let cases: [(&[&str], i32, &str); 8] = [
        (&["label", "x", "room=attic"], 1, "device `x` does not exist, there are local-1, local-2"),
        (&["remove", "local-1"], 1, "device local-1 is part of this host's process and would be back at its next start"),
        (&["uncordon", "local-1"], 1, "device local-1 is ready, it cannot be uncordoned"),
        (&["undrain", "local-1"], 1, "device local-1 is ready, it cannot be undrained"),
        (&["cordon", "a/b"], 1, "device name `a/b` may hold letters"),
        (&["label", "local-1", "room-"], 1, "label `room` of device local-1 cannot be changed: it does not have it"),
        (&["label", "local-1", "room=attic", "room-"], 1, "label `room` is there twice"),
        (&["label", "local-1", "attic"], 2, "label `attic` must be KEY=VALUE, or KEY- to take it away"),
    ];
    for (arguments, code, expected) in cases {
        let (found, said) = refused(&host, &[&["device"], arguments].concat());
        assert!(found == Some(code) && said.contains(expected), "{arguments:?}: {found:?} {said}");
    }
    // What can be is done; the store does not know these devices.
    assert_eq!(told(&host, &["device", "cordon", "local-1"]), "device local-1 is cordoned, until this host stops");
    let labelled = told(&host, &["device", "label", "local-1", "room=attic"]);
    assert!(labelled.contains(" room=attic") && labelled.ends_with(", until this host stops"), "{labelled}");
    let printed = told(&host, &["device", "drain", "local-2", "--wait"]);
    assert_eq!(printed.lines().last(), Some("device local-2 is drained, it may be switched off"), "{printed}");
}

#[test]
fn a_device_gives_no_orders_to_itself() {
    let central = central();
    let a = Host::join(&central, "a", &[]);
    let (code, said) = refused(&a, &["device", "drain", "a"]);
    assert!(code == Some(1) && said.contains("this host is a device; ask its central"), "{said}");
}

fn metrics(host: &Host) -> String {
    let client = running::client();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { client.get(format!("{}/metrics", host.url)).send().await.expect("the host answers").text().await.expect("whole") })
}

#[test]
fn the_pool_is_shown_in_figures_to_people_and_to_programs() {
    let host = Host::start(&["--local-devices", "3", "--models", "models"]);
    host.ok(&["device", "cordon", "local-3"]);
    let census = host.json(&["status"])["census"].take();
    assert_eq!((&census["devices_total"], &census["states"]), (&json!(3), &json!({"cordoned": 1, "ready": 2})));
    assert_eq!((&census["requests_running"], &census["requests_waiting"]), (&json!(0), &json!(0)));
    let memory = |of: &Value, part: &str| of["memory_bytes"][part].as_u64().expect("bytes");
    let devices = census["devices"].as_array().expect("a list");
    for part in ["total", "reserved", "available"] {
        assert_eq!(memory(&census, part), devices.iter().map(|device| memory(device, part)).sum::<u64>(), "{part} in {census}");
    }
    assert!(memory(&census, "reserved") > 0 && memory(&census, "reserved") + memory(&census, "available") < memory(&census, "total"), "{census}");
    assert!(devices.iter().all(|device| device["lease_age_ms"].is_u64() && device["gflops"]["total"].as_f64().is_some_and(|gflops| gflops > 0.0)), "{census}");

    let printed = host.ok(&["status"]);
    assert!(printed.contains("devices   3: 1 cordoned, 2 ready\n") && printed.contains("requests  0 running, 0 waiting\n"), "{printed}");
    assert!(printed.lines().any(|line| line.starts_with("local-3") && line.contains("cordoned")), "{printed}");

    let metrics = metrics(&host);
    let total = format!("host_pool_memory_bytes{{part=\"total\"}} {}", memory(&census, "total"));
    for expected in ["host_devices{state=\"ready\"} 2", "host_devices{state=\"cordoned\"} 1", &total] {
        assert!(metrics.lines().any(|line| line == expected), "{expected} is not in\n{metrics}");
    }
    assert!(metrics.contains("host_lease_age_seconds{device=\"local-1\"} ") && metrics.contains("host_requests_running 0"), "{metrics}");
}
