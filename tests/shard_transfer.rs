//! How the files of shards come to devices: once, into a cache on their disks that outlives them, and from each other.

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pooled::wait_until;
use running::{Host, root, samples};
use serde_json::Value;

/// What a device has in its cache, and where it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Blobs {
    pinned: u64,
    bytes: u64,
    bytes_max: u64,
    from_central: u64,
    from_peers: u64,
}

impl Blobs {
    fn of(device: &Host) -> Self {
        let status = device.json(&["status"]);
        let figure = |name: &str| status["blobs"][name].as_u64().expect("a device says what is in its cache");
        Self {
            pinned: figure("pinned_bytes"),
            bytes: figure("bytes"),
            bytes_max: figure("bytes_max"),
            from_central: figure("from_central_bytes"),
            from_peers: figure("from_peers_bytes"),
        }
    }
}

/// A central without devices of its own, with the models of a folder.
fn central(models: &Path) -> Host {
    Host::start(&central_flags(&models.display().to_string()))
}

fn central_flags(models: &str) -> [&str; 6] {
    ["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", models]
}

/// A device that has joined before, in the data directory that it left.
fn back(central: &Host, data: tempfile::TempDir, flags: &[&str]) -> Host {
    let status = central.json(&["status"]);
    Host::join_in(data, &[&["--join", status["join"].as_str().expect("an address")], flags].concat())
}

fn all_serve(central: &Host) -> bool {
    let status = central.json(&["status"]);
    let models = status["models"].as_array().cloned().unwrap_or_default();
    !models.is_empty() && models.iter().all(|model| model["ready"] == true)
}

/// The shards that the central knows to be ready on a device.
fn shards(central: &Host, device: &str) -> usize {
    let devices = central.json(&["device", "list"]);
    let found = devices.as_array().and_then(|devices| devices.iter().find(|known| known["id"] == device));
    found.and_then(|found| found["shards"].as_array()).map_or(0, Vec::len)
}

/// The files in a device's cache, with their sizes.
fn cached(data: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = fs::read_dir(data.join("cache")).expect("there is a cache");
    entries.map(|entry| entry.expect("readable")).map(|entry| (entry.path(), entry.metadata().expect("readable").len())).collect()
}

fn largest(data: &Path) -> (PathBuf, u64) {
    cached(data).into_iter().max_by_key(|(_, bytes)| *bytes).expect("it is not empty")
}

/// A models folder with one generated model, of which every device holds all or nothing; and the size of the model.
fn generated(name: &str) -> (tempfile::TempDir, u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["model", "generate", "encoder", "--name", name, "--seed", &name.len().to_string(), "--folder"])
        .arg(folder.path())
        .output()
        .expect("it runs");
    assert!(made.status.success(), "{}", running::text(&made.stderr));
    fs::write(folder.path().join(name).join("model.yaml"), "placement: { stages_max: 1 }\n").expect("written");
    let bytes = fs::metadata(folder.path().join(name).join("1/model.onnx")).expect("there").len();
    (folder, bytes)
}

fn classify(central: &Host) {
    let picture = samples()[0].display().to_string();
    let answer: Value = central.json(&["infer", "digits", &picture]);
    assert!(answer["label"].is_string() || answer["classes"].is_array(), "{answer}");
}

#[test]
fn a_device_that_was_killed_loads_its_shards_again_without_fetching_them() {
    let central = central(&root().join("models"));
    let device = Host::join(&central, "a", &[]);
    wait_until("a model on the device", || all_serve(&central));
    let (before, (_, size)) = (Blobs::of(&device), largest(device.data()));
    assert!(size > 300_000 && before.from_central > size, "the digits have more: {before:?}");

    let device = back(&central, device.kill(), &[]);
    wait_until("the same on the device that came back", || all_serve(&central) && Blobs::of(&device).pinned >= size);
    classify(&central);
    let after = Blobs::of(&device);
    assert_eq!((after.from_central, after.from_peers, after.bytes), (0, 0, before.bytes));
}

#[test]
fn a_cached_file_that_was_damaged_is_noticed_and_fetched_anew_alone() {
    let central = central(&root().join("models"));
    let device = Host::join(&central, "a", &[]);
    wait_until("a model on the device", || all_serve(&central));
    let data = device.kill();
    let (path, size) = largest(data.path());
    let mut bytes = fs::read(&path).expect("readable");
    bytes[1_000] ^= 1;
    fs::write(&path, bytes).expect("written");

    let device = back(&central, data, &[]);
    wait_until("the same on the device that came back", || all_serve(&central) && Blobs::of(&device).pinned >= size);
    classify(&central);
    assert_eq!(Blobs::of(&device).from_central, size);
    assert!(device.said().iter().any(|line| line.contains("a cached blob is damaged")), "nobody said so");
}

#[test]
fn a_cache_that_holds_one_shard_keeps_the_one_that_is_in_use() {
    let ((one, size), (other, _)) = (generated("one"), generated("other"));
    let limit = format!("cache.bytes_max={}", size * 3 / 2);
    let first = central(one.path());
    let device = Host::join(&first, "a", &["--set", &limit]);
    wait_until("the first model on the device", || all_serve(&first));
    let (shard, _) = largest(device.data());
    let data = device.kill();
    let (_, kept) = first.stop();

    let second = Host::start_in(kept, &central_flags(&other.path().display().to_string()));
    let device = back(&second, data, &["--set", &limit]);
    wait_until("the second model on the device", || all_serve(&second));
    let blobs = Blobs::of(&device);
    assert!(blobs.pinned >= size * 9 / 10 && blobs.bytes <= blobs.bytes_max, "{blobs:?}");
    assert!(cached(device.data()).values().sum::<u64>() <= size * 3 / 2);
    assert!(!shard.exists(), "the first shard had to make room");
}

#[test]
fn a_second_device_fetches_a_shard_from_the_first_and_not_from_the_central() {
    let (models, size) = generated("one");
    let central = central(models.path());
    let first = Host::join(&central, "a", &[]);
    wait_until("the model on the first device", || all_serve(&central));
    let second = Host::join(&central, "b", &[]);
    wait_until("the model on the second device", || shards(&central, "b") == 1);
    let (from_first, from_second) = (Blobs::of(&first), Blobs::of(&second));
    let (_, file) = largest(first.data());
    assert!(file >= size * 9 / 10, "the shard is the whole model");
    assert_eq!((from_first.from_peers, from_second.from_peers), (0, file));
    assert!(from_second.from_central < file, "only golden answers come from the central: {from_second:?}");
}
