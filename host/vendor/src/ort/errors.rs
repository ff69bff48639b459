//! What ONNX Runtime's errors mean to whoever reads them: an operator that is not there, memory that is not enough, or its own fault.

use host_engine::{Error, Fault};

use super::{Provider, process::one_line};

/// Longest part of a message that is kept, in characters: some hold whole graphs.
const REASON_CHARS_MAX: usize = 600;

/// A session that could not be made. Names the operator where it is one.
pub(super) fn load(provider: Provider, error: &ort::Error<impl Sized>, memory_limit: Option<u64>) -> Error {
    classify(provider, error.message(), "load a shard", memory_limit)
}

/// A run that failed.
pub(super) fn run(provider: Provider, error: &ort::Error<impl Sized>) -> Error {
    classify(provider, error.message(), "run", None)
}

fn classify(provider: Provider, message: &str, doing: &'static str, memory_limit: Option<u64>) -> Error {
    let reason: String = one_line(message).chars().take(REASON_CHARS_MAX).collect();
    let engine = provider.engine();
    if let Some(operator) = between(&reason, "Could not find an implementation for ", "(") {
        let node = between(&reason, "node with name '", "'").filter(|name| !name.is_empty());
        let node = node.map_or_else(String::new, |name| format!(" (node `{name}`)"));
        return Error::unsupported(format!("engine {engine} does not take operator {operator}{node} with these types: {reason}"));
    }
    if let Some(operator) = not_registered(&reason) {
        return Error::unsupported(format!("engine {engine} does not know operator {operator}: {reason}"));
    }
    let wanted = between(&reason, "Failed to allocate memory for requested buffer of size ", " ")
        .or_else(|| reason.rsplit_once("requested buffer of size ").map(|(_, rest)| rest));
    if let Some(found) = wanted.and_then(|size| size.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()) {
        // Without a limit nobody knows what was still free; that it was less is certain.
        let max = memory_limit.unwrap_or(found).min(found.saturating_sub(1));
        return Fault::TooLarge { what: "memory that the accelerator was asked for at once", found, max }.into();
    }
    Fault::Engine { engine: engine.to_owned(), doing, reason }.into()
}

/// The operator of `Fatal error: com.microsoft:Odd(-1) is not a registered function/op`.
fn not_registered(reason: &str) -> Option<&str> {
    let (before, _) = reason.split_once(" is not a registered function/op")?;
    let word = before.rsplit(' ').next()?;
    Some(word.split('(').next().unwrap_or(word))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_that_are_not_there_are_named() {
        let cases = [
            (
                "Could not find an implementation for Einsum(12) node with name '/attention/Einsum'",
                "engine cuda does not take operator Einsum (node `/attention/Einsum`) with these types: ",
            ),
            ("Load model failed:Fatal error: com.example:Odd(-1) is not a registered function/op", "engine cuda does not know operator com.example:Odd: "),
        ];
        for (message, expected) in cases {
            let error = classify(Provider::Cuda, message, "load a shard", None);
            assert!(matches!(error.fault(), Fault::Unsupported { .. }) && error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn memory_that_is_not_enough_is_told_from_faults() {
        let message = "bfc_arena.cc:376 void* AllocateRawInternal(...) Failed to allocate memory for requested buffer of size 16777216\n";
        let error = classify(Provider::Cuda, message, "run", Some(1_000));
        assert!(matches!(error.fault(), Fault::TooLarge { found: 16_777_216, max: 1_000, .. }), "{error}");
        let error = classify(Provider::Cuda, "CUDA failure 700:\n an illegal memory access", "run", None);
        assert_eq!(error.to_string(), "engine cuda failed to run: CUDA failure 700: an illegal memory access");
    }
}
