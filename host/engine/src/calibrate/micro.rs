//! The tiny models of a calibration. Together they tell arithmetic, weights, activations and the cost of a run apart.

use host_core::{
    ids::{ModelId, ModelName},
    model::Work,
};

use crate::{
    element_type::ElementType,
    error::Error,
    generate::builder::Builder,
    inspect::inspect,
    onnx::{OnnxFile, build},
    seed::Seed,
    split::Shard,
    tensor::Tensor,
};

/// A model with what a run of it works, and something to run.
pub(super) struct Micro {
    pub(super) shard: Shard,
    pub(super) work: Work,
    pub(super) inputs: Vec<Tensor>,
}

/// All of them.
pub(super) fn models() -> Result<Vec<Micro>, Error> {
    // Convolution: 17 million operations. Two products: as many, on 0.5 MB of weights. One row times 4 MB of weights. 1 MB
    // of numbers through four plain operators. And next to nothing.
    let made = [
        ("convolution", convolution(40, 24)?, vec![1, 40, 24, 24]),
        ("product", product(64, 256, 2)?, vec![64, 256]),
        ("weights", product(1, 1024, 1)?, vec![1, 1024]),
        ("activations", elementwise(1 << 18)?, vec![1, 1 << 18]),
        ("smaller-product", product(8, 512, 1)?, vec![8, 512]),
        ("nothing", elementwise(16)?, vec![1, 16]),
    ];
    made.into_iter().map(|(name, file, shape)| micro(name, &file, &shape)).collect()
}

fn micro(name: &str, file: &OnnxFile, shape: &[usize]) -> Result<Micro, Error> {
    let inspection = inspect(file, ModelId { name: ModelName::parse(name)?, version: 1 })?;
    let whole = inspection.profile().whole();
    let work = inspection.profile().work(whole);
    let values = Seed::new(1).floats(shape.iter().product(), 1.0);
    Ok(Micro { shard: inspection.shard(whole)?, work, inputs: vec![Tensor::from_f32(shape, &values)?] })
}

fn texts(shape: &[usize]) -> Vec<String> {
    shape.iter().map(usize::to_string).collect()
}

fn begin(shape: &[usize]) -> (Builder, String) {
    let mut builder = Builder::new(1);
    let shape = texts(shape);
    let shape: Vec<&str> = shape.iter().map(String::as_str).collect();
    let input = builder.input("x", ElementType::Fp32, &shape);
    (builder, input)
}

fn end(mut builder: Builder, value: &str, shape: &[usize]) -> Result<OnnxFile, Error> {
    let shape = texts(shape);
    let shape: Vec<&str> = shape.iter().map(String::as_str).collect();
    builder.output(value, "y", ElementType::Fp32, &shape);
    builder.finish("micro")
}

fn convolution(channels: usize, pixels: usize) -> Result<OnnxFile, Error> {
    let shape = [1, channels, pixels, pixels];
    let (mut builder, input) = begin(&shape);
    let weight = builder.weight("weight", &[channels, channels, 3, 3], channels * 9);
    let value = builder.op("Conv", &[&input, &weight], vec![build::integers("pads", &[1; 4]), build::integers("kernel_shape", &[3, 3])]);
    end(builder, &value, &shape)
}

fn product(rows: usize, width: usize, layers: usize) -> Result<OnnxFile, Error> {
    let (mut builder, mut value) = begin(&[rows, width]);
    for _ in 0..layers {
        value = builder.linear(&value, width, width, false);
    }
    end(builder, &value, &[rows, width])
}

/// x² + x, then its absolute value, four plain operators in all.
fn elementwise(count: usize) -> Result<OnnxFile, Error> {
    let (mut builder, input) = begin(&[1, count]);
    let square = builder.op("Mul", &[&input, &input], vec![]);
    let sum = builder.op("Add", &[&square, &input], vec![]);
    let value = builder.op("Abs", &[&sum], vec![]);
    let value = builder.op("Neg", &[&value], vec![]);
    end(builder, &value, &[1, count])
}
