//! `rknn_api.h` of librknnrt 2.x, written down a second time: were it shared with the engine, a mistake in it would fit itself.

use std::{
    ffi::{c_char, c_int, c_void},
    mem::size_of,
};

pub type RknnContext = u64;

pub const RKNN_SUCC: c_int = 0;
pub const RKNN_ERR_FAIL: c_int = -1;
pub const RKNN_ERR_MALLOC_FAIL: c_int = -4;
pub const RKNN_ERR_PARAM_INVALID: c_int = -5;
pub const RKNN_ERR_MODEL_INVALID: c_int = -6;
pub const RKNN_ERR_CTX_INVALID: c_int = -7;
pub const RKNN_ERR_INPUT_INVALID: c_int = -8;
pub const RKNN_ERR_OUTPUT_INVALID: c_int = -9;
pub const RKNN_ERR_TARGET_PLATFORM_UNMATCH: c_int = -13;

pub const RKNN_QUERY_IN_OUT_NUM: c_int = 0;
pub const RKNN_QUERY_INPUT_ATTR: c_int = 1;
pub const RKNN_QUERY_OUTPUT_ATTR: c_int = 2;
pub const RKNN_QUERY_SDK_VERSION: c_int = 5;
pub const RKNN_QUERY_MEM_SIZE: c_int = 6;

pub const RKNN_TENSOR_NCHW: c_int = 0;
pub const RKNN_TENSOR_NHWC: c_int = 1;
pub const RKNN_TENSOR_UNDEFINED: c_int = 3;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RknnInputOutputNum {
    pub n_input: u32,
    pub n_output: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RknnTensorAttr {
    pub index: u32,
    pub n_dims: u32,
    pub dims: [u32; 16],
    pub name: [c_char; 256],
    pub n_elems: u32,
    pub size: u32,
    pub fmt: c_int,
    pub tensor_type: c_int,
    pub qnt_type: c_int,
    pub fl: i8,
    pub zp: i32,
    pub scale: f32,
    pub w_stride: u32,
    pub size_with_stride: u32,
    pub pass_through: u8,
    pub h_stride: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RknnSdkVersion {
    pub api_version: [c_char; 256],
    pub drv_version: [c_char; 256],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RknnMemSize {
    pub total_weight_size: u32,
    pub total_internal_size: u32,
    pub total_dma_allocated_size: u64,
    pub total_sram_size: u32,
    pub free_sram_size: u32,
    pub reserved: [u32; 10],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RknnInput {
    pub index: u32,
    pub buf: *mut c_void,
    pub size: u32,
    pub pass_through: u8,
    pub tensor_type: c_int,
    pub fmt: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RknnOutput {
    pub want_float: u8,
    pub is_prealloc: u8,
    pub index: u32,
    pub buf: *mut c_void,
    pub size: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RknnTensorMem {
    pub virt_addr: *mut c_void,
    pub phys_addr: u64,
    pub fd: i32,
    pub offset: i32,
    pub size: u32,
    pub flags: u32,
    pub priv_data: *mut c_void,
}

const _: () = {
    assert!(size_of::<RknnTensorAttr>() == 376 && size_of::<RknnInputOutputNum>() == 8 && size_of::<RknnSdkVersion>() == 512);
    assert!(size_of::<RknnInput>() == 32 && size_of::<RknnOutput>() == 24 && size_of::<RknnTensorMem>() == 40);
    assert!(size_of::<RknnMemSize>() == 64);
};
