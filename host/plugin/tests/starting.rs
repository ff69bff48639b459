//! Starting a host: compiled code on disk, and what happens when it is damaged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{fs, path::Path, sync::Arc};

use host_engine::Engines;
use host_plugin::{CodeFolder, EventSink, PluginConfig, PluginHost};

fn start(folder: &Path) -> PluginHost {
    let config = PluginConfig { code: Some(CodeFolder::at(folder)), ..PluginConfig::default() };
    let host = PluginHost::start(config, Arc::new(Engines::default()), EventSink::none()).unwrap();
    assert_eq!(host.list().len(), 4, "the slots that every host needs");
    host.start_rest().unwrap();
    host
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn compiled_plugins_are_kept_and_damaged_ones_are_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    assert_eq!(start(&cache).list().len(), 13);
    let kept = files(&cache);
    assert_eq!(kept.len(), 11, "one file for each plugin in a slot: {kept:?}");
    let whole: Vec<_> = kept.iter().map(|file| fs::read(file).unwrap()).collect();
    fs::write(&kept[0], b"nothing").unwrap();
    fs::write(&kept[1], &whole[1][..whole[1].len() / 2]).unwrap();
    let mut flipped = whole[2].clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&kept[2], &flipped).unwrap();
    fs::write(&kept[3], b"").unwrap();
    assert_eq!(start(&cache).list().len(), 13);
    let mended: Vec<_> = kept.iter().map(|file| fs::read(file).unwrap().len()).collect();
    assert_eq!(mended, whole.iter().map(Vec::len).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn the_folder_of_compiled_plugins_is_private_to_its_user() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    start(&cache);
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(files(&cache).iter().all(|file| fs::metadata(file).unwrap().permissions().mode() & 0o077 == 0));
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = PluginConfig { code: Some(CodeFolder::at(file.path())), ..PluginConfig::default() };
    let error = PluginHost::start(config, Arc::new(Engines::default()), EventSink::none()).expect_err("a file is no folder").to_string();
    assert!(error.contains(&file.path().display().to_string()), "{error}");
}
