//! Making nodes, values and models: what the generators and the splitter write with.

use crate::{
    element_type::ElementType,
    onnx_pb::{
        AttributeProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
        tensor_shape_proto, type_proto,
    },
    spec::{Dimension, TensorSpec},
    tensor::Tensor,
};

/// The operator set that generated models use; the newest that engines in the field all take.
pub(crate) const OPERATOR_SET: i64 = 17;
/// The format version that goes with it.
const IR_VERSION: i64 = 8;

/// A node of the default domain.
pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        name: Some(format!("{}/{operator}", outputs.first().copied().unwrap_or_default())),
        op_type: Some(operator.to_owned()),
        input: owned(inputs),
        output: owned(outputs),
        attribute: attributes,
        ..NodeProto::default()
    }
}

pub(crate) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), i: Some(value), r#type: Some(AttributeType::Int as i32), ..AttributeProto::default() }
}

pub(crate) fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), ints: values.to_vec(), r#type: Some(AttributeType::Ints as i32), ..AttributeProto::default() }
}

pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), f: Some(value), r#type: Some(AttributeType::Float as i32), ..AttributeProto::default() }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    let value = value.to_owned().into();
    AttributeProto { name: Some(name.to_owned()), s: Some(value), r#type: Some(AttributeType::String as i32), ..AttributeProto::default() }
}

/// A one-dimensional integer tensor, for shapes and axes.
pub(crate) fn shape_tensor(name: &str, values: &[i64]) -> TensorProto {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(ElementType::Int64.to_onnx()),
        dims: vec![values.len() as i64],
        raw_data: Some(data.into()),
        ..TensorProto::default()
    }
}

/// A float weight; the caller gives as many values as the shape has elements.
pub(crate) fn weight(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    debug_assert_eq!(shape.iter().product::<usize>(), values.len(), "weight {name}");
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let dims = shape.iter().map(|&length| length as i64).collect();
    TensorProto { name: Some(name.to_owned()), data_type: Some(ElementType::Fp32.to_onnx()), dims, raw_data: Some(data.into()), ..TensorProto::default() }
}

/// A weight of numbers of one byte each; the caller gives as many as the shape has elements.
pub(crate) fn byte_weight(name: &str, element_type: ElementType, shape: &[usize], data: Vec<u8>) -> TensorProto {
    debug_assert_eq!((shape.iter().product::<usize>(), 1), (data.len(), element_type.size_bytes()), "weight {name}");
    let dims = shape.iter().map(|&length| length as i64).collect();
    TensorProto { name: Some(name.to_owned()), data_type: Some(element_type.to_onnx()), dims, raw_data: Some(data.into()), ..TensorProto::default() }
}

/// A declared input or output.
pub(crate) fn value_info(spec: &TensorSpec) -> ValueInfoProto {
    let dim = |dimension: &Dimension| {
        let value = match dimension {
            Dimension::Fixed(length) => tensor_shape_proto::dimension::Value::DimValue(*length as i64),
            Dimension::Symbol(name) => tensor_shape_proto::dimension::Value::DimParam(name.clone()),
        };
        tensor_shape_proto::Dimension { value: Some(value), ..Default::default() }
    };
    let shape = TensorShapeProto { dim: spec.shape.iter().map(dim).collect() };
    let kind = type_proto::Tensor { elem_type: Some(spec.element_type.to_onnx()), shape: Some(shape) };
    ValueInfoProto {
        name: Some(spec.name.clone()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(kind)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

/// A model around a graph, with the default operator set.
pub(crate) fn model(graph: crate::onnx_pb::GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("shardhost".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPERATOR_SET) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// A small tensor as an initializer.
pub(crate) fn initializer(name: &str, value: &Tensor) -> TensorProto {
    super::constant::from_tensor(name, value)
}
