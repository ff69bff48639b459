//! Pieces of files from peers: never more than the limit comes out of one, and a broken one leaves nothing behind that would
//! spoil the next.

#![no_main]

use bytes::Bytes;
use host_wire::{
    compression::{Compressor, Expander},
    peer::{Chunk, pb},
};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

/// Most bytes of a chunk, plain, as `proto/peer.proto` has it.
const CHUNK_BYTES_MAX: usize = 256 << 10;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut expander = Expander::default();
    if let Some(chunk) = pb::Chunk::decode(bytes.clone()).ok().and_then(|wire| Chunk::try_from(wire).ok()) {
        // A file shorter than a chunk makes the limit small.
        let bytes_max = usize::try_from(chunk.file.0).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX);
        if let Ok(plain) = expander.decode(&chunk.encoded, bytes_max) {
            assert!(plain.len() <= bytes_max, "{} bytes, at most {bytes_max} are accepted", plain.len());
        }
        assert_eq!(Chunk::try_from(pb::Chunk::from(chunk.clone())), Ok(chunk));
    }
    // The same bytes as a file of our own, after whatever came before.
    let encoded = Compressor::for_blob(&bytes).encode(&bytes);
    assert_eq!(expander.decode(&encoded, bytes.len()), Ok(bytes));
});
