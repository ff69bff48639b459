//! The cache on a real disk: bounded, resumable, and never believing bytes that it has not proved.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use host_core::noise;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::Fault;

const LIMITS: CacheLimits = CacheLimits { bytes_max: 10_000, disk_ratio_max: 1.0 };

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(folder: &TempDir) -> BlobCache {
    BlobCache::open(folder.path(), &LIMITS).expect("opens")
}

/// Bytes that no other seed has.
fn blob(seed: u64, size: usize) -> Vec<u8> {
    (0..size as u64).map(|index| noise::bits(seed, index) as u8).collect()
}

fn partial(cache: &BlobCache, bytes: &[u8]) -> Partial {
    match cache.begin(Digest::of(bytes), Bytes(bytes.len() as u64)).expect("room") {
        Begun::Mine(partial) => *partial,
        other => panic!("{other:?}"),
    }
}

fn rest(mut partial: Partial, bytes: &[u8]) -> Result<Pinned, Error> {
    partial.append(&bytes[partial.offset().0 as usize..])?;
    partial.finish()
}

fn fetch(cache: &BlobCache, bytes: &[u8]) -> Pinned {
    rest(partial(cache, bytes), bytes).expect("sound")
}

/// What a kill leaves: nothing is dropped, so nothing is tidied up.
fn kill(cache: BlobCache, partial: Partial) {
    std::mem::forget((cache, partial));
}

fn files(folder: &TempDir) -> BTreeMap<String, u64> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.expect("readable");
        (entry.file_name().to_string_lossy().into_owned(), entry.metadata().expect("readable").len())
    };
    fs::read_dir(folder.path()).expect("readable").map(entry).collect()
}

fn age(folder: &TempDir, bytes: &[u8], seconds: u64) {
    let file = File::options().append(true).open(folder.path().join(Digest::of(bytes).to_string())).expect("there");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("set");
}

#[test]
fn a_blob_is_there_after_it_was_fetched_and_after_the_cache_was_opened_again() {
    let folder = folder();
    let bytes = blob(1, 3_000);
    let cache = open(&folder);
    assert!(cache.pin(Digest::of(&bytes)).expect("readable").is_none());
    let pinned = fetch(&cache, &bytes);
    assert_eq!(pinned.bytes().expect("mapped"), bytes);
    assert_eq!(cache.usage(), Usage { bytes: Bytes(3_000), bytes_max: Bytes(10_000), pinned: Bytes(3_000), blobs: 1 });
    drop((pinned, cache));
    let cache = open(&folder);
    let pinned = cache.pin(Digest::of(&bytes)).expect("readable").expect("there");
    assert_eq!((pinned.bytes().expect("mapped").as_ref(), pinned.size(), pinned.digest()), (bytes.as_slice(), Bytes(3_000), Digest::of(&bytes)));
    assert!(matches!(cache.begin(Digest::of(&bytes), Bytes(3_000)), Ok(Begun::There(_))));
}

#[test]
fn bytes_keep_their_blob_pinned_after_the_pin_itself_is_gone() {
    let folder = folder();
    let cache = open(&folder);
    let slice = fetch(&cache, &blob(1, 6_000)).bytes().expect("mapped").slice(10..20);
    let error = cache.begin(Digest::of(b"x"), Bytes(6_000)).expect_err("no room beside it");
    assert_eq!(error.kind(), crate::error::ErrorKind::Busy);
    assert!(error.to_string().ends_with("has 5.9 KiB, the cache holds at most 9.8 KiB, of which 5.9 KiB are in use; raise cache.bytes_max"), "{error}");
    assert!(!cache.evict(Digest::of(&blob(1, 6_000))).expect("not tried"));
    drop(slice);
    assert!(cache.evict(Digest::of(&blob(1, 6_000))).expect("removed"));
    assert!(files(&folder).is_empty());
}

#[test]
fn a_blob_larger_than_the_cache_is_refused_for_good() {
    let folder = folder();
    let error = open(&folder).begin(Digest::of(b"x"), Bytes(10_001)).expect_err("too large");
    assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
}

#[test]
fn wrong_bytes_are_removed_and_both_digests_told() {
    let folder = folder();
    let cache = open(&folder);
    let (right, wrong) = (blob(1, 500), blob(2, 500));
    let mut download = partial(&cache, &right);
    download.append(&wrong).expect("as many as there are");
    let error = download.finish().expect_err("another blob").to_string();
    assert_eq!(error, format!("what was fetched as blob sha256:{} has digest sha256:{}", Digest::of(&right), Digest::of(&wrong)));
    assert!(files(&folder).is_empty());
    assert_eq!(cache.usage().bytes, Bytes(0));
    fetch(&cache, &right);
}

#[test]
fn too_many_bytes_are_refused_and_too_few_can_be_gone_on_with() {
    let folder = folder();
    let (cache, bytes) = (open(&folder), blob(1, 500));
    let mut download = partial(&cache, &bytes);
    download.append(&bytes[..400]).expect("fits");
    let error = download.append(&bytes[..101]).expect_err("one too many").to_string();
    assert_eq!(error, format!("blob sha256:{} has 500 bytes, 501 were fetched", Digest::of(&bytes)));
    assert!(download.finish().expect_err("too few").to_string().ends_with("has 500 bytes, 400 were fetched"));
    let again = partial(&cache, &bytes);
    assert_eq!((again.offset(), again.size(), again.digest()), (Bytes(400), Bytes(500), Digest::of(&bytes)));
    rest(again, &bytes).expect("sound");
}

#[test]
fn what_was_used_longest_ago_makes_room_also_after_a_restart() {
    let folder = folder();
    let blobs: Vec<Vec<u8>> = (1..=3).map(|seed| blob(seed, 3_000)).collect();
    let cache = open(&folder);
    blobs.iter().for_each(|bytes| drop(fetch(&cache, bytes)));
    drop(cache);
    for (bytes, seconds) in blobs.iter().zip([30, 10, 20]) {
        age(&folder, bytes, seconds);
    }
    let cache = open(&folder);
    fetch(&cache, &blob(4, 3_000));
    let there: Vec<bool> = blobs.iter().map(|bytes| cache.pin(Digest::of(bytes)).expect("readable").is_some()).collect();
    assert_eq!(there, [true, false, true]);
}

#[test]
fn opening_removes_what_is_damaged_or_too_much_and_leaves_what_it_does_not_know() {
    let folder = folder();
    let (old, new) = (blob(1, 6_000), blob(2, 5_000));
    for (name, bytes) in [
        (Digest::of(&old).to_string(), old.as_slice()),
        (Digest::of(&new).to_string(), &new),
        (format!("{}.part", Digest::of(&new)), b"of what is whole"),
        (format!("{}.part", Digest::of(b"empty")), b""),
        (format!("{}.7.part", Digest::of(b"scrap")), b"scrap"),
        ("notes.txt".to_owned(), b"mine"),
    ] {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    age(&folder, &old, 1);
    let cache = open(&folder);
    assert_eq!(files(&folder), BTreeMap::from([(Digest::of(&new).to_string(), 5_000), ("notes.txt".to_owned(), 4)]));
    assert_eq!(cache.usage().bytes, Bytes(5_000));
}

#[test]
fn a_blob_that_was_damaged_on_disk_is_dropped_and_fetched_again() {
    let folder = folder();
    let bytes = blob(1, 1_000);
    drop(fetch(&open(&folder), &bytes));
    let mut damaged = bytes.clone();
    damaged[999] ^= 1;
    fs::write(folder.path().join(Digest::of(&bytes).to_string()), damaged).expect("written");
    let cache = open(&folder);
    assert!(cache.pin(Digest::of(&bytes)).expect("readable").is_none());
    assert_eq!((files(&folder).len(), cache.usage().bytes), (0, Bytes(0)));
    assert_eq!(fetch(&cache, &bytes).bytes().expect("mapped"), bytes);
}

#[test]
fn the_limit_is_the_smaller_of_what_is_allowed_and_the_share_of_the_disk() {
    let limits = CacheLimits { bytes_max: 1_000, disk_ratio_max: 0.5 };
    assert_eq!(limit(&limits, 10_000, 0), 1_000);
    assert_eq!(limit(&limits, 1_000, 400), 700);
    assert_eq!(limit(&limits, 0, 0), 0);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
}

#[test]
fn those_who_want_one_blob_at_the_same_time_share_one_download() {
    let folder = folder();
    let (cache, bytes, downloads) = (open(&folder), blob(1, 4_000), AtomicUsize::new(0));
    let (all_ask, aside) = (tokio::sync::Barrier::new(8), Aside::start("aside").expect("starts"));
    runtime().block_on(async {
        let ask = async || {
            all_ask.wait().await;
            let download = |mut partial: Partial| {
                downloads.fetch_add(1, Ordering::Relaxed);
                let bytes = &bytes;
                async move {
                    for chunk in bytes.chunks(100) {
                        tokio::task::yield_now().await;
                        partial.append(chunk)?;
                    }
                    partial.finish()
                }
            };
            cache.obtain(&aside, Digest::of(&bytes), Bytes(4_000), download).await.expect("sound").bytes().expect("mapped")
        };
        let answers = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), ask(), ask());
        for answer in <[bytes::Bytes; 8]>::from(answers) {
            assert_eq!(answer, bytes);
        }
    });
    assert_eq!(downloads.load(Ordering::Relaxed), 1);
    assert_eq!(cache.usage(), Usage { bytes: Bytes(4_000), bytes_max: Bytes(10_000), pinned: Bytes(0), blobs: 1 });
}

#[test]
fn threads_that_fetch_the_same_blobs_again_and_again_never_write_over_each_other() {
    let folder = folder();
    let cache = open(&folder);
    let blobs: Vec<Vec<u8>> = (0..4).map(|seed| blob(seed, 2_000 + seed as usize * 500)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (cache, blobs) = (&cache, &blobs);
            scope.spawn(move || {
                for round in 0..100 {
                    let bytes = &blobs[noise::bits(thread, round) as usize % blobs.len()];
                    match cache.begin(Digest::of(bytes), Bytes(bytes.len() as u64)) {
                        Ok(Begun::There(pinned)) => assert_eq!(pinned.bytes().expect("mapped"), bytes),
                        // Every third download is cut short.
                        Ok(Begun::Mine(mut partial)) if round % 3 == 0 => {
                            let end = partial.offset().0 as usize;
                            partial.append(&bytes[end..(end + 700).min(bytes.len())]).expect("fits");
                        }
                        Ok(Begun::Mine(partial)) => assert_eq!(rest(*partial, bytes).expect("sound").bytes().expect("mapped"), bytes),
                        Ok(Begun::Others(_)) => std::thread::yield_now(),
                        Err(error) => assert_eq!(error.kind(), crate::error::ErrorKind::Busy, "{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(cache.usage().pinned, Bytes(0));
    assert_eq!(files(&folder).values().sum::<u64>(), cache.usage().bytes.0);
}

#[test]
fn when_a_download_fails_the_next_one_who_waits_goes_on_where_it_stopped() {
    let folder = folder();
    let (cache, bytes, aside) = (open(&folder), blob(1, 4_000), Aside::start("aside").expect("starts"));
    runtime().block_on(async {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let first = cache.obtain(&aside, Digest::of(&bytes), Bytes(4_000), async |mut partial| {
            partial.append(&bytes[..1_500]).expect("fits");
            begun.send(()).expect("the second one waits for it");
            tokio::task::yield_now().await;
            Err(Fault::Call { url: "a peer that is gone".into() }.into())
        });
        let second = async {
            has_begun.await.expect("sent");
            cache
                .obtain(&aside, Digest::of(&bytes), Bytes(4_000), async |partial| {
                    assert_eq!(partial.offset(), Bytes(1_500));
                    rest(partial, &bytes)
                })
                .await
        };
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err());
        assert_eq!(second.expect("sound").bytes().expect("mapped"), bytes);
    });
}

/// What may happen to a file between a kill and the next start.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    None,
    Shorter(usize),
    Longer(usize),
    Flipped(usize),
}

fn mishaps() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        Just(Mishap::None),
        any::<usize>().prop_map(Mishap::Shorter),
        (1_usize..9_000).prop_map(Mishap::Longer),
        any::<usize>().prop_map(Mishap::Flipped)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_download_survives_a_kill_at_any_point(size in 1_usize..8_000, stop in any::<usize>(), chunk in 1_usize..2_000, mishap in mishaps(), seed: u64) {
        let (folder, bytes) = (folder(), blob(seed, size));
        let cache = open(&folder);
        let mut download = partial(&cache, &bytes);
        let stop = stop % (size + 1);
        bytes[..stop].chunks(chunk).for_each(|chunk| download.append(chunk).expect("fits"));
        kill(cache, download);

        let part = folder.path().join(format!("{}.part", Digest::of(&bytes)));
        let mut left = fs::read(&part).expect("there");
        prop_assert_eq!(left.len(), stop);
        match mishap {
            Mishap::None => {}
            Mishap::Shorter(by) => left.truncate(by % (stop + 1)),
            Mishap::Longer(by) => left.extend(blob(!seed, by)),
            Mishap::Flipped(at) if stop > 0 => left[at % stop] ^= 0x10,
            Mishap::Flipped(_) => {}
        }
        let sound = left.len() > size || bytes.starts_with(&left);
        let offset = if left.len() > size { 0 } else { left.len() };
        fs::write(&part, left).expect("written");

        let cache = open(&folder);
        let download = partial(&cache, &bytes);
        prop_assert_eq!(download.offset(), Bytes(offset as u64));
        let outcome = rest(download, &bytes);
        prop_assert_eq!(outcome.is_ok(), sound, "{:?}", outcome);
        drop(outcome);
        // What was wrong is gone, so that the next download is right.
        let pinned = match cache.begin(Digest::of(&bytes), Bytes(size as u64)).expect("room") {
            Begun::There(pinned) => pinned,
            Begun::Mine(partial) => {
                prop_assert_eq!(partial.offset(), Bytes(0));
                rest(*partial, &bytes).expect("sound")
            }
            Begun::Others(_) => panic!("nobody else"),
        };
        prop_assert_eq!(pinned.bytes().expect("mapped"), bytes);
        prop_assert_eq!(files(&folder).len(), 1);
    }

    #[test]
    fn the_disk_never_holds_more_than_the_limit(steps in proptest::collection::vec((0_u64..12, 0_usize..7_000, 0_usize..4), 1..40)) {
        let folder = folder();
        let mut cache = open(&folder);
        let mut pins: Vec<(Vec<u8>, Pinned)> = Vec::new();
        for (seed, size, what) in steps {
            let bytes = blob(seed, size);
            match cache.begin(Digest::of(&bytes), Bytes(size as u64)) {
                Ok(Begun::There(pinned)) => pins.push((bytes, pinned)),
                Ok(Begun::Mine(mut partial)) if what == 0 => {
                    let offset = partial.offset().0 as usize;
                    partial.append(&bytes[offset..offset + (size - offset) / 2]).expect("fits");
                }
                Ok(Begun::Mine(partial)) => pins.push((bytes.clone(), rest(*partial, &bytes).expect("sound"))),
                Ok(Begun::Others(_)) => panic!("nobody else"),
                Err(error) => prop_assert_eq!(error.kind(), crate::error::ErrorKind::Busy),
            }
            match what {
                1 => pins.clear(),
                2 => drop(pins.pop()),
                3 if pins.is_empty() => cache = open(&folder),
                _ => {}
            }
            let on_disk: u64 = files(&folder).values().sum();
            prop_assert!(on_disk <= LIMITS.bytes_max, "{on_disk}");
            prop_assert_eq!(on_disk, cache.usage().bytes.0);
            for (bytes, pinned) in &pins {
                prop_assert_eq!(&pinned.bytes().expect("pinned blobs stay"), bytes);
            }
        }
    }
}
