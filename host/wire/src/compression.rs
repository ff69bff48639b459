//! Compresses what hosts send each other by digest, where that helps. Each chunk is compressed by itself, so that a transfer
//! can go on from any chunk, and memory is bounded by the size of one. Weights in fp32 hardly shrink: their mantissas look
//! random. So a sample decides once for each blob, and what does not shrink is sent as it is, without a copy.

use std::fmt;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::error::{Error, Fault};

/// Pieces of a blob that are tried, spread evenly over it.
const SAMPLE_PIECES: usize = 16;
/// Size of each.
const SAMPLE_PIECE_BYTES: usize = 4 << 10;
/// Compressed bytes for each plain one, above which it is not worth the time: deflate takes in some 50 to 100 MB a second on one
/// core, where gigabit Ethernet carries 118.
const RATIO_MAX: f64 = 0.9;
/// Deflate without the two headers that it may have: digests prove what arrives.
const ZLIB_HEADER: bool = false;

/// How the bytes of a chunk are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// RFC 1951.
    Deflate,
}

/// A chunk as it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// How it is written.
    pub encoding: Encoding,
    /// What is written.
    pub bytes: Bytes,
}

/// Compresses the chunks of one blob, in any order.
pub struct Compressor {
    /// None where it does not help.
    deflate: Option<Compress>,
}

/// Undoes what a `Compressor` did, for chunks from outside: trusts nothing.
pub struct Expander(Decompress);

impl Compressor {
    /// Tries a sample of the blob: takes about a millisecond, whatever its size.
    pub fn for_blob(blob: &[u8]) -> Self {
        let mut deflate = Compress::new(Compression::fast(), ZLIB_HEADER);
        let helps = deflated(&mut deflate, &sample(blob)).is_some();
        Self { deflate: helps.then_some(deflate) }
    }

    /// Whether it compresses at all.
    pub fn helps(&self) -> bool {
        self.deflate.is_some()
    }

    /// Writes a chunk in whichever way is shorter.
    pub fn encode(&mut self, chunk: &Bytes) -> Encoded {
        let deflated = self.deflate.as_mut().and_then(|deflate| deflated(deflate, chunk));
        deflated
            .map_or_else(|| Encoded { encoding: Encoding::Plain, bytes: chunk.clone() }, |bytes| Encoded { encoding: Encoding::Deflate, bytes: bytes.into() })
    }
}

impl Expander {
    /// Reads a chunk that has at most `bytes_max` bytes when it is plain.
    pub fn decode(&mut self, chunk: &Encoded, bytes_max: usize) -> Result<Bytes, Error> {
        let fault = |problem| Error::from(Fault::Compressed { problem, bytes_max });
        match chunk.encoding {
            Encoding::Plain if chunk.bytes.len() > bytes_max => {
                Err(Fault::TooMany { what: "bytes in a chunk", count: chunk.bytes.len(), max: bytes_max }.into())
            }
            Encoding::Plain => Ok(chunk.bytes.clone()),
            Encoding::Deflate => {
                self.0.reset(ZLIB_HEADER);
                let mut plain = Vec::with_capacity(bytes_max);
                let status = self.0.decompress_vec(&chunk.bytes, &mut plain, FlushDecompress::Finish).map_err(|_| fault("are broken"))?;
                match status {
                    Status::StreamEnd if self.0.total_in() == chunk.bytes.len() as u64 => Ok(plain.into()),
                    Status::StreamEnd => Err(fault("go on after their end")),
                    _ if plain.len() == bytes_max => Err(fault("expand to more than is accepted")),
                    _ => Err(fault("are cut short")),
                }
            }
        }
    }
}

impl Default for Expander {
    fn default() -> Self {
        Self(Decompress::new(ZLIB_HEADER))
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("helps", &self.helps()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Expander {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expander").finish_non_exhaustive()
    }
}

/// The bytes deflated, if that makes them enough shorter: the room that it is given ends where it no longer helps.
fn deflated(deflate: &mut Compress, plain: &[u8]) -> Option<Vec<u8>> {
    deflate.reset();
    let mut written = Vec::with_capacity((plain.len() as f64 * RATIO_MAX) as usize);
    let status = deflate.compress_vec(plain, &mut written, FlushCompress::Finish);
    matches!(status, Ok(Status::StreamEnd)).then_some(written)
}

fn sample(blob: &[u8]) -> Vec<u8> {
    if blob.len() <= SAMPLE_PIECES * SAMPLE_PIECE_BYTES {
        return blob.to_vec();
    }
    let stride = (blob.len() - SAMPLE_PIECE_BYTES) / (SAMPLE_PIECES - 1);
    (0..SAMPLE_PIECES).flat_map(|piece| &blob[piece * stride..piece * stride + SAMPLE_PIECE_BYTES]).copied().collect()
}

#[cfg(test)]
mod tests {
    use host_core::noise;
    use proptest::prelude::*;

    use super::*;

    const CHUNK: usize = 64 << 10;

    fn weights(count: u64) -> Vec<u8> {
        (0..count).flat_map(|index| ((noise::uniform(1, index) as f32 - 0.5) * 0.1).to_le_bytes()).collect()
    }

    #[test]
    fn a_sample_tells_weights_from_what_shrinks() {
        let text = b"the same words again and again, ".repeat(10_000);
        let mut pruned = weights(200_000);
        pruned.chunks_exact_mut(4).enumerate().filter(|(index, _)| index % 4 != 0).for_each(|(_, weight)| weight.fill(0));
        let cases = [("weights", weights(200_000), false), ("pruned weights", pruned, true), ("text", text, true), ("nothing", Vec::new(), false)];
        for (what, blob, helps) in cases {
            assert_eq!(Compressor::for_blob(&blob).helps(), helps, "{what}");
        }
    }

    #[test]
    fn a_chunk_that_does_not_shrink_goes_as_it_is_without_a_copy() {
        let mut compressor = Compressor::for_blob(&[0; 1_000]);
        let chunk = Bytes::from(weights(1_000));
        let encoded = compressor.encode(&chunk);
        assert_eq!(encoded.encoding, Encoding::Plain);
        assert_eq!(encoded.bytes.as_ptr(), chunk.as_ptr());
        assert_eq!(compressor.encode(&Bytes::from(vec![7; 1_000])).encoding, Encoding::Deflate);
    }

    #[test]
    fn a_chunk_never_expands_beyond_the_limit() {
        let bomb = Compressor::for_blob(&[0; CHUNK]).encode(&Bytes::from(vec![0; CHUNK]));
        assert!(bomb.bytes.len() < 1_000);
        let error = Expander::default().decode(&bomb, CHUNK - 1).expect_err("one byte too many");
        assert_eq!(error.to_string(), "compressed bytes expand to more than is accepted; at most 65535 bytes are accepted");
        assert_eq!(Expander::default().decode(&bomb, CHUNK).expect("just fits").len(), CHUNK);
        let plain = Encoded { encoding: Encoding::Plain, bytes: Bytes::from(vec![0; 11]) };
        assert_eq!(Expander::default().decode(&plain, 10).expect_err("too many").to_string(), "there are 11 bytes in a chunk, at most 10 are accepted");
    }

    #[test]
    fn chunks_that_were_cut_or_lengthened_are_refused() {
        let whole = Compressor::for_blob(&[0; CHUNK]).encode(&Bytes::from(vec![0; CHUNK]));
        let cut = Encoded { bytes: whole.bytes.slice(..whole.bytes.len() - 1), ..whole.clone() };
        assert!(Expander::default().decode(&cut, CHUNK * 2).expect_err("cut").to_string().contains("are cut short"));
        let longer = Encoded { bytes: [whole.bytes.as_ref(), &[0]].concat().into(), ..whole };
        assert!(Expander::default().decode(&longer, CHUNK * 2).expect_err("longer").to_string().contains("go on after their end"));
    }

    proptest! {
        #[test]
        fn every_chunk_comes_back_as_it_was(chunks in proptest::collection::vec(proptest::collection::vec(0_u8..8, 0..5_000), 1..6)) {
            let (mut compressor, mut expander) = (Compressor::for_blob(&chunks.concat()), Expander::default());
            for chunk in chunks {
                let encoded = compressor.encode(&Bytes::from(chunk.clone()));
                prop_assert!(encoded.bytes.len() <= chunk.len());
                prop_assert_eq!(expander.decode(&encoded, chunk.len()).expect("sound"), chunk);
            }
        }

        #[test]
        fn bytes_from_anyone_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), bytes_max in 0_usize..10_000) {
            let chunk = Encoded { encoding: Encoding::Deflate, bytes: bytes.into() };
            if let Ok(plain) = Expander::default().decode(&chunk, bytes_max) {
                prop_assert!(plain.len() <= bytes_max);
            }
        }
    }
}
