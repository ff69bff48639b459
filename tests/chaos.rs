//! Trouble for devices while clients ask without pause: they are killed, suspended, cut off and left on connections on which nothing
//! flows. Each request is answered rightly, once. The bench of the same name goes on for longer, and measures.

#[allow(dead_code, reason = "the bench uses the rest")]
mod fault_proxy;
#[allow(dead_code, reason = "measurements use the rest")]
#[path = "benches/src/http.rs"]
mod http;
#[allow(dead_code, reason = "the bench uses the rest")]
#[path = "benches/src/pictures.rs"]
mod pictures;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;
#[allow(dead_code, reason = "the bench uses the rest")]
#[path = "benches/src/trouble.rs"]
mod trouble;

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fault_proxy::{FaultProxy, Manner};
use pictures::{Asking, Seen};
use running::{Host, PATIENCE, root};
use serde_json::Value;
use trouble::{Event, Events, Limits, Trouble};

const DEVICES: usize = 4;
const EVENTS: usize = 12;
const CLIENTS: usize = 2;
const SEED: u64 = 4;
const LIMITS: Limits = Limits { lasting_max: Duration::from_secs(3), pause_max: Duration::from_millis(500) };
/// Longest pause after trouble.
const SETTLE_MAX: Duration = Duration::from_secs(15);
/// Of 200 pictures; the model gets more of them right.
const RIGHT_MIN: usize = 194;

/// A device with a proxy between it and its central.
struct Victim {
    flags: Vec<String>,
    proxy: FaultProxy,
    /// None while it is down.
    host: Option<Host>,
}

impl Victim {
    fn join(central: &Host, id: &str) -> Self {
        let token = central.json(&["token", "create"]);
        let (address, text) = (token["central"].as_str().expect("an address"), token["text"].as_str().expect("a token"));
        let proxy = FaultProxy::start(address).expect("a port is free");
        let flags: Vec<String> = ["--join", &proxy.address, "--device-id", id].into_iter().map(str::to_owned).collect();
        let host = Host::join_in(tempfile::tempdir().expect("a temporary folder"), &[&words(&flags)[..], &["--token", text]].concat());
        Self { flags, proxy, host: Some(host) }
    }

    /// Returns when it is over.
    fn befall(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Kill { down } => {
                let data = self.host.take().expect("it is not down").kill();
                std::thread::sleep(down);
                self.host = Some(Host::join_in(data, &words(&self.flags)));
            }
            Trouble::Suspend { lasting } => {
                self.signal("STOP");
                std::thread::sleep(lasting);
                self.signal("CONT");
            }
            Trouble::Cut => self.proxy.cut(),
            Trouble::Freeze { lasting } => {
                self.proxy.set(Manner::Freeze);
                std::thread::sleep(lasting);
                self.proxy.set(Manner::Forward);
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.host.as_ref().expect("it is not down").pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(sent.success(), "no signal {name} for {pid}");
    }
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// A central without damping: devices come and go more often here than any that is well.
fn central() -> Host {
    Host::start(&["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", "models", "--set", "leases.flaps_max=1000"])
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Gives the pool time to become whole. Where it does not, the next trouble comes all the same: what counts is what clients see.
fn settle(central: &Host) {
    let started = Instant::now();
    while ready(central) < DEVICES && started.elapsed() < SETTLE_MAX {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends the clients when it is dropped, also by a panic: whoever waits for them would wait for ever.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many devices are ready.
fn ready(central: &Host) -> usize {
    let devices: Vec<Value> = http::Connection::to_admin(central.data()).expect("the central is there").look("/devices").expect("it answers");
    devices.iter().filter(|device| device["state"] == "ready").count()
}

fn serves(central: &Host) -> bool {
    let models = central.json(&["status"])["models"].clone();
    models.as_array().is_some_and(|models| models.iter().any(|model| model["name"] == "digits" && model["ready"] == true))
}

#[test]
fn whatever_befalls_devices_each_request_is_answered_rightly_and_once() {
    let central = central();
    let mut victims: Vec<Victim> = (0..DEVICES).map(|number| Victim::join(&central, &format!("device-{number}"))).collect();
    wait_until("a plan", || ready(&central) == DEVICES && serves(&central));
    let door = central.url.trim_start_matches("http://");
    let mut pictures = pictures::read(&root().join("models/digits/samples")).expect("the samples are there");
    pictures::learn(door, &mut pictures).expect("nothing is wrong yet");
    let right = pictures.iter().filter(|picture| picture.label == picture.digit).count();
    assert!(right >= RIGHT_MIN, "{right} of {} are right", pictures.len());
    let over = AtomicBool::new(false);
    let asking = Asking { door, pictures: &pictures, every: Duration::from_millis(20), over: &over };
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || pictures::client(asking, number))).collect();
        let ending = Ending(&over);
        for Event { device, trouble, pause } in Events::new(SEED, DEVICES, LIMITS).take(EVENTS) {
            std::thread::sleep(pause);
            victims[device].befall(trouble);
            settle(&central);
        }
        drop(ending);
        clients.into_iter().map(|client| client.join().expect("a client asks to the end")).collect()
    });
    for client in &seen {
        assert!(client.is_sound(), "lost: {:#?}, wrong: {:#?}, unasked: {:#?}", client.lost, client.wrong, client.unasked);
        assert!(client.requests() > EVENTS, "a client asked only {} times", client.requests());
    }
}

#[test]
fn a_device_that_was_suspended_for_longer_than_its_lease_comes_back_by_itself() {
    let central = central();
    let victim = Victim::join(&central, "a");
    wait_until("a pool of one", || ready(&central) == 1);
    victim.signal("STOP");
    wait_until("the end of its lease", || ready(&central) == 0);
    victim.signal("CONT");
    wait_until("its return", || ready(&central) == 1 && serves(&central));
}
