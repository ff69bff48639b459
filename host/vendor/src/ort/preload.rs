//! NVIDIA's libraries as pip installs them: beside ONNX Runtime, in folders where no loader looks. What is loaded once from there is found
//! by name when the provider asks for it. Machines with the libraries in the system's folders need none of this.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::process::one_line;

/// Packages whose `lib` folders, or they themselves, have libraries: CUDA 12's and 13's, cuDNN's and TensorRT's.
const PARENTS: [&str; 1] = ["nvidia"];
const FOLDERS: [&str; 2] = ["tensorrt_libs", "tensorrt"];
/// Begins of the names of libraries that the providers need, what others need first. What each needs in turn is loaded by it.
const WANTED: [&str; 10] = [
    "libcudart.so",
    "libnvJitLink.so",
    "libcublasLt.so",
    "libcublas.so",
    "libnvrtc.so",
    "libcurand.so",
    "libcufft.so",
    "libcudnn",
    "libnvinfer",
    "libnvonnxparser.so",
];
/// Most files that are looked at.
const ENTRIES_MAX: usize = 4096;

/// Loads what pip has installed beside this library. Answers what could not be loaded, as reasons for when a provider fails.
pub(super) fn preload(library: &Path) -> Vec<String> {
    let mut missing = Vec::new();
    for file in files(library) {
        // A library that is there twice is loaded once; one that fails is loaded again by whoever needs it, or that says what lacks.
        if let Err(error) = ort::util::preload_dylib(&file) {
            missing.push(one_line(&error.to_string()));
        }
    }
    missing
}

/// Files to load, in order. Nothing where the library does not lie in a Python's packages.
fn files(library: &Path) -> Vec<PathBuf> {
    // site-packages/onnxruntime/capi/libonnxruntime.so.1.31.1
    let is_wheel = library.parent().is_some_and(|folder| folder.ends_with("onnxruntime/capi"));
    let Some(packages) = library.ancestors().nth(3).filter(|_| is_wheel) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = PARENTS.iter().flat_map(|parent| children(&packages.join(parent))).map(|package| package.join("lib")).collect();
    folders.extend(FOLDERS.map(|folder| packages.join(folder)));
    let names: BTreeSet<PathBuf> = folders.iter().flat_map(|folder| children(folder)).filter(|path| path.is_file()).collect();
    let begins =
        |path: &PathBuf, begin: &str| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begin) && name.contains(".so"));
    WANTED.iter().flat_map(|begin| names.iter().filter(move |path| begins(path, begin))).cloned().collect()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.take(ENTRIES_MAX).flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_pip_installed_are_found_in_the_order_in_which_they_need_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = [
            "nvidia/cu13/lib/libcublas.so.13",
            "nvidia/cu13/lib/libcublasLt.so.13",
            "nvidia/cudnn/lib/libcudnn.so.9",
            "tensorrt_libs/libnvinfer.so.10",
            "nvidia/cu13/lib/notes.txt",
        ];
        for name in made {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("a new folder");
            fs::write(path, "").expect("room on disk");
        }
        let found = files(&folder.path().join("onnxruntime/capi/libonnxruntime.so.1.31.1"));
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["libcublasLt.so.13", "libcublas.so.13", "libcudnn.so.9", "libnvinfer.so.10"]);
        assert!(files(&folder.path().join("lib/libonnxruntime.so.1.31.1")).is_empty(), "it lies in no Python's packages");
    }
}
