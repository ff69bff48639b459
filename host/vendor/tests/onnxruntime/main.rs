//! ONNX Runtime as an engine, with the real library. It is found as the host finds it: `ORT_DYLIB_PATH` or the search. Where there is none,
//! these tests say so and test nothing, unless `SHARDHOST_REQUIRE_ONNXRUNTIME` is set. A process can hold one library, so all tests here
//! share it.
#![allow(clippy::panic, reason = "tests fail by panicking")]

mod generated;
mod library;
mod model;
mod quantised;
mod types;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use host_core::ids::{ModelId, ModelName};
use host_engine::{Engines, Inspection, OnnxFile, inspect};
use host_vendor::ort::{Library, OrtEngine, Provider, SearchPaths};

/// The library of this machine; none, and a line that says so, where there is none.
pub fn library() -> Option<PathBuf> {
    match Library::find(&SearchPaths::of_machine(Provider::Cpu, None)) {
        Ok(library) => Some(library.path),
        Err(error) => {
            assert!(std::env::var_os("SHARDHOST_REQUIRE_ONNXRUNTIME").is_none(), "SHARDHOST_REQUIRE_ONNXRUNTIME is set and {error}");
            println!("skipped: {error}");
            None
        }
    }
}

/// The engine for the CPU.
pub fn engine() -> Option<OrtEngine> {
    Some(OrtEngine::open(&library()?, Provider::Cpu, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}")))
}

/// A registry with that engine alone: what it loads is held against the golden answers.
pub fn engines() -> Option<Engines> {
    Some(Engines::new(vec![Arc::new(engine()?)]))
}

pub fn inspected(file: &OnnxFile, name: &str) -> Inspection {
    let id = ModelId { name: ModelName::parse(name).expect("a plain name"), version: 1 };
    inspect(file, id).unwrap_or_else(|error| panic!("{name}: {error}"))
}
