//! `GET|POST /schedule?strategy=load|roundrobin`: which device a task would go to.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Fault};

/// How the device is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strategy {
    /// The one that works least.
    #[default]
    Load,
    /// One after another.
    RoundRobin,
}

impl Strategy {
    /// The word in the query.
    pub fn word(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::RoundRobin => "roundrobin",
        }
    }

    /// From the word in the query.
    pub fn parse(word: &str) -> Result<Self, Error> {
        let unknown = || Fault::UnknownWord { what: "strategy", word: word.chars().take(32).collect(), known: "load, roundrobin" }.into();
        [Self::Load, Self::RoundRobin].into_iter().find(|strategy| strategy.word() == word).ok_or_else(unknown)
    }
}

/// The query, and the body of a POST.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Query {
    /// `load` or `roundrobin`; the spelling `stargety` has been out in the world for years.
    #[serde(alias = "stargety", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Only devices that hold a part of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Query {
    /// The strategy that is asked for.
    pub fn strategy(&self) -> Result<Strategy, Error> {
        self.strategy.as_deref().map_or(Ok(Strategy::default()), Strategy::parse)
    }
}

/// Where a task would go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The device.
    pub device: String,
    /// Where it is reached; empty for a device inside the central's own process.
    pub address: String,
    /// The strategy that chose it.
    pub strategy: String,
    /// The model that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_misspelt_strategy_is_understood_and_an_unknown_one_is_named() {
        let query: Query = serde_json::from_str(r#"{"stargety":"roundrobin"}"#).expect("the old spelling");
        assert_eq!(query.strategy(), Ok(Strategy::RoundRobin));
        assert_eq!(Query::default().strategy(), Ok(Strategy::Load));
        let error = Strategy::parse("best").expect_err("not a strategy");
        assert_eq!(error.to_string(), "strategy `best` is not known, it must be one of load, roundrobin");
    }
}
