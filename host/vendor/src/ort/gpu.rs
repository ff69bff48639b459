//! What NVIDIA's driver says of a GPU: its name and memory. Asked of the driver's library directly, because ONNX Runtime says neither;
//! the numbers of GPUs are those of CUDA, so `device_id` means the same one here and there.

use std::ffi::{CStr, c_char, c_int};

use host_core::units::Bytes;
use libloading::{Library, Symbol};

/// The driver's library: it comes with the driver, nothing else has it.
const LIBRARY: &str = "libcuda.so.1";
/// Room for a name; they are shorter than 64 characters.
const NAME_BYTES: usize = 256;

/// A GPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Gpu {
    /// As its maker calls it: `NVIDIA H200`.
    pub(super) name: String,
    /// All of its memory.
    pub(super) memory: Bytes,
    /// The newest CUDA that the driver knows: 13000 for 13.0.
    pub(super) driver: i32,
}

impl Gpu {
    /// A word that is different for GPUs and drivers that need different engines, and can be the name of a folder.
    pub(super) fn key(&self) -> String {
        let name: String = self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        format!("{name}-cuda{}", self.driver)
    }
}

/// Asks the driver; the error says why there is no such GPU.
pub(super) fn gpu(device_id: u32) -> Result<Gpu, String> {
    let index = c_int::try_from(device_id).map_err(|_| format!("GPU {device_id} has no number that the driver takes"))?;
    // SAFETY: loading runs the initialisers of the driver's library, which every program that computes on the GPU loads.
    let library = unsafe { Library::new(LIBRARY) }.map_err(|error| format!("NVIDIA's driver is not here: {}", super::process::one_line(&error.to_string())))?;
    let driver = Driver { library };
    driver.call("cuInit", |call: Symbol<unsafe extern "C" fn(u32) -> c_int>| {
        // SAFETY: the function takes flags, which must be 0.
        unsafe { call(0) }
    })?;
    let mut device: c_int = 0;
    driver
        .call("cuDeviceGet", |call: Symbol<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>| {
            // SAFETY: it writes one number, for which there is room.
            unsafe { call(&raw mut device, index) }
        })
        .map_err(|error| format!("there is no GPU {device_id}: {error}"))?;
    let mut name = [0_u8; NAME_BYTES];
    driver.call("cuDeviceGetName", |call: Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>| {
        // SAFETY: it writes a text of at most as many bytes as it is told, with a 0 at its end; one byte more is 0 already.
        unsafe { call(name.as_mut_ptr().cast(), NAME_BYTES as c_int - 1, device) }
    })?;
    let mut memory: usize = 0;
    driver.call("cuDeviceTotalMem_v2", |call: Symbol<unsafe extern "C" fn(*mut usize, c_int) -> c_int>| {
        // SAFETY: it writes one number, for which there is room.
        unsafe { call(&raw mut memory, device) }
    })?;
    let mut version: c_int = 0;
    driver.call("cuDriverGetVersion", |call: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int>| {
        // SAFETY: it writes one number, for which there is room.
        unsafe { call(&raw mut version) }
    })?;
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| "the GPU's name has no end".to_owned())?.to_string_lossy().into_owned();
    Ok(Gpu { name, memory: Bytes(memory as u64), driver: version })
}

struct Driver {
    library: Library,
}

impl Driver {
    /// Calls a function of the driver. They answer 0 or the number of an error.
    fn call<'a, F: 'a>(&'a self, name: &str, call: impl FnOnce(Symbol<'a, F>) -> c_int) -> Result<(), String> {
        // SAFETY: each caller names a function of the driver's published interface with the type that it has there.
        let function = unsafe { self.library.get::<F>(name.as_bytes()) }.map_err(|_| format!("{LIBRARY} has no function {name}"))?;
        match call(function) {
            0 => Ok(()),
            code => Err(format!("{name} answered error {code}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_of_folders_and_tell_gpus_and_drivers_apart() {
        let gpu = Gpu { name: "NVIDIA GeForce RTX 4090".into(), memory: Bytes::mib(24_576), driver: 13_000 };
        assert_eq!(gpu.key(), "nvidia-geforce-rtx-4090-cuda13000");
        assert_ne!(gpu.key(), Gpu { driver: 12_080, ..gpu.clone() }.key());
    }

    #[test]
    fn asking_for_a_gpu_that_is_not_there_says_why() {
        // Machines with GPUs have fewer than this; those without have no driver.
        let reason = gpu(60_000).expect_err("there is no such GPU");
        assert!(
            reason.starts_with("NVIDIA's driver is not here: ") || reason.starts_with("there is no GPU 60000: ") || reason.starts_with("cuInit "),
            "{reason}"
        );
    }
}
