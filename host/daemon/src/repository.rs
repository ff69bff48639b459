//! The models folder: `NAME/VERSION/model.onnx` and `NAME/model.yaml`. Finds what is there; loading is for `models`. A folder
//! that cannot be used is named and skipped, so that one bad model never keeps the others from being served.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use host_core::ids::{ModelId, ModelName};

use crate::{
    error::{Error, Fault},
    manifest::{Manifest, VersionPolicy},
};

/// The file of a version.
const MODEL_FILE: &str = "model.onnx";
/// What a person says about a model.
const MANIFEST_FILE: &str = "model.yaml";
/// Most folders that are looked at; more is a wrong folder.
const FOLDERS_MAX: usize = 10_000;
/// Largest `model.yaml`; ten thousand labels fit.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// One version of a model on disk.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// Its name and version.
    pub id: ModelId,
    /// Its graph.
    pub file: PathBuf,
    /// What its `model.yaml` says.
    pub manifest: Manifest,
}

/// What a models folder holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Scan {
    /// Versions to load, by name and version.
    pub models: Vec<Found>,
    /// Folders that are not served, and why, for a person.
    pub skipped: BTreeMap<String, String>,
}

/// Looks through a models folder. One that does not exist is like an empty one.
pub fn scan(folder: &Path) -> Result<Scan, Error> {
    let mut scan = Scan::default();
    for model in folders(folder)? {
        match versions(&model) {
            Ok(found) => scan.models.extend(found),
            Err(reason) => {
                scan.skipped.insert(model.display().to_string(), reason);
            }
        }
    }
    Ok(scan)
}

/// The versions of one model's folder that are to be loaded.
pub fn versions(folder: &Path) -> Result<Vec<Found>, String> {
    let name = ModelName::parse(&file_name(folder)).map_err(|error| error.to_string())?;
    let inside = folders(folder).map_err(|error| error.to_string())?;
    // Folders that are no number, such as samples, are the model's own business.
    let mut numbers: Vec<(u32, PathBuf)> = inside.into_iter().filter_map(|path| Some((file_name(&path).parse().ok()?, path.join(MODEL_FILE)))).collect();
    numbers.retain(|(_, file)| file.is_file());
    numbers.sort_unstable();
    if numbers.is_empty() {
        return Err(format!("it holds no model: there is no VERSION/{MODEL_FILE} with a number as VERSION"));
    }
    let manifest = manifest(&folder.join(MANIFEST_FILE)).map_err(|error| error.to_string())?;
    let chosen = choose(&manifest.version_policy, &numbers)?;
    let found = |(version, file): (u32, PathBuf)| Found { id: ModelId { name: name.clone(), version }, file, manifest: manifest.clone() };
    Ok(chosen.into_iter().map(found).collect())
}

fn choose(policy: &VersionPolicy, numbers: &[(u32, PathBuf)]) -> Result<Vec<(u32, PathBuf)>, String> {
    match policy {
        VersionPolicy::All => Ok(numbers.to_vec()),
        VersionPolicy::Latest(count) => Ok(numbers.iter().rev().take((*count).max(1) as usize).rev().cloned().collect()),
        VersionPolicy::Specific(wanted) => {
            let there: Vec<u32> = numbers.iter().map(|(version, _)| *version).collect();
            match wanted.iter().find(|version| !there.contains(version)) {
                Some(missing) => Err(format!("version_policy names version {missing}, there are {there:?}")),
                None => Ok(numbers.iter().filter(|(version, _)| wanted.contains(version)).cloned().collect()),
            }
        }
    }
}

fn manifest(path: &Path) -> Result<Manifest, Error> {
    let fault = |error: io::Error| Error::from(Fault::File { doing: "read", path: path.display().to_string() }).because(error);
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Manifest::default()),
        Err(error) => Err(fault(error)),
        Ok(metadata) if metadata.len() > MANIFEST_BYTES_MAX => {
            let reason = format!("it has {} bytes, at most {MANIFEST_BYTES_MAX} are read", metadata.len());
            Err(Fault::Manifest { path: path.display().to_string(), reason }.into())
        }
        Ok(_) => Manifest::parse(path, &fs::read_to_string(path).map_err(fault)?),
    }
}

/// The folders inside a folder, sorted, without hidden ones.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let fault = |error: io::Error| Error::from(Fault::File { doing: "list", path: folder.display().to_string() }).because(error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fault)?,
    };
    let mut folders = Vec::new();
    for entry in entries.take(FOLDERS_MAX) {
        let path = entry.map_err(fault)?.path();
        if path.is_dir() && !file_name(&path).starts_with('.') {
            folders.push(path);
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder for the test");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("inside the root")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    fn ids(scan: &Scan) -> Vec<String> {
        scan.models.iter().map(|found| found.id.to_string()).collect()
    }

    #[test]
    fn the_latest_version_is_found_and_what_is_no_model_is_named() {
        let root = folder(&[
            ("a/2/model.onnx", ""),
            ("a/10/model.onnx", ""),
            ("a/samples/1.png", ""),
            ("a/11/notes.txt", ""),
            ("b/readme", ""),
            ("requirements.txt", ""),
        ]);
        let scan = scan(root.path()).expect("lists");
        assert_eq!(ids(&scan), ["a@10"]);
        let skipped: Vec<_> = scan.skipped.iter().collect();
        assert!(skipped.len() == 1 && skipped[0].0.ends_with("b") && skipped[0].1.contains("model.onnx"), "{skipped:?}");
    }

    #[test]
    fn a_version_policy_chooses_and_a_version_that_is_not_there_is_named() {
        let files = |policy| [("a/1/model.onnx", ""), ("a/2/model.onnx", ""), ("a/3/model.onnx", ""), ("a/model.yaml", policy)];
        let cases = [
            ("version_policy: all", vec!["a@1", "a@2", "a@3"]),
            ("version_policy: { latest: 2 }", vec!["a@2", "a@3"]),
            ("version_policy: { specific: [1] }", vec!["a@1"]),
        ];
        for (policy, expected) in cases {
            assert_eq!(ids(&scan(folder(&files(policy)).path()).expect("lists")), expected, "{policy}");
        }
        let scan = scan(folder(&files("version_policy: { specific: [7] }")).path()).expect("lists");
        assert_eq!(scan.skipped.values().next().map(String::as_str), Some("version_policy names version 7, there are [1, 2, 3]"));
    }

    #[test]
    fn a_bad_manifest_skips_its_model_only_and_a_missing_folder_is_empty() {
        let root = folder(&[("bad/1/model.onnx", ""), ("bad/model.yaml", "batch: 3"), ("good/1/model.onnx", "")]);
        let found = scan(root.path()).expect("lists");
        assert_eq!(ids(&found), ["good@1"]);
        assert!(found.skipped.values().all(|reason| reason.contains("batch")) && found.skipped.len() == 1, "{:?}", found.skipped);
        assert_eq!(scan(&root.path().join("nowhere")).expect("like empty"), Scan::default());
    }
}
