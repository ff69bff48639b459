//! What must outlive the process: plan numbers and plans, installed plugins, generations of slots, join tokens, devices that
//! enrolled, what shards were converted to, and blobs by digest.
//! One thread writes; what it has acknowledged is on disk. The calls block for about a disk's flush, so async code asks
//! from a blocking thread where it minds. A second implementation would offer the same calls. Beside it lies the `cache` of what
//! could be fetched again.

mod artefacts;
mod blobs;
pub mod cache;
mod devices;
mod digest_folder;
mod earlier;
mod enrolment;
mod fault;
mod lock;
mod plans;
mod records;
mod tokens;
mod writer;

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use bytes::Bytes;
use host_engine::Digest;

pub use artefacts::ArtefactRecord;
pub use devices::{DeviceRecord, Restraint};
pub use enrolment::{Enrolment, JoinRefusal, Renewal};
pub use fault::BlobFault;
pub use records::{GenerationRecord, PluginRecord};
pub use tokens::TokenRecord;

use crate::{
    config::StoreLimits,
    error::{Error, Fault},
};

/// A handle; clones share the store, which closes with the last of them.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // Fields are dropped in this order: the writer ends before the lock is given back.
    writer: writer::Writer,
    blobs: blobs::Blobs,
    limits: StoreLimits,
    _lock: lock::Lock,
}

impl Store {
    /// Opens or makes the store of a data directory, and keeps every other host out of it.
    pub fn open(data: &Path, limits: StoreLimits) -> Result<Self, Error> {
        // Nobody but its owner looks into it: it holds the socket that may do everything.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(|error| Error::from(Fault::File { doing: "make the data directory", path: data.display().to_string() }).because(error))?;
        let lock = lock::Lock::take(data)?;
        let connection = records::open(&data.join("host.sqlite"))?;
        let writer = writer::Writer::start(connection, &limits)?;
        let blobs = blobs::Blobs::open(&data.join("blobs"))?;
        Ok(Self { inner: Arc::new(Inner { writer, blobs, limits, _lock: lock }) })
    }

    /// Keeps what is known of an installed plugin; its bytes are a blob. What had its name before is one of the earlier ones from
    /// then on.
    pub fn put_plugin(&self, plugin: PluginRecord) -> Result<(), Error> {
        let kept_max = self.inner.limits.earlier_plugins_kept_max;
        let orphans = self.inner.writer.write("keep the plugin", move |connection| {
            let forgotten = earlier::replace(connection, &plugin, kept_max)?;
            records::put_plugin(connection, &plugin)?;
            earlier::orphans(connection, forgotten)
        });
        self.remove_blobs(&orphans?)
    }

    /// Forgets an installed plugin and the earlier ones of its name, and their bytes unless another one has the same.
    pub fn remove_plugin(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        let orphans = self.inner.writer.write("forget the plugin", move |connection| {
            let forgotten = earlier::forget(connection, &name)?;
            earlier::orphans(connection, forgotten)
        });
        self.remove_blobs(&orphans?)
    }

    fn remove_blobs(&self, digests: &[String]) -> Result<(), Error> {
        digests.iter().filter_map(|digest| Digest::parse(digest)).try_for_each(|digest| self.inner.blobs.remove(digest))
    }

    /// Plugins that others have replaced under their names, those replaced last first.
    pub fn earlier_plugins(&self) -> Result<Vec<PluginRecord>, Error> {
        self.inner.writer.write("read earlier plugins", earlier::all)
    }

    /// Every installed plugin, by name.
    pub fn plugins(&self) -> Result<Vec<PluginRecord>, Error> {
        self.inner.writer.write("read plugins", records::plugins)
    }

    /// Keeps a generation of a slot: from now on the slot holds it.
    pub fn record_generation(&self, generation: GenerationRecord) -> Result<(), Error> {
        self.inner.writer.write("keep the generation", move |connection| records::put_generation(connection, &generation))
    }

    /// What a slot has held, newest first.
    pub fn generations(&self, slot: &str, count_max: u32) -> Result<Vec<GenerationRecord>, Error> {
        let slot = slot.to_owned();
        self.inner.writer.write("read generations", move |connection| records::generations(connection, &slot, count_max))
    }

    /// The newest generation of every slot that ever held an installed plugin.
    pub fn bindings(&self) -> Result<Vec<GenerationRecord>, Error> {
        self.inner.writer.write("read slots", records::bindings)
    }

    /// Keeps bytes under their digest. Done when they are on disk; bytes that are there already cost nothing.
    /// The digest must be that of the bytes; computing it takes longer than the rest.
    pub fn put_blob(&self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        self.inner.blobs.put(digest, bytes)
    }

    /// The digest of a plugin's bytes. Where the very same bytes were installed before, comparing finds it: that takes a fraction of
    /// the time of computing it. The store's folder is its owner's alone, so what lies there under a digest has it.
    pub fn identify(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let (installed, earlier) = (self.plugins()?, self.earlier_plugins()?);
        let mut known = installed.iter().chain(&earlier).filter_map(|record| Digest::parse(&record.digest));
        Ok(known.find(|digest| self.inner.blobs.holds(*digest, bytes)).unwrap_or_else(|| Digest::of(bytes)))
    }

    /// The bytes of a digest, proved to be those.
    pub fn blob(&self, digest: Digest) -> Result<Bytes, Error> {
        self.inner.blobs.get(digest)
    }
}

#[cfg(test)]
mod tests;
