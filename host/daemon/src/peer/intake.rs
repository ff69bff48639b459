//! What comes of a file that is fetched: each chunk is unpacked within its bounds, counted, and put into the cache. Trusts
//! nothing that came: too much, too little and what is packed wrongly is refused here, wrong bytes when all are there.

use host_core::units::Bytes;
use host_engine::Digest;
use host_wire::{
    compression::Expander,
    peer::{Chunk, pb},
};

use super::files::CHUNK_BYTES;
use crate::{
    error::Error,
    store::BlobFault,
    store::cache::{Partial, Pinned},
};

/// A file on its way in. Dropped before it is whole, it leaves in the cache what has come.
#[derive(Debug)]
pub(super) struct Intake {
    partial: Partial,
    expander: Expander,
}

impl Intake {
    /// Goes on with what is there.
    pub(super) fn new(partial: Partial) -> Self {
        Self { partial, expander: Expander::default() }
    }

    /// Which file.
    pub(super) fn digest(&self) -> Digest {
        self.partial.digest()
    }

    /// How much of it is there.
    pub(super) fn offset(&self) -> Bytes {
        self.partial.offset()
    }

    /// All of it.
    pub(super) fn size(&self) -> Bytes {
        self.partial.size()
    }

    /// Whether nothing is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.offset() == self.size()
    }

    /// Takes the next chunk, and says how many bytes are in it. An error of kind Internal is this host's own; any other is the
    /// sender's. What came before is still there after either.
    pub(super) fn take(&mut self, chunk: pb::Chunk) -> Result<Bytes, Error> {
        let chunk = Chunk::try_from(chunk)?;
        if chunk.file != self.size() {
            return Err(BlobFault::Size { digest: self.digest(), announced: self.size(), found: chunk.file }.into());
        }
        let plain = self.expander.decode(&chunk.encoded, CHUNK_BYTES)?;
        if plain.is_empty() && !self.is_whole() {
            // Chunks without bytes could come for ever.
            return Err(BlobFault::Length { digest: self.digest(), expected: self.size(), found: self.offset() }.into());
        }
        self.partial.append(&plain)?;
        Ok(Bytes(plain.len() as u64))
    }

    /// Proves that it is whole and right; what is wrong is removed.
    pub(super) fn finish(self) -> Result<Pinned, Error> {
        self.partial.finish()
    }
}

#[cfg(test)]
mod tests {
    use host_wire::compression::{Compressor, Encoded, Encoding};

    use super::*;
    use crate::{
        config::CacheLimits,
        error::ErrorKind,
        store::cache::{Begun, BlobCache},
    };

    fn cache(folder: &tempfile::TempDir) -> BlobCache {
        BlobCache::open(folder.path(), &CacheLimits { bytes_max: 1 << 20, disk_ratio_max: 1.0 }).expect("opens")
    }

    fn intake(cache: &BlobCache, file: &[u8]) -> Intake {
        match cache.begin(Digest::of(file), Bytes(file.len() as u64)).expect("room") {
            Begun::Mine(partial) => Intake::new(*partial),
            other => panic!("{other:?}"),
        }
    }

    fn plain(bytes: &[u8], file: &[u8]) -> pb::Chunk {
        pb::Chunk { data: bytes.to_vec().into(), bytes_total: file.len() as u64, packing: 0 }
    }

    #[test]
    fn a_file_that_came_in_chunks_of_both_kinds_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = [vec![7_u8; 1_000], (0..=255).collect()].concat();
        let mut intake = intake(&cache(&folder), &file);
        let packed = Compressor::for_blob(&file).encode(&file[..1_000].to_vec().into());
        assert_eq!(packed.encoding, Encoding::Deflate);
        let packed = pb::Chunk::from(Chunk { encoded: packed, file: Bytes(file.len() as u64) });
        assert_eq!(intake.take(packed).expect("sound"), Bytes(1_000));
        assert_eq!(intake.take(plain(&file[1_000..], &file)).expect("sound"), Bytes(256));
        assert!(intake.is_whole());
        assert_eq!(intake.finish().expect("sound").bytes().expect("mapped"), file);
    }

    #[test]
    fn a_chunk_that_does_not_fit_is_refused_with_both_values_and_what_came_stays() {
        struct Case {
            what: &'static str,
            chunk: pb::Chunk,
            told: String,
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = vec![3_u8; 1_000];
        let digest = Digest::of(&file);
        let bomb = Compressor::for_blob(&[0; 1_000]).encode(&vec![0_u8; CHUNK_BYTES + 1].into());
        let broken = Encoded { encoding: Encoding::Deflate, bytes: vec![0xff_u8; 20].into() };
        let packed = |encoded: Encoded| pb::Chunk::from(Chunk { encoded, file: Bytes(1_000) });
        let cases = [
            Case {
                what: "a file that is longer than announced",
                chunk: pb::Chunk { bytes_total: 1_001, ..plain(&file[..10], &file) },
                told: format!("blob sha256:{digest} was announced with 1000 bytes, who sends it says 1001"),
            },
            Case {
                what: "a file that is shorter than announced",
                chunk: pb::Chunk { bytes_total: 999, ..plain(&file[..10], &file) },
                told: format!("blob sha256:{digest} was announced with 1000 bytes, who sends it says 999"),
            },
            Case {
                what: "more bytes than are missing",
                chunk: plain(&file[..901], &file),
                told: format!("blob sha256:{digest} has 1000 bytes, 1001 were fetched"),
            },
            Case { what: "a chunk without bytes", chunk: plain(&[], &file), told: format!("blob sha256:{digest} has 1000 bytes, 100 were fetched") },
            Case {
                what: "a bomb",
                chunk: packed(bomb),
                told: "compressed bytes expand to more than is accepted; at most 262144 bytes are accepted".to_owned(),
            },
            Case {
                what: "a plain chunk that is too large",
                chunk: plain(&vec![0_u8; CHUNK_BYTES + 1], &file),
                told: "there are 262145 bytes in a chunk, at most 262144 are accepted".to_owned(),
            },
            Case { what: "a broken chunk", chunk: packed(broken), told: "compressed bytes are broken; at most 262144 bytes are accepted".to_owned() },
            Case {
                what: "a packing that nobody knows",
                chunk: pb::Chunk { packing: 2, ..plain(&file[..10], &file) },
                told: "packing of a chunk `2` is not known, it must be one of 0 (none), 1 (deflate)".to_owned(),
            },
        ];
        let mut intake = intake(&cache(&folder), &file);
        intake.take(plain(&file[..100], &file)).expect("sound");
        for Case { what, chunk, told } in cases {
            let error = intake.take(chunk).expect_err(what);
            assert_eq!(error.to_string(), told, "{what}");
            assert_ne!(error.kind(), ErrorKind::Internal, "{what} is the sender's fault");
            assert_eq!(intake.offset(), Bytes(100), "after {what}");
        }
        intake.take(plain(&file[100..], &file)).expect("sound");
        intake.finish().expect("sound");
    }

    #[test]
    fn wrong_bytes_are_named_by_both_digests_when_all_are_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, other) = (vec![1_u8; 500], vec![2_u8; 500]);
        let mut intake = intake(&cache(&folder), &file);
        intake.take(plain(&other, &file)).expect("nobody can know yet");
        let error = intake.finish().expect_err("another file").to_string();
        assert_eq!(error, format!("what was fetched as blob sha256:{} has digest sha256:{}", Digest::of(&file), Digest::of(&other)));
    }

    #[test]
    fn a_file_that_ends_too_early_is_told_with_both_lengths_and_gone_on_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, cache) = (vec![1_u8; 500], cache(&folder));
        let mut first = intake(&cache, &file);
        first.take(plain(&file[..400], &file)).expect("sound");
        let error = first.finish().expect_err("too short").to_string();
        assert_eq!(error, format!("blob sha256:{} has 500 bytes, 400 were fetched", Digest::of(&file)));
        assert_eq!(intake(&cache, &file).offset(), Bytes(400));
    }
}
