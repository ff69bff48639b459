//! Pieces of files on their way from host to host, and how far a load has come with them.

use host_core::units::Bytes;

use super::{
    ShardAt, pb,
    read::{finite, needed},
};
use crate::{
    compression::{Encoded, Encoding},
    error::{Error, Fault},
};

/// The packings that this release knows, for people.
const PACKINGS: &str = "0 (none), 1 (deflate)";

/// A piece of a file. What is in it is believed only when the whole file has the digest that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Its bytes as they are sent.
    pub encoded: Encoded,
    /// Size of the whole file when it is plain, as the sender says.
    pub file: Bytes,
}

/// How far a device has come with what it needs to load a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadProgress {
    /// Which shard, where.
    pub at: ShardAt,
    /// What is there of its files.
    pub bytes: Bytes,
    /// All that they have; at least as much.
    pub bytes_total: Bytes,
}

impl TryFrom<pb::Chunk> for Chunk {
    type Error = Error;

    fn try_from(wire: pb::Chunk) -> Result<Self, Error> {
        let encoding = match wire.packing {
            0 => Encoding::Plain,
            1 => Encoding::Deflate,
            other => return Err(Fault::UnknownWord { what: "packing of a chunk", word: other.to_string(), known: PACKINGS }.into()),
        };
        Ok(Self { encoded: Encoded { encoding, bytes: wire.data }, file: Bytes(wire.bytes_total) })
    }
}

impl From<Chunk> for pb::Chunk {
    fn from(chunk: Chunk) -> Self {
        let packing = match chunk.encoded.encoding {
            Encoding::Plain => 0,
            Encoding::Deflate => 1,
        };
        Self { data: chunk.encoded.bytes, bytes_total: chunk.file.0, packing }
    }
}

impl TryFrom<pb::LoadProgress> for LoadProgress {
    type Error = Error;

    fn try_from(wire: pb::LoadProgress) -> Result<Self, Error> {
        let bytes = |value: f64, what| finite(value, what).map(Bytes::from_f64);
        let (done, bytes_total) = (bytes(wire.bytes, "bytes")?, bytes(wire.bytes_total, "bytes_total")?);
        if done > bytes_total {
            let count = |bytes: Bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX);
            return Err(Fault::TooMany { what: "bytes of a load", count: count(done), max: count(bytes_total) }.into());
        }
        Ok(Self { at: needed(wire.shard, "shard")?.try_into()?, bytes: done, bytes_total })
    }
}

impl From<LoadProgress> for pb::LoadProgress {
    fn from(progress: LoadProgress) -> Self {
        Self { shard: Some(progress.at.into()), bytes: progress.bytes.as_f64(), bytes_total: progress.bytes_total.as_f64() }
    }
}

#[cfg(test)]
mod tests {
    use host_core::{
        ids::{AcceleratorName, ModelId, ModelName},
        shard::{BlockRange, ShardId},
    };

    use super::*;

    fn at() -> ShardAt {
        let model = ModelId { name: ModelName::parse("tiny").expect("a name"), version: 1 };
        let shard = ShardId { model, range: BlockRange::new(2, 4).expect("a range") };
        ShardAt { accelerator: AcceleratorName::parse("cpu").expect("a name"), shard }
    }

    #[test]
    fn a_chunk_comes_back_as_it_was_sent() {
        for encoding in [Encoding::Plain, Encoding::Deflate] {
            let chunk = Chunk { encoded: Encoded { encoding, bytes: vec![1_u8, 2, 3].into() }, file: Bytes(9) };
            assert_eq!(Chunk::try_from(pb::Chunk::from(chunk.clone())).expect("sound"), chunk);
        }
    }

    #[test]
    fn a_packing_of_a_later_release_is_refused_by_its_number() {
        let wire = pb::Chunk { data: vec![0_u8].into(), bytes_total: 1, packing: 7 };
        let error = Chunk::try_from(wire).expect_err("nobody knows it").to_string();
        assert_eq!(error, "packing of a chunk `7` is not known, it must be one of 0 (none), 1 (deflate)");
    }

    #[test]
    fn progress_comes_back_as_it_was_said() {
        let progress = LoadProgress { at: at(), bytes: Bytes(3), bytes_total: Bytes(1 << 40) };
        assert_eq!(LoadProgress::try_from(pb::LoadProgress::from(progress.clone())).expect("sound"), progress);
    }

    #[test]
    fn progress_beyond_the_end_is_refused_with_both_figures() {
        let wire = pb::LoadProgress { shard: Some(at().into()), bytes: 11.0, bytes_total: 10.0 };
        assert_eq!(LoadProgress::try_from(wire).expect_err("too much").to_string(), "there are 11 bytes of a load, at most 10 are accepted");
        let wire = pb::LoadProgress { shard: Some(at().into()), bytes: f64::NAN, bytes_total: 10.0 };
        assert!(LoadProgress::try_from(wire).is_err());
    }
}
