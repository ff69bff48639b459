//! Transformer encoders, built as exporters write them: post-norm, learned positions, and a mask that takes the trunk's shape.

use super::{EncoderSize, builder::Builder, quantised::Weights};
use crate::{
    element_type::ElementType,
    error::Error,
    onnx::{OnnxFile, build},
};

pub(super) fn build(size: &EncoderSize, seed: u64, products: Weights) -> Result<OnnxFile, Error> {
    let mut builder = Builder::new(seed).with_products(products);
    let ids = builder.input("input_ids", ElementType::Int64, &["batch", "sequence"]);
    let mask = builder.input("attention_mask", ElementType::Int64, &["batch", "sequence"]);
    builder.scope("embedding");
    let mut value = embedding(&mut builder, &ids, size);
    builder.scope("mask");
    let bias = mask_bias(&mut builder, &mask, &value);
    for layer in 0..size.layers {
        builder.scope(format!("layer.{layer}"));
        let attended = attention(&mut builder, &value, &bias, size);
        let sum = builder.op("Add", &[&attended, &value], vec![]);
        let normed = norm(&mut builder, &sum, size.hidden);
        let inner = builder.linear(&normed, size.hidden, size.feed_forward, true);
        let inner = gelu(&mut builder, &inner);
        let outer = builder.linear(&inner, size.feed_forward, size.hidden, true);
        let sum = builder.op("Add", &[&outer, &normed], vec![]);
        value = norm(&mut builder, &sum, size.hidden);
    }
    builder.output(&value, "last_hidden_state", ElementType::Fp32, &["batch", "sequence", &size.hidden.to_string()]);
    builder.finish("encoder")
}

fn embedding(builder: &mut Builder, ids: &str, size: &EncoderSize) -> String {
    let table = builder.weight("table", &[size.vocabulary, size.hidden], 3);
    let words = builder.op("Gather", &[&table, ids], vec![]);
    let positions = builder.weight("positions", &[size.length_max, size.hidden], 3);
    let shape = builder.op("Shape", &[ids], vec![]);
    let (zero, one, axis) = (builder.integers("zero", &[0]), builder.integers("one", &[1]), builder.integers("axis", &[0]));
    let length = builder.op("Gather", &[&shape, &one], vec![]);
    let positions = builder.op("Slice", &[&positions, &zero, &length, &axis], vec![]);
    let sum = builder.op("Add", &[&words, &positions], vec![]);
    norm(builder, &sum, size.hidden)
}

/// 0 where a token is seen, a large negative number where not: [batch, 1, sequence, sequence].
fn mask_bias(builder: &mut Builder, mask: &str, like: &str) -> String {
    let axes = builder.integers("axes", &[1, 2]);
    let wide = builder.op("Unsqueeze", &[mask, &axes], vec![]);
    let shape = builder.op("Shape", &[like], vec![]);
    let (zero, one) = (builder.integers("zero", &[0]), builder.integers("one", &[1]));
    let batch = builder.op("Gather", &[&shape, &zero], vec![]);
    let length = builder.op("Gather", &[&shape, &one], vec![]);
    let target = builder.op("Concat", &[&batch, &one, &length, &length], vec![build::integer("axis", 0)]);
    let full = builder.op("Expand", &[&wide, &target], vec![]);
    let full = builder.op("Cast", &[&full], vec![build::integer("to", ElementType::Fp32.to_onnx().into())]);
    let (unit, large) = (builder.floats("unit", &[1.0], &[]), builder.floats("large", &[1e4], &[]));
    let hidden = builder.op("Sub", &[&full, &unit], vec![]);
    builder.op("Mul", &[&hidden, &large], vec![])
}

fn attention(builder: &mut Builder, value: &str, bias: &str, size: &EncoderSize) -> String {
    let width = size.hidden / size.heads;
    let split = builder.integers("split", &[0, 0, size.heads as i64, width as i64]);
    let mut heads = |order: &[i64]| {
        let projected = builder.linear(value, size.hidden, size.hidden, true);
        let shaped = builder.op("Reshape", &[&projected, &split], vec![]);
        builder.op("Transpose", &[&shaped], vec![build::integers("perm", order)])
    };
    let (query, key, content) = (heads(&[0, 2, 1, 3]), heads(&[0, 2, 3, 1]), heads(&[0, 2, 1, 3]));
    let scores = builder.op("MatMul", &[&query, &key], vec![]);
    let scale = builder.floats("scale", &[(width as f32).sqrt()], &[]);
    let scores = builder.op("Div", &[&scores, &scale], vec![]);
    let scores = builder.op("Add", &[&scores, bias], vec![]);
    let weights = builder.op("Softmax", &[&scores], vec![build::integer("axis", -1)]);
    let mixed = builder.op("MatMul", &[&weights, &content], vec![]);
    let mixed = builder.op("Transpose", &[&mixed], vec![build::integers("perm", &[0, 2, 1, 3])]);
    let merge = builder.integers("merge", &[0, 0, size.hidden as i64]);
    let mixed = builder.op("Reshape", &[&mixed, &merge], vec![]);
    builder.linear(&mixed, size.hidden, size.hidden, true)
}

fn norm(builder: &mut Builder, value: &str, width: usize) -> String {
    let scale = builder.near("scale", &[width], 1.0);
    let bias = builder.near("bias", &[width], 0.0);
    builder.op("LayerNormalization", &[value, &scale, &bias], vec![build::integer("axis", -1), build::float("epsilon", 1e-5)])
}

/// x·(1 + erf(x/√2))/2.
fn gelu(builder: &mut Builder, value: &str) -> String {
    let (root, one, half) = (builder.floats("root", &[std::f32::consts::SQRT_2], &[]), builder.floats("one", &[1.0], &[]), builder.floats("half", &[0.5], &[]));
    let scaled = builder.op("Div", &[value, &root], vec![]);
    let error = builder.op("Erf", &[&scaled], vec![]);
    let sum = builder.op("Add", &[&error, &one], vec![]);
    let product = builder.op("Mul", &[value, &sum], vec![]);
    builder.op("Mul", &[&product, &half], vec![])
}
