//! tract may panic on graphs that it does not expect; here that becomes an error like any other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::prelude::TractResult;

use crate::error::{Error, Fault};

/// Longest part of an engine's message that is kept, in characters: tract prints whole tensors.
const REASON_CHARS_MAX: usize = 600;

/// Runs a piece of tract; what it built is dropped when it panics, so nothing half done is seen again.
pub(crate) fn guarded<T>(doing: &'static str, call: impl FnOnce() -> TractResult<T>) -> Result<T, Error> {
    let reason = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            format!("it panicked: {}", text.unwrap_or("without a message"))
        }
    };
    let reason = reason.chars().take(REASON_CHARS_MAX).collect();
    Err(Fault::Engine { engine: "tract".into(), doing, reason }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_tract_is_an_error() {
        let error = guarded("run", || -> TractResult<()> { std::panic::panic_any("index out of bounds") }).expect_err("it panicked");
        assert_eq!(error.to_string(), "engine tract failed to run: it panicked: index out of bounds");
    }
}
