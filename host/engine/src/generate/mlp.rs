//! Multi-layer perceptrons.

use super::{MlpSize, builder::Builder};
use crate::{element_type::ElementType, error::Error, onnx::OnnxFile};

pub(super) fn build(size: &MlpSize, seed: u64) -> Result<OnnxFile, Error> {
    let mut builder = Builder::new(seed);
    let mut value = builder.input("input", ElementType::Fp32, &["batch", &size.inputs.to_string()]);
    let mut width = size.inputs;
    for layer in 0..size.layers {
        builder.scope(format!("layer.{layer}"));
        let linear = builder.linear(&value, width, size.hidden, true);
        value = builder.op("Relu", &[&linear], vec![]);
        width = size.hidden;
    }
    builder.scope("head");
    let output = builder.linear(&value, width, size.outputs, true);
    builder.output(&output, "output", ElementType::Fp32, &["batch", &size.outputs.to_string()]);
    builder.finish("mlp")
}
