//! `GET|POST /schedule?strategy=load|roundrobin|POLICY`: which device a task would go to.

use serde::{Deserialize, Serialize};

/// How the device is chosen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Strategy {
    /// The one that works least.
    #[default]
    Load,
    /// One after another.
    RoundRobin,
    /// As this routing policy says. Whether there is one of that name is not known here.
    Policy(String),
}

impl Strategy {
    /// The word in the query.
    pub fn word(&self) -> &str {
        match self {
            Self::Load => "load",
            Self::RoundRobin => "roundrobin",
            Self::Policy(name) => name,
        }
    }

    /// The routing policy that chooses: NAME for the slot `routing/NAME`.
    pub fn policy(&self) -> &str {
        match self {
            Self::Load => "least-loaded",
            Self::RoundRobin => "round-robin",
            Self::Policy(name) => name,
        }
    }

    /// From the word in the query.
    pub fn of(word: &str) -> Self {
        let known = [Self::Load, Self::RoundRobin].into_iter().find(|strategy| strategy.word() == word);
        known.unwrap_or_else(|| Self::Policy(word.to_owned()))
    }
}

/// The query, and the body of a POST.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Query {
    /// `load`, `roundrobin` or the name of a routing policy; the spelling `stargety` has been out in the world for years.
    #[serde(alias = "stargety", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Only devices that hold a part of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The sequence that the task belongs to, as a request's parameter `sequence_id` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_id: Option<String>,
}

impl Query {
    /// The strategy that is asked for.
    pub fn strategy(&self) -> Strategy {
        self.strategy.as_deref().map_or_else(Strategy::default, Strategy::of)
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
    fn the_misspelt_strategy_is_understood_and_other_words_are_policies() {
        let query: Query = serde_json::from_str(r#"{"stargety":"roundrobin"}"#).expect("the old spelling");
        assert_eq!(query.strategy(), Strategy::RoundRobin);
        assert_eq!(Query::default().strategy(), Strategy::Load);
        let (load, other) = (Strategy::of("load"), Strategy::of("sticky"));
        assert_eq!((load.policy(), load.word(), other.policy(), other.word()), ("least-loaded", "load", "sticky", "sticky"));
        let query: Query = serde_json::from_str(r#"{"strategy":"sticky","sequence_id":"7"}"#).expect("all of it");
        assert_eq!((query.strategy(), query.sequence_id.as_deref()), (Strategy::Policy("sticky".into()), Some("7")));
    }
}
