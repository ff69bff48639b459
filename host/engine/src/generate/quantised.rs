//! Products whose weights are stored in few bits, written as the usual quantisers write them.

use super::builder::Builder;
use crate::{element_type::ElementType, onnx::build};

/// How the weights of products are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Weights {
    /// As 32-bit floats.
    #[default]
    Float,
    /// As 8-bit integers with one scale for all; what they are multiplied with is quantised when it comes, and the product is one
    /// of integers.
    Int8,
    /// As 4-bit integers with one scale for each block of [`BLOCK`]; the product is one of floats.
    Int4,
}

/// Weights of a row that share a scale.
pub(super) const BLOCK: usize = 32;
/// Largest magnitude of a signed 8-bit weight: symmetric, so -128 is not used.
const INT8_MAX: f32 = 127.0;
/// Largest magnitude of a 4-bit weight, which is stored with 8 added.
const INT4_MAX: f32 = 7.0;
/// Where operators beside the standard are defined.
const DOMAIN: &str = "com.microsoft";

impl Builder {
    /// [.., inputs] times 8-bit weights: quantised to 0 to 255 by its largest and smallest value, multiplied, and scaled back.
    pub(super) fn product_int8(&mut self, value: &str, inputs: usize, outputs: usize) -> String {
        let weights = self.scaled_floats(inputs * outputs, inputs);
        let scale = largest(&weights) / INT8_MAX;
        let stored = weights.iter().map(|weight| (weight / scale).round().clamp(-INT8_MAX, INT8_MAX) as i8).map(|number| number.to_le_bytes()[0]).collect();
        let weight = self.bytes("weight_int8", ElementType::Int8, &[inputs, outputs], stored);
        let zero = self.bytes("weight_zero", ElementType::Int8, &[], vec![0]);
        let scale = self.floats("weight_scale", &[scale], &[]);
        let [quantised, value_scale, value_zero] = self.dynamic_quantised(value);
        let product = self.op("MatMulInteger", &[&quantised, &weight, &value_zero, &zero], vec![]);
        let product = self.op("Cast", &[&product], vec![build::integer("to", ElementType::Fp32.to_onnx().into())]);
        let scale = self.op("Mul", &[&value_scale, &scale], vec![]);
        self.op("Mul", &[&product, &scale], vec![])
    }

    /// [.., inputs] times 4-bit weights. `inputs` is a multiple of [`BLOCK`].
    pub(super) fn product_int4(&mut self, value: &str, inputs: usize, outputs: usize) -> String {
        // Column by column, as they are stored; random weights know no order.
        let weights = self.scaled_floats(inputs * outputs, inputs);
        let blocks = weights.chunks(BLOCK);
        let scales: Vec<f32> = blocks.clone().map(|block| largest(block) / INT4_MAX).collect();
        let quantised = |weight: &f32, scale: f32| ((weight / scale).round().clamp(-INT4_MAX, INT4_MAX) + 8.0) as u8;
        let pair = |pair: &[f32], scale: f32| pair.iter().rev().fold(0, |byte, weight| byte << 4 | quantised(weight, scale));
        let packed = blocks.zip(&scales).flat_map(|(block, &scale)| block.chunks(2).map(move |two| pair(two, scale))).collect();
        let weight = self.bytes("weight_int4", ElementType::Uint8, &[outputs, inputs / BLOCK, BLOCK / 2], packed);
        let scales = self.floats("weight_scales", &scales, &[outputs * inputs / BLOCK]);
        let size = |name, size: usize| build::integer(name, size as i64);
        let attributes = vec![size("K", inputs), size("N", outputs), size("bits", 4), size("block_size", BLOCK)];
        self.op_of(DOMAIN, "MatMulNBits", &[value, &weight, &scales], attributes)
    }
}

/// The largest magnitude, and never 0.
fn largest(weights: &[f32]) -> f32 {
    weights.iter().fold(f32::MIN_POSITIVE, |largest, weight| largest.max(weight.abs()))
}

#[cfg(test)]
mod tests {
    use host_core::ids::{ModelId, ModelName};

    use super::*;
    use crate::{
        engine::{Engine as _, LoadOptions},
        inspect::inspect,
        seed::Seed,
        tensor::Tensor,
        tract::TractEngine,
    };

    const INPUTS: usize = 64;
    const OUTPUTS: usize = 6;

    /// What a graph with one product gives for these numbers.
    fn computed(products: Weights, values: &[f32]) -> Vec<f32> {
        let mut builder = Builder::new(1).with_products(products);
        let input = builder.input("x", ElementType::Fp32, &["1", "64"]);
        let output = builder.linear(&input, INPUTS, OUTPUTS, false);
        builder.output(&output, "y", ElementType::Fp32, &["1", "6"]);
        let id = ModelId { name: ModelName::parse("product").expect("a name"), version: 1 };
        let inspection = inspect(&builder.finish("product").expect("a sound graph"), id).expect("it has a block");
        let shard = inspection.shard(inspection.profile().whole()).expect("the whole model");
        let mut graph = TractEngine.load(&shard, &LoadOptions::default()).expect("it loads");
        let outputs = graph.run(vec![Tensor::from_f32(&[1, INPUTS], values).expect("64 values")]).expect("it runs");
        outputs[0].to_f32().expect("floats")
    }

    #[test]
    fn a_product_of_few_bits_is_near_the_one_of_the_same_floats() {
        let values = Seed::new(2).floats(INPUTS, 1.0);
        let weights = Seed::new(1).floats(INPUTS * OUTPUTS, (3.0 / INPUTS as f32).sqrt());
        // Row by row as ONNX has them, and column by column as `MatMulNBits` does. A rounded weight is off by half a step at most.
        let by_row = |input: usize, output: usize| weights[input * OUTPUTS + output];
        let by_column = |input: usize, output: usize| weights[output * INPUTS + input];
        let product = |weight: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            (0..OUTPUTS).map(|output| values.iter().enumerate().map(|(input, value)| value * weight(input, output)).sum()).collect()
        };
        let cases = [(Weights::Float, product(&by_row), 1e-5), (Weights::Int8, product(&by_row), 0.02), (Weights::Int4, product(&by_column), 0.2)];
        for (products, expected, allowed) in cases {
            let found = computed(products, &values);
            let apart = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
            assert!(apart <= allowed, "{products:?}: {found:?} is {apart} away from {expected:?}");
        }
    }
}
