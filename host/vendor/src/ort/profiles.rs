//! Lengths that TensorRT prepares for. It builds an engine for a range of each open length and for one at which it is best; without a
//! range it would build another engine, which takes minutes, for each new length that a request brings.

use std::collections::BTreeMap;

use host_engine::{Binding, Error, TensorSpec, symbols};

/// The lengths of one symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    min: usize,
    best: usize,
    max: usize,
}

/// Ranges by symbol, as people write them: `sequence=1/64/512, past_sequence_length=0/128/2048`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Profiles(BTreeMap<String, Range>);

/// The shapes of all inputs with open lengths, as the provider takes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ProfileShapes {
    pub(super) min: String,
    pub(super) best: String,
    pub(super) max: String,
}

impl Profiles {
    /// Reads the text; the error says what was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wanted = || "ranges such as `sequence=1/64/512, past_sequence_length=0/128/2048`".to_owned();
        let mut ranges = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (symbol, range) = part.split_once('=').ok_or_else(wanted)?;
            let numbers: Vec<usize> = range.split('/').map(|number| number.trim().parse()).collect::<Result<_, _>>().map_err(|_| wanted())?;
            let &[min, best, max] = numbers.as_slice() else { return Err(wanted()) };
            if !(min <= best && best <= max) {
                return Err(format!("the least, the best and the largest length of `{}` in this order", symbol.trim()));
            }
            ranges.insert(symbol.trim().to_owned(), Range { min, best, max });
        }
        Ok(Self(ranges))
    }

    /// The shapes of inputs whose lengths are open; none where none is. Names a symbol without a range.
    pub(super) fn shapes(&self, inputs: &[TensorSpec]) -> Result<Option<ProfileShapes>, Error> {
        let symbols = symbols(inputs);
        if symbols.is_empty() {
            return Ok(None);
        }
        if let Some(symbol) = symbols.iter().find(|symbol| !self.0.contains_key(*symbol)) {
            return Err(Error::unsupported(format!(
                "length `{symbol}` is open and engine tensorrt has no range for it: expected one in option `profiles`, such as `{symbol}=1/64/512`"
            )));
        }
        let bind = |length: fn(&Range) -> usize| self.0.iter().fold(Binding::default(), |binding, (symbol, range)| binding.with(symbol, length(range)));
        let text = |binding: &Binding| -> Result<String, Error> {
            let open = inputs.iter().filter(|spec| spec.shape.iter().any(|dimension| dimension.fixed().is_none()));
            let one = |spec: &TensorSpec| -> Result<String, Error> {
                let shape = binding.shape(spec).ok_or_else(|| Error::unsupported(format!("input {spec} has a length that is no number at all")))?;
                Ok(format!("{}:{}", spec.name, shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")))
            };
            Ok(open.map(one).collect::<Result<Vec<_>, _>>()?.join(","))
        };
        Ok(Some(ProfileShapes { min: text(&bind(|range| range.min))?, best: text(&bind(|range| range.best))?, max: text(&bind(|range| range.max))? }))
    }

    /// Refuses lengths outside their ranges, by name.
    pub(super) fn check(&self, lengths: &Binding) -> Result<(), Error> {
        for (symbol, range) in &self.0 {
            let Some(length) = lengths.get(symbol) else { continue };
            if length < range.min || length > range.max {
                return Err(Error::unsupported(format!("length {length} of `{symbol}` is outside of what was prepared, {} to {}", range.min, range.max)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use host_engine::{Dimension, ElementType};

    use super::*;

    fn spec(name: &str, axes: &[&str]) -> TensorSpec {
        let dimension = |text: &&str| text.parse().map_or_else(|_| Dimension::Symbol((*text).to_owned()), Dimension::Fixed);
        TensorSpec { name: name.into(), element_type: ElementType::Int64, shape: axes.iter().map(dimension).collect() }
    }

    #[test]
    fn shapes_are_made_of_ranges_and_of_sums_of_them() {
        let profiles = Profiles::parse("sequence=1/64/512, past=0/128/2048").expect("two ranges");
        let inputs = [spec("ids", &["1", "sequence"]), spec("mask", &["1", "past + sequence"]), spec("fixed", &["1", "3"])];
        let shapes = profiles.shapes(&inputs).expect("all have ranges").expect("two are open");
        assert_eq!(shapes, ProfileShapes { min: "ids:1x1,mask:1x1".into(), best: "ids:1x64,mask:1x192".into(), max: "ids:1x512,mask:1x2560".into() });
        assert_eq!(profiles.shapes(&inputs[2..]).expect("nothing to do"), None);
    }

    #[test]
    fn an_open_length_without_a_range_and_one_beyond_it_are_named() {
        let profiles = Profiles::parse("sequence=1/64/512").expect("one range");
        let error = profiles.shapes(&[spec("mask", &["1", "past + sequence"])]).expect_err("past has none").to_string();
        assert_eq!(error, "length `past` is open and engine tensorrt has no range for it: expected one in option `profiles`, such as `past=1/64/512`");
        let error = profiles.check(&Binding::default().with("sequence", 600)).expect_err("too long").to_string();
        assert_eq!(error, "length 600 of `sequence` is outside of what was prepared, 1 to 512");
        profiles.check(&Binding::default().with("sequence", 512).with("other", 9999)).expect("within");
    }

    #[test]
    fn texts_that_are_no_ranges_are_refused() {
        for text in ["sequence", "sequence=1", "sequence=1/2", "sequence=1/2/3/4", "sequence=a/b/c", "sequence=5/4/9"] {
            assert!(Profiles::parse(text).is_err(), "{text}");
        }
        assert_eq!(Profiles::parse(" "), Ok(Profiles::default()));
    }
}
