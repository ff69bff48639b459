//! A blob in use.

use std::sync::Arc;

use host_core::units;
use host_engine::Digest;

use super::{BlobCache, ledger::Hold};
use crate::error::Error;

/// A blob that stays in the cache until the last clone of this, and the last of its bytes, is dropped.
#[derive(Clone, Debug)]
pub struct Pinned(Arc<Pin>);

#[derive(Debug)]
struct Pin {
    cache: BlobCache,
    digest: Digest,
    size: units::Bytes,
    /// Taken only when the pin is dropped.
    hold: Option<Hold>,
}

/// Keeps the pin as long as somebody has the bytes.
struct Kept {
    bytes: bytes::Bytes,
    _pin: Pinned,
}

impl Pinned {
    pub(super) fn new(cache: BlobCache, hold: Hold, size: units::Bytes) -> Self {
        Self(Arc::new(Pin { cache, digest: hold.digest, size, hold: Some(hold) }))
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Its size.
    pub fn size(&self) -> units::Bytes {
        self.0.size
    }

    /// Its bytes, read from the disk where and when somebody looks at them. Slices of them keep the blob pinned too.
    pub fn bytes(&self) -> Result<bytes::Bytes, Error> {
        let bytes = host_engine::map_file(&self.0.cache.0.folder.path(self.0.digest))?;
        Ok(bytes::Bytes::from_owner(Kept { bytes, _pin: self.clone() }))
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.cache.lock().ledger.release(hold);
        }
    }
}
