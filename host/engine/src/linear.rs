//! Lengths that depend on symbols: `batch_size`, `past_sequence_length + sequence_length`, `2*width + 1`. Nothing beyond sums of multiples.

use std::{collections::BTreeMap, fmt};

use crate::spec::Dimension;

/// A constant and a multiple of each symbol.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Linear {
    pub(crate) constant: i64,
    pub(crate) terms: BTreeMap<String, i64>,
}

impl Linear {
    pub(crate) fn fixed(length: usize) -> Self {
        Self { constant: i64::try_from(length).unwrap_or(i64::MAX), terms: BTreeMap::new() }
    }

    pub(crate) fn symbol(name: &str) -> Self {
        Self { constant: 0, terms: BTreeMap::from([(name.to_owned(), 1)]) }
    }

    /// Reads sums such as `a + b` and `2*a + 1`; any other text is a symbol of its own.
    pub(crate) fn parse(text: &str) -> Self {
        text.split('+').try_fold(Self::default(), |sum, part| sum.plus(part.trim())).unwrap_or_else(|| Self::symbol(text))
    }

    fn plus(mut self, part: &str) -> Option<Self> {
        let is_name =
            |text: &str| text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
        let (factor, name) = match part.split_once('*') {
            Some((factor, name)) => (factor.trim().parse::<i64>().ok().filter(|factor| *factor > 0)?, name.trim()),
            None => (1, part),
        };
        if let Ok(number) = name.parse::<i64>() {
            self.constant = self.constant.checked_add(number.checked_mul(factor)?)?;
        } else if is_name(name) {
            *self.terms.entry(name.to_owned()).or_default() += factor;
        } else {
            return None;
        }
        Some(self)
    }

    /// The length for these lengths of the symbols; none when a symbol has none or the sum is negative.
    pub(crate) fn evaluate(&self, length: impl Fn(&str) -> Option<usize>) -> Option<usize> {
        let sum = self.terms.iter().try_fold(self.constant, |sum, (name, factor)| {
            let length = i64::try_from(length(name)?).ok()?;
            sum.checked_add(length.checked_mul(*factor)?)
        })?;
        usize::try_from(sum).ok()
    }

    /// The one symbol that it is, when it is nothing else.
    pub(crate) fn as_symbol(&self) -> Option<&str> {
        match (self.constant, self.terms.iter().next()) {
            (0, Some((name, 1))) if self.terms.len() == 1 => Some(name),
            _ => None,
        }
    }
}

impl From<&Dimension> for Linear {
    fn from(dimension: &Dimension) -> Self {
        match dimension {
            Dimension::Fixed(length) => Self::fixed(*length),
            Dimension::Symbol(text) => Self::parse(text),
        }
    }
}

impl From<&Linear> for Dimension {
    fn from(linear: &Linear) -> Self {
        match usize::try_from(linear.constant) {
            Ok(length) if linear.terms.is_empty() => Self::Fixed(length),
            _ => Self::Symbol(linear.to_string()),
        }
    }
}

impl fmt::Display for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.terms.iter().map(|(name, factor)| if *factor == 1 { name.clone() } else { format!("{factor}*{name}") }).collect();
        if self.constant != 0 || parts.is_empty() {
            parts.push(self.constant.to_string());
        }
        f.write_str(&parts.join(" + "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_read_back_as_they_print_and_other_text_is_one_symbol() {
        for (text, printed) in [("a", "a"), ("b + a", "a + b"), ("2*a + 1", "2*a + 1"), ("7", "7"), ("a/2", "a/2"), ("a+a", "2*a"), ("(a-1)+b", "(a-1)+b")] {
            assert_eq!(Linear::parse(text).to_string(), printed);
        }
        let lengths = |name: &str| match name {
            "a" => Some(3),
            "b" => Some(10),
            _ => None,
        };
        assert_eq!(Linear::parse("2*a + b + 1").evaluate(lengths), Some(17));
        assert_eq!(Linear::parse("a/2").evaluate(lengths), None);
    }
}
