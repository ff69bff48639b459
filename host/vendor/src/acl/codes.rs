//! What AscendCL's return codes mean, in words, and what becomes of them.

use host_engine::{Error, Fault};

use super::abi::SUCCESS;

/// Codes of `acl_base.h`, `rt_error_codes.h` and `ge_error_codes.h` that the functions called here answer with.
const CODES: [(i32, &str, &str); 37] = [
    (100_000, "ACL_ERROR_INVALID_PARAM", "a wrong argument"),
    (100_001, "ACL_ERROR_UNINITIALIZE", "aclInit was not called"),
    (100_002, "ACL_ERROR_REPEAT_INITIALIZE", "aclInit was called twice"),
    (100_006, "ACL_ERROR_PARSE_FILE", "the file cannot be read"),
    (100_011, "ACL_ERROR_INVALID_MODEL_ID", "no model has this number"),
    (100_012, "ACL_ERROR_DESERIALIZE_MODEL", "the model file is broken"),
    (100_013, "ACL_ERROR_PARSE_MODEL", "the model file is broken or no offline model"),
    (100_014, "ACL_ERROR_READ_MODEL_FAILURE", "the model file cannot be read"),
    (100_015, "ACL_ERROR_MODEL_SIZE_INVALID", "the model file has a wrong size"),
    (100_016, "ACL_ERROR_MODEL_MISSING_ATTR", "the model file lacks an attribute"),
    (100_017, "ACL_ERROR_MODEL_INPUT_NOT_MATCH", "the inputs are not those of the model"),
    (100_018, "ACL_ERROR_MODEL_OUTPUT_NOT_MATCH", "the outputs are not those of the model"),
    (100_024, "ACL_ERROR_OP_NOT_FOUND", "an operator of the model is not installed"),
    (100_026, "ACL_ERROR_UNSUPPORTED_DATA_TYPE", "an element type is not known"),
    (100_037, "ACL_ERROR_REPEAT_FINALIZE", "aclFinalize was called twice"),
    (100_039, "ACL_ERROR_COMPILING_STUB_MODE", "the library is the one for compiling against, not for running"),
    (107_000, "ACL_ERROR_RT_PARAM_INVALID", "a wrong argument"),
    (107_001, "ACL_ERROR_RT_INVALID_DEVICEID", "there is no device of this number"),
    (107_002, "ACL_ERROR_RT_CONTEXT_NULL", "the thread has no context"),
    (107_019, "ACL_ERROR_RT_WAIT_TIMEOUT", "the device did not answer in time"),
    (145_000, "ACL_ERROR_GE_PARAM_INVALID", "a wrong argument"),
    (145_003, "ACL_ERROR_GE_EXEC_MODEL_ID_INVALID", "no model has this number"),
    (145_006, "ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID", "the model file has a wrong size"),
    (200_000, "ACL_ERROR_BAD_ALLOC", "out of memory"),
    (200_001, "ACL_ERROR_API_NOT_SUPPORT", "the function is not offered on this chip"),
    (200_002, "ACL_ERROR_INVALID_DEVICE", "there is no such device"),
    (207_001, "ACL_ERROR_RT_MEMORY_ALLOCATION", "out of device memory"),
    (207_004, "ACL_ERROR_RT_NO_DEVICE", "there is no device"),
    (207_005, "ACL_ERROR_RT_RESOURCE_ALLOC_FAIL", "something that the device has little of is used up"),
    (207_010, "ACL_ERROR_RT_NO_MODEL_RESOURCE", "no room for another model"),
    (245_000, "ACL_ERROR_GE_MEMORY_ALLOCATION", "out of memory"),
    (300_000, "ACL_ERROR_STORAGE_OVER_LIMIT", "a limit of memory is reached"),
    (500_000, "ACL_ERROR_INTERNAL_ERROR", "a fault of the library"),
    (500_001, "ACL_ERROR_FAILURE", "it failed"),
    (500_002, "ACL_ERROR_GE_FAILURE", "the graph engine failed"),
    (500_003, "ACL_ERROR_RT_FAILURE", "the runtime failed"),
    (500_004, "ACL_ERROR_DRV_FAILURE", "the driver failed"),
];

/// Those that mean that something limited is used up.
const EXHAUSTED: [i32; 6] = [200_000, 207_001, 207_005, 207_010, 245_000, 300_000];

/// A code in words.
pub(super) fn words(code: i32) -> String {
    CODES
        .iter()
        .find(|row| row.0 == code)
        .map_or_else(|| format!("code {code}, which is not among those of acl.h known here"), |(_, name, meaning)| format!("{name} ({code}), {meaning}"))
}

/// An error for every code but success; `doing` completes "failed to", `more` is what else the library says of it.
pub(super) fn check(code: i32, doing: &'static str, function: &str, more: impl FnOnce() -> Option<String>) -> Result<(), Error> {
    if code == SUCCESS {
        return Ok(());
    }
    let more = more().map(|text| format!(": {text}")).unwrap_or_default();
    let (engine, reason) = ("acl".to_owned(), format!("{function} answered {}{more}", words(code)));
    Err(if EXHAUSTED.contains(&code) { Fault::Exhausted { engine, doing, reason } } else { Fault::Engine { engine, doing, reason } }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_in_words_and_memory_is_told_apart() {
        let error = check(100_013, "load a model", "aclmdlLoadFromMem", || Some("E19999".into())).expect_err("a code");
        assert_eq!(
            error.to_string(),
            "engine acl failed to load a model: aclmdlLoadFromMem answered ACL_ERROR_PARSE_MODEL (100013), the model file is broken or no offline model: E19999"
        );
        for code in EXHAUSTED {
            assert!(matches!(check(code, "run", "aclrtMalloc", || None).expect_err("a code").fault(), Fault::Exhausted { .. }));
            assert!(!words(code).contains("not among"), "{code} has no words");
        }
        assert!(check(SUCCESS, "run", "aclmdlExecute", || None).is_ok());
    }
}
