//! Models that ONNX Runtime's quantisers made (see `fixtures/make.py`): cut anywhere, and against ONNX Runtime's own answers.

use std::path::{Path, PathBuf};

use host_engine::{Engine, Engines, Golden, LoadOptions, OnnxFile, OpenDimensions, Shard, TractEngine, check_golden, split};

use crate::chain::{Near, equal_whole, inputs, inspected};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Name, how many blocks, and lengths of the open axes.
const MODELS: [(&str, &[(&str, usize)]); 3] =
    [("int8-dynamic", &[("batch", 1), ("sequence", 5)]), ("int8-static", &[("batch", 1)]), ("int4", &[("batch", 1), ("sequence", 5)])];

#[test]
fn quantised_models_give_the_same_answers_cut_anywhere() {
    for (name, lengths) in MODELS {
        let file = OnnxFile::open(&fixture(&format!("{name}.onnx"))).unwrap_or_else(|error| panic!("{error}"));
        let inspection = inspected(&file, name).with_golden().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!inspection.legal_cuts().is_empty(), "{name} cannot be cut");
        equal_whole(&inspection, &[inputs(inspection.inputs(), lengths, 0, 3)], Near::Exact);
    }
}

#[test]
fn quantised_models_give_the_answers_of_another_engine() {
    for (name, _) in MODELS {
        let golden = Golden::from_bytes(std::fs::read(fixture(&format!("{name}.golden"))).expect("a committed fixture").into()).expect("answers");
        let file = OnnxFile::open(&fixture(&format!("{name}.onnx"))).expect("a committed fixture");
        let whole = split(&inspected(&file, name), &[]).expect("the whole model").remove(0);
        for open in [OpenDimensions::All, OpenDimensions::None] {
            let mut graph =
                TractEngine.load(&whole, &LoadOptions { open, ..LoadOptions::default() }).unwrap_or_else(|error| panic!("{name} {open:?}: {error}"));
            check_golden(graph.as_mut(), &golden).unwrap_or_else(|error| panic!("{name} {open:?}: {error}"));
        }
    }
}

#[test]
fn each_engine_gives_the_answers_of_another_one_or_is_refused() {
    let engines = Engines::default();
    let mut taken = Vec::new();
    for (name, _) in MODELS {
        let golden = Golden::from_bytes(std::fs::read(fixture(&format!("{name}.golden"))).expect("a committed fixture").into()).expect("answers");
        let file = OnnxFile::open(&fixture(&format!("{name}.onnx"))).expect("a committed fixture");
        let whole = split(&inspected(&file, name), &[]).expect("the whole model").remove(0);
        for info in engines.info() {
            match engines.load(&info.name, &Shard { golden: Some(golden.clone()), ..whole.clone() }, &LoadOptions::default()) {
                Ok(mut graph) => {
                    check_golden(graph.as_mut(), &golden).unwrap_or_else(|error| panic!("{} on {name}: {error}", info.name));
                    taken.push(format!("{} {name}", info.name));
                }
                Err(error) => eprintln!("refused: {error}"),
            }
        }
    }
    for name in ["tract int8-dynamic", "tract int4", "rten int8-dynamic", "rten int4", "auto int8-dynamic", "auto int4"] {
        assert!(taken.iter().any(|taken| taken == name), "{name} is refused: {taken:?}");
    }
}

#[test]
fn weights_stay_as_small_as_they_were() {
    let small = OnnxFile::open(&fixture("int4.onnx")).expect("a committed fixture");
    let inspection = inspected(&small, "int4");
    let shards = split(&inspection, &inspection.legal_cuts()).expect("legal cuts");
    let sum: u64 = shards.iter().map(|shard| shard.weight_bytes.0).sum();
    let plain = 3 * 2 * 32 * 64 * 4;
    assert!(sum * 5 < plain, "{sum} bytes of weights are more than a fifth of {plain}");
}
