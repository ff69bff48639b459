//! Small graphs that show one thing each: a class of operators, an element type, an open length, or only weights. The conformance suite of
//! adapters has them loaded and run, and holds what comes out against tract, which is the reference. Nothing here knows of adapters.

mod classes;
mod pictures;

use std::collections::BTreeMap;

use host_core::ids::{ModelId, ModelName};

use crate::{
    binding::{Binding, batch_symbol, is_past},
    element_type::ElementType,
    engine::{Engine as _, LoadOptions, OpenDimensions},
    error::{Error, Fault},
    generate::{EncoderSize, Kind, MlpSize, builder::Builder, generate},
    golden::Golden,
    onnx::{OnnxFile, build},
    seed::Seed,
    spec::TensorSpec,
    split::Shard,
    tensor::Tensor,
    tract::TractEngine,
};

/// Number that the weights of every specimen start from.
const SEED: u64 = 0x5bec;
/// The type that tract, and so the reference, does not have.
const WITHOUT_REFERENCE: ElementType = ElementType::Bf16;
/// Integers of inputs that index no table are below this: each type holds them, and so does a float of 16 bits.
const INTEGERS_BELOW: usize = 100;
/// Tokens that specimens with a table know.
const VOCABULARY: usize = 50;
/// Longest input of the specimen with an open length, in tokens.
const LENGTH_MAX: usize = 512;
/// Bytes of one weight.
const FLOAT_BYTES: u64 = 4;

/// Lengths of open dimensions by their names. The batch is 1 and need not be there.
pub type Lengths = BTreeMap<String, usize>;

/// A small graph that shows one thing.
#[derive(Clone, Debug)]
pub struct Specimen {
    /// What it shows: `convolution`, `type-FP16`.
    pub name: String,
    /// The whole graph as one shard, without golden answers and artefacts.
    pub shard: Shard,
    /// Lengths at which it shows it.
    pub lengths: Lengths,
    /// Whether hardly any model can do without it.
    pub is_basic: bool,
    /// Inputs of whole numbers hold such below this.
    integers_below: usize,
    /// Of its golden answers.
    tolerance: f64,
}

impl Specimen {
    /// One for each class of operators.
    pub fn classes() -> Result<Vec<Self>, Error> {
        classes::all()
    }

    /// One for each element type: a tensor of it goes in, and comes out with its axes exchanged, and as floats of half its numbers. Brain
    /// floats are left out, because the reference does not have them.
    pub fn types() -> Result<Vec<Self>, Error> {
        ElementType::all().filter(|element_type| *element_type != WITHOUT_REFERENCE).map(of_type).collect()
    }

    /// One whose length `sequence` is open, and masked so that it may be padded: an encoder that takes up to 512 tokens.
    pub fn open() -> Result<Self, Error> {
        let size = EncoderSize { vocabulary: VOCABULARY, hidden: 16, layers: 1, heads: 2, feed_forward: 32, length_max: LENGTH_MAX };
        Ok(Self::new("open-length", &generate(&Kind::Encoder(size), SEED)?)?.indexing(VOCABULARY).long(&[("sequence", 5)]))
    }

    /// One whose weights take about so many bytes; each seed makes another one.
    pub fn of_weights(bytes: u64, seed: u64) -> Result<Self, Error> {
        // Two products of this width.
        let width = (bytes / (2 * FLOAT_BYTES)).isqrt().max(1);
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        let kind = Kind::Mlp(MlpSize { inputs: width, hidden: width, layers: 1, outputs: width });
        Self::new(&format!("weights-{seed}"), &generate(&kind, seed)?)
    }

    fn new(name: &str, file: &OnnxFile) -> Result<Self, Error> {
        let shard = Shard::whole(file, ModelId { name: ModelName::parse(name)?, version: 1 })?;
        let lengths = Lengths::new();
        Ok(Self { name: name.to_owned(), shard, lengths, is_basic: false, integers_below: INTEGERS_BELOW, tolerance: Golden::FINE })
    }

    fn basic(self) -> Self {
        Self { is_basic: true, ..self }
    }

    /// Whole numbers index a table of so many rows.
    fn indexing(self, rows: usize) -> Self {
        Self { integers_below: rows, ..self }
    }

    fn long(self, lengths: &[(&str, usize)]) -> Self {
        Self { lengths: lengths.iter().map(|(name, length)| ((*name).to_owned(), *length)).collect(), ..self }
    }

    /// It rounds to few bits, where a difference in the last bit of what came before shows.
    fn coarse(self) -> Self {
        Self { tolerance: Golden::COARSE, ..self }
    }

    /// Seeded inputs of these lengths, and what the reference makes of them. Fails where a length is missing, and where the reference does
    /// not take the graph.
    pub fn golden(&self, lengths: &Lengths, seed: u64) -> Result<Golden, Error> {
        let inputs = self.inputs(lengths, seed)?;
        let options = LoadOptions { open: OpenDimensions::None, ..LoadOptions::default() };
        let outputs = TractEngine.load(&self.shard, &options)?.run(inputs.clone()).map_err(|error| error.of(&self.shard.id))?;
        Ok(Golden { inputs, outputs, tolerance: self.tolerance })
    }

    /// Ones for masks, positions that go on from the past, whole numbers that index what they index, and floats in -1 to 1.
    fn inputs(&self, lengths: &Lengths, seed: u64) -> Result<Vec<Tensor>, Error> {
        let given = lengths.iter().fold(Binding::default(), |binding, (name, length)| binding.with(name, *length));
        let binding = match batch_symbol(&self.shard.inputs) {
            Some(batch) => given.with(&batch, 1),
            None => given,
        };
        let past = lengths.iter().find(|(name, _)| is_past(name)).map_or(0, |(_, length)| *length);
        let mut seed = Seed::new(seed);
        let missing = |spec: &TensorSpec| Error::from(Fault::Missing { what: "length of input", name: spec.name.clone() });
        let input = |spec: &TensorSpec| self.input(spec, &binding.shape(spec).ok_or_else(|| missing(spec))?, past, &mut seed);
        self.shard.inputs.iter().map(input).collect()
    }

    fn input(&self, spec: &TensorSpec, shape: &[usize], past: usize, seed: &mut Seed) -> Result<Tensor, Error> {
        let count: usize = shape.iter().product();
        if !spec.element_type.is_integer() {
            return Tensor::from_f32(shape, &seed.floats(count, 1.0))?.cast(spec.element_type);
        }
        let last = shape.last().copied().unwrap_or(1).max(1);
        let below = if spec.element_type == ElementType::Boolean { 2 } else { self.integers_below };
        let value = |place: usize| match spec.name.as_str() {
            name if name.contains("mask") => 1,
            name if name.contains("position") => past + place % last,
            _ => seed.below(below),
        };
        let values: Vec<i64> = (0..count).map(value).map(|value| i64::try_from(value).unwrap_or(i64::MAX)).collect();
        Tensor::from_i64(shape, &values)?.cast(spec.element_type)
    }
}

fn of_type(element_type: ElementType) -> Result<Specimen, Error> {
    let mut builder = Builder::new(SEED);
    let value = builder.input("value", element_type, &["2", "3"]);
    let turned = builder.op("Transpose", &[&value], vec![build::integers("perm", &[1, 0])]);
    builder.output(&turned, "turned", element_type, &["3", "2"]);
    let number = builder.op("Cast", &[&value], vec![build::integer("to", ElementType::Fp32.to_onnx().into())]);
    let half = builder.floats("half", &[0.5], &[]);
    let number = builder.op("Mul", &[&number, &half], vec![]);
    builder.output(&number, "number", ElementType::Fp32, &["2", "3"]);
    let made = Specimen::new(&format!("type-{element_type}"), &builder.finish("type")?)?;
    Ok(match element_type {
        ElementType::Fp32 => made.basic(),
        ElementType::Fp16 => made.coarse(),
        _ => made,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Vec<Specimen> {
        let of = |made: Result<Vec<Specimen>, Error>| made.unwrap_or_else(|error| panic!("{error}"));
        [of(Specimen::classes()), of(Specimen::types()), vec![Specimen::open().expect("sound"), Specimen::of_weights(8 << 10, 1).expect("sound")]].concat()
    }

    #[test]
    fn the_reference_takes_each_specimen_and_gives_what_it_declares() {
        for specimen in all() {
            let golden = specimen.golden(&specimen.lengths, 1).unwrap_or_else(|error| panic!("{}: {error}", specimen.name));
            for (spec, output) in specimen.shard.outputs.iter().zip(&golden.outputs) {
                spec.check(output).unwrap_or_else(|error| panic!("{}: {error}", specimen.name));
            }
            assert_eq!(golden.compare(&specimen.shard.outputs, &golden.outputs).unwrap_or_else(|error| panic!("{}: {error}", specimen.name)), 0.0);
            // Few booleans may be the same twice.
            let differs = |seed| specimen.golden(&specimen.lengths, seed).is_ok_and(|other| other.inputs != golden.inputs);
            assert!((2..8).any(differs), "{} has the same inputs for every seed", specimen.name);
        }
    }

    #[test]
    fn names_are_unique_and_each_class_has_operators_of_its_own() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|specimen| specimen.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        let operators: BTreeSet<&str> = all.iter().flat_map(|specimen| &specimen.shard.operators).map(String::as_str).collect();
        for operator in ["Conv", "ConvTranspose", "MatMul", "Gemm", "MaxPool", "Softmax", "LayerNormalization", "Gather", "Where", "GRU", "Resize"] {
            assert!(operators.contains(operator), "no specimen shows {operator}: {operators:?}");
        }
        assert!(all.iter().any(|specimen| specimen.is_basic));
    }

    #[test]
    fn weights_take_about_the_bytes_that_were_asked_for() {
        let weights = |bytes: u64| Specimen::of_weights(bytes, 1).expect("sound").shard.weight_bytes.0;
        for bytes in [8 << 10, 1 << 20] {
            assert!((bytes..bytes + bytes / 8).contains(&weights(bytes)), "{} for {bytes}", weights(bytes));
        }
    }

    #[test]
    fn a_missing_length_is_named_with_its_input() {
        let error = Specimen::open().expect("sound").golden(&Lengths::new(), 1).expect_err("no length").to_string();
        assert!(error.contains("length of input") && error.contains("input_ids"), "{error}");
    }
}
