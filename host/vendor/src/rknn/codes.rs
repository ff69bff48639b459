//! What librknnrt's return codes mean, in words, and what becomes of them.

use host_engine::{Error, Fault};

use super::abi::SUCCESS;

const OUT_OF_MEMORY: i32 = -4;
/// No NPU, or its driver is not there.
pub(super) const NO_DEVICE: i32 = -3;

/// Codes of `rknn_api.h` with their names and meanings.
const CODES: [(i32, &str, &str); 13] = [
    (-1, "RKNN_ERR_FAIL", "it failed"),
    (-2, "RKNN_ERR_TIMEOUT", "the NPU did not answer in time"),
    (NO_DEVICE, "RKNN_ERR_DEVICE_UNAVAILABLE", "there is no NPU, or its driver is missing"),
    (OUT_OF_MEMORY, "RKNN_ERR_MALLOC_FAIL", "out of memory"),
    (-5, "RKNN_ERR_PARAM_INVALID", "a wrong argument"),
    (-6, "RKNN_ERR_MODEL_INVALID", "the model file is broken or no RKNN model"),
    (-7, "RKNN_ERR_CTX_INVALID", "the context is not valid"),
    (-8, "RKNN_ERR_INPUT_INVALID", "an input is not valid"),
    (-9, "RKNN_ERR_OUTPUT_INVALID", "an output is not valid"),
    (-10, "RKNN_ERR_DEVICE_UNMATCH", "the library and the NPU's driver do not fit together"),
    (-11, "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL", "the model was compiled ahead for another driver"),
    (-12, "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION", "the model was optimised for another driver"),
    (-13, "RKNN_ERR_TARGET_PLATFORM_UNMATCH", "the model was converted for another chip"),
];

/// A code in words: `RKNN_ERR_MODEL_INVALID (-6), the model file is broken or no RKNN model`.
pub(super) fn words(code: i32) -> String {
    CODES
        .iter()
        .find(|row| row.0 == code)
        .map_or_else(|| format!("code {code}, which rknn_api.h does not know"), |(_, name, meaning)| format!("{name} ({code}), {meaning}"))
}

/// An error for every code but success; `doing` completes "failed to".
pub(super) fn check(code: i32, doing: &'static str, function: &str) -> Result<(), Error> {
    if code == SUCCESS {
        return Ok(());
    }
    let (engine, reason) = ("rknn".to_owned(), format!("{function} answered {}", words(code)));
    Err(match code {
        OUT_OF_MEMORY => Fault::Exhausted { engine, doing, reason },
        _ => Fault::Engine { engine, doing, reason },
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_in_words_and_memory_is_told_apart() {
        let error = check(-6, "load a model", "rknn_init").expect_err("a code");
        assert_eq!(
            error.to_string(),
            "engine rknn failed to load a model: rknn_init answered RKNN_ERR_MODEL_INVALID (-6), the model file is broken or no RKNN model"
        );
        assert!(matches!(check(-4, "load a model", "rknn_init").expect_err("a code").fault(), Fault::Exhausted { .. }));
        assert!(words(-77).contains("-77"));
        assert!(check(0, "load a model", "rknn_init").is_ok());
    }
}
