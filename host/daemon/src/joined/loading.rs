//! What a device loads and drops because its central says so. Files come through the cache, where they stay pinned for as long as
//! their shard is loaded; they are hashed, unpacked and read aside, so that requests never wait for them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use host_core::{shard::ShardId, units::Bytes};
use host_engine::{Artefact, Digest, Shard};
use host_wire::{
    admin,
    peer::{ArtefactFile, HeldShard, Load, LoadProgress, ShardAt, Source, pb, pb::device_message},
};
use tokio::sync::mpsc;

use super::{Joined, message};
use crate::{
    clock,
    error::Error,
    peer::{FROM_CENTRAL, FROM_PEERS, Lane, golden_from_file},
    pki::Subject,
    stage_fault::StageFault,
    store::cache::Pinned,
    wiring::Wiring,
};

/// Between two reports of how far a load is.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// The shards that are ready, and their files.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Vec<(ShardAt, Pinned)>>);

impl Held {
    /// As the central is told of them.
    pub(super) fn shards(&self) -> Vec<HeldShard> {
        self.lock().iter().map(|(at, file)| HeldShard { at: at.clone(), digest: file.digest().0 }).collect()
    }

    fn has(&self, at: &ShardAt, file: Digest) -> bool {
        self.lock().iter().any(|(held, pinned)| held == at && pinned.digest() == file)
    }

    fn put(&self, at: ShardAt, file: Pinned) {
        let mut held = self.lock();
        held.retain(|(before, _)| *before != at);
        held.push((at, file));
    }

    fn remove(&self, at: &ShardAt) {
        self.lock().retain(|(held, _)| held != at);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ShardAt, Pinned)>> {
        // The list is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joined {
    /// Loads a shard, and says how that went.
    pub(super) async fn load(&self, wire: pb::Load, say: &mpsc::Sender<pb::DeviceMessage>) -> device_message::Says {
        let at = wire.shard.clone();
        match self.try_load(wire, say).await {
            Ok(()) => device_message::Says::Loaded(at.unwrap_or_default()),
            Err(reason) => {
                tracing::warn!(reason, "a shard could not be loaded");
                device_message::Says::LoadFailed(pb::LoadFailed { shard: at, reason })
            }
        }
    }

    async fn try_load(&self, wire: pb::Load, say: &mpsc::Sender<pb::DeviceMessage>) -> Result<(), String> {
        let load = Load::try_from(wire).map_err(|error| error.to_string())?;
        let unknown = || format!("this device has no accelerator {}", load.at.accelerator);
        let compute = self.0.computes.get(&load.at.accelerator).ok_or_else(unknown)?;
        if self.0.held.has(&load.at, Digest(load.file.digest)) {
            self.0.desk.holdings.hold(load.at, load.plan);
            return Ok(());
        }
        let (file, shard) = self.bring(&load, say).await.map_err(|error| error.to_string())?;
        let wiring = Wiring::given(&load.feeds, &load.yields);
        compute.load(Arc::new(shard), wiring).await.map_err(|error| error.to_string())?;
        tracing::info!(shard = %load.at.shard, accelerator = %load.at.accelerator, bytes = file.size().0, "a shard is loaded");
        self.0.desk.holdings.hold(load.at.clone(), load.plan);
        self.0.held.put(load.at, file);
        Ok(())
    }

    /// The file of a shard in the cache, and what is in it.
    async fn bring(&self, load: &Load, say: &mpsc::Sender<pb::DeviceMessage>) -> Result<(Pinned, Shard), Error> {
        let fetcher = &self.0.fetcher;
        let golden_bytes = load.golden.map_or(0, |golden| golden.bytes);
        let artefact_bytes = load.artefacts.iter().fold(0, |bytes: u64, artefact| bytes.saturating_add(artefact.file.bytes));
        let bytes_total = load.file.bytes.saturating_add(golden_bytes).saturating_add(artefact_bytes);
        let mut reporter = Reporter { at: &load.at, bytes_total, said: None, say };
        let file = fetcher.obtain(load.file, self.sources(&load.sources), &mut |bytes| reporter.report(bytes)).await?;
        let golden = match load.golden {
            // The central knows of no peer that still has them.
            Some(golden) => {
                let mut report = |bytes: u64| reporter.report(load.file.bytes.saturating_add(bytes));
                Some(fetcher.obtain(golden, Vec::new(), &mut report).await?)
            }
            None => None,
        };
        let mut there = load.file.bytes.saturating_add(golden_bytes);
        let mut artefacts = Vec::with_capacity(load.artefacts.len());
        for artefact in &load.artefacts {
            let mut report = |bytes: u64| reporter.report(there.saturating_add(bytes));
            artefacts.push((artefact.clone(), fetcher.obtain(artefact.file, Vec::new(), &mut report).await?));
            there = there.saturating_add(artefact.file.bytes);
        }
        let (cache, expected) = (fetcher.cache.clone(), load.at.shard.clone());
        let reading = fetcher.aside.run(move || match read(&file, golden.as_ref(), artefacts, &expected) {
            Ok(shard) => Ok((file, shard)),
            Err(error) => {
                // Its bytes are those that were asked for, and of no use: they need not take room.
                let digest = file.digest();
                drop(file);
                if let Err(error) = cache.evict(digest) {
                    tracing::warn!(%digest, %error, "a file that is of no use stays in the cache");
                }
                Err(error)
            }
        });
        reading.await
    }

    /// The peers that a file can be fetched from, reachable where the central says.
    fn sources(&self, sources: &[Source]) -> Vec<Subject> {
        let subject = |source: &Source| {
            let subject = Subject::device(&source.device).ok().filter(|_| source.device != *self.id() && !source.address.is_empty())?;
            // Who is known already was named with all other peers.
            if self.0.links.lane(&subject, Lane::Bulk).is_err() {
                self.0.links.set(subject.clone(), &source.address);
            }
            Some(subject)
        };
        sources.iter().filter_map(subject).collect()
    }

    /// Drops a shard once the jobs that came before are done. Its file stays in the cache until something else needs the room.
    pub(super) async fn unload(&self, at: &pb::ShardAt) {
        let Ok(at) = ShardAt::try_from(at.clone()) else { return };
        self.0.held.remove(&at);
        self.0.desk.holdings.let_go(&at);
        if let Some(compute) = self.0.computes.get(&at.accelerator)
            && let Err(error) = compute.unload(at.shard).await
        {
            tracing::warn!(%error, "a shard could not be unloaded");
        }
    }

    /// What is in the cache, and where it came from.
    pub fn blobs(&self) -> admin::Blobs {
        let (usage, metrics) = (self.0.fetcher.cache.usage(), &self.0.fetcher.metrics);
        admin::Blobs {
            files: usage.blobs as u64,
            bytes: usage.bytes.0,
            bytes_max: usage.bytes_max.0,
            pinned_bytes: usage.pinned.0,
            from_central_bytes: metrics.blob_bytes(FROM_CENTRAL),
            from_peers_bytes: metrics.blob_bytes(FROM_PEERS),
        }
    }
}

/// Tells the central how far a load is.
struct Reporter<'a> {
    at: &'a ShardAt,
    bytes_total: u64,
    said: Option<Instant>,
    say: &'a mpsc::Sender<pb::DeviceMessage>,
}

impl Reporter<'_> {
    fn report(&mut self, bytes: u64) {
        let now = clock::now();
        if !is_due(self.said, now) {
            return;
        }
        self.said = Some(now);
        let progress = LoadProgress { at: self.at.clone(), bytes: Bytes(bytes), bytes_total: Bytes(self.bytes_total) };
        // Where there is no room for it, the next one says more.
        let _ = self.say.try_send(message(device_message::Says::LoadProgress(progress.into())));
    }
}

/// Nobody reads more often.
fn is_due(said: Option<Instant>, now: Instant) -> bool {
    said.is_none_or(|said| now.saturating_duration_since(said) >= REPORT_EVERY)
}

/// Slow for large files: it hashes them.
fn read(file: &Pinned, golden: Option<&Pinned>, artefacts: Vec<(ArtefactFile, Pinned)>, expected: &ShardId) -> Result<Shard, Error> {
    let golden = golden.map(|golden| golden_from_file(golden.bytes()?)).transpose()?;
    // Their bytes keep them in the cache for as long as the shard is loaded.
    let artefact = |(told, file): (ArtefactFile, Pinned)| -> Result<Artefact, Error> {
        Ok(Artefact::described(told.target, told.description.into(), file.digest(), file.bytes()?)?)
    };
    let artefacts = artefacts.into_iter().map(artefact).collect::<Result<_, _>>()?;
    let shard = Shard { artefacts, ..Shard::read(file.bytes()?, golden)? };
    if shard.id == *expected { Ok(shard) } else { Err(StageFault::OtherShard { expected: expected.clone(), found: shard.id }.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_reported_at_once_and_then_not_more_often_than_anybody_reads() {
        let first = clock::now();
        assert!(is_due(None, first));
        assert!(!is_due(Some(first), first + REPORT_EVERY - Duration::from_millis(1)));
        assert!(is_due(Some(first), first + REPORT_EVERY));
    }
}
