//! Dimensions as sums of symbols, which of them may be padded, and which of the shapes that a graph was made for fits best. Pure; for
//! adapters whose graphs have fixed shapes.
//!
//! # When padding changes nothing
//!
//! A symbol may be padded with zeros where one of these rules holds; else requests must have just the length of a bucket.
//! 1. *Rows.* It is the first axis of every input and of every output, and no other: rows of a batch do not read each other.
//! 2. *Masked.* An input of whole numbers or booleans whose name has `mask` in it, and not `padding`, has it in its last axis: what is
//!    padded is masked with zeros. Every output has the symbol in some axis too. One that has not may have been summed up over what was
//!    padded, so such a shard is not padded.
//! 3. *Past.* It is masked, and a length of an input whose name begins with `past`, which only attention reads. That is padded in front,
//!    so that what is new still follows what is old. A shard that reads tokens must be told their positions, by an input with `position`
//!    in its name, because those that it counts itself would be shifted.
//!
//! A symbol that is an axis in any other way than once, as in `2*length`, or that is in something else than a sum, is never padded. Nor
//! is any, but for rows, where no input says how long an axis of an output is.

use std::collections::BTreeMap;

use super::{ElementType, operations::Port};

/// A length as a sum: `past + tokens + 1`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Length {
    constant: i64,
    terms: BTreeMap<String, i64>,
}

impl Length {
    /// Reads a dimension. What is no sum is one symbol of its own.
    pub fn parse(text: &str) -> Self {
        let mut length = Self { constant: 0, terms: BTreeMap::new() };
        for part in text.split('+').map(str::trim) {
            let (factor, name) = part.split_once('*').map_or((Some(1), part), |(factor, name)| (factor.trim().parse().ok(), name.trim()));
            match (part.parse::<i64>(), factor) {
                (Ok(number), _) => length.constant = length.constant.saturating_add(number),
                (_, Some(factor)) if is_name(name) => *length.terms.entry(name.to_owned()).or_insert(0) += factor,
                _ => return Self { constant: 0, terms: BTreeMap::from([(text.to_owned(), 1)]) },
            }
        }
        length
    }

    /// Its value; none where a symbol has none, or where it is negative.
    pub fn value(&self, lengths: &Lengths) -> Option<u32> {
        let sum = self.terms.iter().try_fold(self.constant, |sum, (name, factor)| sum.checked_add(i64::from(*lengths.get(name)?).checked_mul(*factor)?));
        u32::try_from(sum?).ok()
    }

    /// How often a symbol is in it.
    fn factor(&self, symbol: &str) -> i64 {
        self.terms.get(symbol).copied().unwrap_or(0)
    }

    /// The one symbol in it without a value, and the value that makes the whole so long.
    fn missing(&self, whole: u32, known: &Lengths) -> Option<(&str, u32)> {
        let mut unknown = self.terms.iter().filter(|(name, _)| !known.contains_key(*name));
        let ((name, &factor), None) = (unknown.next()?, unknown.next()) else { return None };
        let rest = self.terms.iter().filter(|(other, _)| *other != name);
        let sum = rest.fold(self.constant, |sum, (name, factor)| sum + factor * known.get(name).map_or(0, |&length| i64::from(length)));
        let left = i64::from(whole) - sum;
        (factor != 0 && left % factor == 0).then(|| u32::try_from(left / factor).ok()).flatten().map(|length| (name.as_str(), length))
    }
}

/// Whether a text can be a symbol, and not an expression with one in it.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_alphanumeric() || "_.:".contains(character)) && text.parse::<i64>().is_err()
}

/// How long each symbol is.
pub type Lengths = BTreeMap<String, u32>;

/// Where an axis that is longer than what came is filled up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Padding {
    /// Behind it.
    Behind,
    /// In front of it.
    Before,
    /// Nowhere, for this reason.
    Never(String),
}

/// An input or output with its lengths.
#[derive(Clone, Debug)]
pub struct Axes {
    /// Its name in the graph.
    pub name: String,
    /// Type of its elements.
    pub element_type: ElementType,
    /// Each axis.
    pub lengths: Vec<Length>,
}

/// The shapes of a shard, and how each symbol in them may be padded.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// In declared order.
    pub inputs: Vec<Axes>,
    /// In declared order.
    pub outputs: Vec<Axes>,
    padding: BTreeMap<String, Padding>,
}

impl Shapes {
    /// Of a shard with these inputs and outputs. `masked` names symbols of which somebody knows that the model masks them.
    pub fn new(inputs: &[Port], outputs: &[Port], masked: &[String]) -> Self {
        let axes = |port: &Port| Axes {
            name: port.name.clone(),
            element_type: port.element_type,
            lengths: port.dimensions.iter().map(|dimension| Length::parse(dimension)).collect(),
        };
        let mut shapes = Self { inputs: inputs.iter().map(axes).collect(), outputs: outputs.iter().map(axes).collect(), padding: BTreeMap::new() };
        let symbols = shapes.lengths().flat_map(|length| length.terms.keys().cloned()).collect::<std::collections::BTreeSet<_>>();
        shapes.padding = symbols.into_iter().map(|symbol| (symbol.clone(), shapes.rule(&symbol, masked.contains(&symbol)))).collect();
        shapes
    }

    /// How a symbol may be padded.
    pub fn padding(&self, symbol: &str) -> Option<&Padding> {
        self.padding.get(symbol)
    }

    fn lengths(&self) -> impl Iterator<Item = &Length> {
        self.inputs.iter().chain(&self.outputs).flat_map(|port| &port.lengths)
    }

    fn rule(&self, symbol: &str, masked: bool) -> Padding {
        let never = |reason: String| Padding::Never(reason);
        if !is_name(symbol) {
            return never("it is no sum of symbols".to_owned());
        }
        if let Some(other) = self.lengths().flat_map(|length| length.terms.keys()).find(|other| !is_name(other) && words(other).any(|word| word == symbol)) {
            return never(format!("`{other}` depends on it"));
        }
        if self.lengths().any(|length| ![0, 1].contains(&length.factor(symbol))) {
            return never("an axis is several times as long".to_owned());
        }
        if self.are_rows(symbol) {
            return Padding::Behind;
        }
        let told = |other: &String| self.inputs.iter().flat_map(|port| &port.lengths).any(|length| length.terms.contains_key(other));
        if let Some(other) = self.outputs.iter().flat_map(|port| &port.lengths).flat_map(|length| length.terms.keys()).find(|other| !told(other)) {
            return never(format!("no input says how long `{other}` is"));
        }
        let has = |port: &Axes| port.lengths.iter().any(|length| length.factor(symbol) == 1);
        let is_past = self.inputs.iter().any(|port| port.name.starts_with("past") && has(port));
        let side = if is_past { Padding::Before } else { Padding::Behind };
        if masked {
            return side;
        }
        let covers = |port: &Axes| is_mask(port) && port.lengths.last().is_some_and(|length| length.factor(symbol) == 1);
        if !self.inputs.iter().any(covers) {
            return never("no input masks it".to_owned());
        }
        if let Some(output) = self.outputs.iter().find(|output| !is_past && !has(output)) {
            return never(format!("output `{}` has no such axis, so it may be a sum over it", output.name));
        }
        let reads_tokens = self.inputs.iter().any(|port| is_integer(port.element_type) && !is_mask(port) && !is_position(port));
        if is_past && reads_tokens && !self.inputs.iter().any(is_position) {
            return never("no input gives the positions of tokens, which it would shift".to_owned());
        }
        side
    }

    /// Whether a symbol is the first axis of everything, and nothing else.
    fn are_rows(&self, symbol: &str) -> bool {
        let alone = |length: &Length| length.constant == 0 && length.terms.len() == 1 && length.factor(symbol) == 1;
        let rows = |port: &Axes| port.lengths.split_first().is_some_and(|(first, rest)| alone(first) && rest.iter().all(|length| length.factor(symbol) == 0));
        self.inputs.iter().chain(&self.outputs).all(rows)
    }

    /// How long each symbol is where the inputs have these shapes; none stands for an axis of which it is not known. Names the input
    /// that does not fit the others.
    pub fn bind(&self, shapes: &[Vec<Option<u32>>]) -> Result<Lengths, String> {
        let mut lengths = Lengths::new();
        for (port, shape) in self.inputs.iter().zip(shapes) {
            if port.lengths.len() != shape.len() {
                return Err(format!("input `{}` has {} axes, the shard declares {}", port.name, shape.len(), port.lengths.len()));
            }
        }
        let axes =
            || self.inputs.iter().zip(shapes).flat_map(|(port, shape)| port.lengths.iter().zip(shape).map(move |(length, whole)| (port, length, *whole)));
        // Each pass knows one symbol more, or is the last.
        while let Some((symbol, length)) = axes().find_map(|(_, length, whole)| length.missing(whole?, &lengths)) {
            let symbol = symbol.to_owned();
            lengths.insert(symbol, length);
        }
        for (port, length, whole) in axes() {
            if let (Some(whole), Some(value)) = (whole, length.value(&lengths))
                && whole != value
            {
                return Err(format!("an axis of input `{}` is {whole}, the shard and the other inputs make it {value}", port.name));
            }
            if let (Some(whole), None) = (whole, length.value(&lengths)) {
                return Err(format!("an axis of input `{}` is {whole}, which no lengths make", port.name));
            }
        }
        Ok(lengths)
    }

    /// The bucket that takes these lengths with the least padding, by its index; or in words why none does.
    pub fn choose(&self, lengths: &Lengths, buckets: &[Lengths]) -> Result<usize, String> {
        let fits = |bucket: &Lengths| lengths.iter().all(|(symbol, length)| self.takes(symbol, *length, bucket));
        let fitting = (0..buckets.len()).filter(|&index| fits(&buckets[index]));
        fitting.min_by_key(|&index| self.elements(lengths, &buckets[index])).ok_or_else(|| self.misfit(lengths, buckets))
    }

    fn takes(&self, symbol: &str, length: u32, bucket: &Lengths) -> bool {
        let may_pad = !matches!(self.padding.get(symbol), Some(Padding::Never(_)) | None);
        bucket.get(symbol).is_none_or(|&there| there == length || may_pad && there > length)
    }

    /// Elements of all inputs in a bucket.
    fn elements(&self, lengths: &Lengths, bucket: &Lengths) -> u64 {
        let lengths = within(lengths, bucket);
        let elements = |port: &Axes| port.lengths.iter().map(|length| u64::from(length.value(&lengths).unwrap_or(1))).fold(1, u64::saturating_mul);
        self.inputs.iter().map(elements).fold(0, u64::saturating_add)
    }

    fn misfit(&self, lengths: &Lengths, buckets: &[Lengths]) -> String {
        let input = |symbol: &str| self.inputs.iter().find(|port| port.lengths.iter().any(|length| length.factor(symbol) != 0)).map_or("", |port| &port.name);
        for (symbol, &length) in lengths {
            let there: Vec<u32> = buckets.iter().filter_map(|bucket| bucket.get(symbol).copied()).collect();
            if buckets.iter().any(|bucket| self.takes(symbol, length, bucket)) {
                continue;
            }
            let largest = there.iter().copied().max().unwrap_or(0);
            if largest < length {
                return format!("dimension `{symbol}` of input `{}` is {length}, the largest bucket has {largest}", input(symbol));
            }
            let Some(Padding::Never(reason)) = self.padding.get(symbol) else { continue };
            let there = there.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            return format!("dimension `{symbol}` of input `{}` is {length}, the buckets have {there}, and it is not padded: {reason}", input(symbol));
        }
        let all = buckets.iter().map(text).collect::<Vec<_>>().join("; ");
        format!("no bucket takes {}, there are {all}", text(lengths))
    }

    /// Where what came lies in a tensor of a bucket along one axis: how much is in front of it.
    pub fn start(&self, length: &Length, lengths: &Lengths, bucket: &Lengths) -> u32 {
        let before = length.terms.keys().filter(|symbol| self.padding.get(*symbol) == Some(&Padding::Before));
        before.map(|symbol| bucket.get(symbol).zip(lengths.get(symbol)).map_or(0, |(there, came)| there.saturating_sub(*came))).sum()
    }
}

/// The lengths in a bucket; what it leaves open is as long as what came.
pub fn within(lengths: &Lengths, bucket: &Lengths) -> Lengths {
    lengths.iter().chain(bucket).map(|(symbol, length)| (symbol.clone(), *length)).collect()
}

/// For a person: `batch = 1, tokens = 16`.
pub fn text(lengths: &Lengths) -> String {
    lengths.iter().map(|(symbol, length)| format!("{symbol} = {length}")).collect::<Vec<_>>().join(", ")
}

/// Whether zeros in an input say what to leave out.
fn is_mask(port: &Axes) -> bool {
    let name = port.name.to_lowercase();
    is_integer(port.element_type) && name.contains("mask") && !name.contains("padding")
}

fn is_position(port: &Axes) -> bool {
    port.name.to_lowercase().contains("position")
}

pub(super) fn is_integer(element_type: ElementType) -> bool {
    !is_float(element_type)
}

pub(super) fn is_float(element_type: ElementType) -> bool {
    matches!(element_type, ElementType::Fp64 | ElementType::Fp32 | ElementType::Fp16 | ElementType::Bf16)
}

/// What could be symbols in an expression.
fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|character: char| !(character.is_alphanumeric() || "_.:".contains(character)))
}

#[cfg(test)]
mod tests;
