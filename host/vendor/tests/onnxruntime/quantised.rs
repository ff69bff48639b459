//! Models that ONNX Runtime's quantisers made, from the fixtures of host-engine: int8 with dynamic and static ranges, and 4-bit weights.

use std::path::{Path, PathBuf};

use host_engine::{Engine as _, Golden, LoadOptions, OnnxFile, check_golden, split};

use crate::{engine, engines, inspected};

const MODELS: [&str; 3] = ["int8-dynamic", "int8-static", "int4"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures").join(name)
}

#[test]
fn quantised_models_give_the_answers_that_were_recorded() {
    let Some(engine) = engine() else { return };
    for name in MODELS {
        let golden = Golden::from_bytes(std::fs::read(fixture(&format!("{name}.golden"))).expect("a committed fixture").into()).expect("answers");
        let file = OnnxFile::open(&fixture(&format!("{name}.onnx"))).expect("a committed fixture");
        let whole = split(&inspected(&file, name), &[]).expect("the whole model").remove(0);
        let mut graph = engine.load(&whole, &LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        check_golden(graph.as_mut(), &golden).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn quantised_models_are_right_cut_everywhere() {
    let Some(engines) = engines() else { return };
    for name in MODELS {
        let file = OnnxFile::open(&fixture(&format!("{name}.onnx"))).expect("a committed fixture");
        let inspection = inspected(&file, name).with_golden().unwrap_or_else(|error| panic!("{name}: {error}"));
        for shard in split(&inspection, &inspection.legal_cuts()).expect("legal cuts") {
            engines.load("ort", &shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
