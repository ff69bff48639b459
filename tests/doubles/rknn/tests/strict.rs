//! The double refuses what the header forbids, with the header's codes, and notes it.
#![allow(clippy::panic, reason = "tests fail by panicking")]

use std::{
    ffi::{c_char, c_int, c_void},
    mem::size_of,
    ptr::null_mut,
    sync::Mutex,
};

use double_core::Payload;
use host_core::ids::{ModelId, ModelName};
use host_engine::{Kind, MlpSize, generate, inspect, split};
use rknn_double::{
    abi::{
        RKNN_ERR_CTX_INVALID, RKNN_ERR_INPUT_INVALID, RKNN_ERR_MODEL_INVALID, RKNN_ERR_OUTPUT_INVALID, RKNN_ERR_PARAM_INVALID, RKNN_SUCC, RknnInput,
        RknnInputOutputNum, RknnOutput, RknnTensorAttr,
    },
    rknn_destroy, rknn_double_violations, rknn_dup_context, rknn_init, rknn_inputs_set, rknn_outputs_get, rknn_outputs_release, rknn_query, rknn_run,
};

/// The violations are those of the process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

const INPUTS: usize = 20;

fn model() -> Vec<u8> {
    let file = generate(&Kind::Mlp(MlpSize { inputs: INPUTS, hidden: 8, layers: 1, outputs: 5 }), 1).expect("a small model");
    let id = ModelId { name: ModelName::parse("mlp").expect("a name"), version: 1 };
    let shard = split(&inspect(&file, id).expect("it has blocks"), &[]).expect("whole").remove(0);
    Payload::of("rknn", "rk3588", &shard, &[].into()).expect("only the batch is open").to_bytes().to_vec()
}

fn start(model: &mut [u8]) -> (c_int, u64) {
    let mut context = 0;
    // SAFETY: the pointers are to values that live during the call.
    let code = unsafe { rknn_init(&raw mut context, model.as_mut_ptr().cast(), u32::try_from(model.len()).expect("small"), 0, null_mut()) };
    (code, context)
}

fn violations() -> Vec<String> {
    let mut buffer = vec![0u8; 1 << 16];
    // SAFETY: the buffer is as long as it is said to be.
    let length = unsafe { rknn_double_violations(buffer.as_mut_ptr().cast::<c_char>(), buffer.len()) };
    String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
}

/// The call answers with a code, and is noted under its function's name.
fn noted(function: &str, expected: c_int, call: impl FnOnce() -> c_int) {
    let before = violations().len();
    assert_eq!(call(), expected, "{function}");
    let new = violations().split_off(before);
    assert!(new.len() == 1 && new[0].starts_with(&format!("{function}: ")), "{function}: {new:?}");
}

fn input(data: &mut [f32], index: u32) -> RknnInput {
    let size = u32::try_from(size_of_val(data)).expect("small");
    RknnInput { index, buf: data.as_mut_ptr().cast::<c_void>(), size, pass_through: 0, tensor_type: 0, fmt: 3 }
}

const ASKED: RknnOutput = RknnOutput { want_float: 1, is_prealloc: 0, index: 0, buf: null_mut(), size: 0 };

// SAFETY, for all calls below: pointers are null or to values that live during the call, and counts are those of what they point to.

#[test]
fn calls_out_of_order_and_of_wrong_sizes_are_noted() {
    let _turn = TURN.lock();
    let (code, context) = start(&mut model());
    assert_eq!(code, RKNN_SUCC);
    let mut counts = RknnInputOutputNum { n_input: 0, n_output: 0 };
    let info: *mut c_void = (&raw mut counts).cast();
    // SAFETY: see above.
    unsafe {
        noted("rknn_query", RKNN_ERR_PARAM_INVALID, || rknn_query(context, 0, info, 12));
        noted("rknn_query", RKNN_ERR_PARAM_INVALID, || rknn_query(context, 1, info, u32::try_from(size_of::<RknnTensorAttr>()).expect("small") - 4));
        noted("rknn_query", RKNN_ERR_PARAM_INVALID, || rknn_query(context, 99, info, 8));
        noted("rknn_run", RKNN_ERR_INPUT_INVALID, || rknn_run(context, null_mut()));
        noted("rknn_outputs_get", RKNN_ERR_OUTPUT_INVALID, || rknn_outputs_get(context, 1, &mut { ASKED }, null_mut()));
        let (mut right, mut short) = ([0.5f32; INPUTS], [0.5f32; INPUTS - 1]);
        for (wrong, count) in
            [(input(&mut short, 0), 1), (input(&mut right, 1), 1), (RknnInput { tensor_type: 8, ..input(&mut right, 0) }, 1), (input(&mut right, 0), 0)]
        {
            noted("rknn_inputs_set", RKNN_ERR_INPUT_INVALID, || rknn_inputs_set(context, count, &mut { wrong }));
        }
        noted("rknn_inputs_set", RKNN_ERR_PARAM_INVALID, || rknn_inputs_set(context, 1, &mut { RknnInput { pass_through: 1, ..input(&mut right, 0) } }));
        assert_eq!(rknn_inputs_set(context, 1, &mut { input(&mut right, 0) }), RKNN_SUCC);
        assert_eq!(rknn_run(context, null_mut()), RKNN_SUCC);
        noted("rknn_outputs_get", RKNN_ERR_PARAM_INVALID, || rknn_outputs_get(context, 2, &mut { ASKED }, null_mut()));
        let mut output = ASKED;
        assert_eq!(rknn_outputs_get(context, 1, &raw mut output, null_mut()), RKNN_SUCC);
        noted("rknn_run", -1, || rknn_run(context, null_mut()));
        assert_eq!((rknn_outputs_release(context, 1, &raw mut output), output.size), (RKNN_SUCC, 5 * 4));
        noted("rknn_outputs_release", RKNN_ERR_OUTPUT_INVALID, || rknn_outputs_release(context, 1, &raw mut output));
        assert_eq!(rknn_destroy(context), RKNN_SUCC);
        noted("rknn_destroy", RKNN_ERR_CTX_INVALID, || rknn_destroy(context));
    }
}

#[test]
fn what_is_not_given_back_is_noted() {
    let _turn = TURN.lock();
    let (_, context) = start(&mut model());
    let (mut from, mut shared) = (context, 0);
    // SAFETY: see above.
    unsafe {
        assert_eq!(rknn_dup_context(&raw mut from, &raw mut shared), RKNN_SUCC);
        noted("rknn_destroy", RKNN_SUCC, || rknn_destroy(context));
        assert_eq!(rknn_inputs_set(shared, 1, &mut { input(&mut [0.0; INPUTS], 0) }), RKNN_SUCC);
        assert_eq!(rknn_run(shared, null_mut()), RKNN_SUCC);
        assert_eq!(rknn_outputs_get(shared, 1, &mut { ASKED }, null_mut()), RKNN_SUCC);
        noted("rknn_destroy", RKNN_SUCC, || rknn_destroy(shared));
    }
}

#[test]
fn a_broken_model_is_the_callers_bad_luck_and_no_violation() {
    let _turn = TURN.lock();
    let before = violations().len();
    let mut broken = model();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    assert_eq!((start(&mut broken).0, violations().len()), (RKNN_ERR_MODEL_INVALID, before));
}
