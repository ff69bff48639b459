//! Decoders as Llama is one, under the names that the usual exporter gives: RMS norms, rotary positions, gated feed-forward parts, and
//! an attention cache whose heads may be shared by several query heads.

use super::{DecoderSize, builder::Builder, quantised::Weights};
use crate::{
    element_type::ElementType,
    error::Error,
    onnx::{OnnxFile, build},
};

/// Base of the rotary frequencies, as Llama has it.
const ROTARY_BASE: f32 = 10_000.0;

/// Values that all layers read.
struct Shared {
    cosine: String,
    sine: String,
    mask: String,
}

pub(super) fn build(size: &DecoderSize, seed: u64, products: Weights) -> Result<OnnxFile, Error> {
    let mut builder = Builder::new(seed).with_products(products);
    let tokens = ["batch_size", "sequence_length"];
    let ids = builder.input("input_ids", ElementType::Int64, &tokens);
    let mask = builder.input("attention_mask", ElementType::Int64, &["batch_size", "past_sequence_length + sequence_length"]);
    let positions = builder.input("position_ids", ElementType::Int64, &tokens);
    let (kv_heads, width) = (size.kv_heads.to_string(), (size.hidden / size.heads).to_string());
    let past = ["batch_size", &kv_heads, "past_sequence_length", &width];
    for layer in 0..size.layers {
        builder.input(&format!("past_key_values.{layer}.key"), ElementType::Fp32, &past);
        builder.input(&format!("past_key_values.{layer}.value"), ElementType::Fp32, &past);
    }
    builder.scope("embedding");
    let table = builder.weight("table", &[size.vocabulary, size.hidden], 3);
    let mut value = builder.op("Gather", &[&table, &ids], vec![]);
    builder.scope("rotary");
    let (cosine, sine) = rotary(&mut builder, &positions, size.hidden / size.heads);
    builder.scope("mask");
    let mask = causal_mask(&mut builder, &mask, &positions);
    let shared = Shared { cosine, sine, mask };
    for layer in 0..size.layers {
        builder.scope(format!("layer.{layer}"));
        value = decoder_layer(&mut builder, &value, &shared, layer, size);
    }
    builder.scope("head");
    let normed = norm(&mut builder, &value, size.hidden);
    let logits = if size.tied {
        let turned = builder.op("Transpose", &[&table], vec![build::integers("perm", &[1, 0])]);
        builder.op("MatMul", &[&normed, &turned], vec![])
    } else {
        builder.linear(&normed, size.hidden, size.vocabulary, false)
    };
    builder.output(&logits, "logits", ElementType::Fp32, &["batch_size", "sequence_length", &size.vocabulary.to_string()]);
    let present = ["batch_size", &kv_heads, "past_sequence_length + sequence_length", &width];
    for layer in 0..size.layers {
        builder.declare_output(&format!("present.{layer}.key"), ElementType::Fp32, &present);
        builder.declare_output(&format!("present.{layer}.value"), ElementType::Fp32, &present);
    }
    builder.finish("decoder")
}

/// Cosines and sines of the rotary angles: [batch, 1, 1, sequence, width].
fn rotary(builder: &mut Builder, positions: &str, width: usize) -> (String, String) {
    let frequencies: Vec<f32> = (0..width / 2).map(|pair| ROTARY_BASE.powf(-2.0 * pair as f32 / width as f32)).collect();
    let frequencies = builder.floats("frequencies", &frequencies, &[width / 2]);
    let axes = builder.integers("axes", &[1, 2, 4]);
    let positions = builder.op("Cast", &[positions], vec![build::integer("to", ElementType::Fp32.to_onnx().into())]);
    let positions = builder.op("Unsqueeze", &[&positions, &axes], vec![]);
    let angles = builder.op("Mul", &[&positions, &frequencies], vec![]);
    let angles = builder.op("Concat", &[&angles, &angles], vec![build::integer("axis", -1)]);
    (builder.op("Cos", &[&angles], vec![]), builder.op("Sin", &[&angles], vec![]))
}

/// 0 where a token sees another, a large negative number where not: [batch, 1, 1, sequence, total]. The place of a key is how
/// many tokens are seen up to it, so that padding on the left is no matter.
fn causal_mask(builder: &mut Builder, mask: &str, positions: &str) -> String {
    let (axis, one) = (builder.integers("axis", &[1]), builder.integers("one", &[1]));
    let axis = builder.op("Squeeze", &[&axis], vec![]);
    let counted = builder.op("CumSum", &[mask, &axis], vec![]);
    let places = builder.op("Sub", &[&counted, &one], vec![]);
    let (row, column) = (builder.integers("row", &[1, 2, 3]), builder.integers("column", &[1, 2, 4]));
    let places = builder.op("Unsqueeze", &[&places, &row], vec![]);
    let positions = builder.op("Unsqueeze", &[positions, &column], vec![]);
    let later = builder.op("Greater", &[&places, &positions], vec![]);
    let to_float = || vec![build::integer("to", ElementType::Fp32.to_onnx().into())];
    let later = builder.op("Cast", &[&later], to_float());
    let seen = builder.op("Unsqueeze", &[mask, &row], vec![]);
    let seen = builder.op("Cast", &[&seen], to_float());
    let unit = builder.floats("unit", &[1.0], &[]);
    let hidden = builder.op("Sub", &[&unit, &seen], vec![]);
    let hidden = builder.op("Add", &[&hidden, &later], vec![]);
    let large = builder.floats("large", &[-1e4], &[]);
    builder.op("Mul", &[&hidden, &large], vec![])
}

fn decoder_layer(builder: &mut Builder, value: &str, shared: &Shared, layer: usize, size: &DecoderSize) -> String {
    let normed = norm(builder, value, size.hidden);
    let attended = attention(builder, &normed, shared, layer, size);
    let value = builder.op("Add", &[value, &attended], vec![]);
    let normed = norm(builder, &value, size.hidden);
    let gate = builder.linear(&normed, size.hidden, size.feed_forward, false);
    let sigmoid = builder.op("Sigmoid", &[&gate], vec![]);
    let gate = builder.op("Mul", &[&gate, &sigmoid], vec![]);
    let up = builder.linear(&normed, size.hidden, size.feed_forward, false);
    let inner = builder.op("Mul", &[&gate, &up], vec![]);
    let outer = builder.linear(&inner, size.feed_forward, size.hidden, false);
    builder.op("Add", &[&value, &outer], vec![])
}

/// Queries are grouped by the key head that they share: [batch, key heads, group, sequence, width].
fn attention(builder: &mut Builder, value: &str, shared: &Shared, layer: usize, size: &DecoderSize) -> String {
    let (width, group) = (size.hidden / size.heads, size.heads / size.kv_heads);
    let kv_width = size.kv_heads * width;
    let by_group = builder.integers("by_group", &[0, 0, size.kv_heads as i64, group as i64, width as i64]);
    let query = builder.linear(value, size.hidden, size.hidden, false);
    let query = builder.op("Reshape", &[&query, &by_group], vec![]);
    let query = builder.op("Transpose", &[&query], vec![build::integers("perm", &[0, 2, 3, 1, 4])]);
    let query = rotate(builder, &query, shared, width);
    let by_head = builder.integers("by_head", &[0, 0, size.kv_heads as i64, 1, width as i64]);
    let group_axis = builder.integers("group_axis", &[2]);
    let mut cached = |part: &str, turn: bool| {
        let made = builder.linear(value, size.hidden, kv_width, false);
        let made = builder.op("Reshape", &[&made, &by_head], vec![]);
        let made = builder.op("Transpose", &[&made], vec![build::integers("perm", &[0, 2, 3, 1, 4])]);
        let made = if turn { rotate(builder, &made, shared, width) } else { made };
        let made = builder.op("Squeeze", &[&made, &group_axis], vec![]);
        let present = format!("present.{layer}.{part}");
        builder.op_named("Concat", &[&format!("past_key_values.{layer}.{part}"), &made], vec![build::integer("axis", 2)], &present);
        builder.op("Unsqueeze", &[&present, &group_axis], vec![])
    };
    let (key, content) = (cached("key", true), cached("value", false));
    let key = builder.op("Transpose", &[&key], vec![build::integers("perm", &[0, 1, 2, 4, 3])]);
    let scores = builder.op("MatMul", &[&query, &key], vec![]);
    let scale = builder.floats("scale", &[1.0 / (width as f32).sqrt()], &[]);
    let scores = builder.op("Mul", &[&scores, &scale], vec![]);
    let scores = builder.op("Add", &[&scores, &shared.mask], vec![]);
    let weights = builder.op("Softmax", &[&scores], vec![build::integer("axis", -1)]);
    let mixed = builder.op("MatMul", &[&weights, &content], vec![]);
    let mixed = builder.op("Transpose", &[&mixed], vec![build::integers("perm", &[0, 3, 1, 2, 4])]);
    let merge = builder.integers("merge", &[0, 0, size.hidden as i64]);
    let mixed = builder.op("Reshape", &[&mixed, &merge], vec![]);
    builder.linear(&mixed, size.hidden, size.hidden, false)
}

/// x·cos + rotated(x)·sin, where rotated swaps the halves of the last axis and negates the new first one.
fn rotate(builder: &mut Builder, value: &str, shared: &Shared, width: usize) -> String {
    let half = width as i64 / 2;
    let (zero, middle, end, axis) =
        (builder.integers("zero", &[0]), builder.integers("middle", &[half]), builder.integers("end", &[2 * half]), builder.integers("axis", &[4]));
    let first = builder.op("Slice", &[value, &zero, &middle, &axis], vec![]);
    let second = builder.op("Slice", &[value, &middle, &end, &axis], vec![]);
    let second = builder.op("Neg", &[&second], vec![]);
    let turned = builder.op("Concat", &[&second, &first], vec![build::integer("axis", -1)]);
    let straight = builder.op("Mul", &[value, &shared.cosine], vec![]);
    let turned = builder.op("Mul", &[&turned, &shared.sine], vec![]);
    builder.op("Add", &[&straight, &turned], vec![])
}

/// x / √(mean(x²) + ε), scaled.
fn norm(builder: &mut Builder, value: &str, width: usize) -> String {
    let squares = builder.op("Mul", &[value, value], vec![]);
    let mean = builder.op("ReduceMean", &[&squares], vec![build::integers("axes", &[-1]), build::integer("keepdims", 1)]);
    let epsilon = builder.floats("epsilon", &[1e-5], &[]);
    let mean = builder.op("Add", &[&mean, &epsilon], vec![]);
    let root = builder.op("Sqrt", &[&mean], vec![]);
    let scaled = builder.op("Div", &[value, &root], vec![]);
    let scale = builder.near("scale", &[width], 1.0);
    builder.op("Mul", &[&scaled, &scale], vec![])
}
