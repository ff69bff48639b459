//! The C interface of AscendCL as far as it is called here: numbers and signatures of `acl.h`, `acl_rt.h` and `acl_mdl.h`. All but one of
//! its structures are opaque.

use std::{
    ffi::{c_char, c_int, c_void},
    mem::{offset_of, size_of},
};

/// Most axes of a tensor.
pub(super) const AXES_MAX: usize = 128;
const NAME_BYTES: usize = 128;

/// `aclError`: success.
pub(super) const SUCCESS: c_int = 0;

// Element types, `aclDataType`.
pub(super) const FLOAT: c_int = 0;
pub(super) const FLOAT16: c_int = 1;
pub(super) const INT8: c_int = 2;
pub(super) const INT32: c_int = 3;
pub(super) const UINT8: c_int = 4;
pub(super) const INT16: c_int = 6;
pub(super) const UINT16: c_int = 7;
pub(super) const UINT32: c_int = 8;
pub(super) const INT64: c_int = 9;
pub(super) const UINT64: c_int = 10;
pub(super) const DOUBLE: c_int = 11;
pub(super) const BOOL: c_int = 12;
pub(super) const BF16: c_int = 27;

// Directions of `aclrtMemcpy`.
pub(super) const HOST_TO_DEVICE: c_int = 1;
pub(super) const DEVICE_TO_HOST: c_int = 2;

/// Policy of `aclrtMalloc`: large pages where there are some.
pub(super) const HUGE_FIRST: c_int = 0;

/// Kinds of memory that `aclrtGetMemInfo` tells about; chips have one or the other.
pub(super) const HIGH_BANDWIDTH: c_int = 1;
/// The other one.
pub(super) const DDR: c_int = 0;

/// `aclmdlIODims`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Dimensions {
    pub(super) name: [c_char; NAME_BYTES],
    pub(super) axes: usize,
    pub(super) lengths: [i64; AXES_MAX],
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Dimensions>() == 1160 && offset_of!(Dimensions, axes) == 128 && offset_of!(Dimensions, lengths) == 136);

/// An opaque structure of the library's: a description, a data set, a data buffer, a context.
pub(super) type Opaque = *mut c_void;

pub(super) type Init = unsafe extern "C" fn(*const c_char) -> c_int;
pub(super) type Finalize = unsafe extern "C" fn() -> c_int;
pub(super) type GetVersion = unsafe extern "C" fn(*mut i32, *mut i32, *mut i32) -> c_int;
pub(super) type GetText = unsafe extern "C" fn() -> *const c_char;
pub(super) type GetDeviceCount = unsafe extern "C" fn(*mut u32) -> c_int;
pub(super) type Device = unsafe extern "C" fn(i32) -> c_int;
pub(super) type CreateContext = unsafe extern "C" fn(*mut Opaque, i32) -> c_int;
pub(super) type OnOpaque = unsafe extern "C" fn(Opaque) -> c_int;
pub(super) type Malloc = unsafe extern "C" fn(*mut *mut c_void, usize, c_int) -> c_int;
pub(super) type Free = unsafe extern "C" fn(*mut c_void) -> c_int;
pub(super) type Memcpy = unsafe extern "C" fn(*mut c_void, usize, *const c_void, usize, c_int) -> c_int;
pub(super) type GetMemory = unsafe extern "C" fn(c_int, *mut usize, *mut usize) -> c_int;
pub(super) type QuerySize = unsafe extern "C" fn(*const c_void, usize, *mut usize, *mut usize) -> c_int;
pub(super) type Load = unsafe extern "C" fn(*const c_void, usize, *mut u32) -> c_int;
pub(super) type Unload = unsafe extern "C" fn(u32) -> c_int;
pub(super) type Create = unsafe extern "C" fn() -> Opaque;
pub(super) type Describe = unsafe extern "C" fn(Opaque, u32) -> c_int;
pub(super) type Count = unsafe extern "C" fn(Opaque) -> usize;
pub(super) type SizeOf = unsafe extern "C" fn(Opaque, usize) -> usize;
pub(super) type NameOf = unsafe extern "C" fn(Opaque, usize) -> *const c_char;
pub(super) type TypeOf = unsafe extern "C" fn(Opaque, usize) -> c_int;
pub(super) type DimensionsOf = unsafe extern "C" fn(Opaque, usize, *mut Dimensions) -> c_int;
pub(super) type CreateBuffer = unsafe extern "C" fn(*mut c_void, usize) -> Opaque;
pub(super) type AddBuffer = unsafe extern "C" fn(Opaque, Opaque) -> c_int;
pub(super) type Execute = unsafe extern "C" fn(u32, Opaque, Opaque) -> c_int;
