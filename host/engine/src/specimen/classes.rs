//! The classes of operators that models are made of, one graph for each. What a class has is what the usual exporters write for it.

use super::{SEED, Specimen, VOCABULARY, pictures};
use crate::{
    element_type::ElementType::{self, Boolean, Fp32, Int64},
    error::Error,
    generate::{DecoderSize, EncoderSize, Kind, builder::Builder, generate},
    onnx::build,
};

/// Numbers of a row.
const WIDTH: usize = 8;

type Build = fn(&mut Builder);

/// All of them.
pub(super) fn all() -> Result<Vec<Specimen>, Error> {
    // Those marked are what a perceptron or a picture classifier cannot do without.
    const PLAIN: [(&str, bool, Build); 18] = [
        ("product", true, product),
        ("product-of-two", false, product_of_two),
        ("convolution", true, pictures::convolution),
        ("depthwise-convolution", false, pictures::depthwise),
        ("transposed-convolution", false, pictures::transposed),
        ("pooling", true, pictures::pooling),
        ("resizing", false, pictures::resizing),
        ("arithmetic", true, arithmetic),
        ("activation", true, activation),
        ("batch-normalization", false, pictures::batch_normalization),
        ("layer-normalization", false, layer_normalization),
        ("softmax", true, softmax),
        ("reduction", false, reduction),
        ("arrangement", true, arrangement),
        ("joining", false, joining),
        ("selection", false, selection),
        ("comparison", false, comparison),
        ("expansion", false, expansion),
    ];
    let mut made = Vec::new();
    for (name, is_basic, build) in PLAIN {
        let mut builder = Builder::new(SEED);
        build(&mut builder);
        let specimen = Specimen::new(name, &builder.finish(name)?)?.indexing(WIDTH);
        made.push(if is_basic { specimen.basic() } else { specimen });
    }
    made.push(recurrence()?);
    made.push(quantisation()?);
    made.extend(attention()?);
    Ok(made)
}

fn row(builder: &mut Builder) -> String {
    builder.input("row", Fp32, &["batch", "8"])
}

/// Rows with six places each.
fn places(builder: &mut Builder) -> String {
    builder.input("places", Fp32, &["batch", "6", "8"])
}

fn one(builder: &mut Builder, operator: &str, value: &str) -> String {
    builder.op(operator, &[value], vec![])
}

fn two(builder: &mut Builder, operator: &str, left: &str, right: &str) -> String {
    builder.op(operator, &[left, right], vec![])
}

fn product(builder: &mut Builder) {
    let row = row(builder);
    let inner = builder.linear(&row, WIDTH, 16, true);
    let weight = builder.weight("weight", &[4, 16], 16);
    let bias = builder.near("bias", &[4], 0.0);
    let made = builder.op("Gemm", &[&inner, &weight, &bias], vec![build::integer("transB", 1), build::float("alpha", 0.5)]);
    builder.output(&made, "product", Fp32, &["batch", "4"]);
}

fn product_of_two(builder: &mut Builder) {
    let places = places(builder);
    let other = builder.input("other", Fp32, &["batch", "8", "5"]);
    let made = two(builder, "MatMul", &places, &other);
    builder.output(&made, "product", Fp32, &["batch", "6", "5"]);
}

fn arithmetic(builder: &mut Builder) {
    let places = places(builder);
    let other = builder.input("other", Fp32, &["batch", "1", "8"]);
    let sum = two(builder, "Add", &places, &other);
    let difference = two(builder, "Sub", &sum, &places);
    let product = two(builder, "Mul", &difference, &sum);
    let size = one(builder, "Abs", &product);
    let unit = builder.floats("unit", &[1.0], &[]);
    // From 1 to 5: nothing is divided by a small number, and the logarithm has something to take.
    let above = two(builder, "Add", &size, &unit);
    let ratio = two(builder, "Div", &places, &above);
    let root = one(builder, "Sqrt", &above);
    let logarithm = one(builder, "Log", &above);
    let exponential = one(builder, "Exp", &ratio);
    let larger = two(builder, "Max", &root, &exponential);
    let smaller = two(builder, "Min", &larger, &logarithm);
    let exponent = builder.floats("exponent", &[2.0], &[]);
    let power = two(builder, "Pow", &ratio, &exponent);
    let negative = one(builder, "Neg", &power);
    let all = two(builder, "Add", &smaller, &negative);
    builder.output(&all, "numbers", Fp32, &["batch", "6", "8"]);
}

fn activation(builder: &mut Builder) {
    let row = row(builder);
    let (low, high) = (builder.floats("low", &[-0.5], &[]), builder.floats("high", &[0.5], &[]));
    let clipped = builder.op("Clip", &[&row, &low, &high], vec![]);
    let leaky = builder.op("LeakyRelu", &[&row], vec![build::float("alpha", 0.1)]);
    let mut sum = two(builder, "Add", &clipped, &leaky);
    for operator in ["Relu", "Sigmoid", "Tanh", "Erf", "Softplus", "Elu", "HardSwish"] {
        let made = one(builder, operator, &row);
        sum = two(builder, "Add", &sum, &made);
    }
    builder.output(&sum, "activated", Fp32, &["batch", "8"]);
}

fn layer_normalization(builder: &mut Builder) {
    let places = places(builder);
    let (scale, bias) = (builder.near("scale", &[WIDTH], 1.0), builder.near("bias", &[WIDTH], 0.0));
    let attributes = vec![build::integer("axis", -1), build::float("epsilon", 1e-5)];
    let made = builder.op("LayerNormalization", &[&places, &scale, &bias], attributes);
    builder.output(&made, "normalized", Fp32, &["batch", "6", "8"]);
}

fn softmax(builder: &mut Builder) {
    let places = places(builder);
    let last = builder.op("Softmax", &[&places], vec![build::integer("axis", -1)]);
    builder.output(&last, "shares", Fp32, &["batch", "6", "8"]);
    let middle = builder.op("Softmax", &[&places], vec![build::integer("axis", 1)]);
    builder.output(&middle, "shares_of_places", Fp32, &["batch", "6", "8"]);
}

fn reduction(builder: &mut Builder) {
    let places = places(builder);
    let mean = builder.op("ReduceMean", &[&places], vec![build::integers("axes", &[1]), build::integer("keepdims", 0)]);
    builder.output(&mean, "mean", Fp32, &["batch", "8"]);
    let axes = builder.integers("axes", &[2]);
    let sum = builder.op("ReduceSum", &[&places, &axes], vec![build::integer("keepdims", 1)]);
    builder.output(&sum, "sum", Fp32, &["batch", "6", "1"]);
    let largest = builder.op("ReduceMax", &[&places], vec![build::integers("axes", &[-1]), build::integer("keepdims", 0)]);
    builder.output(&largest, "largest", Fp32, &["batch", "6"]);
}

fn arrangement(builder: &mut Builder) {
    let places = places(builder);
    // 0 keeps the length that is there.
    let shape = builder.integers("shape", &[0, 6, 2, 4]);
    let split = two(builder, "Reshape", &places, &shape);
    let turned = builder.op("Transpose", &[&split], vec![build::integers("perm", &[0, 2, 1, 3])]);
    let axis = builder.integers("axis", &[1]);
    let wider = two(builder, "Unsqueeze", &turned, &axis);
    let narrower = two(builder, "Squeeze", &wider, &axis);
    let flat = builder.op("Flatten", &[&narrower], vec![build::integer("axis", 1)]);
    builder.output(&flat, "flat", Fp32, &["batch", "48"]);
}

fn joining(builder: &mut Builder) {
    let places = places(builder);
    let sizes = builder.integers("sizes", &[2, 6]);
    let parts = builder.op_of_several("Split", &[&places, &sizes], vec![build::integer("axis", 2)], 2);
    let joined = builder.op("Concat", &[&parts[1], &parts[0], &places], vec![build::integer("axis", 2)]);
    builder.output(&joined, "joined", Fp32, &["batch", "6", "16"]);
}

fn selection(builder: &mut Builder) {
    let ids = builder.input("ids", Int64, &["batch", "5"]);
    let table = builder.weight("table", &[WIDTH, WIDTH], 3);
    let rows = two(builder, "Gather", &table, &ids);
    let (start, end, axis, step) =
        (builder.integers("start", &[1]), builder.integers("end", &[7]), builder.integers("axis", &[2]), builder.integers("step", &[2]));
    let part = builder.op("Slice", &[&rows, &start, &end, &axis, &step], vec![]);
    builder.output(&part, "part", Fp32, &["batch", "5", "3"]);
}

fn comparison(builder: &mut Builder) {
    let row = row(builder);
    let zero = builder.floats("zero", &[0.0], &[]);
    let (positive, negative) = (two(builder, "Greater", &row, &zero), two(builder, "Less", &row, &zero));
    let both = two(builder, "And", &positive, &negative);
    let either = two(builder, "Or", &positive, &negative);
    let neither = one(builder, "Not", &both);
    let chosen = builder.op("Where", &[&positive, &row, &zero], vec![]);
    builder.output(&chosen, "chosen", Fp32, &["batch", "8"]);
    let sound = two(builder, "And", &either, &neither);
    let last = two(builder, "And", &sound, &positive);
    builder.output(&last, "is_positive", Boolean, &["batch", "8"]);
}

fn expansion(builder: &mut Builder) {
    let row = row(builder);
    let axis = builder.integers("axis", &[1]);
    let wide = two(builder, "Unsqueeze", &row, &axis);
    let shape = builder.integers("shape", &[1, 3, 8]);
    let expanded = two(builder, "Expand", &wide, &shape);
    let times = builder.integers("times", &[1, 2, 1]);
    let tiled = two(builder, "Tile", &expanded, &times);
    let border = builder.integers("border", &[0, 1, 0, 0, 1, 2]);
    let filling = builder.floats("filling", &[0.25], &[]);
    let padded = builder.op("Pad", &[&tiled, &border, &filling], vec![build::text("mode", "constant")]);
    builder.output(&padded, "padded", Fp32, &["batch", "8", "10"]);
}

/// A recurrent layer over six steps, as PyTorch writes one.
fn recurrence() -> Result<Specimen, Error> {
    const HIDDEN: usize = 4;
    let mut builder = Builder::new(SEED);
    let steps = builder.input("steps", Fp32, &["6", "1", "8"]);
    let (input, state) = (builder.weight("input", &[1, 3 * HIDDEN, WIDTH], WIDTH), builder.weight("state", &[1, 3 * HIDDEN, HIDDEN], HIDDEN));
    let bias = builder.near("bias", &[1, 6 * HIDDEN], 0.0);
    let attributes = vec![build::integer("hidden_size", HIDDEN as i64), build::integer("linear_before_reset", 1)];
    let made = builder.op("GRU", &[&steps, &input, &state, &bias], attributes);
    builder.output(&made, "states", Fp32, &["6", "1", "1", "4"]);
    Specimen::new("recurrence", &builder.finish("recurrence")?)
}

/// To 8 bits and back, as quantised models do between layers.
fn quantisation() -> Result<Specimen, Error> {
    let mut builder = Builder::new(SEED);
    let row = row(&mut builder);
    let (scale, zero) = (builder.floats("scale", &[0.007_812_5], &[]), builder.bytes("zero", ElementType::Uint8, &[], vec![128]));
    let small = builder.op("QuantizeLinear", &[&row, &scale, &zero], vec![]);
    let back = builder.op("DequantizeLinear", &[&small, &scale, &zero], vec![]);
    let made = builder.linear(&back, WIDTH, 4, true);
    builder.output(&made, "product", Fp32, &["batch", "4"]);
    Ok(Specimen::new("quantisation", &builder.finish("quantisation")?)?.coarse())
}

/// Attention as encoders and decoders have it, and with products of few bits.
fn attention() -> Result<Vec<Specimen>, Error> {
    let encoder = EncoderSize { vocabulary: VOCABULARY, hidden: 32, layers: 1, heads: 4, feed_forward: 64, length_max: 16 };
    let decoder = DecoderSize { vocabulary: VOCABULARY, hidden: 32, layers: 1, heads: 4, kv_heads: 2, feed_forward: 64, tied: false };
    let tokens: &[(&str, usize)] = &[("sequence", 5)];
    let cached: &[(&str, usize)] = &[("sequence_length", 2), ("past_sequence_length", 3)];
    let made = |name: &str, kind: &Kind, lengths: &[(&str, usize)]| -> Result<Specimen, Error> {
        Ok(Specimen::new(name, &generate(kind, SEED)?)?.indexing(VOCABULARY).long(lengths))
    };
    Ok(vec![
        made("attention", &Kind::Encoder(encoder.clone()), tokens)?,
        made("attention-with-cache", &Kind::Decoder(decoder.clone()), cached)?,
        made("product-of-8-bits", &Kind::EncoderInt8(encoder), tokens)?.coarse(),
        made("product-of-4-bits", &Kind::DecoderInt4(decoder), cached)?.coarse(),
    ])
}
