//! Models with seeded weights, of any size: to try a cluster without downloading anything, to measure, and to test.
//! They compute what models of their kind compute, and know nothing.

pub(crate) mod builder;
mod cnn;
mod decoder;
mod encoder;
mod mlp;
mod quantised;

use quantised::{BLOCK, Weights};

use crate::{
    error::{Error, Fault},
    onnx::OnnxFile,
};

/// Most parameters of a generated model: 4 bytes each must fit an ONNX file.
const PARAMETERS_MAX: u64 = 500_000_000;

/// Layers of a multi-layer perceptron.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MlpSize {
    /// Numbers in.
    pub inputs: usize,
    /// Width of each hidden layer.
    pub hidden: usize,
    /// How many hidden layers.
    pub layers: usize,
    /// Numbers out.
    pub outputs: usize,
}

/// A small CNN: a stem, residual blocks that take turns with depthwise ones, and a classifier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CnnSize {
    /// Height and width of the picture.
    pub pixels: usize,
    /// Channels after the stem.
    pub channels: usize,
    /// How many blocks.
    pub blocks: usize,
    /// Classes to tell apart.
    pub classes: usize,
}

/// A transformer encoder; batch and length are open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncoderSize {
    /// Tokens there are.
    pub vocabulary: usize,
    /// Width of the trunk; a multiple of `heads`.
    pub hidden: usize,
    /// How many layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward part.
    pub feed_forward: usize,
    /// Longest input in tokens.
    pub length_max: usize,
}

/// A decoder as Llama is one, with an attention cache; batch, length and past are open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecoderSize {
    /// Tokens there are.
    pub vocabulary: usize,
    /// Width of the trunk; a multiple of twice the heads.
    pub hidden: usize,
    /// How many layers.
    pub layers: usize,
    /// Attention heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of the cache; fewer than `heads` share each.
    pub kv_heads: usize,
    /// Width inside the feed-forward part.
    pub feed_forward: usize,
    /// Whether the embedding is the output layer, too.
    pub tied: bool,
}

/// What to generate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `input` [batch, inputs] to `output` [batch, outputs].
    Mlp(MlpSize),
    /// `input` [batch, 3, pixels, pixels] to `logits` [batch, classes].
    Cnn(CnnSize),
    /// `MobileNetV2`: 3.5 million parameters, 300 million multiplications at 224 pixels.
    MobileNet {
        /// Height and width of the picture.
        pixels: usize,
    },
    /// `ResNet-50`: 25 million parameters, 4 billion multiplications at 224 pixels.
    ResNet50 {
        /// Height and width of the picture.
        pixels: usize,
    },
    /// `input_ids`, `attention_mask` [batch, sequence] to `last_hidden_state` [batch, sequence, hidden].
    Encoder(EncoderSize),
    /// `input_ids`, `attention_mask`, `position_ids`, `past_key_values.N.key|value` to `logits`, `present.N.key|value`.
    Decoder(DecoderSize),
    /// An encoder whose products have 8-bit weights and quantise what comes: `DynamicQuantizeLinear` and `MatMulInteger`.
    EncoderInt8(EncoderSize),
    /// A decoder whose products have 4-bit weights in blocks of 32: `MatMulNBits`. A tied output layer stays one of floats.
    DecoderInt4(DecoderSize),
}

impl EncoderSize {
    fn usual() -> Self {
        Self { vocabulary: 1000, hidden: 128, layers: 4, heads: 4, feed_forward: 512, length_max: 128 }
    }
}

impl DecoderSize {
    fn usual() -> Self {
        Self { vocabulary: 1000, hidden: 128, layers: 4, heads: 4, kv_heads: 2, feed_forward: 384, tied: true }
    }
}

impl Kind {
    /// The names that `named` takes.
    pub const NAMES: [&'static str; 8] = ["mlp", "cnn", "mobilenet", "resnet50", "encoder", "decoder", "encoder-int8", "decoder-int4"];

    /// A kind by name, at a usual small size.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "mlp" => Self::Mlp(MlpSize { inputs: 64, hidden: 128, layers: 4, outputs: 10 }),
            "cnn" => Self::Cnn(CnnSize { pixels: 32, channels: 16, blocks: 4, classes: 10 }),
            "mobilenet" => Self::MobileNet { pixels: 224 },
            "resnet50" => Self::ResNet50 { pixels: 224 },
            "encoder" => Self::Encoder(EncoderSize::usual()),
            "decoder" => Self::Decoder(DecoderSize::usual()),
            "encoder-int8" => Self::EncoderInt8(EncoderSize::usual()),
            "decoder-int4" => Self::DecoderInt4(DecoderSize::usual()),
            _ => return None,
        })
    }
}

/// Builds a model; the same kind and seed give the same file. Refuses sizes of 0, heads that do not divide, and models that
/// would not fit an ONNX file.
pub fn generate(kind: &Kind, seed: u64) -> Result<OnnxFile, Error> {
    match kind {
        Kind::Mlp(size) => {
            positive(&[("inputs", size.inputs), ("hidden", size.hidden), ("layers", size.layers), ("outputs", size.outputs)])?;
            bounded(&[&[size.inputs, size.hidden], &[size.layers, size.hidden, size.hidden], &[size.hidden, size.outputs]])?;
            mlp::build(size, seed)
        }
        Kind::Cnn(size) => {
            positive(&[("pixels", size.pixels), ("channels", size.channels), ("blocks", size.blocks), ("classes", size.classes)])?;
            bounded(&[&[size.blocks, size.channels, size.channels, 18], &[size.channels, size.classes]])?;
            cnn::small(size, seed)
        }
        Kind::MobileNet { pixels } => positive(&[("pixels", *pixels)]).and_then(|()| cnn::mobilenet(*pixels, seed)),
        Kind::ResNet50 { pixels } => positive(&[("pixels", *pixels)]).and_then(|()| cnn::resnet50(*pixels, seed)),
        Kind::Encoder(size) => encoder(size, seed, Weights::Float),
        Kind::EncoderInt8(size) => encoder(size, seed, Weights::Int8),
        Kind::Decoder(size) => decoder(size, seed, Weights::Float),
        Kind::DecoderInt4(size) => {
            divides("hidden", size.hidden, "the block", BLOCK)?;
            divides("feed_forward", size.feed_forward, "the block", BLOCK)?;
            decoder(size, seed, Weights::Int4)
        }
    }
}

fn encoder(size: &EncoderSize, seed: u64, products: Weights) -> Result<OnnxFile, Error> {
    positive(&[
        ("vocabulary", size.vocabulary),
        ("hidden", size.hidden),
        ("layers", size.layers),
        ("heads", size.heads),
        ("feed_forward", size.feed_forward),
        ("length_max", size.length_max),
    ])?;
    bounded(&[
        &[size.vocabulary, size.hidden],
        &[size.length_max, size.hidden],
        &[size.layers, size.hidden, 4 * size.hidden],
        &[size.layers, 2 * size.hidden, size.feed_forward],
    ])?;
    divides("hidden", size.hidden, "heads", size.heads)?;
    encoder::build(size, seed, products)
}

fn decoder(size: &DecoderSize, seed: u64, products: Weights) -> Result<OnnxFile, Error> {
    positive(&[
        ("vocabulary", size.vocabulary),
        ("hidden", size.hidden),
        ("layers", size.layers),
        ("heads", size.heads),
        ("kv_heads", size.kv_heads),
        ("feed_forward", size.feed_forward),
    ])?;
    bounded(&[&[2, size.vocabulary, size.hidden], &[size.layers, size.hidden, 4 * size.hidden], &[size.layers, 3 * size.hidden, size.feed_forward]])?;
    divides("hidden", size.hidden, "twice the heads", 2 * size.heads)?;
    divides("heads", size.heads, "kv_heads", size.kv_heads)?;
    decoder::build(size, seed, products)
}

fn positive(sizes: &[(&'static str, usize)]) -> Result<(), Error> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(Fault::Mismatch { what: "size", name: (*name).to_owned(), expected: "1 or more".into(), found: "0".into() }.into()),
        None => Ok(()),
    }
}

fn divides(whole_name: &str, whole: usize, part_name: &str, part: usize) -> Result<(), Error> {
    if whole.is_multiple_of(part) {
        return Ok(());
    }
    Err(Fault::Mismatch { what: "size", name: whole_name.to_owned(), expected: format!("a multiple of {part_name}, {part}"), found: whole.to_string() }.into())
}

fn bounded(products: &[&[usize]]) -> Result<(), Error> {
    let product = |sizes: &&[usize]| sizes.iter().fold(1u64, |product, &size| product.saturating_mul(size as u64));
    let found = products.iter().map(product).fold(0u64, u64::saturating_add);
    if found <= PARAMETERS_MAX { Ok(()) } else { Err(Fault::TooLarge { what: "number of parameters", found, max: PARAMETERS_MAX }.into()) }
}
