//! The functions of one libascendcl.

use std::{
    ffi::{CStr, c_char},
    path::Path,
};

use host_engine::Error;

use super::{abi, codes};
use crate::symbols::Loaded;

/// All that is called of a library.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) loaded: Loaded,
    pub(super) init: abi::Init,
    pub(super) finalize: abi::Finalize,
    pub(super) get_version: abi::GetVersion,
    pub(super) chip: abi::GetText,
    pub(super) last_error: Option<abi::GetText>,
    pub(super) device_count: abi::GetDeviceCount,
    pub(super) set_device: abi::Device,
    pub(super) reset_device: abi::Device,
    pub(super) create_context: abi::CreateContext,
    pub(super) destroy_context: abi::OnOpaque,
    pub(super) set_context: abi::OnOpaque,
    pub(super) malloc: abi::Malloc,
    pub(super) free: abi::Free,
    pub(super) memcpy: abi::Memcpy,
    pub(super) get_memory: abi::GetMemory,
    pub(super) query_size: abi::QuerySize,
    pub(super) load: abi::Load,
    pub(super) unload: abi::Unload,
    pub(super) create_description: abi::Create,
    pub(super) destroy_description: abi::OnOpaque,
    pub(super) describe: abi::Describe,
    pub(super) inputs: Tensors,
    pub(super) outputs: Tensors,
    pub(super) create_set: abi::Create,
    pub(super) destroy_set: abi::OnOpaque,
    pub(super) add_buffer: abi::AddBuffer,
    pub(super) create_buffer: abi::CreateBuffer,
    pub(super) destroy_buffer: abi::OnOpaque,
    pub(super) execute: abi::Execute,
}

/// What a description says of inputs, or of outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensors {
    pub(super) count: abi::Count,
    pub(super) size: abi::SizeOf,
    pub(super) name: abi::NameOf,
    pub(super) dimensions: abi::DimensionsOf,
    pub(super) element_type: abi::TypeOf,
}

impl Api {
    /// Loads a library and looks everything up.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let loaded = Loaded::open(path)?;
        // SAFETY: each type in `abi` is the signature that the headers of AscendCL declare for the function of that name.
        unsafe {
            Ok(Self {
                init: loaded.function("aclInit")?,
                finalize: loaded.function("aclFinalize")?,
                get_version: loaded.function("aclrtGetVersion")?,
                chip: loaded.function("aclrtGetSocName")?,
                last_error: loaded.optional("aclGetRecentErrMsg"),
                device_count: loaded.function("aclrtGetDeviceCount")?,
                set_device: loaded.function("aclrtSetDevice")?,
                reset_device: loaded.function("aclrtResetDevice")?,
                create_context: loaded.function("aclrtCreateContext")?,
                destroy_context: loaded.function("aclrtDestroyContext")?,
                set_context: loaded.function("aclrtSetCurrentContext")?,
                malloc: loaded.function("aclrtMalloc")?,
                free: loaded.function("aclrtFree")?,
                memcpy: loaded.function("aclrtMemcpy")?,
                get_memory: loaded.function("aclrtGetMemInfo")?,
                query_size: loaded.function("aclmdlQuerySizeFromMem")?,
                load: loaded.function("aclmdlLoadFromMem")?,
                unload: loaded.function("aclmdlUnload")?,
                create_description: loaded.function("aclmdlCreateDesc")?,
                destroy_description: loaded.function("aclmdlDestroyDesc")?,
                describe: loaded.function("aclmdlGetDesc")?,
                inputs: tensors(&loaded, "Input")?,
                outputs: tensors(&loaded, "Output")?,
                create_set: loaded.function("aclmdlCreateDataset")?,
                destroy_set: loaded.function("aclmdlDestroyDataset")?,
                add_buffer: loaded.function("aclmdlAddDatasetBuffer")?,
                create_buffer: loaded.function("aclCreateDataBuffer")?,
                destroy_buffer: loaded.function("aclDestroyDataBuffer")?,
                execute: loaded.function("aclmdlExecute")?,
                loaded,
            })
        }
    }

    /// An error for every code but success, with what the library says of its last error.
    pub(super) fn check(&self, code: i32, doing: &'static str, function: &str) -> Result<(), Error> {
        codes::check(code, doing, function, || {
            // SAFETY: the function takes nothing; what it gives is read at once, before this thread calls again.
            let message = unsafe { text((self.last_error?)()) }?;
            message.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
        })
    }
}

/// The functions for one side of a model.
fn tensors(loaded: &Loaded, side: &str) -> Result<Tensors, Error> {
    // SAFETY: as in `Api::open`.
    unsafe {
        Ok(Tensors {
            count: loaded.function(&format!("aclmdlGetNum{side}s"))?,
            size: loaded.function(&format!("aclmdlGet{side}SizeByIndex"))?,
            name: loaded.function(&format!("aclmdlGet{side}NameByIndex"))?,
            dimensions: loaded.function(&format!("aclmdlGet{side}Dims"))?,
            element_type: loaded.function(&format!("aclmdlGet{side}DataType"))?,
        })
    }
}

/// A copy of a text of the library's; none for null.
///
/// # Safety
/// `pointer` is null or points to bytes that end with a zero and stay as they are during the call.
pub(super) unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
