//! Which symbol is how long: solved from the shapes of inputs, and the symbol of the batch.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{Error, Fault},
    linear::Linear,
    spec::{Dimension, TensorSpec},
};

/// Lengths of symbols.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Binding(BTreeMap<String, usize>);

impl Binding {
    /// Also with this length for a symbol.
    #[must_use]
    pub fn with(mut self, symbol: &str, length: usize) -> Self {
        self.0.insert(symbol.to_owned(), length);
        self
    }

    /// The length of a symbol, if it has one.
    pub fn get(&self, symbol: &str) -> Option<usize> {
        self.0.get(symbol).copied()
    }

    /// Replaces the symbols that have a length; the others stay.
    pub(crate) fn apply(&self, axis: &Linear) -> Linear {
        let mut bound = Linear { constant: axis.constant, ..Linear::default() };
        for (name, factor) in &axis.terms {
            match self.get(name) {
                Some(length) => bound.constant += i64::try_from(length).unwrap_or(i64::MAX).saturating_mul(*factor),
                None => {
                    bound.terms.insert(name.clone(), *factor);
                }
            }
        }
        bound
    }

    /// A spec with the symbols replaced that have a length.
    pub fn specify(&self, spec: &TensorSpec) -> TensorSpec {
        let shape = spec.shape.iter().map(|dimension| Dimension::from(&self.apply(&Linear::from(dimension)))).collect();
        TensorSpec { shape, ..spec.clone() }
    }

    /// A spec's shape when every symbol in it has a length.
    pub fn shape(&self, spec: &TensorSpec) -> Option<Vec<usize>> {
        spec.shape.iter().map(|dimension| Linear::from(dimension).evaluate(|name| self.get(name))).collect()
    }

    /// Without the symbols that a test takes.
    pub(crate) fn without(mut self, taken: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|name, _| !taken(name));
        self
    }

    /// Solves the symbols from shapes that came; the error names a symbol that would have two lengths.
    pub fn solve<'a>(pairs: impl Iterator<Item = (&'a TensorSpec, &'a [usize])> + Clone) -> Result<Self, Error> {
        let mut binding = Self::default();
        // The second round solves sums whose other symbols were found in the first.
        for _ in 0..2 {
            for (spec, shape) in pairs.clone() {
                for (dimension, &length) in spec.shape.iter().zip(shape) {
                    binding.learn(&spec.name, &Linear::from(dimension), length)?;
                }
            }
        }
        Ok(binding)
    }

    fn learn(&mut self, input: &str, axis: &Linear, length: usize) -> Result<(), Error> {
        let rest = self.apply(axis);
        let missing = i64::try_from(length).unwrap_or(i64::MAX) - rest.constant;
        let mut open = rest.terms.iter();
        match (open.next(), open.next()) {
            (None, _) if missing != 0 => Err(Fault::Mismatch {
                what: "length of an axis",
                name: input.to_owned(),
                expected: format!("{} ({axis})", rest.constant),
                found: length.to_string(),
            }
            .into()),
            (Some((name, factor)), None) if missing >= 0 && missing % factor == 0 => {
                self.0.insert(name.clone(), usize::try_from(missing / factor).unwrap_or(0));
                Ok(())
            }
            (Some(_), None) => {
                Err(Fault::Mismatch { what: "length of an axis", name: input.to_owned(), expected: format!("{axis}"), found: length.to_string() }.into())
            }
            _ => Ok(()),
        }
    }
}

/// Every symbol that a length of these specs depends on.
pub fn symbols(specs: &[TensorSpec]) -> BTreeSet<String> {
    specs.iter().flat_map(|spec| &spec.shape).flat_map(|dimension| Linear::from(dimension).terms.into_keys()).collect()
}

/// The symbol of the batch: a usual name for it, or whatever all inputs have on axis 0, unless it names a length.
pub fn batch_symbol(inputs: &[TensorSpec]) -> Option<String> {
    let first_axes: Vec<Option<&str>> = inputs
        .iter()
        .map(|spec| match spec.shape.first() {
            Some(Dimension::Symbol(name)) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let usual = |name: &&str| matches!(name.to_ascii_lowercase().as_str(), "batch" | "batch_size" | "n" | "b" | "bs");
    if let Some(name) = first_axes.iter().flatten().find(|name| usual(name)) {
        return Some((*name).to_owned());
    }
    let first = (*first_axes.first()?)?;
    let names_a_length = ["seq", "len", "past", "time", "token"].iter().any(|part| first.to_ascii_lowercase().contains(part));
    (!names_a_length && first_axes.iter().all(|axis| *axis == Some(first))).then(|| first.to_owned())
}

/// Symbols of the attention cache by the names that exporters give them.
pub(crate) fn is_past(symbol: &str) -> bool {
    symbol.to_ascii_lowercase().contains("past")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element_type::ElementType;

    fn spec(name: &str, axes: &[&str]) -> TensorSpec {
        let dimension = |text: &&str| text.parse().map_or_else(|_| Dimension::Symbol((*text).to_owned()), Dimension::Fixed);
        TensorSpec { name: name.into(), element_type: ElementType::Fp32, shape: axes.iter().map(dimension).collect() }
    }

    #[test]
    fn sums_are_solved_and_two_lengths_for_one_symbol_are_refused() {
        let (mask, ids) = (spec("mask", &["batch", "past + sequence"]), spec("ids", &["batch", "sequence"]));
        let solved = Binding::solve([(&mask, &[1, 7][..]), (&ids, &[1, 3][..])].into_iter()).expect("7 is 4 + 3");
        assert_eq!((solved.get("past"), solved.get("sequence")), (Some(4), Some(3)));
        let error = Binding::solve([(&ids, &[1, 3][..]), (&ids, &[2, 3][..])].into_iter()).expect_err("1 is not 2");
        assert_eq!(error.to_string(), "length of an axis of `ids`: expected 1 (batch), found 2");
    }

    #[test]
    fn the_batch_is_found_by_name_or_by_place_and_never_a_length() {
        let cases = [
            (vec![spec("x", &["batch_size", "3"])], Some("batch_size")),
            (vec![spec("x", &["dim_0", "3"])], Some("dim_0")),
            (vec![spec("x", &["sequence_length"])], None),
        ];
        for (inputs, expected) in cases {
            assert_eq!(batch_symbol(&inputs).as_deref(), expected);
        }
        assert_eq!(batch_symbol(&[spec("x", &["rows"]), spec("y", &["columns"])]), None);
    }
}
