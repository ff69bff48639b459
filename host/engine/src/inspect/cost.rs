//! What each block costs: operations, weights, bytes moved and scratch memory, by formulas over the planned shapes. With these
//! formulas and four coefficients per device, times of shards of CNNs, encoders and decoders were predicted to 11 % on average.

use std::collections::{BTreeMap, BTreeSet};

use host_core::{
    model::{Block, SharedWeight},
    units::Bytes,
};

use super::{
    Border,
    classify::Class,
    flops::flops,
    piece::{Piece, View},
};
use crate::{
    binding::is_past,
    error::Error,
    linear::Linear,
    onnx::{constant, graph},
    onnx_pb::NodeProto,
    spec::TensorSpec,
};

/// Smaller weights are counted in every block that reads them: masks and shapes are not worth an entry of their own.
const SHARED_BYTES_MIN: u64 = 4096;

/// One cost per piece.
pub(super) fn blocks(view: &View<'_>, pieces: &[Piece], borders: &[Border], outputs: &[TensorSpec]) -> Result<Vec<Block>, Error> {
    let shared: BTreeSet<&str> = readers(view, pieces).into_iter().filter(|(_, blocks)| blocks.len() > 1).map(|(name, _)| name).collect();
    let block = |(number, piece): (usize, &Piece)| {
        let nodes = || piece.nodes.iter().filter(|node| view.classes.nodes[**node] == Class::Trunk).map(|&node| &view.index.graph.node[node]);
        let leaving: Vec<&str> = match borders.get(number) {
            Some(border) => vec![&border.spec.name],
            None => outputs.iter().map(|output| output.name.as_str()).collect(),
        };
        let own = piece.weights().into_iter().filter(|name| !shared.contains(name));
        Block {
            name: leaving.first().copied().unwrap_or_default().to_owned(),
            flops: nodes().map(|node| flops(node, &|name| view.facts.shape(name))).sum(),
            weights: own.map(|name| weight_size(view, name)).sum(),
            activations: nodes().map(|node| activations(view, node)).sum(),
            border: leaving.into_iter().map(|name| Bytes(view.facts.size_bytes(name))).sum(),
            kv_per_token: piece.inputs.iter().map(|name| kv_per_token(view, name)).sum(),
            workspace: nodes().map(|node| activations(view, node) + columns(view, node)).max().unwrap_or_default(),
        }
    };
    Ok(pieces.iter().enumerate().map(block).collect())
}

/// Weights that more than one block reads, such as a tied embedding.
pub(super) fn shared(view: &View<'_>, pieces: &[Piece]) -> Vec<SharedWeight> {
    let several = readers(view, pieces).into_iter().filter(|(_, blocks)| blocks.len() > 1);
    several.map(|(name, blocks)| SharedWeight { size: weight_size(view, name), blocks }).collect()
}

/// The blocks that read each weight of a size worth an entry.
fn readers<'a>(view: &View<'_>, pieces: &'a [Piece]) -> BTreeMap<&'a str, Vec<u32>> {
    let mut readers: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (block, piece) in (0u32..).zip(pieces) {
        for name in piece.weights().into_iter().filter(|name| weight_size(view, name).0 >= SHARED_BYTES_MIN) {
            readers.entry(name).or_default().push(block);
        }
    }
    readers
}

fn weight_size(view: &View<'_>, name: &str) -> Bytes {
    Bytes(view.index.initializers.get(name).map_or(0, |tensor| constant::size_bytes(tensor)))
}

/// Inputs and outputs of a node, weights not counted. A table that is gathered from counts as what is read of it.
fn activations(view: &View<'_>, node: &NodeProto) -> Bytes {
    let moves = |name: &&str| view.classes.of_value(view.index, name) != Class::Constant;
    let read: u64 = graph::reads(node).into_iter().filter(moves).map(|name| view.facts.size_bytes(name)).sum();
    let written: u64 = graph::outputs(node).map(|name| view.facts.size_bytes(name)).sum();
    Bytes(read.saturating_add(written))
}

/// What a convolution with a kernel wider than one lays out before it multiplies.
fn columns(view: &View<'_>, node: &NodeProto) -> Bytes {
    let (Some(output), Some(kernel)) = (output_shape(view, node), kernel_shape(view, node)) else { return Bytes::ZERO };
    let window: usize = kernel.iter().skip(2).product();
    if window <= 1 || node.op_type() != "Conv" {
        return Bytes::ZERO;
    }
    let column = Bytes(kernel.iter().skip(1).product::<usize>() as u64 * 4);
    output.iter().skip(2).fold(column, |size, &length| size.times(length as u64))
}

/// Cache of one token, when this is an input of an attention cache: its size without the batch and the past.
fn kv_per_token(view: &View<'_>, name: &str) -> Bytes {
    let Some(spec) = view.inputs.iter().find(|spec| spec.name == name && !spec.element_type.is_integer()) else { return Bytes::ZERO };
    let axes: Vec<Linear> = spec.shape.iter().map(Linear::from).collect();
    let has_past = axes.iter().any(|axis| axis.terms.keys().any(|symbol| is_past(symbol)));
    if !has_past {
        return Bytes::ZERO;
    }
    let per_token: i64 = axes.iter().filter(|axis| axis.terms.is_empty()).map(|axis| axis.constant).product();
    Bytes(u64::try_from(per_token).unwrap_or(0) * spec.element_type.size_bytes() as u64)
}

fn output_shape<'a>(view: &View<'a>, node: &NodeProto) -> Option<&'a [usize]> {
    view.facts.shape(node.output.first()?)
}

fn kernel_shape<'a>(view: &View<'a>, node: &NodeProto) -> Option<&'a [usize]> {
    view.facts.shape(node.input.get(1)?)
}
