//! Files that hosts give each other by digest: offered in chunks from any offset, fetched until they are whole, and believed only
//! if their digest is the one that was asked for.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use host_engine::Digest;
use host_wire::peer::{File, pb};
use tokio_stream::StreamExt as _;
use tonic::Status;

use super::{
    dial::Lane,
    links::{LinkFault, Links},
    rpc::peer_client::PeerClient,
};
use crate::pki::Subject;

/// Bytes of one chunk: small enough that other transfers on the connection get their turn.
const CHUNK_BYTES: usize = 256 << 10;
/// Tries in a row that bring nothing, before a fetch is given up.
const TRIES_MAX: u32 = 6;
/// Pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// Without a chunk for this long, a transfer counts as cut.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Files that others may fetch.
#[derive(Debug, Default)]
pub struct Files(Mutex<HashMap<Digest, Bytes>>);

impl Files {
    /// Lets others fetch these bytes; says what they are called.
    pub fn offer(&self, bytes: Bytes, digest: Digest) -> File {
        let file = File { digest: digest.0, bytes: bytes.len() as u64 };
        self.lock().insert(digest, bytes);
        file
    }

    /// Keeps only those that somebody may still ask for.
    pub fn retain(&self, keep: impl Fn(&Digest) -> bool) {
        self.lock().retain(|digest, _| keep(digest));
    }

    /// The chunks of a file from an offset on.
    pub fn chunks(&self, request: &pb::FetchRequest) -> Result<impl Iterator<Item = Result<pb::Chunk, Status>> + Send + use<>, Status> {
        let digest: [u8; 32] = request.digest.as_slice().try_into().map_err(|_| Status::invalid_argument("a digest has 32 bytes"))?;
        let digest = Digest(digest);
        let bytes = self.lock().get(&digest).cloned().ok_or_else(|| Status::not_found(format!("there is no file sha256:{digest} here")))?;
        let total = bytes.len();
        let offset = usize::try_from(request.offset).ok().filter(|offset| *offset <= total);
        let beyond = || Status::out_of_range(format!("the file has {total} bytes, they were asked for from {} on", request.offset));
        let mut rest = bytes.slice(offset.ok_or_else(beyond)?..);
        let mut first = true;
        Ok(std::iter::from_fn(move || {
            if rest.is_empty() && !first {
                return None;
            }
            first = false;
            let data = rest.split_to(CHUNK_BYTES.min(rest.len()));
            Some(Ok(pb::Chunk { data, bytes_total: total as u64, packing: 0 }))
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Bytes>> {
        // The map is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings a file from a host. Goes on where it was cut; gives up after some tries that brought nothing.
pub async fn fetch(links: &Links, from: &Subject, file: File, progress: impl Fn(u64)) -> Result<Bytes, LinkFault> {
    let mut got = BytesMut::new();
    let (mut tries, mut pause) = (0, PAUSE);
    loop {
        let before = got.len();
        let fault = match fetch_rest(links, from, file, &mut got, &progress).await {
            Ok(()) => break,
            Err(fault @ LinkFault::Refused(..)) => return Err(fault),
            Err(fault) => fault,
        };
        if got.len() > before {
            (tries, pause) = (0, PAUSE);
        }
        tries += 1;
        if tries >= TRIES_MAX {
            return Err(fault);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    let (found, expected) = (Digest::of(&got), Digest(file.digest));
    if found != expected {
        let reason = format!("sha256:{expected} was asked for, the bytes that came are sha256:{found}");
        return Err(LinkFault::Refused(host_core::error::ErrorKind::Invalid, reason));
    }
    Ok(got.freeze())
}

async fn fetch_rest(links: &Links, from: &Subject, file: File, got: &mut BytesMut, progress: &impl Fn(u64)) -> Result<(), LinkFault> {
    // Files go over the connection for what is large, whatever their size.
    let mut client = PeerClient::new(links.lane(from, Lane::Bulk)?);
    let request = pb::FetchRequest { digest: file.digest.to_vec(), offset: got.len() as u64 };
    let mut chunks = client.fetch(request).await.map_err(|status| LinkFault::of(&status))?.into_inner();
    let wrong = |reason: String| LinkFault::Refused(host_core::error::ErrorKind::Invalid, reason);
    while (got.len() as u64) < file.bytes {
        let next = tokio::time::timeout(SILENCE_MAX, chunks.next()).await;
        let next = next.map_err(|_| LinkFault::Unreachable("no chunk came for too long".to_owned()))?;
        let chunk = next.ok_or_else(|| LinkFault::Unreachable("the transfer ended too early".to_owned()))?.map_err(|status| LinkFault::of(&status))?;
        if chunk.bytes_total != file.bytes {
            return Err(wrong(format!("the file has {} bytes, {} were announced", chunk.bytes_total, file.bytes)));
        }
        if got.len() as u64 + chunk.data.len() as u64 > file.bytes {
            return Err(wrong(format!("more than the {} bytes came that were announced", file.bytes)));
        }
        got.extend_from_slice(&chunk.data);
        progress(got.len() as u64);
    }
    Ok(())
}
