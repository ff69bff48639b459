//! Links between devices in processes of their own: they are measured, the central relays where there is none, and a simulated
//! device has the network of its profile.

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{fs, net::TcpListener, path::PathBuf};

use pooled::{classify, serves, wait_until};
use running::{Host, text};
use serde_json::Value;

/// A central without devices of its own.
fn central(models: &str, flags: &[&str]) -> Host {
    Host::start(&[&["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", models], flags].concat())
}

/// A device as the central knows it; null while it does not.
fn device(central: &Host, id: &str) -> Value {
    let output = central.command(&["device", "show", id, "-o", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// How a device reaches another one, or the central; null while that is not known.
fn link(central: &Host, source: &str, target: Option<&str>) -> Value {
    let links = device(central, source)["links"].as_array().cloned().unwrap_or_default();
    links.into_iter().find(|link| link["device"].as_str() == target).unwrap_or_default()
}

/// The address of a port on which nobody listens.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

/// A profile with these lines, in a folder that goes with it.
fn profile(lines: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("board.toml");
    fs::write(&path, lines).expect("written");
    (folder, path)
}

/// A folder without models.
fn no_models() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    (folder, path)
}

#[test]
fn devices_that_join_measure_their_links_and_say_what_they_have() {
    let (_folder, models) = no_models();
    let central = central(&models, &[]);
    let _devices = ["a", "b"].map(|id| Host::join(&central, id, &[]));
    for (source, target) in [("a", None), ("b", None), ("a", Some("b")), ("b", Some("a"))] {
        let is_known = |link: &Value| link["bytes_per_s"].is_number() && (target.is_some() || link["bytes_per_s_back"].is_number());
        wait_until("a measured link", || is_known(&link(&central, source, target)));
        let found = link(&central, source, target);
        let figure = |name: &str| found[name].as_f64().unwrap_or_default();
        assert!(figure("latency_ms") > 0.0 && figure("latency_ms") < 1_000.0, "{found}");
        // No machine's loopback is as slow as the one or as fast as the other.
        assert!(figure("bytes_per_s") > 1e6 && figure("bytes_per_s") < 1e12, "{found}");
        assert_eq!((found["relayed"].as_bool(), found["bytes_per_s_back"].is_number()), (Some(false), target.is_none()), "{found}");
    }
    wait_until("a heartbeat that was seen", || device(&central, "a")["pressures"]["latency_ms"].as_f64().is_some_and(|latency| latency > 0.0));
    let labels = device(&central, "a")["labels"].clone();
    assert_eq!((labels["os"].as_str(), labels["arch"].as_str()), (Some(std::env::consts::OS), Some(std::env::consts::ARCH)));
    let shown = central.ok(&["device", "show", "a"]);
    assert!(shown.contains("link      to the central: ") && shown.contains("link      to b: ") && shown.contains(" MB/s back"), "{shown}");
}

#[test]
fn devices_that_cannot_reach_each_other_serve_a_model_over_the_central() {
    let central = central("models", &[]);
    let _devices = ["a", "b"].map(|id| Host::join(&central, id, &["--advertise", &closed_port()]));
    for (source, target) in [("a", "b"), ("b", "a")] {
        wait_until("a link that is relayed", || link(&central, source, Some(target))["relayed"] == true);
        let shown = central.ok(&["device", "show", source]);
        assert!(shown.contains(&format!("to {target} over the central, because it cannot reach it")), "{shown}");
    }
    // The model wants more stages than there are devices, so there is one on each.
    wait_until("a plan over both", || {
        let explained = text(&central.command(&["plan", "explain", "digits"]).stdout);
        serves(&central, "digits") && explained.contains("the central relays what it sends there")
    });
    let (answered, right) = classify(&central, 30);
    assert!(answered == 30 && right >= 28, "{answered} answered, {right} right");
}

#[test]
fn a_simulated_device_has_the_latency_and_the_bandwidth_of_its_profile() {
    let (_models, models) = no_models();
    let central = central(&models, &["--set", "links.measure_ms=1000", "--set", "links.pause_ms=50"]);
    let (_folder, slow) = profile("bandwidth_bytes_per_s = 2_000_000\nlatency_ms = 5\n");
    let _slow = Host::join(&central, "slow", &["--profile", &slow.display().to_string()]);
    let _fast = Host::join(&central, "fast", &[]);
    let figure = |source: &str, target: Option<&str>, name: &str| link(&central, source, target)[name].as_f64();
    // A busy machine may be slower than the profile at times, but the line never carries more than it says.
    let is_slow = |bytes_per_s: Option<f64>| bytes_per_s.is_some_and(|bytes| bytes > 2e6 / 4.0 && bytes < 2e6 * 1.5);
    for (source, target) in [("slow", None), ("slow", Some("fast")), ("fast", Some("slow"))] {
        wait_until("the bandwidth of the profile", || is_slow(figure(source, target, "bytes_per_s")));
        let latency = figure(source, target, "latency_ms");
        assert!(latency.is_some_and(|latency| latency > 4.0), "{source} to {target:?}: {latency:?}");
    }
    wait_until("the same from the central", || is_slow(figure("slow", None, "bytes_per_s_back")));
    wait_until("a fast link", || figure("fast", None, "bytes_per_s").is_some_and(|bytes| bytes > 4e6));
    assert_eq!(device(&central, "slow")["labels"]["profile"], "board");
}

#[test]
fn a_profile_with_outages_drops_out_and_comes_back() {
    let (_models, models) = no_models();
    let central = central(&models, &[]);
    // The first outages of this seed begin 5.2, 9.0 and 14.1 seconds after the start.
    let (_folder, path) = profile("[outages]\nevery_ms = 6000\nfor_ms = 700\nseed = 44\n");
    let _flaky = Host::join(&central, "flaky", &["--profile", &path.display().to_string()]);
    let dropped = || central.said().iter().filter(|line| line.contains("a device attends no more")).count();
    let came = || central.said().iter().filter(|line| line.contains("a device attends") && !line.contains("no more")).count();
    for outages in 1..=2 {
        wait_until("an outage", || dropped() >= outages);
        wait_until("its end", || came() > outages);
    }
    wait_until("a device that is here", || ["ready", "damped"].iter().any(|state| device(&central, "flaky")["state"] == *state));
}
