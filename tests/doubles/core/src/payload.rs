//! The model files of the doubles: a head in text, and the shard's ONNX file behind it. A vendor's library takes none of them, and a double
//! takes none of a vendor's.

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::Bytes;
use host_engine::{Artefact, Digest, Dimension, ElementType, Engine, Error, LoadOptions, OpenDimensions, Shard, Tensor, TensorSpec, TractEngine};

/// How every file begins; the number is the version.
const MAGIC: &str = "SHARDHOST DOUBLE 1";
/// Most bytes of a head.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// A model file of a double.
#[derive(Clone, PartialEq, Debug)]
pub struct Payload {
    /// Whose double takes it: `rknn`, `acl`.
    pub kind: String,
    /// The chip that it is for: `rk3588`.
    pub chip: String,
    /// Whether floats inside have 16 bits, as an NPU's do.
    pub half: bool,
    /// The shard's inputs, with every length fixed.
    pub inputs: Vec<TensorSpec>,
    /// The shard's outputs, with every length fixed.
    pub outputs: Vec<TensorSpec>,
    /// The shard's ONNX file.
    pub file: Bytes,
}

impl Payload {
    /// Makes one of a shard, for these lengths of its symbols; symbols of batches are 1 unless they are given. Refuses a shard with a
    /// symbol that has no length.
    pub fn of(kind: &str, chip: &str, shard: &Shard, lengths: &BTreeMap<String, usize>) -> Result<Self, Error> {
        let fixed = |spec: &TensorSpec| -> Result<TensorSpec, Error> {
            let shape = spec.shape.iter().map(|dimension| length(dimension, lengths).map(Dimension::Fixed)).collect::<Option<Vec<_>>>();
            let shape = shape.ok_or_else(|| Error::unsupported(format!("a length in {spec} is not given")).of(&shard.id))?;
            Ok(TensorSpec { shape, ..spec.clone() })
        };
        Self::with_inputs(kind, chip, shard, shard.inputs.iter().map(fixed).collect::<Result<Vec<_>, _>>()?)
    }

    /// Makes one of a shard for inputs of the shapes of these.
    pub fn like(kind: &str, chip: &str, shard: &Shard, inputs: &[Tensor]) -> Result<Self, Error> {
        let fixed = |(spec, tensor): (&TensorSpec, &Tensor)| TensorSpec::fixed(&spec.name, spec.element_type, tensor.shape());
        Self::with_inputs(kind, chip, shard, shard.inputs.iter().zip(inputs).map(fixed).collect())
    }

    fn with_inputs(kind: &str, chip: &str, shard: &Shard, inputs: Vec<TensorSpec>) -> Result<Self, Error> {
        // What comes out for zeros has the shapes of what comes out for anything.
        let zeros = inputs.iter().map(|spec| Tensor::zeros(spec.element_type, &shape(spec))).collect::<Result<Vec<_>, _>>()?;
        let lacks = lacks(kind);
        if let Some(spec) = inputs.iter().chain(&shard.outputs).find(|spec| lacks.contains(&spec.element_type)) {
            return Err(Error::unsupported(format!("{kind} has no type for {spec}")).of(&shard.id));
        }
        let options = LoadOptions { open: OpenDimensions::None, ..LoadOptions::default() };
        let made = TractEngine.load(shard, &options)?.run(zeros)?;
        let outputs = shard.outputs.iter().zip(&made).map(|(spec, tensor)| TensorSpec::fixed(&spec.name, spec.element_type, tensor.shape())).collect();
        Ok(Self { kind: kind.to_owned(), chip: chip.to_owned(), half: false, inputs, outputs, file: shard.file.clone() })
    }

    /// The same with floats of 16 bits inside.
    #[must_use]
    pub fn half(self) -> Self {
        Self { half: true, ..self }
    }

    /// The file.
    pub fn to_bytes(&self) -> Bytes {
        let mut head = format!("{MAGIC}\nkind {}\nchip {}\nfloats {}\n", self.kind, self.chip, if self.half { 16 } else { 32 });
        for (word, specs) in [("input", &self.inputs), ("output", &self.outputs)] {
            for spec in specs {
                let lengths = shape(spec).iter().map(usize::to_string).collect::<Vec<_>>().join(",");
                // Writing to a text cannot fail.
                let _ = writeln!(head, "{word} {} [{lengths}] {}", spec.element_type, spec.name);
            }
        }
        let _ = writeln!(head, "file {} {}", self.file.len(), Digest::of(&self.file));
        let mut data = head.into_bytes();
        data.extend_from_slice(&self.file);
        data.into()
    }

    /// Reads a file; says what is wrong with it.
    pub fn from_bytes(data: &Bytes) -> Result<Self, String> {
        let mut made = Self { kind: String::new(), chip: String::new(), half: false, inputs: Vec::new(), outputs: Vec::new(), file: Bytes::new() };
        let mut at = 0;
        for number in 0.. {
            let rest = data.get(at..data.len().min(at + HEAD_BYTES_MAX)).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or("the head has no end")?;
            let line = std::str::from_utf8(&rest[..end]).map_err(|_| "the head is no text")?;
            at += end + 1;
            if number == 0 {
                if line != MAGIC {
                    return Err(format!("it does not begin with {MAGIC}"));
                }
                continue;
            }
            if let Some(file) = line.strip_prefix("file ") {
                made.file = data.slice(at..);
                let found = format!("{} {}", made.file.len(), Digest::of(&made.file));
                return if found == file { Ok(made) } else { Err(format!("file is {file} in the head, and {found}")) };
            }
            made.read(line)?;
        }
        Err("the head has no end".to_owned())
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').ok_or_else(|| format!("line `{line}`"))?;
        match word {
            "kind" => rest.clone_into(&mut self.kind),
            "chip" => rest.clone_into(&mut self.chip),
            "floats" => self.half = rest == "16",
            "input" => self.inputs.push(tensor(rest).ok_or_else(|| format!("line `{line}`"))?),
            "output" => self.outputs.push(tensor(rest).ok_or_else(|| format!("line `{line}`"))?),
            _ => return Err(format!("line `{line}`")),
        }
        Ok(())
    }

    /// The file as what a conversion gives.
    pub fn artefact(&self) -> Artefact {
        let data = self.to_bytes();
        Artefact { target: format!("{}:{}", self.kind, self.chip), digest: Digest::of(&data), data, inputs: self.inputs.clone(), outputs: self.outputs.clone() }
    }
}

/// The element types that a vendor has none for.
fn lacks(kind: &str) -> &'static [ElementType] {
    if kind == "rknn" { &[ElementType::Fp64, ElementType::Uint64] } else { &[] }
}

/// The shape of a spec whose lengths are fixed.
pub(crate) fn shape(spec: &TensorSpec) -> Vec<usize> {
    spec.shape.iter().filter_map(Dimension::fixed).collect()
}

/// A length, or a sum of lengths and multiples of them.
fn length(dimension: &Dimension, lengths: &BTreeMap<String, usize>) -> Option<usize> {
    let one = |symbol: &str| lengths.get(symbol).copied().or_else(|| symbol.to_ascii_lowercase().contains("batch").then_some(1));
    let term = |text: &str| match text.split_once('*') {
        Some((factor, symbol)) => Some(factor.parse::<usize>().ok()? * one(symbol)?),
        None => text.parse().ok().or_else(|| one(text)),
    };
    dimension.to_string().split(" + ").map(term).sum()
}

/// Reads `FP32 [1,3] name`.
fn tensor(text: &str) -> Option<TensorSpec> {
    let (element_type, rest) = text.split_once(" [")?;
    let (lengths, name) = rest.split_once("] ")?;
    let lengths = lengths.split(',').filter(|length| !length.is_empty()).map(str::parse).collect::<Result<Vec<usize>, _>>().ok()?;
    Some(TensorSpec::fixed(name, ElementType::from_protocol_name(element_type)?, &lengths))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> Payload {
        Payload {
            kind: "rknn".into(),
            chip: "rk3588".into(),
            half: true,
            inputs: vec![TensorSpec::fixed("a b", ElementType::Fp32, &[1, 3]), TensorSpec::fixed("s", ElementType::Int64, &[])],
            outputs: vec![TensorSpec::fixed("y", ElementType::Fp32, &[1, 2])],
            file: Bytes::from_static(b"not looked at\nhere"),
        }
    }

    #[test]
    fn a_file_reads_back_what_was_written() {
        assert_eq!(Payload::from_bytes(&payload().to_bytes()).expect("just written"), payload());
    }

    #[test]
    fn a_broken_file_is_refused_wherever_it_is_broken() {
        let whole = payload().to_bytes();
        for at in 0..whole.len() {
            assert!(Payload::from_bytes(&whole.slice(..at)).is_err(), "cut at {at}");
        }
        for at in (0..MAGIC.len()).chain(whole.len() - 10..whole.len()) {
            let mut broken = whole.to_vec();
            broken[at] ^= 1;
            assert!(Payload::from_bytes(&broken.into()).is_err(), "byte {at} changed");
        }
    }

    #[test]
    fn lengths_are_sums_of_what_is_given_and_batches_are_one() {
        let lengths = BTreeMap::from([("past".to_owned(), 4), ("sequence".to_owned(), 3)]);
        let of = |text: &str| length(&Dimension::Symbol(text.into()), &lengths);
        assert_eq!([of("past + sequence"), of("2*past + 1"), of("batch_size"), of("other")], [Some(7), Some(9), Some(1), None]);
    }
}
