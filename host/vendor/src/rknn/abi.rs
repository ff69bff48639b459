//! The C interface of librknnrt 2.x as far as it is called here: structures, numbers and signatures of `rknn_api.h`. Sizes were checked
//! against a vendor's binary: its `rknn_query` compares them with the size that it is given.

use std::{
    ffi::{c_char, c_int, c_void},
    mem::{offset_of, size_of},
};

/// A context; 0 is none.
#[cfg(not(target_arch = "arm"))]
pub(super) type Handle = u64;
/// A context; 0 is none.
#[cfg(target_arch = "arm")]
pub(super) type Handle = u32;

/// Most axes of a tensor.
pub(super) const AXES_MAX: usize = 16;
const NAME_BYTES: usize = 256;

/// Success.
pub(super) const SUCCESS: c_int = 0;

// Commands of `rknn_query`.
pub(super) const QUERY_COUNTS: c_int = 0;
pub(super) const QUERY_INPUT: c_int = 1;
pub(super) const QUERY_OUTPUT: c_int = 2;
pub(super) const QUERY_VERSIONS: c_int = 5;
pub(super) const QUERY_MEMORY: c_int = 6;

// Element types.
pub(super) const FLOAT32: u32 = 0;
pub(super) const FLOAT16: u32 = 1;
pub(super) const INT8: u32 = 2;
pub(super) const UINT8: u32 = 3;
pub(super) const INT16: u32 = 4;
pub(super) const UINT16: u32 = 5;
pub(super) const INT32: u32 = 6;
pub(super) const UINT32: u32 = 7;
pub(super) const INT64: u32 = 8;
pub(super) const BOOL: u32 = 9;
pub(super) const BFLOAT16: u32 = 11;

// Orders of axes.
pub(super) const NHWC: u32 = 1;
pub(super) const NC1HWC2: u32 = 2;

// Directions of `rknn_mem_sync`.
pub(super) const TO_DEVICE: c_int = 1;
pub(super) const FROM_DEVICE: c_int = 2;

/// `rknn_input_output_num`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counts {
    pub(super) inputs: u32,
    pub(super) outputs: u32,
}

/// `rknn_tensor_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    /// Set before asking: which input or output.
    pub(super) index: u32,
    pub(super) axes: u32,
    pub(super) lengths: [u32; AXES_MAX],
    pub(super) name: [c_char; NAME_BYTES],
    pub(super) elements: u32,
    pub(super) size: u32,
    pub(super) format: u32,
    pub(super) element_type: u32,
    /// 0 none, 1 dynamic fixed point, 2 affine.
    pub(super) quantisation: u32,
    /// Bits of the fraction, for dynamic fixed point.
    pub(super) fraction: i8,
    pub(super) zero_point: i32,
    pub(super) scale: f32,
    /// Elements from one row to the next; 0 says as many as the row has.
    pub(super) row_stride: u32,
    pub(super) size_with_stride: u32,
    pub(super) pass_through: u8,
    /// Rows from one channel to the next; 0 says as many as there are.
    pub(super) height_stride: u32,
}

impl Attribute {
    /// An empty one, to ask with.
    pub(super) fn asked(index: u32) -> Self {
        Self {
            index,
            axes: 0,
            lengths: [0; AXES_MAX],
            name: [0; NAME_BYTES],
            elements: 0,
            size: 0,
            format: 0,
            element_type: 0,
            quantisation: 0,
            fraction: 0,
            zero_point: 0,
            scale: 0.0,
            row_stride: 0,
            size_with_stride: 0,
            pass_through: 0,
            height_stride: 0,
        }
    }
}

/// `rknn_sdk_version`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions {
    pub(super) library: [c_char; NAME_BYTES],
    pub(super) driver: [c_char; NAME_BYTES],
}

/// `rknn_mem_size`, in bytes.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct MemorySizes {
    pub(super) weights: u32,
    pub(super) internal: u32,
    pub(super) allocated: u64,
    pub(super) sram: u32,
    pub(super) sram_free: u32,
    pub(super) reserved: [u32; 10],
}

/// `rknn_input`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) index: u32,
    pub(super) data: *mut c_void,
    pub(super) size: u32,
    /// 1 takes the bytes as they are, 0 converts them from `element_type` and `format`.
    pub(super) pass_through: u8,
    pub(super) element_type: u32,
    pub(super) format: u32,
}

/// `rknn_output`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// 1 gives 32-bit floats, 0 what the attribute says.
    pub(super) want_float: u8,
    /// 0: the library allocates, and takes back in `rknn_outputs_release`.
    pub(super) preallocated: u8,
    pub(super) index: u32,
    pub(super) data: *mut c_void,
    pub(super) size: u32,
}

/// `rknn_tensor_mem`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct TensorMemory {
    pub(super) address: *mut c_void,
    pub(super) physical: u64,
    pub(super) file: i32,
    pub(super) offset: i32,
    pub(super) size: u32,
    pub(super) flags: u32,
    pub(super) private: *mut c_void,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Counts>() == 8);
    assert!(size_of::<Attribute>() == 376);
    assert!(offset_of!(Attribute, name) == 72 && offset_of!(Attribute, elements) == 328 && offset_of!(Attribute, format) == 336);
    assert!(offset_of!(Attribute, fraction) == 348 && offset_of!(Attribute, zero_point) == 352 && offset_of!(Attribute, row_stride) == 360);
    assert!(offset_of!(Attribute, pass_through) == 368 && offset_of!(Attribute, height_stride) == 372);
    assert!(size_of::<Versions>() == 0x200);
    assert!(size_of::<MemorySizes>() == 64 && offset_of!(MemorySizes, allocated) == 8);
    assert!(size_of::<Input>() == 32 && offset_of!(Input, pass_through) == 20 && offset_of!(Input, format) == 28);
    assert!(size_of::<Output>() == 24 && offset_of!(Output, index) == 4 && offset_of!(Output, size) == 16);
    assert!(size_of::<TensorMemory>() == 40 && offset_of!(TensorMemory, file) == 16 && offset_of!(TensorMemory, private) == 32);
};

pub(super) type Init = unsafe extern "C" fn(*mut Handle, *mut c_void, u32, u32, *mut c_void) -> c_int;
pub(super) type Duplicate = unsafe extern "C" fn(*mut Handle, *mut Handle) -> c_int;
pub(super) type Destroy = unsafe extern "C" fn(Handle) -> c_int;
pub(super) type Query = unsafe extern "C" fn(Handle, c_int, *mut c_void, u32) -> c_int;
pub(super) type SetInputs = unsafe extern "C" fn(Handle, u32, *mut Input) -> c_int;
pub(super) type Run = unsafe extern "C" fn(Handle, *mut c_void) -> c_int;
pub(super) type GetOutputs = unsafe extern "C" fn(Handle, u32, *mut Output, *mut c_void) -> c_int;
pub(super) type ReleaseOutputs = unsafe extern "C" fn(Handle, u32, *mut Output) -> c_int;
pub(super) type SetCoreMask = unsafe extern "C" fn(Handle, c_int) -> c_int;
pub(super) type CreateMemory = unsafe extern "C" fn(Handle, u32) -> *mut TensorMemory;
pub(super) type DestroyMemory = unsafe extern "C" fn(Handle, *mut TensorMemory) -> c_int;
pub(super) type SetMemory = unsafe extern "C" fn(Handle, *mut TensorMemory, *mut Attribute) -> c_int;
pub(super) type SyncMemory = unsafe extern "C" fn(Handle, *mut TensorMemory, c_int) -> c_int;
