//! What a range of blocks needs to stand alone: its trunk nodes, the auxiliary nodes and constants they follow from (made again in
//! every piece that needs them), and stand-ins for shapes of values that live elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    Border,
    classify::{Class, Classes},
    shapes::Shapes,
};
use crate::{
    error::{Error, Fault},
    linear::Linear,
    onnx::{constant, graph, graph::Index},
    onnx_pb::NodeProto,
    spec::TensorSpec,
    tract::facts::Facts,
};

/// A constant may be folded when it grows by no more than this many bytes: folding `DequantizeLinear` would undo the saving.
const FOLD_GROWTH_BYTES: u64 = 64 * 1024;

/// All that is known of a model, borrowed together.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) index: &'a Index<'a>,
    pub(crate) classes: &'a Classes,
    pub(crate) shapes: &'a Shapes,
    pub(crate) facts: &'a Facts,
    pub(crate) inputs: &'a [TensorSpec],
}

/// The parts of a range of blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    /// Node indexes in an order that can run.
    pub(crate) nodes: Vec<usize>,
    /// Weights as they lie in the file.
    pub(crate) initializers: BTreeSet<String>,
    /// Constant values that are computed now and become weights, with the weights that they follow from.
    pub(crate) folded: BTreeMap<String, BTreeSet<String>>,
    /// The model's inputs that it reads.
    pub(crate) inputs: BTreeSet<String>,
    /// Shapes of values of other pieces: the value that stands for the shape, and how to make it here.
    pub(crate) foreign_shapes: Vec<(NodeProto, ForeignShape)>,
    /// The model's outputs that it makes.
    pub(crate) outputs: Vec<String>,
}

/// How to make the shape of a value that lives in another piece.
#[derive(Clone, Debug)]
pub(crate) enum ForeignShape {
    /// This value has the same one.
    Same(String),
    /// Axis by axis.
    Axes(Vec<AxisSource>),
}

/// How to make one axis: a constant and the lengths of axes of local values.
#[derive(Clone, Debug)]
pub(crate) struct AxisSource {
    pub(crate) constant: i64,
    /// Value, axis and factor.
    pub(crate) parts: Vec<(String, usize, i64)>,
}

impl Piece {
    /// The parts of blocks `start..end`.
    pub(crate) fn new(view: &View<'_>, borders: &[Border], start: usize, end: usize) -> Result<Self, Error> {
        let position = |border: usize| borders.get(border).map_or(view.classes.trunk.len(), |border| border.position);
        let first = start.checked_sub(1).map_or(0, &position);
        let last = position(end.saturating_sub(1));
        let border_in = start.checked_sub(1).and_then(|border| borders.get(border)).map(|border| border.spec.name.as_str());
        let trunk: HashSet<usize> = view.classes.trunk[first..last].iter().copied().collect();
        let mut gather =
            Gather { view: *view, border_in, trunk, local_inputs: HashSet::new(), seen: HashSet::new(), included: HashSet::new(), piece: Self::default() };
        gather.run(end == borders.len() + 1)?;
        let mut piece = gather.piece;
        piece.nodes = view.classes.order.iter().copied().filter(|node| gather.included.contains(node)).collect();
        Ok(piece)
    }

    /// Every weight of the file that it follows from, folded or not.
    pub(crate) fn weights(&self) -> BTreeSet<&str> {
        self.initializers.iter().chain(self.folded.values().flatten()).map(String::as_str).collect()
    }
}

struct Gather<'a> {
    view: View<'a>,
    border_in: Option<&'a str>,
    /// Trunk nodes of the range.
    trunk: HashSet<usize>,
    /// Trunk inputs of the model that the range reads, such as its part of the attention cache.
    local_inputs: HashSet<&'a str>,
    seen: HashSet<&'a str>,
    included: HashSet<usize>,
    piece: Piece,
}

impl<'a> Gather<'a> {
    fn run(&mut self, is_last: bool) -> Result<(), Error> {
        let graph = self.view.index.graph;
        let nodes: Vec<usize> = self.view.classes.trunk.iter().copied().filter(|node| self.trunk.contains(node)).collect();
        let reads: Vec<&str> = nodes.iter().flat_map(|&node| graph::reads(&graph.node[node])).collect();
        self.included.extend(&nodes);
        let is_trunk_input = |name: &&str| self.view.index.inputs.contains_key(name) && self.view.classes.of_value(self.view.index, name) == Class::Trunk;
        self.local_inputs = reads.iter().copied().filter(is_trunk_input).collect();
        self.need_all(reads)?;
        for output in &graph.output {
            let name = output.name();
            let made_here = match self.view.index.producers.get(name) {
                Some(node) if self.view.classes.nodes[*node] == Class::Trunk => self.trunk.contains(node),
                _ => is_last,
            };
            if made_here {
                self.need_all(vec![name])?;
                self.piece.outputs.push(name.to_owned());
            }
        }
        Ok(())
    }

    /// Takes in values and all that they follow from.
    fn need_all(&mut self, mut waiting: Vec<&'a str>) -> Result<(), Error> {
        while let Some(name) = waiting.pop() {
            if !self.seen.insert(name) || self.border_in == Some(name) {
                continue;
            }
            let index = self.view.index;
            if index.initializers.contains_key(name) {
                self.piece.initializers.insert(name.to_owned());
                continue;
            }
            let Some(&node) = index.producers.get(name) else {
                self.piece.inputs.insert(name.to_owned());
                continue;
            };
            let proto = &index.graph.node[node];
            match self.view.classes.nodes[node] {
                Class::Trunk if self.trunk.contains(&node) => {}
                Class::Trunk => return Err(Error::unsupported(format!("value `{name}` crosses the cut beside the border"))),
                Class::Constant if self.fold(name, proto) => {}
                Class::Shape if !self.is_local(proto) => {
                    let source = self.foreign_shape(proto)?;
                    self.need_sources(&source, &mut waiting);
                    self.piece.foreign_shapes.push((proto.clone(), source));
                }
                _ => {
                    self.included.insert(node);
                    waiting.extend(graph::reads(proto));
                }
            }
        }
        Ok(())
    }

    fn is_local(&self, shape: &NodeProto) -> bool {
        let name = shape.input.first().map(String::as_str).unwrap_or_default();
        let made_here = self.view.index.producers.get(name).is_some_and(|node| self.trunk.contains(node));
        made_here || self.border_in == Some(name) || self.local_inputs.contains(name)
    }

    /// Makes a constant a weight, unless it is none that tensors here can hold, or it would grow.
    fn fold(&mut self, name: &'a str, node: &NodeProto) -> bool {
        let leaves = leaves(self.view.index, name);
        let size = |leaf: &&str| self.view.index.initializers.get(leaf).map_or(0, |tensor| constant::size_bytes(tensor));
        let before: u64 = leaves.iter().map(size).sum();
        let grows = self.view.facts.size_bytes(name) > before + FOLD_GROWTH_BYTES;
        let is_plain = node.op_type() == "Constant";
        let known = self.view.facts.values.get(name).is_some_and(|fact| fact.constant().is_some());
        if is_plain || grows || !known {
            return false;
        }
        self.piece.folded.insert(name.to_owned(), leaves.into_iter().map(str::to_owned).collect());
        true
    }

    fn need_sources(&self, source: &ForeignShape, waiting: &mut Vec<&'a str>) {
        let names: Vec<&String> = match source {
            ForeignShape::Same(name) => vec![name],
            ForeignShape::Axes(axes) => axes.iter().flat_map(|axis| &axis.parts).map(|part| &part.0).collect(),
        };
        // Sources are the border or inputs of the model; their own names live as long as the graph.
        waiting.extend(names.into_iter().filter_map(|name| self.view.index.inputs.get_key_value(name.as_str()).map(|(key, _)| *key)));
    }

    fn foreign_shape(&self, shape: &NodeProto) -> Result<ForeignShape, Error> {
        let name = shape.input.first().map(String::as_str).unwrap_or_default();
        let missing = || Error::from(Fault::Missing { what: "shape of value", name: name.to_owned() });
        let wanted = self.view.shapes.axes(name).ok_or_else(missing)?;
        if shape.op_type() != "Shape" || !shape.attribute.is_empty() {
            return Err(Error::unsupported(format!("`{}` of `{name}` cannot be made on the other side of a cut", shape.op_type())));
        }
        let sources = self.sources();
        if let Some((same, _)) = sources.iter().find(|(_, axes)| *axes == wanted) {
            return Ok(ForeignShape::Same((*same).to_owned()));
        }
        let axes = wanted.iter().map(|axis| axis_source(axis, &sources).ok_or_else(missing)).collect::<Result<_, _>>()?;
        Ok(ForeignShape::Axes(axes))
    }

    /// Values of this piece whose axes can be asked for: the border first, then its own inputs, then small ones of the model.
    fn sources(&self) -> Vec<(&str, &[Linear])> {
        let own = self.view.inputs.iter().filter(|spec| self.local_inputs.contains(spec.name.as_str()));
        let small = self.view.inputs.iter().filter(|spec| spec.element_type.is_integer());
        let names = self.border_in.into_iter().chain(own.chain(small).map(|spec| spec.name.as_str()));
        names.filter_map(|name| Some((name, self.view.shapes.axes(name)?))).collect()
    }
}

/// An axis from the axes of sources: the same one, or a sum of single ones.
fn axis_source(wanted: &Linear, sources: &[(&str, &[Linear])]) -> Option<AxisSource> {
    let find = |axis: &Linear| {
        let place = |(name, axes): &(&str, &[Linear])| Some(((*name).to_owned(), axes.iter().position(|other| other == axis)?));
        sources.iter().find_map(place)
    };
    if wanted.terms.is_empty() {
        return Some(AxisSource { constant: wanted.constant, parts: Vec::new() });
    }
    if let Some((name, axis)) = find(wanted) {
        return Some(AxisSource { constant: 0, parts: vec![(name, axis, 1)] });
    }
    let part = |(symbol, factor): (&String, &i64)| find(&Linear::symbol(symbol)).map(|(name, axis)| (name, axis, *factor));
    let parts = wanted.terms.iter().map(part).collect::<Option<Vec<_>>>()?;
    Some(AxisSource { constant: wanted.constant, parts })
}

/// The weights that a constant follows from.
fn leaves<'a>(index: &Index<'a>, name: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut waiting = vec![name];
    while let Some(name) = waiting.pop() {
        if !seen.insert(name) {
            continue;
        }
        if let Some((name, _)) = index.initializers.get_key_value(name) {
            found.insert(*name);
        } else if let Some(&node) = index.producers.get(name) {
            waiting.extend(graph::reads(&index.graph.node[node]));
        }
    }
    found
}
