//! Searching, in folders that hold files that look like libraries to whoever does not load them.

use super::*;

/// What passes for a shared library of this machine: its header alone.
fn write(path: &Path) {
    let own = fs::read(env::current_exe().expect("this test")).expect("readable");
    let mut header = own[..64].to_vec();
    // A shared library without sections.
    header[16..18].copy_from_slice(&3_u16.to_le_bytes());
    header[58..62].fill(0);
    header[40..48].fill(0);
    fs::create_dir_all(path.parent().expect("in a folder")).expect("a new folder");
    fs::write(path, header).expect("room on disk");
}

fn search(provider: Provider, folders: &[&Path]) -> Result<Library, Error> {
    Library::find(&SearchPaths { provider, named: None, folders: folders.iter().map(|folder| folder.to_path_buf()).collect() })
}

fn name(library: &Library) -> &str {
    library.path.file_name().and_then(|name| name.to_str()).expect("a plain name")
}

#[test]
fn versions_are_read_from_names_and_compared_by_number() {
    assert_eq!(Version::parse("1.9.1").map(|version| version.to_string()).as_deref(), Some("1.9.1"));
    assert!(Version::parse("1.9") < Version::parse("1.17.0"));
    for text in ["", "1.x", "1.2.3.4", "1.2.3-rc1", "so"] {
        assert_eq!(Version::parse(text), None, "{text}");
    }
    assert_eq!(version_of_name("libonnxruntime.so.1.31.1"), Version::parse("1.31.1"));
    assert_eq!(version_of_name("libonnxruntime.so"), None);
    assert_eq!(version_of_name("libonnxruntime_providers_shared.so"), None);
}

#[test]
#[cfg(target_os = "linux")]
fn the_newest_usable_one_is_found_and_the_others_are_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    write(&first.join("libonnxruntime.so.1.18.0"));
    write(&second.join("libonnxruntime.so.1.31.1"));
    write(&second.join("libonnxruntime.so.1.4.0"));
    fs::write(second.join("libonnxruntime.so.1.99.0"), "a text").expect("room on disk");
    let found = search(Provider::Cpu, &[&first, &second]).expect("two are usable");
    assert_eq!((name(&found), found.version), ("libonnxruntime.so.1.31.1", Version::parse("1.31.1")));
}

#[test]
#[cfg(target_os = "linux")]
fn where_none_is_usable_the_error_says_where_it_looked_and_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (empty, old) = (folder.path().join("empty"), folder.path().join("old"));
    write(&old.join("libonnxruntime.so.1.16.3"));
    let text = search(Provider::Cpu, &[&empty, &old]).expect_err("too old").to_string();
    let expected = [
        format!("looked for libonnxruntime.so* in {}, {}", empty.display(), old.display()),
        "libonnxruntime.so.1.16.3`: expected ONNX Runtime 1.17 or newer, found 1.16.3".to_owned(),
        "`pip install onnxruntime` installs it".to_owned(),
    ];
    for part in expected {
        assert!(text.contains(&part), "{text} lacks {part}");
    }
    assert!(!text.contains('\n'), "{text}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_build_without_the_provider_is_not_taken_for_one_that_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, gpu) = (folder.path().join("plain"), folder.path().join("gpu"));
    write(&plain.join("libonnxruntime.so.1.31.1"));
    let text = search(Provider::Cuda, &[&plain]).expect_err("no provider").to_string();
    assert!(text.contains("expected libonnxruntime_providers_cuda.so beside it for engine cuda, found none"), "{text}");
    assert!(text.contains("`pip install onnxruntime-gpu`"), "{text}");
    write(&gpu.join("libonnxruntime.so.1.24.0"));
    write(&gpu.join("libonnxruntime_providers_cuda.so"));
    assert_eq!(name(&search(Provider::Cuda, &[&plain, &gpu]).expect("the older one has it")), "libonnxruntime.so.1.24.0");
}

#[test]
#[cfg(target_os = "linux")]
fn what_people_name_is_taken_or_refused_and_nothing_else_is_tried() {
    let folder = tempfile::tempdir().expect("a folder");
    let wheel = folder.path().join("site-packages/onnxruntime/capi");
    write(&wheel.join("libonnxruntime.so.1.31.1"));
    let find =
        |path: &Path| Library::find(&SearchPaths { provider: Provider::Cpu, named: Some(("ORT_DYLIB_PATH", path.to_owned())), folders: vec![wheel.clone()] });
    for named in [wheel.join("libonnxruntime.so.1.31.1"), wheel.clone(), folder.path().join("site-packages"), folder.path().join("site-packages/onnxruntime")] {
        assert_eq!(name(&find(&named).expect("it leads there")), "libonnxruntime.so.1.31.1", "{}", named.display());
    }
    let missing = find(&folder.path().join("nowhere.so")).expect_err("no such file").to_string();
    assert!(missing.starts_with("ORT_DYLIB_PATH: library `") && missing.ends_with("found no such file"), "{missing}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a new folder");
    assert!(find(&empty).expect_err("nothing in it").to_string().ends_with("expected a file libonnxruntime.so*, found none"));
}

#[test]
#[cfg(target_os = "linux")]
fn wheels_are_found_in_every_python_below_a_prefix_and_links_count_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let wheel = folder.path().join("lib/python3.11/site-packages").join(WHEEL_FOLDER);
    write(&wheel.join("libonnxruntime.so.1.31.1"));
    std::os::unix::fs::symlink("libonnxruntime.so.1.31.1", wheel.join("libonnxruntime.so")).expect("a link");
    assert_eq!(wheels(folder.path()), std::slice::from_ref(&wheel));
    assert_eq!(files(&wheel), [fs::canonicalize(wheel.join("libonnxruntime.so.1.31.1")).expect("it is there")]);
}
