//! What every file must hold before anything else looks at it: versions that are known, names that are unique and made by
//! someone, sizes that make sense, and no cycle.

use std::collections::HashSet;

use super::{constant, graph};
use crate::{
    error::{Error, Fault},
    onnx_pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto},
    tensor::ELEMENTS_MAX,
};

/// Versions of the format that are read: 3 is of 2017, 14 the newest published.
const IR_VERSIONS: (i64, i64) = (3, 14);
/// Versions of the default operator set that are read. Below 7, broadcasting was different.
const OPERATOR_SETS: (i64, i64) = (7, 28);
/// Longest axis that is believed.
const AXIS_MAX: i64 = 1 << 32;
/// Most elements that a graph may make of a constant shape.
const MADE_ELEMENTS_MAX: u64 = 1 << 28;
/// Most nodes in one graph; larger numbers come from broken files.
const NODES_MAX: usize = 1 << 20;

/// Checks that this is an ONNX model of a known version.
pub(super) fn versions(model: &ModelProto) -> Result<(), Error> {
    if model.graph.is_none() {
        return Err(Fault::NotOnnx { reason: "it holds no graph".into() }.into());
    }
    within("IR version", model.ir_version(), IR_VERSIONS)?;
    let default = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx"));
    match default {
        Some(set) => within("operator set", set.version(), OPERATOR_SETS),
        None if model.opset_import.is_empty() => Err(Fault::NotOnnx { reason: "it names no operator set".into() }.into()),
        None => Ok(()),
    }
}

fn within(what: &str, found: i64, (min, max): (i64, i64)) -> Result<(), Error> {
    if (min..=max).contains(&found) { Ok(()) } else { Err(Fault::Version { what: what.to_owned(), found, min, max }.into()) }
}

/// Checks a graph's names, sizes and order.
pub(super) fn graph(proto: &GraphProto) -> Result<(), Error> {
    if proto.node.is_empty() {
        return Err(Error::graph("the graph has no nodes"));
    }
    if proto.node.len() > NODES_MAX {
        return Err(Fault::TooLarge { what: "number of nodes", found: proto.node.len() as u64, max: NODES_MAX as u64 }.into());
    }
    proto.initializer.iter().try_for_each(constant::check)?;
    proto.input.iter().chain(&proto.output).try_for_each(declared_shape)?;
    unique(proto)?;
    let index = graph::Index::new(proto);
    for node in &proto.node {
        if node.op_type().is_empty() {
            return Err(Error::graph(format!("node `{}` names no operator", node.name())));
        }
        made_shape(&index, node)?;
        if let Some(name) = graph::reads(node).into_iter().find(|name| !index.has(name)) {
            return Err(Error::graph(format!("node `{}` reads `{name}`, which nothing makes", graph::label(node))));
        }
    }
    if let Some(output) = proto.output.iter().find(|output| !index.has(output.name())) {
        return Err(Error::graph(format!("output `{}` is made by nothing", output.name())));
    }
    if proto.output.is_empty() {
        return Err(Error::graph("the graph has no outputs"));
    }
    index.order().map(drop)
}

fn unique(proto: &GraphProto) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let initializers = proto.initializer.iter().map(|tensor| tensor.name());
    let made = initializers.chain(proto.node.iter().flat_map(graph::outputs));
    for name in made {
        if !seen.insert(name) {
            return Err(Error::graph(format!("value `{name}` is made twice")));
        }
    }
    let mut inputs = HashSet::new();
    for input in &proto.input {
        let node_makes_it = seen.contains(input.name()) && !proto.initializer.iter().any(|tensor| tensor.name() == input.name());
        if !inputs.insert(input.name()) || node_makes_it {
            return Err(Error::graph(format!("value `{}` is made twice", input.name())));
        }
    }
    Ok(())
}

fn declared_shape(value: &ValueInfoProto) -> Result<(), Error> {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else { return Ok(()) };
    let fixed = tensor.shape.iter().flat_map(|shape| &shape.dim).filter_map(|dim| match dim.value {
        Some(dimension::Value::DimValue(length)) => Some(length),
        _ => None,
    });
    if let Some(length) = fixed.clone().find(|length| *length == 0 || *length > AXIS_MAX) {
        return Err(Error::graph(format!("`{}` has a dimension of {length}, it must be 1 to {AXIS_MAX}", value.name())));
    }
    // Negative lengths mean open ones in some files.
    let elements = fixed.filter_map(|length| u64::try_from(length).ok()).fold(1u64, u64::saturating_mul);
    if elements > ELEMENTS_MAX {
        return Err(Error::graph(format!("`{}` has {elements} elements, at most {ELEMENTS_MAX} are allowed", value.name())));
    }
    Ok(())
}

/// Shapes that the graph itself makes of constants: an engine makes these tensors when it loads, however large.
fn made_shape(index: &graph::Index<'_>, node: &NodeProto) -> Result<(), Error> {
    let place = match node.op_type() {
        "ConstantOfShape" => 0,
        "Expand" | "Tile" => 1,
        _ => return Ok(()),
    };
    let shape = node.input.get(place).and_then(|name| index.initializers.get(name.as_str())).and_then(|tensor| constant::to_tensor(tensor));
    let lengths = shape.and_then(|shape| shape.to_i64()).unwrap_or_default();
    let elements = lengths.into_iter().filter_map(|length| u64::try_from(length).ok()).fold(1u64, u64::saturating_mul);
    if elements > MADE_ELEMENTS_MAX {
        return Err(Error::graph(format!("node `{}` makes {elements} elements, at most {MADE_ELEMENTS_MAX} are allowed", graph::label(node))));
    }
    Ok(())
}
