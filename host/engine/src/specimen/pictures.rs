//! Classes of operators on pictures: four channels of 8 by 8 pixels.

use crate::{element_type::ElementType::Fp32, generate::builder::Builder, onnx::build, onnx_pb::AttributeProto};

/// Channels of the picture.
const CHANNELS: usize = 4;
/// Height and width of each kernel.
const KERNEL: usize = 3;

fn picture(builder: &mut Builder) -> String {
    builder.input("picture", Fp32, &["batch", "4", "8", "8"])
}

/// A square window that moves by `stride` over a picture with a border of `border` pixels.
fn window(size: usize, stride: i64, border: i64) -> Vec<AttributeProto> {
    let size = size as i64;
    vec![build::integers("kernel_shape", &[size, size]), build::integers("strides", &[stride, stride]), build::integers("pads", &[border; 4])]
}

fn convolved(builder: &mut Builder, value: &str, channels: usize, group: usize, stride: i64) -> String {
    let inner = CHANNELS / group;
    let weight = builder.weight("weight", &[channels, inner, KERNEL, KERNEL], inner * KERNEL * KERNEL);
    let bias = builder.near("bias", &[channels], 0.0);
    let mut attributes = window(KERNEL, stride, 1);
    attributes.push(build::integer("group", group as i64));
    builder.op("Conv", &[value, &weight, &bias], attributes)
}

pub(super) fn convolution(builder: &mut Builder) {
    let picture = picture(builder);
    let made = convolved(builder, &picture, CHANNELS, 1, 1);
    let halved = convolved(builder, &made, 6, 1, 2);
    builder.output(&halved, "features", Fp32, &["batch", "6", "4", "4"]);
}

pub(super) fn depthwise(builder: &mut Builder) {
    let picture = picture(builder);
    let made = convolved(builder, &picture, CHANNELS, CHANNELS, 1);
    builder.output(&made, "features", Fp32, &["batch", "4", "8", "8"]);
}

pub(super) fn transposed(builder: &mut Builder) {
    let picture = picture(builder);
    let weight = builder.weight("weight", &[CHANNELS, 3, 2, 2], CHANNELS);
    let bias = builder.near("bias", &[3], 0.0);
    let made = builder.op("ConvTranspose", &[&picture, &weight, &bias], window(2, 2, 0));
    builder.output(&made, "larger", Fp32, &["batch", "3", "16", "16"]);
}

pub(super) fn pooling(builder: &mut Builder) {
    let picture = picture(builder);
    let largest = builder.op("MaxPool", &[&picture], window(2, 2, 0));
    let mean = builder.op("AveragePool", &[&largest], window(KERNEL, 1, 1));
    builder.output(&mean, "pooled", Fp32, &["batch", "4", "4", "4"]);
    let whole = builder.op("GlobalAveragePool", &[&picture], vec![]);
    builder.output(&whole, "means", Fp32, &["batch", "4", "1", "1"]);
}

pub(super) fn resizing(builder: &mut Builder) {
    let picture = picture(builder);
    let scales = builder.floats("scales", &[1.0, 1.0, 2.0, 2.0], &[4]);
    let words = [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
    let attributes = words.map(|(name, value)| build::text(name, value)).to_vec();
    let made = builder.op("Resize", &[&picture, "", &scales], attributes);
    builder.output(&made, "larger", Fp32, &["batch", "4", "16", "16"]);
}

pub(super) fn batch_normalization(builder: &mut Builder) {
    let picture = picture(builder);
    let [scale, bias, mean] = [("scale", 1.0), ("bias", 0.0), ("mean", 0.0)].map(|(label, center)| builder.near(label, &[CHANNELS], center));
    let variance = builder.near("variance", &[CHANNELS], 1.0);
    let made = builder.op("BatchNormalization", &[&picture, &scale, &bias, &mean, &variance], vec![build::float("epsilon", 1e-5)]);
    builder.output(&made, "normalized", Fp32, &["batch", "4", "8", "8"]);
}
