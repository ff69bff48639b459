//! Holds the tree to the table in ARCHITECTURE.md: who may depend on whom, and which words may stand where.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace's root exists")
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("cargo metadata answers")
}

/// Which of our own packages a package may name, apart from what its tests and measurements use.
fn allowed(package: &str, folder: &str) -> BTreeSet<&'static str> {
    let names: &[&'static str] = match package {
        "host-core" => &[],
        "host-engine" | "host-wire" => &["host-core"],
        "host-plugin" => &["host-core", "host-engine"],
        "host-daemon" => &["host-core", "host-engine", "host-plugin", "host-wire"],
        "shardhost-sdk" => &[],
        _ if folder == "plugins" => &["shardhost-sdk"],
        _ => &[],
    };
    names.iter().copied().collect()
}

#[test]
fn packages_depend_only_in_the_directions_of_the_table() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut seen = 0;
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().and_then(|folder| folder.parent()).and_then(|folder| folder.file_name()).unwrap_or_default();
        if folder == "tests" {
            continue;
        }
        let allowed = allowed(&package.name, folder);
        for dependency in &package.dependencies {
            let is_ours = ours.contains(dependency.name.as_str());
            if is_ours && dependency.kind != DependencyKind::Development {
                assert!(allowed.contains(dependency.name.as_str()), "{} may not depend on {}", package.name, dependency.name);
            }
            let host_uses_guest =
                folder == "host" && (dependency.name == "shardhost-sdk" || dependency.name.ends_with("-allocation") || dependency.name.ends_with("-routing"));
            assert!(!host_uses_guest, "{} may not even test against {}", package.name, dependency.name);
        }
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} packages were looked at");
}

/// Every Rust file of ours with its text, build output aside.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = ["host", "sdk", "plugins"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("it lies in the workspace").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).expect("the file can be read"));
            }
        }
    }
    assert!(found.len() > 30, "only {} files were found", found.len());
    found
}

/// The file's code before its tests, without comments; nothing of a file that is all tests.
fn code(file: &str, text: &str) -> String {
    if file.ends_with("/tests.rs") || file.contains("/tests/") || file.contains("/benches/") {
        return String::new();
    }
    let product = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    product.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn certain_words_stand_only_where_they_belong() {
    struct Case {
        words: &'static [&'static str],
        only: fn(&str) -> bool,
    }
    let cases = [
        Case { words: &["wasmtime"], only: |file| file.starts_with("host/plugin/") },
        Case { words: &["rusqlite", "SELECT ", "INSERT INTO"], only: |file| file.starts_with("host/daemon/src/store") },
        Case { words: &["StatusCode"], only: |file| file.starts_with("host/daemon/src/api/error.rs") || file.starts_with("host/daemon/src/cli") },
        Case { words: &["Instant::now", "SystemTime::now"], only: |file| file.ends_with("clock.rs") || file.contains("/tests/") },
        Case {
            words: &["reqwest"],
            only: |file| {
                let calls = ["host/daemon/src/cli", "host/daemon/src/client", "host/daemon/src/shelf/fetch.rs"];
                calls.iter().any(|path| file.starts_with(path)) || file.ends_with("error.rs")
            },
        },
        Case { words: &["tract_onnx", "tract_linalg"], only: |file| file.starts_with("host/engine/") },
    ];
    for (file, text) in sources() {
        let code = code(&file, &text);
        for case in &cases {
            let word = case.words.iter().find(|word| code.contains(**word));
            assert!(word.is_none() || (case.only)(&file), "{file} says {word:?}");
        }
    }
}

#[test]
fn domain_types_have_no_serde() {
    let may = |file: &str| {
        let manifest = file.ends_with("manifest.rs") || file.contains("/manifest/");
        let daemon = file.starts_with("host/daemon/src/config") || file.starts_with("host/daemon/src/store");
        manifest || daemon || file.starts_with("host/wire/") || file.starts_with("plugins/")
    };
    for (file, text) in sources() {
        let code = code(&file, &text);
        let derives = code.lines().any(|line| line.contains("derive(") && (line.contains("Serialize") || line.contains("Deserialize")));
        assert!(!derives || may(&file), "{file} derives serde");
    }
}

#[test]
fn unsafe_stands_only_in_the_files_that_the_architecture_lists() {
    let listed = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the architecture is written");
    for (file, text) in sources() {
        let code = code(&file, &text);
        let uses = code.contains("unsafe {") || code.contains("unsafe impl");
        assert!(!uses || listed.contains(&format!("`{file}`")), "{file} has unsafe code and is not listed");
    }
}

#[test]
fn the_program_starts_in_a_main_of_forty_lines_at_most() {
    let main = fs::read_to_string(root().join("host/daemon/src/main.rs")).expect("there is a main");
    assert!(main.lines().count() <= 40);
}
