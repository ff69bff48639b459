//! What a vendor's tool has made of a shard, for accelerators that take no ONNX: made for one set of shapes, and kept beside the shard.

use bytes::Bytes;

use crate::{digest::Digest, spec::TensorSpec};

/// A shard in the form of one accelerator. Several of one target are its *buckets*: the same shard for different shapes.
#[derive(Clone, PartialEq, Debug)]
pub struct Artefact {
    /// What it is for: `rknn:rk3588`, `acl:ascend310p`, `tensorrt`.
    pub target: String,
    /// SHA-256 of `data`.
    pub digest: Digest,
    /// The file that the vendor's tool has written.
    pub data: Bytes,
    /// The shard's inputs, with the lengths that it was made for.
    pub inputs: Vec<TensorSpec>,
    /// The shard's outputs, with the lengths that it was made for.
    pub outputs: Vec<TensorSpec>,
}
