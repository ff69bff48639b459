//! A pool on a real network: the central and each device in a network namespace of its own, with cables between them that carry no
//! more than they are told to, and that can be pulled. Needs root and iproute2; where it may not be there, the test says so and does
//! nothing, unless `SHARDHOST_REQUIRE_NAMESPACES` is set.

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::process::Command;

use host_core::ids::{ModelId, ModelName};
use host_engine::{OnnxFile, inspect};
use pooled::{classify, serves, stages, wait_until};
use running::{Host, text};
use serde_json::Value;

/// What each cable to a device carries, in each direction.
const BYTES_PER_S: f64 = 250_000.0;
const RATE: &str = "2mbit";
/// What the queue lets through at once: far less than what the bandwidth is measured with.
const BURST: &str = "8kb";
/// The least that a stage of `digits` can wait for another over a cable: 128 bytes. No network that nobody has measured is taken to take so long.
const LEAST_HOP_MS: f64 = 0.5;
/// How long echoes take that measure the bandwidth.
const ECHO: [&str; 2] = ["--set", "links.echo_ms=200"];

/// Namespaces with a switch among them. Gone when this is dropped, and everything in them.
struct Network {
    /// The central's, with the switch.
    central: String,
    devices: Vec<String>,
}

impl Network {
    /// A cable for each device. None where this process may not make namespaces.
    fn of(devices: usize) -> Option<Self> {
        let name = |end: &str| format!("shardhost-{}-{end}", std::process::id());
        let mut network = Self { central: name("central"), devices: Vec::new() };
        if let Err(reason) = network.lay(devices, &name) {
            assert!(std::env::var_os("SHARDHOST_REQUIRE_NAMESPACES").is_none(), "SHARDHOST_REQUIRE_NAMESPACES is set and {reason}");
            eprintln!("skipped: {reason}");
            return None;
        }
        Some(network)
    }

    fn lay(&mut self, devices: usize, name: &impl Fn(&str) -> String) -> Result<(), String> {
        let central = self.central.clone();
        run(&["ip", "netns", "add", &central])?;
        run(&["ip", "-n", &central, "link", "set", "lo", "up"])?;
        run(&["ip", "-n", &central, "link", "add", "switch", "type", "bridge"])?;
        run(&["ip", "-n", &central, "addr", "add", "10.77.0.1/24", "dev", "switch"])?;
        run(&["ip", "-n", &central, "link", "set", "switch", "up"])?;
        for number in 0..devices {
            let device = name(&number.to_string());
            run(&["ip", "netns", "add", &device])?;
            self.devices.push(device.clone());
            let port = port(number);
            run(&["ip", "-n", &central, "link", "add", &port, "type", "veth", "peer", "name", "cable", "netns", &device])?;
            run(&["ip", "-n", &central, "link", "set", &port, "master", "switch"])?;
            run(&["ip", "-n", &device, "addr", "add", &format!("10.77.0.{}/24", number + 2), "dev", "cable"])?;
            for (namespace, end) in [(&central, port.as_str()), (&device, "cable")] {
                run(&["ip", "-n", namespace, "link", "set", end, "up"])?;
                run(&["tc", "-n", namespace, "qdisc", "add", "dev", end, "root", "tbf", "rate", RATE, "burst", BURST, "latency", "300ms"])?;
            }
            run(&["ip", "-n", &device, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// Pulls a device's cable out of the switch, or puts it back.
    fn set(&self, device: usize, state: &str) {
        run(&["ip", "-n", &self.central, "link", "set", &port(device), state]).expect("it may");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in self.devices.iter().chain([&self.central]) {
            // Not there where it could not be made.
            let _ = run(&["ip", "netns", "del", namespace]);
        }
    }
}

/// The switch's end of a device's cable.
fn port(device: usize) -> String {
    format!("port{device}")
}

fn run(command: &[&str]) -> Result<(), String> {
    let (program, arguments) = command.split_first().expect("a program");
    let told = |reason: String| format!("`{}` cannot be done: {}", command.join(" "), reason.trim());
    let output = Command::new(program).args(arguments).output().map_err(|error| told(error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(told(text(&output.stderr))) }
}

/// A device as the central knows it; null while it does not.
fn device(central: &Host, id: &str) -> Value {
    serde_json::from_slice(&central.command(&["device", "show", id, "-o", "json"]).stdout).unwrap_or_default()
}

/// A figure of the link from a device to another one, or to the central.
fn figure(central: &Host, source: &str, target: Option<&str>, name: &str) -> Option<f64> {
    let links = device(central, source)["links"].as_array().cloned().unwrap_or_default();
    links.into_iter().find(|link| link["device"].as_str() == target)?[name].as_f64()
}

/// Times between the stages of a model's replicas, as its plan expects them.
fn hops_ms(central: &Host, model: &str) -> Vec<f64> {
    let explained: Value = serde_json::from_slice(&central.command(&["plan", "explain", model, "-o", "json"]).stdout).unwrap_or_default();
    let replicas = explained["replicas"].as_array().cloned().unwrap_or_default();
    replicas.iter().flat_map(|replica| replica["hops_ms"].as_array().cloned().unwrap_or_default()).filter_map(|hop| hop.as_f64()).collect()
}

/// What goes between two stages of a model, for each border between its blocks.
fn borders_bytes(model: &str) -> Vec<f64> {
    let file = OnnxFile::open(&running::root().join("models").join(model).join("1/model.onnx")).expect("it is there");
    let id = ModelId { name: ModelName::parse(model).expect("a name"), version: 1 };
    let structure = inspect(&file, id).expect("it has blocks");
    let profile = structure.profile();
    profile.legal_cuts().filter_map(|cut| profile.blocks().get(cut as usize - 1)).map(|block| block.border.0 as f64).collect()
}

#[test]
fn a_pool_over_slow_cables_knows_them_plans_with_them_and_loses_nothing_when_one_is_pulled() {
    let Some(network) = Network::of(2) else { return };
    let flags = ["--join-listen", "10.77.0.1:0", "--local-devices", "0", "--models", "models", "--set", "links.measure_ms=1000", "--set", "links.pause_ms=50"];
    let central = Host::start_within(&network.central, &flags);
    let _devices: Vec<Host> = ["a", "b"].iter().zip(&network.devices).map(|(id, namespace)| Host::join_within(namespace, &central, id, &ECHO)).collect();
    // What is measured also carries headers, and the machine may be busy; but it is this cable and no other one.
    let is_the_cable = |bytes_per_s: Option<f64>| bytes_per_s.is_some_and(|found| (BYTES_PER_S / 2.0..BYTES_PER_S * 1.5).contains(&found));
    for (source, target, name) in [
        ("a", None, "bytes_per_s"),
        ("a", None, "bytes_per_s_back"),
        ("b", None, "bytes_per_s"),
        ("a", Some("b"), "bytes_per_s"),
        ("b", Some("a"), "bytes_per_s"),
    ] {
        wait_until(&format!("{name} from {source} to {target:?}"), || is_the_cable(figure(&central, source, target, name)));
    }

    // The model has a stage on each, wherever it is cut.
    let borders = borders_bytes("digits");
    wait_until("a plan over both", || serves(&central, "digits") && stages(&central, "digits").len() == 2);
    let measured = |source: &str, target: &str, name: &str| figure(&central, source, Some(target), name);
    wait_until("a plan that reckons with the cables", || {
        let hops = hops_ms(&central, "digits");
        let ways = [("a", "b"), ("b", "a")].map(|(source, target)| (measured(source, target, "latency_ms"), measured(source, target, "bytes_per_s")));
        let expected = ways.iter().filter_map(|(latency, bytes_per_s)| latency.zip(*bytes_per_s));
        let expected: Vec<f64> = expected.flat_map(|(latency, bytes_per_s)| borders.iter().map(move |bytes| latency + bytes / bytes_per_s * 1e3)).collect();
        !hops.is_empty() && hops.iter().all(|hop| *hop > LEAST_HOP_MS && expected.iter().any(|expected| (hop / expected - 1.0).abs() < 0.3))
    });

    let (answered, right) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| classify(&central, 200));
        std::thread::sleep(std::time::Duration::from_millis(150));
        network.set(0, "down");
        asking.join().expect("every request was answered")
    });
    assert!(answered == 200 && right >= 194, "{answered} answered, {right} right");
    wait_until("a plan without the one that is cut off", || stages(&central, "digits").into_iter().eq(["b".to_owned()]));
    let (answered, right) = classify(&central, 50);
    assert!(answered == 50 && right >= 48, "{answered} answered, {right} right");

    network.set(0, "up");
    wait_until("it is back", || device(&central, "a")["state"] == "ready");
    wait_until("it has work again", || stages(&central, "digits").len() == 2);
}
