//! What this machine has, as labels of the device that it is: its system, its processor, and the GPUs and NPUs that its kernel
//! drives. Nothing is opened or loaded: an accelerator is there if its device node is, and what drives it is named if it lies in
//! one of the folders where it is usually installed. What an adapter can do with it is another question.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use host_core::units::Bytes;

use super::Machine;

/// An accelerator that can be told from files.
struct Known {
    /// `gpu` or `npu`.
    label: &'static str,
    /// The label's value.
    value: &'static str,
    /// Any of these says that it is there.
    nodes: &'static [&'static str],
    /// The same of a driver in the kernel, by the name that it has there.
    drivers: &'static [&'static str],
    /// What programs use it through.
    library: &'static str,
}

/// What is looked for. Names of nodes and drivers are those of the vendors' kernel modules and of Linux itself.
const KNOWN: [Known; 11] = [
    // The nodes but the first are those of Jetson boards.
    Known {
        label: "gpu",
        value: "nvidia",
        nodes: &["dev/nvidia0", "dev/nvhost-gpu", "dev/nvgpu/igpu0"],
        drivers: &["nvidia", "nouveau"],
        library: "libcuda.so.1",
    },
    Known { label: "gpu", value: "amd", nodes: &["dev/kfd"], drivers: &["amdgpu", "radeon"], library: "libamdhip64.so" },
    Known { label: "gpu", value: "intel", nodes: &[], drivers: &["i915", "xe"], library: "libze_loader.so.1" },
    Known { label: "gpu", value: "mali", nodes: &["dev/mali0"], drivers: &["panfrost", "panthor", "lima"], library: "libmali.so.1" },
    Known { label: "gpu", value: "adreno", nodes: &["dev/kgsl-3d0"], drivers: &["msm", "msm_dpu"], library: "libOpenCL.so.1" },
    Known { label: "gpu", value: "videocore", nodes: &[], drivers: &["v3d"], library: "libvulkan_broadcom.so" },
    Known { label: "npu", value: "ascend", nodes: &["dev/davinci0"], drivers: &[], library: "libascendcl.so" },
    Known { label: "npu", value: "rknpu", nodes: &["dev/rknpu"], drivers: &["RKNPU", "rknpu", "rocket"], library: "librknnrt.so" },
    Known { label: "npu", value: "intel", nodes: &[], drivers: &["intel_vpu"], library: "libze_loader.so.1" },
    Known { label: "npu", value: "hailo", nodes: &["dev/hailo0"], drivers: &[], library: "libhailort.so" },
    Known { label: "npu", value: "edgetpu", nodes: &["dev/apex_0"], drivers: &[], library: "libedgetpu.so.1" },
];

/// Where Linux lists what draws and what only computes, and what the entries of devices begin with.
const CLASSES: [(&str, &str); 2] = [("sys/class/drm", "renderD"), ("sys/class/accel", "accel")];

/// Where libraries are usually installed.
const LIBRARY_FOLDERS: [&str; 11] = [
    "usr/lib",
    "usr/lib64",
    "usr/local/lib",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu/nvidia",
    "usr/lib/aarch64-linux-gnu/tegra",
    "usr/lib/wsl/lib",
    "usr/local/cuda/lib64",
    "opt/rocm/lib",
    "usr/local/Ascend/ascend-toolkit/latest/lib64",
];

/// Everything that is known of this machine.
pub fn labels() -> BTreeMap<String, String> {
    let mut labels = accelerators(Path::new("/"));
    let mut machine = Machine::new();
    let mut say = |name: &str, value: String| drop(labels.insert(name.to_owned(), value));
    say("os", std::env::consts::OS.to_owned());
    say("arch", std::env::consts::ARCH.to_owned());
    if let Some((model, cores)) = machine.processor() {
        say("cores", cores.to_string());
        if !model.is_empty() {
            say("cpu", model);
        }
    }
    let memory = Bytes(machine.memory_bytes());
    if memory > Bytes::ZERO {
        say("memory", memory.to_string());
    }
    labels
}

/// The GPUs and NPUs below a root folder: `gpu`, `npu`, and `gpu-library`, `npu-library` where something to use them is found.
fn accelerators(root: &Path) -> BTreeMap<String, String> {
    let drivers = drivers(root);
    let is_there = |known: &&Known| {
        let node = known.nodes.iter().any(|node| root.join(node).exists());
        node || known.drivers.iter().any(|driver| drivers.contains(*driver))
    };
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for known in KNOWN.iter().filter(is_there) {
        found.entry(known.label.to_owned()).or_default().insert(known.value.to_owned());
        if let Some(library) = library(root, known.library) {
            found.entry(format!("{}-library", known.label)).or_default().insert(library.display().to_string());
        }
    }
    found.into_iter().map(|(label, values)| (label, values.into_iter().collect::<Vec<_>>().join(","))).collect()
}

/// The drivers of everything that the kernel lists as drawing or computing.
fn drivers(root: &Path) -> BTreeSet<String> {
    let mut drivers = BTreeSet::new();
    for (class, prefix) in CLASSES {
        let Ok(entries) = fs::read_dir(root.join(class)) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
            // A link to the driver's folder.
            let driver = fs::read_link(entry.path().join("device/driver")).ok();
            drivers.extend(driver.and_then(|driver| Some(driver.file_name()?.to_string_lossy().into_owned())));
        }
    }
    drivers
}

fn library(root: &Path, name: &str) -> Option<PathBuf> {
    LIBRARY_FOLDERS.iter().map(|folder| root.join(folder).join(name)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn touch(root: &Path, file: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, "").expect("written");
    }

    /// A device of a class, with its driver, as Linux lists them.
    fn list(root: &Path, device: &str, driver: &str) {
        let folder = root.join(device).join("device");
        fs::create_dir_all(&folder).expect("made");
        symlink(format!("../../../bus/platform/drivers/{driver}"), folder.join("driver")).expect("linked");
    }

    fn labels_of(root: &Path) -> Vec<(String, String)> {
        accelerators(root).into_iter().map(|(label, value)| (label, value.replace(&root.display().to_string(), ""))).collect()
    }

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(label, value)| (label.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn an_accelerator_is_told_by_its_node_or_its_driver() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        assert!(labels_of(root).is_empty());
        touch(root, "usr/lib/x86_64-linux-gnu/libcuda.so.1");
        assert!(labels_of(root).is_empty(), "a library alone is no accelerator");
        touch(root, "dev/nvidia0");
        assert_eq!(labels_of(root), labels(&[("gpu", "nvidia"), ("gpu-library", "/usr/lib/x86_64-linux-gnu/libcuda.so.1")]));
    }

    #[test]
    fn a_board_with_a_gpu_and_an_npu_has_both() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        list(root, "sys/class/drm/renderD128", "panthor");
        list(root, "sys/class/drm/renderD129", "RKNPU");
        // An output is no accelerator, whatever drives it.
        list(root, "sys/class/drm/card0-HDMI-A-1", "i915");
        touch(root, "usr/lib/librknnrt.so");
        assert_eq!(labels_of(root), labels(&[("gpu", "mali"), ("npu", "rknpu"), ("npu-library", "/usr/lib/librknnrt.so")]));
    }

    #[test]
    fn several_of_a_kind_are_listed_and_strange_ones_are_left_out() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        list(root, "sys/class/drm/renderD128", "xe");
        list(root, "sys/class/drm/renderD129", "virtio_gpu");
        list(root, "sys/class/accel/accel0", "intel_vpu");
        touch(root, "dev/kfd");
        assert_eq!(labels_of(root), labels(&[("gpu", "amd,intel"), ("npu", "intel")]));
    }

    #[test]
    fn every_machine_says_its_system_and_its_processor() {
        let found = super::labels();
        assert_eq!(found.get("os").map(String::as_str), Some(std::env::consts::OS));
        assert_eq!(found.get("arch").map(String::as_str), Some(std::env::consts::ARCH));
        assert!(found["cores"].parse::<usize>().is_ok_and(|cores| cores > 0), "{found:?}");
        assert!(found["memory"].ends_with("iB"), "{found:?}");
    }
}
