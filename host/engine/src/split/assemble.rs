//! Puts a piece together as an ONNX model: its nodes, its weights, constants computed now, and shapes of values that are elsewhere.

use host_core::units::Bytes;

use crate::{
    error::{Error, Fault},
    inspect::piece::{AxisSource, ForeignShape, Piece, View},
    onnx::{OnnxFile, build, constant},
    onnx_pb::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto},
    spec::TensorSpec,
};

/// What a file says of itself beside its graph.
pub(super) type Labels = Vec<StringStringEntryProto>;

/// The piece as a file of its own. Operator sets and local functions are those of the whole model.
pub(super) fn assemble(
    view: &View<'_>,
    whole: &ModelProto,
    labels: Labels,
    piece: &Piece,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
) -> Result<OnnxFile, Error> {
    let mut nodes = Vec::with_capacity(piece.nodes.len());
    let mut initializer: Vec<TensorProto> = Vec::new();
    for (shape, source) in &piece.foreign_shapes {
        foreign_shape(shape, source, &mut nodes, &mut initializer);
    }
    nodes.extend(piece.nodes.iter().map(|&node| view.index.graph.node[node].clone()));
    let weights = piece.initializers.iter().filter_map(|name| view.index.initializers.get(name.as_str()));
    initializer.extend(weights.map(|tensor| (*tensor).clone()));
    for name in piece.folded.keys() {
        let value = view.facts.values.get(name).and_then(|fact| fact.constant());
        let value = value.ok_or_else(|| Fault::Missing { what: "constant", name: name.clone() })?;
        initializer.push(constant::from_tensor(name, &value));
    }
    let graph = GraphProto {
        name: Some("shard".to_owned()),
        node: nodes,
        initializer,
        input: inputs.iter().map(build::value_info).collect(),
        output: outputs.iter().map(build::value_info).collect(),
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: whole.ir_version,
        opset_import: whole.opset_import.clone(),
        functions: whole.functions.clone(),
        metadata_props: labels,
        graph: Some(graph),
        ..build::model(GraphProto::default())
    };
    OnnxFile::from_model(model)
}

/// Bytes of all weights of a file.
pub(super) fn weight_bytes(file: &OnnxFile) -> Bytes {
    file.graph().initializer.iter().map(|tensor| Bytes(constant::size_bytes(tensor))).sum()
}

/// Nodes that make the output of a `Shape` node whose input is in another shard.
fn foreign_shape(shape: &NodeProto, source: &ForeignShape, nodes: &mut Vec<NodeProto>, weights: &mut Vec<TensorProto>) {
    let output = shape.output.first().map(String::as_str).unwrap_or_default();
    match source {
        ForeignShape::Same(name) => nodes.push(build::node("Shape", &[name], &[output], vec![])),
        ForeignShape::Axes(axes) => {
            let mut maker = Maker { output, nodes, weights, made: 0 };
            let parts: Vec<String> = axes.iter().map(|axis| maker.axis(axis)).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            maker.nodes.push(build::node("Concat", &parts, &[output], vec![build::integer("axis", 0)]));
        }
    }
}

struct Maker<'a> {
    output: &'a str,
    nodes: &'a mut Vec<NodeProto>,
    weights: &'a mut Vec<TensorProto>,
    made: usize,
}

impl Maker<'_> {
    /// One axis as an integer tensor of one element; gives its name.
    fn axis(&mut self, axis: &AxisSource) -> String {
        let mut sum: Option<String> = (axis.constant != 0 || axis.parts.is_empty()).then(|| self.number(axis.constant));
        for (value, place, factor) in &axis.parts {
            let shape = self.node("Shape", &[value], vec![]);
            let place = self.number(i64::try_from(*place).unwrap_or(0));
            let mut part = self.node("Gather", &[&shape, &place], vec![build::integer("axis", 0)]);
            if *factor != 1 {
                let factor = self.number(*factor);
                part = self.node("Mul", &[&part, &factor], vec![]);
            }
            sum = Some(match sum {
                Some(sum) => self.node("Add", &[&sum, &part], vec![]),
                None => part,
            });
        }
        sum.unwrap_or_default()
    }

    fn number(&mut self, value: i64) -> String {
        let name = self.fresh();
        self.weights.push(build::shape_tensor(&name, &[value]));
        name
    }

    fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<crate::onnx_pb::AttributeProto>) -> String {
        let name = self.fresh();
        self.nodes.push(build::node(operator, inputs, &[&name], attributes));
        name
    }

    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("{}/elsewhere/{}", self.output, self.made)
    }
}
