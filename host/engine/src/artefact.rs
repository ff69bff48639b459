//! What a vendor's tool made of a shard: a file for one kind of accelerator and one set of shapes, kept beside the shard's own.

use bytes::Bytes;

use crate::{digest::Digest, spec::TensorSpec};

/// A shard in the form that one kind of accelerator loads. Several with one target are its buckets.
#[derive(Clone, PartialEq, Debug)]
pub struct Artefact {
    /// What it was converted for: `rknn:rk3588`, `acl:ascend310p`, `tensorrt`.
    pub target: String,
    /// SHA-256 of `data`.
    pub digest: Digest,
    /// The file.
    pub data: Bytes,
    /// Inputs in the shard's order, with the lengths that it was converted for.
    pub inputs: Vec<TensorSpec>,
    /// Outputs in the shard's order, with the lengths that it was converted for.
    pub outputs: Vec<TensorSpec>,
}
