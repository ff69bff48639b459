//! Brings files into the cache by their digest: from peers that hold them, nearest first, and from the central, which has them
//! all. Goes on where a transfer was cut, with whoever is asked next, and after a restart of this host too. A source that gives
//! wrong bytes, or nothing, is left for the next one.

use std::{collections::VecDeque, fmt, pin::Pin, sync::Arc, time::Duration};

use host_core::{error::ErrorKind, units::Bytes};
use host_engine::Digest;
use host_wire::peer::{File, pb};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Status};

use super::{
    dial::Lane,
    files::CHUNK_BYTES,
    intake::Intake,
    links::{LinkFault, Links},
    rpc::peer_client::PeerClient,
};
use crate::{
    error::{Error, Fault},
    metrics::Metrics,
    pki::Subject,
    store::BlobFault,
    store::cache::{Aside, BlobCache, Partial, Pinned},
};

/// Largest message with a chunk: what packing and framing add is less than the chunk itself.
const MESSAGE_BYTES_MAX: usize = 2 * CHUNK_BYTES;

/// Where bytes came from, as metrics call it.
pub const FROM_CENTRAL: &str = "central";
/// The same, of every other host.
pub const FROM_PEERS: &str = "peer";

/// The chunks of a file, as they come.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<pb::Chunk, Status>> + Send>>;
/// The beginning of a transfer.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Chunks, LinkFault>> + Send + 'a>>;

/// Is told how many bytes of a file are there.
pub type Progress<'a> = dyn FnMut(u64) + Send + 'a;

/// How hosts are asked for files.
pub trait Origin: fmt::Debug + Send + Sync {
    /// Asks one of them.
    fn open(&self, source: &Subject, request: pb::FetchRequest) -> Opening<'_>;
}

/// How long a source is borne with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Tries in a row in which the central brings nothing, before it is given up. Peers have one: there is somebody else to ask.
    pub tries_max: u32,
    /// Pause before the second try; it doubles.
    pub pause: Duration,
    /// Without a chunk for this long, a transfer counts as cut.
    pub silence_max: Duration,
}

/// Brings files. A cheap handle.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Whom to ask.
    pub origin: Arc<dyn Origin>,
    /// Where files are kept.
    pub cache: BlobCache,
    /// Where they are hashed and unpacked.
    pub aside: Aside,
    /// Where bytes are counted, and sources that were left.
    pub metrics: Arc<Metrics>,
    /// How long sources are borne with.
    pub patience: Patience,
}

/// A file as far as it has come, and how the last attempt to bring more of it ended.
type Attempt = (Intake, Result<(), LinkFault>);

impl Default for Patience {
    fn default() -> Self {
        Self { tries_max: 6, pause: Duration::from_millis(100), silence_max: Duration::from_secs(10) }
    }
}

impl Origin for Links {
    fn open(&self, source: &Subject, request: pb::FetchRequest) -> Opening<'_> {
        // Files go over the connection for what is large, whatever their size.
        let channel = self.lane(source, Lane::Bulk);
        Box::pin(async move {
            let mut client = PeerClient::new(channel?).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let chunks: Chunks = Box::pin(client.fetch(request).await.map_err(|status| fault(&status))?.into_inner());
            Ok(chunks)
        })
    }
}

impl Fetcher {
    /// A file, from the cache if it is there; else these peers are asked first and the central last. Tells how much of it is there
    /// after each chunk.
    pub async fn obtain(&self, file: File, peers: Vec<Subject>, progress: &mut Progress<'_>) -> Result<Pinned, Error> {
        let mut sources: VecDeque<Subject> = peers.into_iter().chain([Subject::Central]).collect();
        loop {
            let (left, told) = (&mut sources, &mut *progress);
            let download = move |partial: Partial| async move { self.download(Intake::new(partial), left, told).await };
            let obtained = self.cache.obtain(&self.aside, Digest(file.digest), Bytes(file.bytes), download).await;
            match obtained {
                // What was wrong is gone. Whoever sent it was left, or is the first to be asked for all of it now.
                Err(error) if is_mismatch(&error) && !sources.is_empty() => tracing::warn!(%error, "a file is fetched anew"),
                done => return done,
            }
        }
    }

    /// Asks one source after another for what is missing, and takes those out that are of no use.
    async fn download(&self, mut intake: Intake, sources: &mut VecDeque<Subject>, progress: &mut Progress<'_>) -> Result<Pinned, Error> {
        let digest = intake.digest();
        let mut reason = "there is nobody to ask".to_owned();
        // Whether all that is there came from the source that is asked.
        let mut is_sole = intake.offset() == Bytes::ZERO;
        while let Some(source) = sources.front().cloned() {
            let brought;
            (intake, brought) = self.bring(intake, &source, progress).await?;
            match brought {
                Ok(()) => {
                    let finished = self.aside.run(move || intake.finish()).await;
                    if let Err(error) = &finished
                        && is_sole
                        && is_mismatch(error)
                    {
                        self.leave(sources, digest, "mismatch", &error.to_string());
                    }
                    return finished;
                }
                Err(fault) => {
                    is_sole = is_sole && intake.offset() == Bytes::ZERO;
                    let why = if matches!(fault, LinkFault::Refused(..)) { "refused" } else { "unreachable" };
                    reason = format!("{source}: {}", fault.reason());
                    self.leave(sources, digest, why, fault.reason());
                }
            }
        }
        Err(BlobFault::NoSource { digest, reason }.into())
    }

    /// Everything that is missing, from one source. The error is this host's own.
    async fn bring(&self, mut intake: Intake, source: &Subject, progress: &mut Progress<'_>) -> Result<Attempt, Error> {
        let tries_max = if *source == Subject::Central { self.patience.tries_max } else { 1 };
        let (mut tries, mut pause) = (0, self.patience.pause);
        loop {
            let before = intake.offset();
            let brought;
            (intake, brought) = self.bring_once(intake, source, progress).await?;
            if !matches!(brought, Err(LinkFault::Unreachable(_))) {
                return Ok((intake, brought));
            }
            if intake.offset() > before {
                (tries, pause) = (0, self.patience.pause);
            }
            tries += 1;
            if tries >= tries_max {
                return Ok((intake, brought));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn bring_once(&self, mut intake: Intake, source: &Subject, progress: &mut Progress<'_>) -> Result<Attempt, Error> {
        let silence_max = self.patience.silence_max;
        let silent = || LinkFault::Unreachable(format!("no chunk came for {} ms", silence_max.as_millis()));
        let request = pb::FetchRequest { digest: intake.digest().0.to_vec(), offset: intake.offset().0 };
        let opened = tokio::time::timeout(silence_max, self.origin.open(source, request)).await;
        let mut chunks = match opened {
            Ok(Ok(chunks)) => chunks,
            Ok(Err(fault)) => return Ok((intake, Err(fault))),
            Err(_) => return Ok((intake, Err(silent()))),
        };
        while !intake.is_whole() {
            let chunk = match tokio::time::timeout(silence_max, chunks.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(status))) => return Ok((intake, Err(fault(&status)))),
                Ok(None) => {
                    let ended = format!("the transfer ended after {} of {} bytes", intake.offset().0, intake.size().0);
                    return Ok((intake, Err(LinkFault::Unreachable(ended))));
                }
                Err(_) => return Ok((intake, Err(silent()))),
            };
            let taking = self.aside.run(move || {
                let taken = intake.take(chunk);
                Ok((intake, taken))
            });
            let taken;
            (intake, taken) = taking.await?;
            match taken {
                Ok(bytes) => {
                    self.metrics.blob_fetched(word(source), bytes.0);
                    progress(intake.offset().0);
                }
                // A disk that is full is not the source's fault.
                Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
                Err(error) => return Ok((intake, Err(LinkFault::Refused(error.kind(), error.to_string())))),
            }
        }
        Ok((intake, Ok(())))
    }

    /// Takes the first source out.
    fn leave(&self, sources: &mut VecDeque<Subject>, digest: Digest, why: &'static str, reason: &str) {
        if let Some(source) = sources.pop_front() {
            self.metrics.blob_source_left(word(&source), why);
            tracing::warn!(%source, %digest, reason, "a source of a file is of no use; the next one is asked");
        }
    }
}

fn word(source: &Subject) -> &'static str {
    if *source == Subject::Central { FROM_CENTRAL } else { FROM_PEERS }
}

fn is_mismatch(error: &Error) -> bool {
    matches!(error.fault(), Fault::Blob(BlobFault::Mismatch { .. }))
}

/// What the status of a transfer means.
fn fault(status: &Status) -> LinkFault {
    match status.code() {
        // It will not have the file a moment later either.
        Code::NotFound => LinkFault::Refused(ErrorKind::Unavailable, status.message().to_owned()),
        _ => LinkFault::of(status),
    }
}

#[cfg(test)]
mod tests;
