//! AscendCL's headers as far as they are needed, written down a second time: were they shared with the engine, a mistake in them would fit
//! itself.

use std::{
    ffi::{c_char, c_int, c_void},
    mem::size_of,
};

pub type AclError = c_int;
pub type Handle = *mut c_void;

pub const ACL_SUCCESS: AclError = 0;
pub const ACL_ERROR_INVALID_PARAM: AclError = 100_000;
pub const ACL_ERROR_UNINITIALIZE: AclError = 100_001;
pub const ACL_ERROR_REPEAT_INITIALIZE: AclError = 100_002;
pub const ACL_ERROR_INVALID_MODEL_ID: AclError = 100_011;
pub const ACL_ERROR_PARSE_MODEL: AclError = 100_013;
pub const ACL_ERROR_MODEL_INPUT_NOT_MATCH: AclError = 100_017;
pub const ACL_ERROR_MODEL_OUTPUT_NOT_MATCH: AclError = 100_018;
pub const ACL_ERROR_OP_NOT_FOUND: AclError = 100_024;
pub const ACL_ERROR_RT_CONTEXT_NULL: AclError = 107_002;
pub const ACL_ERROR_INVALID_DEVICE: AclError = 200_002;
pub const ACL_ERROR_RT_MEMORY_ALLOCATION: AclError = 207_001;
pub const ACL_ERROR_GE_MEMORY_ALLOCATION: AclError = 245_000;
pub const ACL_ERROR_FAILURE: AclError = 500_001;

pub const ACL_MEMCPY_HOST_TO_DEVICE: c_int = 1;
pub const ACL_MEMCPY_DEVICE_TO_HOST: c_int = 2;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AclmdlIoDims {
    pub name: [c_char; 128],
    pub dim_count: usize,
    pub dims: [i64; 128],
}

const _: () = assert!(size_of::<AclmdlIoDims>() == 1160);
