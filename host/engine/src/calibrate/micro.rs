//! The tiny models of a calibration: what models are made of, each alone and as networks combine them. Together they tell
//! arithmetic, weights, activations and the cost of a run apart, and no single kind of operator decides what arithmetic costs.

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
    // Convolutions: 17 million operations in windows of 3 by 3, 14 million pointwise, 1.4 million depthwise, and 7 million as mobile
    // networks combine the two. Two products: 17 million on 0.5 MB of weights. One row times 4 MB of weights, and 8 times 1 MB.
    // 0.26 MB of numbers through sixteen plain operators: larger buffers go back to the system after a run now and then, and what it
    // takes to get them again is then half of the time. And next to nothing.
    let plain = Convolution { from: 40, to: 40, kernel: 3, groups: 1 };
    let pointwise = Convolution { from: 96, to: 96, kernel: 1, groups: 1 };
    let depthwise = Convolution { from: 192, to: 192, kernel: 3, groups: 192 };
    let made = [
        ("convolution", convolution(plain, 24)?, vec![1, 40, 24, 24]),
        ("pointwise", convolution(pointwise, 28)?, vec![1, 96, 28, 28]),
        ("depthwise", convolution(depthwise, 20)?, vec![1, 192, 20, 20]),
        ("inverted-residual", inverted_residual(24, 144, 20)?, vec![1, 24, 20, 20]),
        ("product", product(64, 256, 2)?, vec![64, 256]),
        ("weights", product(1, 1024, 1)?, vec![1, 1024]),
        ("smaller-product", product(8, 512, 1)?, vec![8, 512]),
        ("activations", elementwise(1 << 16, 4)?, vec![1, 1 << 16]),
        ("nothing", elementwise(16, 1)?, vec![1, 16]),
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

/// One convolution's shape.
#[derive(Clone, Copy, Debug)]
struct Convolution {
    from: usize,
    to: usize,
    kernel: usize,
    groups: usize,
}

fn convolution(shape: Convolution, pixels: usize) -> Result<OnnxFile, Error> {
    let (mut builder, input) = begin(&[1, shape.from, pixels, pixels]);
    let value = convolve(&mut builder, &input, shape);
    end(builder, &value, &[1, shape.to, pixels, pixels])
}

/// As large before as after.
fn convolve(builder: &mut Builder, value: &str, Convolution { from, to, kernel, groups }: Convolution) -> String {
    let inner = from / groups;
    let weight = builder.weight("weight", &[to, inner, kernel, kernel], inner * kernel * kernel);
    let sizes = |size: usize, count: usize| vec![size as i64; count];
    let attributes =
        vec![build::integers("kernel_shape", &sizes(kernel, 2)), build::integers("pads", &sizes(kernel / 2, 4)), build::integer("group", groups as i64)];
    builder.op("Conv", &[value, &weight], attributes)
}

/// The block of mobile networks: wider, each channel on its own, narrower, and the input added (Sandler et al., 2018).
fn inverted_residual(channels: usize, wide: usize, pixels: usize) -> Result<OnnxFile, Error> {
    let shape = [1, channels, pixels, pixels];
    let (mut builder, input) = begin(&shape);
    let steps = [(channels, wide, 1, 1), (wide, wide, 3, wide), (wide, channels, 1, 1)];
    let mut value = input.clone();
    for (step, (from, to, kernel, groups)) in steps.into_iter().enumerate() {
        value = convolve(&mut builder, &value, Convolution { from, to, kernel, groups });
        if step < 2 {
            let (low, high) = (builder.floats("low", &[0.0], &[]), builder.floats("high", &[6.0], &[]));
            value = builder.op("Clip", &[&value, &low, &high], vec![]);
        }
    }
    let sum = builder.op("Add", &[&value, &input], vec![]);
    end(builder, &sum, &shape)
}

fn product(rows: usize, width: usize, layers: usize) -> Result<OnnxFile, Error> {
    let (mut builder, mut value) = begin(&[rows, width]);
    for _ in 0..layers {
        value = builder.linear(&value, width, width, false);
    }
    end(builder, &value, &[rows, width])
}

/// x² + x, its absolute value and the other sign, four plain operators, so many times.
fn elementwise(count: usize, times: usize) -> Result<OnnxFile, Error> {
    let (mut builder, mut value) = begin(&[1, count]);
    for _ in 0..times {
        let square = builder.op("Mul", &[&value, &value], vec![]);
        let sum = builder.op("Add", &[&square, &value], vec![]);
        let absolute = builder.op("Abs", &[&sum], vec![]);
        value = builder.op("Neg", &[&absolute], vec![]);
    }
    end(builder, &value, &[1, count])
}
