//! What was released, and the lists of digests that it is held to.
#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names of the folders in a folder, each a version; sorted, and at least one.
pub fn folders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(!names.is_empty(), "{} has no folder", folder.display());
    names
}

/// A list as `sha256sum` writes it: digests by file.
pub fn recorded(list: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(list).expect("the list is there");
    text.lines()
        .map(|line| line.split_once("  ").expect("a digest, two spaces and a file"))
        .map(|(digest, file)| (file.to_owned(), digest.to_owned()))
        .collect()
}
