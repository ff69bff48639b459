//! Why requests are turned away: words from a closed set.

/// Why a request got no turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shed {
    /// The policy in the queueing slot turned it away.
    Refused,
    /// The line was full.
    Full,
    /// It waited until its deadline.
    Late,
}

impl Shed {
    /// A word for labels.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Full => "full",
            Self::Late => "late",
        }
    }
}
