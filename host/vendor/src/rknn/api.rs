//! The functions of one librknnrt.

use std::path::Path;

use host_engine::Error;

use super::abi;
use crate::symbols::Loaded;

/// Functions by which tensors lie in memory that the NPU reads and writes itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct ZeroCopy {
    pub(super) create: abi::CreateMemory,
    pub(super) destroy: abi::DestroyMemory,
    pub(super) set: abi::SetMemory,
    pub(super) sync: abi::SyncMemory,
}

/// All that is called of a library.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) loaded: Loaded,
    pub(super) init: abi::Init,
    /// None in the library for PCs, which reaches an NPU over a cable.
    pub(super) duplicate: Option<abi::Duplicate>,
    pub(super) destroy: abi::Destroy,
    pub(super) query: abi::Query,
    pub(super) set_inputs: abi::SetInputs,
    pub(super) run: abi::Run,
    pub(super) get_outputs: abi::GetOutputs,
    pub(super) release_outputs: abi::ReleaseOutputs,
    /// None in libraries for chips with one core.
    pub(super) set_core_mask: Option<abi::SetCoreMask>,
    /// None in libraries without it.
    pub(super) zero_copy: Option<ZeroCopy>,
}

impl Api {
    /// Loads a library and looks everything up.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let loaded = Loaded::open(path)?;
        // SAFETY: each type in `abi` is the signature that `rknn_api.h` of 2.x declares for the function of that name.
        unsafe {
            Ok(Self {
                init: loaded.function("rknn_init")?,
                duplicate: loaded.optional("rknn_dup_context"),
                destroy: loaded.function("rknn_destroy")?,
                query: loaded.function("rknn_query")?,
                set_inputs: loaded.function("rknn_inputs_set")?,
                run: loaded.function("rknn_run")?,
                get_outputs: loaded.function("rknn_outputs_get")?,
                release_outputs: loaded.function("rknn_outputs_release")?,
                set_core_mask: loaded.optional("rknn_set_core_mask"),
                zero_copy: zero_copy(&loaded),
                loaded,
            })
        }
    }
}

/// All four functions or none.
fn zero_copy(loaded: &Loaded) -> Option<ZeroCopy> {
    // SAFETY: as in `Api::open`.
    unsafe {
        Some(ZeroCopy {
            create: loaded.optional("rknn_create_mem")?,
            destroy: loaded.optional("rknn_destroy_mem")?,
            set: loaded.optional("rknn_set_io_mem")?,
            sync: loaded.optional("rknn_mem_sync")?,
        })
    }
}
