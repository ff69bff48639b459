//! Holds the contract to its released versions: what was released never changes, and what changes gets another number.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/released.rs"]
mod released;

use std::{collections::BTreeMap, fs, path::Path};

use host_engine::Digest;
use host_plugin::CONTRACT;
use released::{folders, recorded, root};

/// The WIT files of a folder, without those of folders in it.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    paths.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())).collect()
}

/// The version that a package of the contract says it has.
fn version(texts: &BTreeMap<String, String>) -> &str {
    let line = texts["plugin.wit"].lines().find_map(|line| line.strip_prefix("package shardhost:plugin@")).expect("the package has a version");
    line.trim_end_matches(';')
}

#[test]
fn a_released_version_of_the_contract_never_changes() {
    let folder = root().join("wit/released");
    let recorded = recorded(&folder.join("sha256sums"));
    let mut files = 0;
    for version in folders(&folder) {
        for name in texts(&folder.join(&version)).into_keys() {
            let file = format!("{version}/{name}");
            let known = recorded.get(&file).unwrap_or_else(|| panic!("{file} is not in wit/released/sha256sums"));
            assert_eq!(Digest::of(&fs::read(folder.join(&file)).unwrap()).to_string(), *known, "{file} was released and must stay as it was");
            files += 1;
        }
    }
    assert_eq!(files, recorded.len(), "every file that was released is there");
}

#[test]
fn the_contract_has_another_number_than_every_released_version_that_it_differs_from() {
    let now = texts(&root().join("wit"));
    let released = root().join("wit/released").join(version(&now));
    assert!(!released.is_dir() || texts(&released) == now, "wit/ says that it is {0}, which was released and is something else", version(&now));
}

#[test]
fn released_versions_have_the_numbers_of_their_folders() {
    for folder in folders(&root().join("wit/released")) {
        assert_eq!(version(&texts(&root().join("wit/released").join(&folder))), folder);
    }
}

#[test]
fn the_contract_in_the_program_is_the_one_in_wit() {
    let embedded: BTreeMap<String, String> = CONTRACT.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    assert!(embedded == texts(&root().join("wit")), "the list in host/plugin/src/contract/text.rs names other files than wit/ has");
}
