//! What libraries are taken, and what is said of others.

use std::{collections::BTreeMap, fs, path::Path};

use host_engine::Engine as _;
use host_vendor::ort::{OrtEngine, Provider};

use crate::{engine, library};

fn refusal(path: &Path, provider: Provider) -> String {
    let text = OrtEngine::open(path, provider, &BTreeMap::new()).expect_err("it must not open").to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn an_engine_says_which_library_it_has_and_its_version() {
    let Some(engine) = engine() else { return };
    let info = engine.info();
    assert_eq!((info.name.as_str(), info.accelerator.as_str(), info.memory, info.unusable()), ("ort", "cpu", None, None));
    assert!(info.version.starts_with("1."), "{}", info.version);
    let path = library().expect("it was found before").display().to_string();
    assert!(info.attributes.contains(&("library".to_owned(), path)), "{:?}", info.attributes);
}

/// A build without a provider, or a machine without a GPU: a reason, and never the CPU instead.
#[test]
fn accelerators_that_are_not_here_are_refused_and_the_cpu_does_not_stand_in() {
    let Some(library) = library() else { return };
    for (provider, file) in [(Provider::Cuda, "cuda"), (Provider::TensorRt, "tensorrt"), (Provider::Cann, "cann")] {
        let companion = format!("libonnxruntime_providers_{file}.so");
        if library.with_file_name(&companion).exists() {
            println!("skipped for {companion}: it is here");
            continue;
        }
        let text = refusal(&library, provider);
        let expected =
            format!("library `{}`: expected {companion} beside it for engine {file}, found none: it is a build without that provider", library.display());
        assert_eq!(text, expected);
    }
}

#[test]
fn a_second_library_in_one_process_is_refused_with_both_names() {
    let Some(library) = library() else { return };
    let Some(_first) = engine() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("libonnxruntime.so.1.31.1");
    fs::copy(&library, &copy).expect("room on disk");
    let text = refusal(&copy, Provider::Cpu);
    let copy = fs::canonicalize(&copy).expect("it is there");
    assert_eq!(
        text,
        format!("library `{}`: expected `{}`, which this process holds already, and a process can hold one ONNX Runtime", copy.display(), library.display())
    );
}

#[test]
fn files_that_are_no_library_each_get_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("libonnxruntime.so");
    assert!(refusal(&path, Provider::Cpu).ends_with("found no such file"));
    fs::write(&path, "not a library\n").expect("room on disk");
    assert!(refusal(&path, Provider::Cpu).ends_with("found a file of 14 bytes that is no library and begins with \"not a library\\n\""));
    #[cfg(target_os = "linux")]
    {
        let machine: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
        let mut header = vec![0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[16] = 3;
        header[18..20].copy_from_slice(&machine.to_le_bytes());
        fs::write(&path, header).expect("room on disk");
        let text = refusal(&path, Provider::Cpu);
        assert!(text.contains("expected a shared library for ") && text.contains(", found one for "), "{text}");
    }
}
