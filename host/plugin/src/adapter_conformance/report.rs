//! What the suite found: a line for each check.

use std::{fmt, sync::Arc, time::Duration};

use host_engine::Digest;

/// What a check is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// What the adapter finds on this machine.
    Offer,
    /// A class of operators.
    Operators,
    /// A type of elements.
    ElementType,
    /// An open dimension, around the edges of buckets.
    Length,
    /// Memory that is filled.
    Memory,
    /// Loads and unloads in a row.
    Cycles,
    /// Threads at the same time.
    Parallel,
}

impl Subject {
    /// One word, for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Operators => "operators",
            Self::ElementType => "type",
            Self::Length => "length",
            Self::Memory => "memory",
            Self::Cycles => "cycles",
            Self::Parallel => "parallel",
        }
    }
}

/// What came out of a check, in words beside the kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It does what it must.
    Holds(String),
    /// It refuses, with this reason.
    Refused(String),
    /// It computes something else than the reference, fails, or does what it must not.
    Wrong(String),
    /// It could not be examined, for this reason.
    Missing(String),
}

impl Verdict {
    /// One word, for people and programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Holds(_) => "ok",
            Self::Refused(_) => "refused",
            Self::Wrong(_) => "wrong",
            Self::Missing(_) => "missing",
        }
    }

    /// The reason, or how well it holds.
    pub fn says(&self) -> &str {
        match self {
            Self::Holds(says) | Self::Refused(says) | Self::Wrong(says) | Self::Missing(says) => says,
        }
    }

    /// Answers that are this far from the reference's, as a part of the largest value of an output.
    pub(super) fn near(furthest: f64) -> Self {
        Self::Holds(if furthest > 0.0 { format!("largest difference {furthest:.1e}") } else { "no difference".to_owned() })
    }

    /// The same kind, with words in front that say where it was.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        let with = |says: String| format!("{place}: {says}");
        match self {
            Self::Holds(says) => Self::Holds(with(says)),
            Self::Refused(says) => Self::Refused(with(says)),
            Self::Wrong(says) => Self::Wrong(with(says)),
            Self::Missing(says) => Self::Missing(with(says)),
        }
    }

    /// A refusal where one is not allowed any more, because the same was taken before.
    pub(super) fn or_wrong(self) -> Self {
        match self {
            Self::Refused(says) => Self::Wrong(says),
            other => other,
        }
    }
}

/// One thing that was examined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What it is about.
    pub subject: Subject,
    /// Its name: `convolution`, `sequence 17`.
    pub name: String,
    /// Whether a refusal is a failure.
    pub is_required: bool,
    /// What came out.
    pub verdict: Verdict,
}

impl Check {
    /// Whether it passes: it holds, or it may be refused and is.
    pub fn passed(&self) -> bool {
        match self.verdict {
            Verdict::Holds(_) => true,
            Verdict::Refused(_) => !self.is_required,
            Verdict::Wrong(_) | Verdict::Missing(_) => false,
        }
    }
}

/// What the suite found of one adapter.
#[derive(Clone, PartialEq, Debug)]
pub struct AdapterReport {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Its digest.
    pub digest: Digest,
    /// The kind of accelerator; empty where there is none.
    pub accelerator: String,
    /// What the offer says besides: `engine`, `engine-version`.
    pub attributes: Vec<(String, String)>,
    /// All checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// How long it took.
    pub took: Duration,
}

impl AdapterReport {
    /// How many checks do not pass.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.passed()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_what_is_not_required_passes_beside_what_holds() {
        let text = String::new;
        let cases = [
            (Verdict::Holds(text()), [true, true]),
            (Verdict::Refused(text()), [true, false]),
            (Verdict::Wrong(text()), [false, false]),
            (Verdict::Missing(text()), [false, false]),
        ];
        for (verdict, expected) in cases {
            let passed = |is_required| Check { subject: Subject::Operators, name: text(), is_required, verdict: verdict.clone() }.passed();
            assert_eq!([passed(false), passed(true)], expected, "{verdict:?}");
        }
    }
}
