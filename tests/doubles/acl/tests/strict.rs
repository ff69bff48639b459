//! The double refuses what AscendCL's headers forbid, with their codes, and notes it. One test, as the library lives once in a process.
#![allow(clippy::panic, reason = "tests fail by panicking")]

use std::{
    ffi::{c_char, c_int, c_void},
    ptr::{null, null_mut},
};

use acl_double::{
    abi::{
        ACL_ERROR_INVALID_MODEL_ID, ACL_ERROR_INVALID_PARAM, ACL_ERROR_MODEL_INPUT_NOT_MATCH, ACL_ERROR_PARSE_MODEL, ACL_ERROR_REPEAT_INITIALIZE,
        ACL_ERROR_RT_CONTEXT_NULL, ACL_ERROR_UNINITIALIZE, ACL_MEMCPY_HOST_TO_DEVICE, ACL_SUCCESS,
    },
    acl_double_violations, aclFinalize, aclInit, aclrtCreateContext, aclrtFree, aclrtMalloc, aclrtMemcpy, aclrtResetDevice, aclrtSetDevice,
    models::{
        aclCreateDataBuffer, aclDestroyDataBuffer, aclmdlAddDatasetBuffer, aclmdlCreateDataset, aclmdlDestroyDataset, aclmdlExecute, aclmdlLoadFromMem,
        aclmdlUnload,
    },
};
use double_core::Payload;
use host_core::ids::{ModelId, ModelName};
use host_engine::{Kind, MlpSize, generate, inspect, split};

const INPUT_BYTES: usize = 20 * 4;

fn model() -> Vec<u8> {
    let file = generate(&Kind::Mlp(MlpSize { inputs: 20, hidden: 8, layers: 1, outputs: 5 }), 1).expect("a small model");
    let id = ModelId { name: ModelName::parse("mlp").expect("a name"), version: 1 };
    let shard = split(&inspect(&file, id).expect("it has blocks"), &[]).expect("whole").remove(0);
    Payload::of("acl", "ascend310p", &shard, &[].into()).expect("only the batch is open").to_bytes().to_vec()
}

fn violations() -> Vec<String> {
    let mut buffer = vec![0u8; 1 << 16];
    // SAFETY: the buffer is as long as it is said to be.
    let length = unsafe { acl_double_violations(buffer.as_mut_ptr().cast::<c_char>(), buffer.len()) };
    String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
}

/// The call answers with a code, and is noted under its function's name.
fn noted(function: &str, expected: c_int, call: impl FnOnce() -> c_int) {
    let before = violations().len();
    assert_eq!(call(), expected, "{function}");
    let new = violations().split_off(before);
    assert!(new.len() == 1 && new[0].starts_with(&format!("{function}: ")), "{function}: {new:?}");
}

/// Device memory and a buffer over it.
fn buffer(size: usize) -> (*mut c_void, *mut c_void) {
    let mut memory = null_mut();
    // SAFETY: the pointer is to a value that lives during the call.
    assert_eq!(unsafe { aclrtMalloc(&raw mut memory, size, 0) }, ACL_SUCCESS);
    (memory, aclCreateDataBuffer(memory, size))
}

#[test]
fn calls_out_of_order_and_of_wrong_sizes_are_noted() {
    let (mut context, mut memory, mut number) = (null_mut(), null_mut(), 0);
    let model = model();
    let (broken, whole) = (&model[..model.len() / 2], model.as_slice());
    // SAFETY: pointers are null or to values that live during the call, and sizes are those of what they point to.
    unsafe {
        noted("aclrtSetDevice", ACL_ERROR_UNINITIALIZE, || aclrtSetDevice(0));
        assert_eq!(aclInit(null()), ACL_SUCCESS);
        noted("aclInit", ACL_ERROR_REPEAT_INITIALIZE, || aclInit(null()));
        noted("aclrtMalloc", ACL_ERROR_RT_CONTEXT_NULL, || aclrtMalloc(&raw mut memory, 8, 0));
        noted("aclrtCreateContext", ACL_ERROR_INVALID_PARAM, || aclrtCreateContext(&raw mut context, 0));
        assert_eq!((aclrtSetDevice(0), aclrtCreateContext(&raw mut context, 0)), (ACL_SUCCESS, ACL_SUCCESS));
        assert_eq!(aclmdlLoadFromMem(broken.as_ptr().cast(), broken.len(), &raw mut number), ACL_ERROR_PARSE_MODEL);
        assert_eq!(aclmdlLoadFromMem(whole.as_ptr().cast(), whole.len(), &raw mut number), ACL_SUCCESS);

        let (memory, short) = buffer(INPUT_BYTES - 4);
        noted("aclrtMemcpy", ACL_ERROR_INVALID_PARAM, || aclrtMemcpy(memory, INPUT_BYTES, model.as_ptr().cast(), INPUT_BYTES, ACL_MEMCPY_HOST_TO_DEVICE));
        let (input, output) = (aclmdlCreateDataset(), aclmdlCreateDataset());
        noted("aclmdlExecute", ACL_ERROR_MODEL_INPUT_NOT_MATCH, || aclmdlExecute(number, input, output));
        assert_eq!(aclmdlAddDatasetBuffer(input, short), ACL_SUCCESS);
        noted("aclmdlAddDatasetBuffer", ACL_ERROR_INVALID_PARAM, || aclmdlAddDatasetBuffer(output, short));
        noted("aclmdlExecute", ACL_ERROR_MODEL_INPUT_NOT_MATCH, || aclmdlExecute(number, input, output));
        noted("aclmdlExecute", ACL_ERROR_INVALID_MODEL_ID, || aclmdlExecute(number + 1, input, output));

        noted("aclrtFree", ACL_ERROR_INVALID_PARAM, || aclrtFree(memory));
        assert_eq!((aclmdlDestroyDataset(input), aclDestroyDataBuffer(short), aclrtFree(memory)), (ACL_SUCCESS, ACL_SUCCESS, ACL_SUCCESS));
        noted("aclrtFree", ACL_ERROR_INVALID_PARAM, || aclrtFree(memory));
        noted("aclDestroyDataBuffer", ACL_ERROR_INVALID_PARAM, || aclDestroyDataBuffer(short));
        assert_eq!(aclmdlUnload(number), ACL_SUCCESS);
        noted("aclmdlUnload", ACL_ERROR_INVALID_MODEL_ID, || aclmdlUnload(number));

        // A data set and the context are still there.
        noted("aclrtResetDevice", 200_002, || aclrtResetDevice(0));
        noted("aclFinalize", ACL_SUCCESS, || aclFinalize());
        noted("aclrtSetDevice", ACL_ERROR_UNINITIALIZE, || aclrtSetDevice(0));
    }
}
