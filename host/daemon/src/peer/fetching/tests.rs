//! Fetching from hosts that do what hosts do: give, lie, refuse, fall silent and go away.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use host_core::{ids::DeviceId, noise};
use tempfile::TempDir;

use super::*;
use crate::config::CacheLimits;

/// What a host does when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Does {
    /// Gives everything.
    Give,
    /// Gives as many bytes, all wrong.
    Lie,
    /// Gives so many bytes at most, and is cut off.
    Stop(usize),
    /// Says nothing.
    Nothing,
    /// Knows no such file.
    Refuse,
    /// Is not there.
    Gone,
    /// Says that the file has another size.
    Resize(u64),
}

/// Hosts, what they were asked for, and the file that all of them have.
#[derive(Debug)]
struct Hosts {
    does: HashMap<Subject, Does>,
    file: Vec<u8>,
    asked: Mutex<Vec<(Subject, u64)>>,
}

impl Origin for Hosts {
    fn open(&self, source: &Subject, request: pb::FetchRequest) -> Opening<'_> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((source.clone(), request.offset));
        let (does, offset, size) = (self.does.get(source).copied().unwrap_or(Does::Gone), request.offset as usize, self.file.len() as u64);
        let chunk = |bytes: &[u8], size| Ok(pb::Chunk { data: bytes.to_vec().into(), bytes_total: size, packing: 0 });
        let chunks: Vec<Result<pb::Chunk, Status>> = match does {
            Does::Give => self.file[offset..].chunks(100).map(|bytes| chunk(bytes, size)).collect(),
            Does::Lie => vec![chunk(&vec![0_u8; self.file.len() - offset], size)],
            Does::Stop(bytes) => vec![chunk(&self.file[offset..(offset + bytes).min(self.file.len())], size), Err(Status::unavailable("it was cut off"))],
            Does::Resize(size) => vec![chunk(&self.file[offset..], size)],
            Does::Nothing => return Box::pin(async { Ok(Box::pin(tokio_stream::pending::<Result<pb::Chunk, Status>>()) as Chunks) }),
            Does::Refuse => return Box::pin(async { Err(fault(&Status::not_found("there is no such file here"))) }),
            Does::Gone => return Box::pin(async { Err(LinkFault::Unreachable("nobody is there".to_owned())) }),
        };
        Box::pin(async { Ok(Box::pin(tokio_stream::iter(chunks)) as Chunks) })
    }
}

fn device(name: &str) -> Subject {
    Subject::Device(DeviceId::parse(name).expect("an id"))
}

/// A device that fetches, and the hosts around it.
struct Scene {
    folder: TempDir,
    hosts: Arc<Hosts>,
    metrics: Arc<Metrics>,
    told: Vec<u64>,
}

impl Scene {
    /// The central does this, and devices of these names do that.
    fn new(central: Does, peers: &[(&str, Does)]) -> Self {
        let does = peers.iter().map(|(name, does)| (device(name), *does)).chain([(Subject::Central, central)]).collect();
        let file = (0..1_000).map(|index| noise::bits(1, index) as u8).collect();
        let hosts = Arc::new(Hosts { does, file, asked: Mutex::default() });
        Self { folder: tempfile::tempdir().expect("a folder"), hosts, metrics: Arc::default(), told: Vec::new() }
    }

    /// The same device with other hosts around it, after a start.
    fn restarted(self, central: Does) -> Self {
        Self { folder: self.folder, ..Self::new(central, &[]) }
    }

    fn fetcher(&self) -> Fetcher {
        let limits = CacheLimits { bytes_max: 1 << 20, disk_ratio_max: 1.0 };
        Fetcher {
            origin: self.hosts.clone(),
            cache: BlobCache::open(self.folder.path(), &limits).expect("opens"),
            aside: Aside::start("aside").expect("starts"),
            metrics: self.metrics.clone(),
            patience: Patience { tries_max: 3, pause: Duration::ZERO, silence_max: Duration::from_millis(200) },
        }
    }

    /// Fetches from these devices and the central.
    fn fetch(&mut self, peers: &[&str]) -> Result<Vec<u8>, Error> {
        let file = File { digest: Digest::of(&self.hosts.file).0, bytes: self.hosts.file.len() as u64 };
        let (fetcher, peers) = (self.fetcher(), peers.iter().map(|name| device(name)).collect());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let told = &mut self.told;
        let pinned = runtime.block_on(fetcher.obtain(file, peers, &mut |bytes| told.push(bytes)))?;
        Ok(pinned.bytes()?.to_vec())
    }

    /// Who was asked, from which offset on.
    fn asked(&self) -> Vec<(String, u64)> {
        let asked = self.hosts.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().map(|(source, offset)| (source.to_string(), *offset)).collect()
    }

    fn left(&self, source: &str, reason: &str) -> bool {
        let line = format!("host_blob_sources_left_total{{source=\"{source}\",reason=\"{reason}\"}} 1");
        self.metrics.text().lines().any(|found| found == line)
    }
}

fn asked(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect()
}

#[test]
fn the_nearest_peer_is_asked_alone_if_it_gives_all_of_it() {
    let mut scene = Scene::new(Does::Give, &[("a", Does::Give), ("b", Does::Give)]);
    assert_eq!(scene.fetch(&["b", "a"]).expect("fetched"), scene.hosts.file);
    assert_eq!(scene.asked(), asked(&[("b", 0)]));
    assert_eq!((scene.metrics.blob_bytes(FROM_PEERS), scene.metrics.blob_bytes(FROM_CENTRAL)), (1_000, 0));
    assert_eq!((scene.told.first(), scene.told.last(), scene.told.len()), (Some(&100), Some(&1_000), 10));
}

#[test]
fn a_source_that_is_of_no_use_is_left_for_the_next_one_and_counted() {
    let cases = [
        (Does::Lie, "mismatch"),
        (Does::Refuse, "refused"),
        (Does::Resize(999), "refused"),
        (Does::Resize(1_001), "refused"),
        (Does::Gone, "unreachable"),
        (Does::Nothing, "unreachable"),
    ];
    for (does, reason) in cases {
        let mut scene = Scene::new(Does::Give, &[("a", does)]);
        assert_eq!(scene.fetch(&["a"]).expect("fetched"), scene.hosts.file, "{does:?}");
        assert_eq!(scene.asked(), asked(&[("a", 0), ("central", 0)]), "{does:?}");
        assert!(scene.left("peer", reason), "{does:?}: {}", scene.metrics.text());
    }
}

#[test]
fn the_next_source_goes_on_where_a_transfer_was_cut() {
    let mut scene = Scene::new(Does::Give, &[("a", Does::Stop(300)), ("b", Does::Stop(250))]);
    assert_eq!(scene.fetch(&["a", "b"]).expect("fetched"), scene.hosts.file);
    assert_eq!(scene.asked(), asked(&[("a", 0), ("b", 300), ("central", 550)]));
    assert_eq!((scene.metrics.blob_bytes(FROM_PEERS), scene.metrics.blob_bytes(FROM_CENTRAL)), (550, 450));
}

#[test]
fn bytes_of_several_sources_that_do_not_fit_together_are_fetched_anew_from_one() {
    // Only the whole shows that something is wrong, not whose part it is.
    let mut scene = Scene::new(Does::Give, &[("a", Does::Stop(300)), ("b", Does::Lie)]);
    assert_eq!(scene.fetch(&["a", "b"]).expect("fetched"), scene.hosts.file);
    assert_eq!(scene.asked(), asked(&[("a", 0), ("b", 300), ("b", 0), ("central", 0)]));
    assert!(scene.left("peer", "mismatch") && scene.left("peer", "unreachable"));
}

#[test]
fn the_central_is_asked_again_while_that_brings_something() {
    let mut scene = Scene::new(Does::Stop(100), &[]);
    assert_eq!(scene.fetch(&[]).expect("fetched"), scene.hosts.file);
    assert_eq!(scene.asked().len(), 10);
}

#[test]
fn when_nobody_gives_it_the_last_reason_is_told() {
    let cases = [
        (Does::Gone, 3, "could not be fetched from anyone: central: nobody is there"),
        (Does::Refuse, 1, "could not be fetched from anyone: central: there is no such file here"),
        (Does::Lie, 1, "has digest sha256:"),
    ];
    for (does, times, reason) in cases {
        let mut scene = Scene::new(does, &[("a", does)]);
        let error = scene.fetch(&["a"]).expect_err("nobody gives it");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "somebody else may have it");
        assert_eq!(scene.asked().len(), 1 + times, "{does:?}");
    }
}

#[test]
fn a_transfer_goes_on_after_a_restart_and_what_is_whole_is_never_fetched_again() {
    let mut scene = Scene::new(Does::Gone, &[("a", Does::Stop(400))]);
    assert!(scene.fetch(&["a"]).is_err());
    let mut scene = scene.restarted(Does::Give);
    assert_eq!(scene.fetch(&[]).expect("fetched"), scene.hosts.file);
    assert_eq!(scene.asked(), asked(&[("central", 400)]));
    let mut scene = scene.restarted(Does::Gone);
    assert_eq!(scene.fetch(&[]).expect("there"), scene.hosts.file);
    assert!(scene.asked().is_empty() && scene.told.is_empty());
}
