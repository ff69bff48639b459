//! A library that lacks what its files promise: it is asked, and what it says is the refusal. In a process of its own, because it loads
//! a copy of the library, and a process can hold one.

use std::{collections::BTreeMap, fs};

use host_vendor::ort::{Library, OrtEngine, Provider, SearchPaths};

#[test]
fn a_provider_that_cannot_be_set_up_is_refused_and_the_cpu_does_not_stand_in() {
    let library = match Library::find(&SearchPaths::of_machine(Provider::Cpu, None)) {
        Ok(library) => library.path,
        Err(error) => {
            assert!(std::env::var_os("SHARDHOST_REQUIRE_ONNXRUNTIME").is_none(), "SHARDHOST_REQUIRE_ONNXRUNTIME is set and {error}");
            return println!("skipped: {error}");
        }
    };
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join(library.file_name().expect("a file"));
    fs::copy(&library, &copy).expect("room on disk");
    for (provider, name) in [(Provider::Cann, "cann"), (Provider::Cuda, "cuda"), (Provider::TensorRt, "tensorrt")] {
        let companion = format!("libonnxruntime_providers_{name}.so");
        if library.with_file_name(&companion).exists() {
            println!("skipped for {companion}: it is here");
            continue;
        }
        fs::write(folder.path().join(&companion), "").expect("room on disk");
        let text = OrtEngine::open(&copy, provider, &BTreeMap::new()).expect_err("nothing is behind it").to_string();
        let path = fs::canonicalize(&copy).expect("it is there");
        assert!(text.starts_with(&format!("engine {name} cannot be used with library `{}`: ", path.display())), "{text}");
        assert!(!text.contains('\n'), "{text}");
        println!("{text}");
    }
}
