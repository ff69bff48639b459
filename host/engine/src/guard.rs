//! Engines may panic on graphs that they do not expect; here that becomes an error like any other.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::error::{Error, Fault};

/// Longest part of an engine's message that is kept, in characters: some print whole tensors.
const REASON_CHARS_MAX: usize = 600;

/// Runs a piece of an engine; what it built is dropped when it panics, so nothing half done is seen again.
pub(crate) fn guarded<T, E: fmt::Display>(engine: &str, doing: &'static str, call: impl FnOnce() -> Result<T, E>) -> Result<T, Error> {
    let reason = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        // The long form is where some libraries keep the causes.
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            format!("it panicked: {}", text.unwrap_or("without a message"))
        }
    };
    let reason = reason.chars().take(REASON_CHARS_MAX).collect();
    Err(Fault::Engine { engine: engine.to_owned(), doing, reason }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_an_engine_is_an_error() {
        let error = guarded("rten", "run", || -> Result<(), String> { std::panic::panic_any("index out of bounds") }).expect_err("it panicked");
        assert_eq!(error.to_string(), "engine rten failed to run: it panicked: index out of bounds");
    }

    #[test]
    fn a_long_message_is_cut() {
        let error = guarded("rten", "run", || Err::<(), _>("é".repeat(10_000))).expect_err("it failed");
        assert_eq!(error.to_string().chars().filter(|&letter| letter == 'é').count(), REASON_CHARS_MAX);
    }
}
