//! The smallest models there are, written byte by byte: one operator from `x` to `y`. Generators of the host make no such types.

use host_core::{
    ids::{ModelId, ModelName},
    shard::{BlockRange, ShardId},
    units::Bytes,
};
use host_engine::{Digest, Dimension, ElementType, Shard, TensorSpec};

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push((value & 127 | 128) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn whole(field: u64, value: u64) -> Vec<u8> {
    [number(field << 3), number(value)].concat()
}

fn part(field: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [number(field << 3 | 2), number(bytes.len() as u64), bytes.to_vec()].concat()
}

/// The number that ONNX files have for a type.
fn onnx(element_type: ElementType) -> u64 {
    match element_type {
        ElementType::Fp32 => 1,
        ElementType::Uint8 => 2,
        ElementType::Int8 => 3,
        ElementType::Uint16 => 4,
        ElementType::Int16 => 5,
        ElementType::Int32 => 6,
        ElementType::Int64 => 7,
        ElementType::Boolean => 9,
        ElementType::Fp16 => 10,
        ElementType::Fp64 => 11,
        ElementType::Uint32 => 12,
        ElementType::Uint64 => 13,
        ElementType::Bf16 => 16,
    }
}

fn value(name: &str, element_type: ElementType) -> Vec<u8> {
    let shape = part(1, part(2, "length"));
    let tensor = [whole(1, onnx(element_type)), part(2, shape)].concat();
    [part(1, name), part(2, part(1, tensor))].concat()
}

/// `y = OPERATOR(x)`, both of one type and of any length.
pub fn one_operator(operator: &str, domain: &str, element_type: ElementType) -> Shard {
    let node = [part(1, "x"), part(2, "y"), part(3, "the-node"), part(4, operator), part(7, domain)].concat();
    let graph = [part(1, node), part(2, "graph"), part(11, value("x", element_type)), part(12, value("y", element_type))].concat();
    let opset = |domain: &str, version: u64| part(8, [part(1, domain), whole(2, version)].concat());
    let own = if domain.is_empty() { Vec::new() } else { opset(domain, 1) };
    let file: bytes::Bytes = [whole(1, 8), part(7, graph), opset("", 17), own].concat().into();
    let spec = |name: &str| TensorSpec { name: name.to_owned(), element_type, shape: vec![Dimension::Symbol("length".into())] };
    let model = ModelId { name: ModelName::parse("tiny").expect("a name"), version: 1 };
    Shard {
        id: ShardId { model, range: BlockRange::new(0, 1).expect("one block") },
        digest: Digest::of(&file),
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
        border_in: None,
        border_out: None,
        operators: vec![operator.to_owned()],
        weight_bytes: Bytes::ZERO,
        file,
        golden: None,
        artefacts: Vec::new(),
    }
}
