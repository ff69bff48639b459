//! Calls into tract, whose panics are errors like any other.

use tract_onnx::prelude::TractResult;

use crate::error::Error;

/// Runs a piece of tract; what it built is dropped when it panics, so nothing half done is seen again.
pub(crate) fn guarded<T>(doing: &'static str, call: impl FnOnce() -> TractResult<T>) -> Result<T, Error> {
    crate::guard::guarded("tract", doing, call)
}
