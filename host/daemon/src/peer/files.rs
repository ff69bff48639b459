//! Files that a host gives to others by their digest, in chunks from any offset, packed where that helps. A central gives what it
//! cut for the shards that are in use; a device gives what is in its cache. Who fetches is `fetching`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use host_core::{shard::ShardId, units};
use host_engine::Digest;
use host_wire::{
    compression::{Compressor, Encoding},
    peer::{Chunk, File, pb},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    error::Error,
    store::cache::{Aside, BlobCache},
};

/// Plain bytes of one chunk: small enough that other transfers on the connection get their turn.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Chunks of one transfer that are made before they can be sent.
const READY_MAX: usize = 1;

/// Files that others may fetch.
#[derive(Debug)]
pub struct Files {
    offered: Mutex<HashMap<Digest, Offered>>,
    cache: Option<BlobCache>,
    aside: Aside,
}

/// A file in memory.
#[derive(Debug)]
struct Offered {
    bytes: Bytes,
    /// It is needed as long as one of these is.
    shards: BTreeSet<ShardId>,
}

/// What is left to give of a file.
struct Outgoing {
    rest: Bytes,
    size: u64,
    /// Whether looking at a byte may wait for a disk.
    on_disk: bool,
    compressor: Compressor,
    /// An empty file has a chunk all the same; this one has not had it yet.
    is_empty: bool,
}

impl Files {
    /// Of a central: what is offered.
    pub fn offering(aside: Aside) -> Self {
        Self { offered: Mutex::default(), cache: None, aside }
    }

    /// Of a device: what is in its cache.
    pub fn cached(cache: BlobCache, aside: Aside) -> Self {
        Self { offered: Mutex::default(), cache: Some(cache), aside }
    }

    /// Lets others fetch these bytes for a shard; says what they are called.
    pub fn offer(&self, shard: &ShardId, bytes: Bytes, digest: Digest) -> File {
        let file = File { digest: digest.0, bytes: bytes.len() as u64 };
        let mut offered = self.lock();
        offered.entry(digest).or_insert_with(|| Offered { bytes, shards: BTreeSet::new() }).shards.insert(shard.clone());
        file
    }

    /// Drops what none of these shards needs. Transfers that have begun go on to their end.
    pub fn retain(&self, is_needed: impl Fn(&ShardId) -> bool) {
        self.lock().retain(|_, offered| {
            offered.shards.retain(&is_needed);
            !offered.shards.is_empty()
        });
    }

    /// Where files are hashed, read and packed.
    pub fn aside(&self) -> &Aside {
        &self.aside
    }

    /// The chunks of a file from an offset on. They are made as fast as they are taken.
    pub async fn chunks(&self, request: pb::FetchRequest) -> Result<ReceiverStream<Result<pb::Chunk, Status>>, Status> {
        let length = request.digest.len();
        let digest: [u8; 32] = request.digest.try_into().map_err(|_| Status::invalid_argument(format!("a digest has 32 bytes, {length} were sent")))?;
        let digest = Digest(digest);
        let offered = self.lock().get(&digest).map(|offered| offered.bytes.clone());
        let (bytes, on_disk) = match offered {
            Some(bytes) => (bytes, false),
            None => (self.read(digest).await?, true),
        };
        let (size, offset) = (bytes.len(), request.offset);
        let beyond = || Status::out_of_range(format!("file sha256:{digest} has {size} bytes, it was asked for from {offset} on"));
        let start = usize::try_from(offset).ok().filter(|start| *start <= size).ok_or_else(beyond)?;
        let (ready, chunks) = mpsc::channel(READY_MAX);
        let aside = self.aside.clone();
        // Ends with the file, or when whoever asked is gone.
        tokio::spawn(async move {
            let outgoing = aside.run(move || Ok(Outgoing::new(&bytes, start, on_disk))).await;
            if let Err(error) = give(outgoing, &aside, &ready).await {
                // Whoever asked may be gone too.
                let _ = ready.send(Err(Status::internal(error.to_string()))).await;
            }
        });
        Ok(ReceiverStream::new(chunks))
    }

    /// From the cache, where there is one.
    async fn read(&self, digest: Digest) -> Result<Bytes, Status> {
        let found = match self.cache.clone() {
            Some(cache) => self.aside.run(move || cache.pin(digest)?.map(|pinned| pinned.bytes()).transpose()).await,
            None => Ok(None),
        };
        let found = found.map_err(|error| Status::internal(error.to_string()))?;
        found.ok_or_else(|| Status::not_found(format!("there is no file sha256:{digest} here")))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Offered>> {
        // The map is whole between any two statements.
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn give(outgoing: Result<Outgoing, Error>, aside: &Aside, ready: &mpsc::Sender<Result<pb::Chunk, Status>>) -> Result<(), Error> {
    let mut outgoing = outgoing?;
    loop {
        let made = aside.run(move || {
            let chunk = outgoing.next();
            Ok((outgoing, chunk))
        });
        let (rest, chunk) = made.await?;
        let Some(chunk) = chunk else { return Ok(()) };
        if ready.send(Ok(chunk.into())).await.is_err() {
            return Ok(());
        }
        outgoing = rest;
    }
}

impl Outgoing {
    fn new(file: &Bytes, start: usize, on_disk: bool) -> Self {
        Self { rest: file.slice(start..), size: file.len() as u64, on_disk, compressor: Compressor::for_blob(file), is_empty: file.is_empty() }
    }
}

impl Iterator for Outgoing {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.rest.is_empty() && !std::mem::take(&mut self.is_empty) {
            return None;
        }
        let plain = self.rest.split_to(CHUNK_BYTES.min(self.rest.len()));
        let mut encoded = self.compressor.encode(&plain);
        if self.on_disk && encoded.encoding == Encoding::Plain {
            // Who sends it must not be the one who waits for the disk.
            encoded.bytes = Bytes::copy_from_slice(&encoded.bytes);
        }
        Some(Chunk { encoded, file: units::Bytes(self.size) })
    }
}

#[cfg(test)]
mod tests {
    use host_core::{
        ids::{ModelId, ModelName},
        noise,
        shard::BlockRange,
    };
    use host_wire::compression::Expander;
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::{config::CacheLimits, store::cache::Begun};

    fn shard(start: u32) -> ShardId {
        let model = ModelId { name: ModelName::parse("tiny").expect("a name"), version: 1 };
        ShardId { model, range: BlockRange::new(start, start + 1).expect("a range") }
    }

    fn files() -> Files {
        Files::offering(Aside::start("aside").expect("starts"))
    }

    fn noisy(size: u64) -> Bytes {
        (0..size).map(|index| noise::bits(1, index) as u8).collect()
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
    }

    async fn asked(files: &Files, request: pb::FetchRequest) -> Result<Vec<pb::Chunk>, Status> {
        let chunks: Vec<Result<pb::Chunk, Status>> = files.chunks(request).await?.collect().await;
        chunks.into_iter().collect()
    }

    /// What somebody gets who asks.
    fn ask(files: &Files, digest: Digest, offset: u64) -> Result<Vec<pb::Chunk>, Status> {
        run(asked(files, pb::FetchRequest { digest: digest.0.to_vec(), offset }))
    }

    /// The same, put together.
    fn fetched(files: &Files, digest: Digest, offset: u64) -> Vec<u8> {
        let plain = |chunk: pb::Chunk| Expander::default().decode(&Chunk::try_from(chunk).expect("sound").encoded, CHUNK_BYTES).expect("sound").to_vec();
        ask(files, digest, offset).expect("there").into_iter().flat_map(plain).collect()
    }

    #[test]
    fn a_file_comes_in_chunks_from_any_offset_with_its_size_in_each() {
        let (files, bytes) = (files(), noisy(600_000));
        let digest = Digest::of(&bytes);
        assert_eq!(files.offer(&shard(0), bytes.clone(), digest), File { digest: digest.0, bytes: 600_000 });
        let chunks = ask(&files, digest, 0).expect("there");
        assert_eq!(
            chunks.iter().map(|chunk| (chunk.data.len(), chunk.bytes_total)).collect::<Vec<_>>(),
            [262_144, 262_144, 75_712].map(|size| (size, 600_000))
        );
        for offset in [0, 1, 262_144, 599_999, 600_000] {
            assert_eq!(fetched(&files, digest, offset), bytes[offset as usize..], "from {offset} on");
        }
    }

    #[test]
    fn what_shrinks_goes_packed_and_what_does_not_as_it_is() {
        let files = files();
        for (bytes, packing) in [(Bytes::from(vec![7; 600_000]), 1), (noisy(600_000), 0)] {
            let digest = Digest::of(&bytes);
            files.offer(&shard(0), bytes.clone(), digest);
            let chunks = ask(&files, digest, 0).expect("there");
            assert!(chunks.iter().all(|chunk| chunk.packing == packing), "{packing}");
            assert_eq!(fetched(&files, digest, 0), bytes);
        }
    }

    #[test]
    fn what_cannot_be_given_is_refused_with_the_values_that_disagree() {
        let (files, bytes) = (files(), noisy(10));
        let (digest, unknown) = (Digest::of(&bytes), Digest::of(b"unknown"));
        files.offer(&shard(0), bytes, digest);
        let refusal = |status: Status| (status.code(), status.message().to_owned());
        let beyond = refusal(ask(&files, digest, 11).expect_err("beyond the end"));
        assert_eq!(beyond, (tonic::Code::OutOfRange, format!("file sha256:{digest} has 10 bytes, it was asked for from 11 on")));
        let nowhere = refusal(ask(&files, unknown, 0).expect_err("unknown"));
        assert_eq!(nowhere, (tonic::Code::NotFound, format!("there is no file sha256:{unknown} here")));
        let short = run(asked(&files, pb::FetchRequest { digest: vec![1; 31], offset: 0 }));
        assert_eq!(refusal(short.expect_err("too short")), (tonic::Code::InvalidArgument, "a digest has 32 bytes, 31 were sent".to_owned()));
    }

    #[test]
    fn a_file_goes_when_no_shard_that_is_needed_has_it() {
        let (files, own, shared) = (files(), noisy(10), noisy(20));
        files.offer(&shard(0), own.clone(), Digest::of(&own));
        for start in [0, 1] {
            files.offer(&shard(start), shared.clone(), Digest::of(&shared));
        }
        files.retain(|needed| *needed == shard(1));
        assert_eq!(ask(&files, Digest::of(&own), 0).expect_err("dropped").code(), tonic::Code::NotFound);
        assert_eq!(fetched(&files, Digest::of(&shared), 0), shared);
        files.retain(|_| false);
        assert!(ask(&files, Digest::of(&shared), 0).is_err());
    }

    #[test]
    fn a_device_gives_what_is_in_its_cache_an_empty_file_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = BlobCache::open(folder.path(), &CacheLimits { bytes_max: 1 << 20, disk_ratio_max: 1.0 }).expect("opens");
        for bytes in [noisy(300_000), Bytes::new()] {
            let digest = Digest::of(&bytes);
            match cache.begin(digest, units::Bytes(bytes.len() as u64)).expect("room") {
                Begun::Mine(mut partial) => {
                    partial.append(&bytes).expect("fits");
                    partial.finish().expect("sound");
                }
                other => panic!("{other:?}"),
            }
            let files = Files::cached(cache.clone(), Aside::start("aside").expect("starts"));
            assert_eq!(fetched(&files, digest, 0), bytes);
        }
    }
}
