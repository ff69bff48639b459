//! Convolutional networks. Batch norms are left out: exporters fold them into the convolutions.

use super::{CnnSize, builder::Builder};
use crate::{
    element_type::ElementType,
    error::Error,
    onnx::{OnnxFile, build},
};

/// Classes of the picture data set that `MobileNet` and `ResNet` were made for.
const CLASSES: usize = 1000;

/// One convolution's shape.
#[derive(Clone, Copy)]
struct Convolution {
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    /// Each channel on its own.
    depthwise: bool,
}

impl Convolution {
    fn new(from: usize, to: usize, kernel: usize) -> Self {
        Self { from, to, kernel, stride: 1, depthwise: false }
    }

    fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    fn depthwise(self) -> Self {
        Self { depthwise: true, ..self }
    }
}

fn convolve(builder: &mut Builder, value: &str, conv: Convolution) -> String {
    let (group, inner) = if conv.depthwise { (conv.from, 1) } else { (1, conv.from) };
    let weight = builder.weight("weight", &[conv.to, inner, conv.kernel, conv.kernel], inner * conv.kernel * conv.kernel);
    let bias = builder.near("bias", &[conv.to], 0.0);
    let (kernel, stride, pad) = (conv.kernel as i64, conv.stride as i64, (conv.kernel / 2) as i64);
    let attributes = vec![
        build::integers("kernel_shape", &[kernel, kernel]),
        build::integers("strides", &[stride, stride]),
        build::integers("pads", &[pad; 4]),
        build::integer("group", group as i64),
    ];
    builder.op("Conv", &[value, &weight, &bias], attributes)
}

fn relu(builder: &mut Builder, value: &str) -> String {
    builder.op("Relu", &[value], vec![])
}

/// `Clip` to 0..6, as mobile networks have it.
fn relu6(builder: &mut Builder, value: &str) -> String {
    let low = builder.floats("low", &[0.0], &[]);
    let high = builder.floats("high", &[6.0], &[]);
    builder.op("Clip", &[value, &low, &high], vec![])
}

fn classify(builder: &mut Builder, value: &str, channels: usize, classes: usize) {
    builder.scope("head");
    let pooled = builder.op("GlobalAveragePool", &[value], vec![]);
    let flat = builder.op("Flatten", &[&pooled], vec![build::integer("axis", 1)]);
    let weight = builder.weight("weight", &[channels, classes], channels);
    let bias = builder.near("bias", &[classes], 0.0);
    let logits = builder.op("Gemm", &[&flat, &weight, &bias], vec![]);
    builder.output(&logits, "logits", ElementType::Fp32, &["batch", &classes.to_string()]);
}

fn picture(builder: &mut Builder, pixels: usize) -> String {
    let pixels = pixels.to_string();
    builder.input("input", ElementType::Fp32, &["batch", "3", &pixels, &pixels])
}

pub(super) fn small(size: &CnnSize, seed: u64) -> Result<OnnxFile, Error> {
    let mut builder = Builder::new(seed);
    let channels = size.channels;
    let input = picture(&mut builder, size.pixels);
    builder.scope("stem");
    let stem = convolve(&mut builder, &input, Convolution::new(3, channels, 3));
    let mut value = relu(&mut builder, &stem);
    for block in 0..size.blocks {
        builder.scope(format!("block.{block}"));
        let depthwise = block % 2 == 1;
        let first = Convolution::new(channels, channels, 3);
        let first = convolve(&mut builder, &value, if depthwise { first.depthwise() } else { first });
        let first = relu(&mut builder, &first);
        let second = convolve(&mut builder, &first, Convolution::new(channels, channels, if depthwise { 1 } else { 3 }));
        let sum = builder.op("Add", &[&second, &value], vec![]);
        value = relu(&mut builder, &sum);
    }
    classify(&mut builder, &value, channels, size.classes);
    builder.finish("cnn")
}

/// `MobileNetV2` (Sandler et al., 2018): expansion, channels, repeats and stride of each group.
pub(super) fn mobilenet(pixels: usize, seed: u64) -> Result<OnnxFile, Error> {
    const GROUPS: [(usize, usize, usize, usize); 7] =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    let mut builder = Builder::new(seed);
    let input = picture(&mut builder, pixels);
    builder.scope("stem");
    let stem = convolve(&mut builder, &input, Convolution::new(3, 32, 3).stride(2));
    let mut value = relu6(&mut builder, &stem);
    let mut channels = 32;
    let blocks =
        GROUPS.iter().flat_map(|&(expansion, to, repeats, stride)| (0..repeats).map(move |repeat| (expansion, to, if repeat == 0 { stride } else { 1 })));
    for (block, (expansion, to, stride)) in blocks.enumerate() {
        builder.scope(format!("block.{block}"));
        let wide = channels * expansion;
        let mut inner = value.clone();
        if expansion != 1 {
            inner = convolve(&mut builder, &inner, Convolution::new(channels, wide, 1));
            inner = relu6(&mut builder, &inner);
        }
        inner = convolve(&mut builder, &inner, Convolution::new(wide, wide, 3).stride(stride).depthwise());
        inner = relu6(&mut builder, &inner);
        inner = convolve(&mut builder, &inner, Convolution::new(wide, to, 1));
        value = if stride == 1 && to == channels { builder.op("Add", &[&inner, &value], vec![]) } else { inner };
        channels = to;
    }
    builder.scope("last");
    let last = convolve(&mut builder, &value, Convolution::new(channels, 1280, 1));
    let last = relu6(&mut builder, &last);
    classify(&mut builder, &last, 1280, CLASSES);
    builder.finish("mobilenet")
}

/// `ResNet-50` (He et al., 2015): inner channels, repeats and stride of each group of bottlenecks.
pub(super) fn resnet50(pixels: usize, seed: u64) -> Result<OnnxFile, Error> {
    const GROUPS: [(usize, usize, usize); 4] = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)];
    let mut builder = Builder::new(seed);
    let input = picture(&mut builder, pixels);
    builder.scope("stem");
    let stem = convolve(&mut builder, &input, Convolution::new(3, 64, 7).stride(2));
    let stem = relu(&mut builder, &stem);
    let pool = vec![build::integers("kernel_shape", &[3, 3]), build::integers("strides", &[2, 2]), build::integers("pads", &[1; 4])];
    let mut value = builder.op("MaxPool", &[&stem], pool);
    let mut channels = 64;
    let blocks = GROUPS.iter().flat_map(|&(inner, repeats, stride)| (0..repeats).map(move |repeat| (inner, repeat, if repeat == 0 { stride } else { 1 })));
    for (block, (inner, repeat, stride)) in blocks.enumerate() {
        builder.scope(format!("block.{block}"));
        let to = 4 * inner;
        let first = convolve(&mut builder, &value, Convolution::new(channels, inner, 1));
        let first = relu(&mut builder, &first);
        let second = convolve(&mut builder, &first, Convolution::new(inner, inner, 3).stride(stride));
        let second = relu(&mut builder, &second);
        let third = convolve(&mut builder, &second, Convolution::new(inner, to, 1));
        let skip = if repeat == 0 { convolve(&mut builder, &value, Convolution::new(channels, to, 1).stride(stride)) } else { value };
        let sum = builder.op("Add", &[&third, &skip], vec![]);
        value = relu(&mut builder, &sum);
        channels = to;
    }
    classify(&mut builder, &value, channels, CLASSES);
    builder.finish("resnet50")
}
