//! Shapes of all values in terms of the inputs' symbols. They are worked out twice with different lengths: an axis that
//! stays is fixed, and one that goes along with a symbol, a multiple of one or a sum of two is that. This needs nothing of an
//! operator but its shape for given lengths, and so holds where symbolic arithmetic gives up.

use std::collections::{BTreeMap, HashMap};

use crate::{
    binding::{Binding, batch_symbol},
    element_type::ElementType,
    error::{Error, Fault},
    linear::Linear,
    spec::{Dimension, TensorSpec},
    tract::{facts::Facts, parse::Parsed},
};

use super::symbols;

/// A length in the first and second round.
type Rounds = (usize, usize);

/// Lengths of symbols in the first and second round. No sum or multiple of two rows equals another in both rounds.
const LENGTHS: [Rounds; 8] = [(7, 12), (11, 19), (13, 25), (17, 22), (19, 36), (23, 29), (10, 31), (14, 39)];
/// The same for models with tables too short for these.
const SHORT_LENGTHS: [Rounds; 3] = [(4, 6), (2, 7), (6, 5)];
/// The batch in the first and second round.
const BATCHES: Rounds = (3, 5);
/// The same for models that declare an open batch and take one row only.
const ONE_ROW: Rounds = (1, 1);
/// What is tried in turn until all outputs have a shape.
const TRIES: [(&[Rounds], Rounds); 4] = [(&LENGTHS, BATCHES), (&SHORT_LENGTHS, BATCHES), (&LENGTHS, ONE_ROW), (&SHORT_LENGTHS, ONE_ROW)];
/// Pixels in the first and second round; multiples of 32, as CNNs halve them five times.
const PIXELS: Rounds = (64, 96);

/// Shape and type of values by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes {
    shapes: HashMap<String, (ElementType, Vec<Linear>)>,
    /// Why some may be missing.
    problem: Option<String>,
}

impl Shapes {
    /// Two rounds over the whole graph, with shorter lengths or a batch of one where the outputs have no shape else.
    pub(super) fn work_out(parsed: &Parsed, inputs: &[TensorSpec], outputs: &[&str]) -> Result<Self, Error> {
        let open = !symbols::symbols(inputs).is_empty();
        let mut first = None;
        for (lengths, batch) in TRIES {
            let shapes = Self::two_rounds(parsed, inputs, &pairs(inputs, lengths, batch))?;
            if !open || outputs.iter().all(|name| shapes.axes(name).is_some()) {
                return Ok(shapes);
            }
            first.get_or_insert(shapes);
        }
        Ok(first.unwrap_or_default())
    }

    fn two_rounds(parsed: &Parsed, inputs: &[TensorSpec], pairs: &Pairs) -> Result<Self, Error> {
        let round = |pick: fn(&Rounds) -> usize| {
            let binding = pairs.iter().fold(Binding::default(), |binding, (symbol, lengths)| binding.with(symbol, pick(lengths)));
            symbols::facts(parsed, inputs, &binding)
        };
        let first = round(|lengths| lengths.0)?;
        let second = if pairs.is_empty() { None } else { Some(round(|lengths| lengths.1)?) };
        let mut shapes = HashMap::with_capacity(first.values.len());
        for (name, fact) in &first.values {
            let (Some(element_type), Some(one)) = (fact.element_type, fact.shape.as_deref()) else { continue };
            let Some(two) = second.as_ref().map_or(Some(one), |facts: &Facts| facts.shape(name)) else { continue };
            if one.len() == two.len() {
                let axis = |(axis, (&a, &b)): (usize, (&usize, &usize))| fit(pairs, a, b).unwrap_or_else(|| Linear::symbol(&format!("{name}_{axis}")));
                shapes.insert(name.clone(), (element_type, one.iter().zip(two).enumerate().map(axis).collect()));
            }
        }
        for spec in inputs {
            shapes.insert(spec.name.clone(), (spec.element_type, spec.shape.iter().map(Linear::from).collect()));
        }
        Ok(Self { shapes, problem: first.problem.map(|error| error.to_string()) })
    }

    /// The axes of a value.
    pub(crate) fn axes(&self, name: &str) -> Option<&[Linear]> {
        self.shapes.get(name).map(|(_, axes)| axes.as_slice())
    }

    /// A value as an input or output; the error says why its shape is not known.
    pub(crate) fn spec(&self, name: &str) -> Result<TensorSpec, Error> {
        let Some((element_type, axes)) = self.shapes.get(name) else {
            let error = Error::from(Fault::Missing { what: "shape of value", name: name.to_owned() });
            return Err(match &self.problem {
                Some(problem) => error.because(problem.clone()),
                None => error,
            });
        };
        Ok(TensorSpec { name: name.to_owned(), element_type: *element_type, shape: axes.iter().map(Dimension::from).collect() })
    }
}

/// Two lengths for each symbol.
type Pairs = BTreeMap<String, Rounds>;

fn pairs(inputs: &[TensorSpec], lengths: &[Rounds], batches: Rounds) -> Pairs {
    let batch = batch_symbol(inputs);
    let mut lengths = lengths.iter().copied().chain((0..).map(|step| (40 + 7 * step, 101 + 13 * step)));
    let symbols = symbols::symbols(inputs).into_iter();
    let pair = |symbol: String| {
        let lower = symbol.to_ascii_lowercase();
        let pair = if batch.as_ref() == Some(&symbol) {
            batches
        } else if lower.contains("height") || lower.contains("width") {
            PIXELS
        } else {
            lengths.next().unwrap_or(PIXELS)
        };
        (symbol, pair)
    };
    symbols.map(pair).collect()
}

/// What has length `a` in the first round and `b` in the second.
fn fit(pairs: &Pairs, a: usize, b: usize) -> Option<Linear> {
    if a == b {
        return Some(Linear::fixed(a));
    }
    if let Some((name, _)) = pairs.iter().find(|(_, pair)| **pair == (a, b)) {
        return Some(Linear::symbol(name));
    }
    let multiple = pairs.iter().find(|(_, (one, two))| a.is_multiple_of(*one) && a / one * two == b);
    if let Some((name, (one, _))) = multiple {
        return Some(Linear { constant: 0, terms: BTreeMap::from([(name.clone(), i64::try_from(a / one).ok()?)]) });
    }
    for (name, (one, two)) in pairs {
        let other = pairs.iter().find(|(_, pair)| one + pair.0 == a && two + pair.1 == b);
        if let Some((other, _)) = other {
            return Some(Linear::parse(&format!("{name} + {other}")));
        }
    }
    let longer = pairs.iter().find(|(_, (one, two))| a > *one && b > *two && a - one == b - two);
    longer.map(|(name, (one, _))| Linear { constant: i64::try_from(a - one).unwrap_or(0), terms: BTreeMap::from([(name.clone(), 1)]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_two_rounds_tell_what_an_axis_is() {
        let pairs = BTreeMap::from([("batch".to_owned(), BATCHES), ("past".to_owned(), LENGTHS[0]), ("tokens".to_owned(), LENGTHS[1])]);
        for ((a, b), expected) in
            [((64, 64), "64"), ((3, 5), "batch"), ((11, 19), "tokens"), ((18, 31), "past + tokens"), ((33, 57), "3*tokens"), ((8, 13), "past + 1")]
        {
            assert_eq!(fit(&pairs, a, b).map(|linear| linear.to_string()).as_deref(), Some(expected));
        }
        assert_eq!(fit(&pairs, 2, 9), None);
    }
}
