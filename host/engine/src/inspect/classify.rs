//! Sorts nodes into four classes, which decide where a model may be cut. The trunk carries the request from block to block.
//! Constants and auxiliary nodes (masks, positions: whatever follows from small integer inputs) are made again in every shard that
//! needs them. Taking the shape of a trunk value does not hold that value: shapes follow from the border as well.

use std::collections::HashSet;

use crate::{
    element_type::ElementType,
    error::Error,
    onnx::{constant, graph, graph::Index},
    onnx_pb::{NodeProto, type_proto},
};

/// A weight of more elements than this makes its reader part of the trunk. Tables of rotary frequencies have half a head's
/// size, at most 128; the smallest weight of a real layer has more.
const SMALL_WEIGHT_ELEMENTS: u64 = 256;
/// A constant of more bytes than this, read by anything but a change of form, makes its reader part of the trunk.
const SMALL_CONSTANT_BYTES: u64 = 64 * 1024;
/// Operators that change the form of a constant and compute nothing.
const FORMING: [&str; 10] = ["Transpose", "Cast", "Reshape", "DequantizeLinear", "Unsqueeze", "Squeeze", "Slice", "Gather", "Identity", "Expand"];
/// Operators whose time counts; all else is over in no time beside them.
const HEAVY: [&str; 22] = [
    "Conv",
    "ConvTranspose",
    "ConvInteger",
    "QLinearConv",
    "MatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "MatMulNBits",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "Gemm",
    "FusedConv",
    "FusedMatMul",
    "QGemm",
    "Attention",
    "MultiHeadAttention",
    "GroupQueryAttention",
    "LSTM",
    "GRU",
    "RNN",
    "Einsum",
    "DeformConv",
];
/// Operators with graphs inside.
const NESTED: [&str; 3] = ["If", "Loop", "Scan"];

/// What a node is for cutting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// The same in every run.
    Constant,
    /// Follows from integer inputs, constants and shapes.
    Auxiliary,
    /// The shape of a trunk value.
    Shape,
    /// Carries the request.
    Trunk,
}

/// The class of every node, and the trunk in order.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    /// By node index.
    pub(crate) nodes: Vec<Class>,
    /// All node indexes in an order that can run.
    pub(crate) order: Vec<usize>,
    /// The trunk's node indexes in that order.
    pub(crate) trunk: Vec<usize>,
}

impl Classes {
    /// Classifies all nodes. Refuses a graph without a trunk, or one that is nearly all inside an `If`.
    pub(super) fn of(index: &Index<'_>) -> Result<Self, Error> {
        let order = index.order()?;
        let mut work = Work { index, nodes: vec![Class::Constant; index.graph.node.len()], from_tokens: HashSet::new() };
        for &node in &order {
            work.nodes[node] = work.class(&index.graph.node[node]);
        }
        let nodes = work.nodes;
        let trunk: Vec<usize> = order.iter().copied().filter(|&node| nodes[node] == Class::Trunk).collect();
        if trunk.is_empty() {
            return Err(Error::unsupported("no node carries the request from an input to an output: there is nothing to run"));
        }
        refuse_wrapped(index, &trunk)?;
        Ok(Self { nodes, order, trunk })
    }

    /// The class of a value.
    pub(crate) fn of_value(&self, index: &Index<'_>, name: &str) -> Class {
        match index.producers.get(name) {
            Some(&node) => self.nodes[node],
            None => input_class(index, name),
        }
    }
}

/// Whether a node's time counts.
pub(crate) fn is_heavy(node: &NodeProto) -> bool {
    HEAVY.contains(&node.op_type()) || NESTED.contains(&node.op_type())
}

fn input_class(index: &Index<'_>, name: &str) -> Class {
    let kind = index.inputs.get(name).and_then(|input| input.r#type.as_ref()).and_then(|kind| kind.value.as_ref());
    match kind {
        Some(type_proto::Value::TensorType(tensor)) if ElementType::from_onnx(tensor.elem_type()).is_some_and(ElementType::is_integer) => Class::Auxiliary,
        Some(_) => Class::Trunk,
        None => Class::Constant,
    }
}

/// Decoders merged from two (with and without a past) hold everything in the branches of one `If`.
fn refuse_wrapped(index: &Index<'_>, trunk: &[usize]) -> Result<(), Error> {
    let nodes = || trunk.iter().map(|&node| &index.graph.node[node]);
    let outside = nodes().filter(|node| node.op_type() != "If").count();
    let inside: usize = nodes().filter(|node| node.op_type() == "If").flat_map(graph::inner_graphs).map(|inner| inner.node.len()).sum();
    match nodes().find(|node| node.op_type() == "If") {
        Some(wrapper) if inside > outside => Err(Error::unsupported(format!(
            "the model lies inside the `If` node `{}` ({inside} nodes in it, {outside} beside it), export it without merging",
            graph::label(wrapper)
        ))),
        _ => Ok(()),
    }
}

struct Work<'a> {
    index: &'a Index<'a>,
    nodes: Vec<Class>,
    /// Auxiliary values that follow from token ids, not only from positions and masks.
    from_tokens: HashSet<&'a str>,
}

impl<'a> Work<'a> {
    fn class(&mut self, node: &'a NodeProto) -> Class {
        let reads = graph::reads(node);
        let classes: Vec<Class> = reads.iter().map(|name| self.of_value(name)).collect();
        if matches!(node.op_type(), "Shape" | "Size") && classes.first() == Some(&Class::Trunk) {
            return Class::Shape;
        }
        let changes_each_run = node.op_type().starts_with("Random") || matches!(node.op_type(), "Bernoulli" | "Multinomial");
        if classes.contains(&Class::Trunk) || changes_each_run || NESTED.contains(&node.op_type()) {
            return Class::Trunk;
        }
        if classes.iter().all(|class| *class == Class::Constant) {
            return Class::Constant;
        }
        if self.is_weighty(node, &reads) {
            return Class::Trunk;
        }
        if reads.iter().any(|name| self.is_token(name)) {
            self.from_tokens.extend(graph::outputs(node));
        }
        Class::Auxiliary
    }

    fn of_value(&self, name: &str) -> Class {
        self.index.producers.get(name).map_or_else(|| input_class(self.index, name), |&node| self.nodes[node])
    }

    fn is_token(&self, name: &str) -> bool {
        let is_input = self.index.inputs.contains_key(name) && !["position", "mask"].iter().any(|part| name.contains(part));
        is_input || self.from_tokens.contains(name)
    }

    /// Whether a node on auxiliary values is a layer of its own: an embedding, or anything with real weights.
    fn is_weighty(&self, node: &NodeProto, reads: &[&str]) -> bool {
        if node.op_type() == "Gather" {
            let (table, ids) = (reads.first().copied().unwrap_or_default(), reads.get(1).copied().unwrap_or_default());
            return self.of_value(table) == Class::Constant && self.is_token(ids) && self.rank(table) != Some(1);
        }
        let weights = || reads.iter().filter_map(|name| self.index.initializers.get(name));
        let elements = |tensor: &crate::onnx_pb::TensorProto| tensor.dims.iter().map(|&length| u64::try_from(length).unwrap_or(0)).product::<u64>();
        let layer = is_heavy(node) && weights().any(|tensor| elements(tensor) > SMALL_WEIGHT_ELEMENTS);
        let large = !FORMING.contains(&node.op_type()) && weights().any(|tensor| constant::size_bytes(tensor) > SMALL_CONSTANT_BYTES);
        layer || large
    }

    fn rank(&self, name: &str) -> Option<usize> {
        self.index.initializers.get(name).map(|tensor| tensor.dims.len())
    }
}
