//! Which operators a provider left to the CPU. ONNX Runtime says so in its log and nowhere else (as of version 1.31), so a session's log is
//! listened to while it is made.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use ort::logging::{LogLevel, LoggerFunction};

/// What ONNX Runtime's error says where fallback to the CPU is forbidden and nodes were left to it.
const FALLBACK_ERROR: &str = "fallback to CPU EP has been explicitly disabled";
/// Most lines about placements that are kept.
const LINES_MAX: usize = 100_000;

/// Whether an error says that nodes were left to the CPU.
pub(super) fn is_fallback(message: &str) -> bool {
    message.contains(FALLBACK_ERROR)
}

/// Listens to a session's log.
#[derive(Clone, Debug, Default)]
pub(super) struct Listener(Arc<Mutex<Vec<String>>>);

impl Listener {
    /// What the session is to call.
    pub(super) fn logger(&self) -> LoggerFunction {
        let lines = Arc::clone(&self.0);
        Arc::new(move |_level: LogLevel, _category: &str, _id: &str, place: &str, message: &str| {
            // Everything else of a verbose log is not about placements.
            if place.contains("VerifyEachNodeIsAssignedToAnEp") {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() < LINES_MAX {
                    lines.push(message.to_owned());
                }
            }
        })
    }

    /// What was heard.
    pub(super) fn placements(&self) -> Placements {
        Placements::read(self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(String::as_str))
    }
}

/// Operators by the provider that they were placed on, each once, with the name of the first node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Placements {
    operators: BTreeMap<String, BTreeMap<String, String>>,
    /// The provider that has every node; then the log lists none.
    all: Option<String>,
}

impl Placements {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut read = Self::default();
        let mut provider: Option<String> = None;
        for line in lines {
            if let Some(name) = line.split_once("placed on [").and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name.to_owned()) {
                if line.trim_start().starts_with("All nodes") {
                    read.all = Some(name.clone());
                }
                provider = Some(name);
            } else if let (Some(provider), Some((operator, rest))) = (&provider, line.trim().split_once(" (")) {
                let node = rest.strip_suffix(')').unwrap_or(rest);
                read.operators.entry(provider.clone()).or_default().entry(operator.to_owned()).or_insert_with(|| node.to_owned());
            }
        }
        read
    }

    /// Whether anything was heard.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_none() && self.operators.is_empty()
    }

    /// Why a session must not be used of which nodes are on the CPU; none where those are only operators that may be there.
    pub(super) fn refusal(&self, may: &[&str]) -> Option<String> {
        const CPU: &str = "CPUExecutionProvider";
        if self.all.as_deref() == Some(CPU) {
            return Some("it takes no operator of the shard".to_owned());
        }
        let left: Vec<String> = (self.operators.get(CPU)?.iter())
            .filter(|(operator, _)| !may.contains(&operator.as_str()))
            .map(|(operator, node)| if node.is_empty() { operator.clone() } else { format!("{operator} (node `{node}`)") })
            .collect();
        (!left.is_empty()).then(|| format!("it does not take operator {}", left.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ONNX Runtime's source has them; with one provider alone its log was seen, with two it was not.
    const MIXED: [&str; 8] = [
        "Node placements",
        " Node(s) placed on [CPUExecutionProvider]. Number of nodes: 3",
        "  Shape (/model/Shape)",
        "  Gather (/model/Gather)",
        "  Gather (/model/Gather_1)",
        " Node(s) placed on [CUDAExecutionProvider]. Number of nodes: 2",
        "  MatMul (/model/MatMul)",
        "  Add ()",
    ];

    #[test]
    fn operators_are_told_by_the_provider_that_has_them() {
        let heard = Placements::read(MIXED.into_iter());
        assert_eq!(heard.refusal(&["Shape", "Gather"]), None);
        assert_eq!(heard.refusal(&["Shape"]).as_deref(), Some("it does not take operator Gather (node `/model/Gather`)"));
        assert!(!heard.is_empty() && Placements::default().is_empty());
    }

    #[test]
    fn a_shard_that_is_all_on_the_cpu_is_refused_whatever_may_be_there() {
        let heard = Placements::read(["Node placements", " All nodes placed on [CPUExecutionProvider]. Number of nodes: 12"].into_iter());
        assert_eq!(heard.refusal(&["Shape"]).as_deref(), Some("it takes no operator of the shard"));
        let heard = Placements::read([" All nodes placed on [CUDAExecutionProvider]. Number of nodes: 12"].into_iter());
        assert_eq!(heard.refusal(&[]), None);
    }

    #[test]
    fn the_error_for_a_forbidden_fallback_is_told_from_others() {
        let said =
            "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been explicitly disabled by the user.";
        assert!(is_fallback(said) && !is_fallback("Could not find an implementation for Odd(1) node with name 'x'"));
    }
}
