//! Every model in the repository's `models` folder.

use std::path::{Path, PathBuf};

use host_engine::OnnxFile;

use crate::chain::{Near, equal_whole, inputs, inspected};

/// Paths of all `models/NAME/VERSION/model.onnx`.
fn files() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let names = std::fs::read_dir(&folder).expect("the models folder is part of the repository").flatten();
    let file = |name: std::fs::DirEntry| {
        let path = name.path().join("1/model.onnx");
        path.is_file().then(|| (name.file_name().to_string_lossy().into_owned(), path))
    };
    names.filter_map(file).collect()
}

#[test]
fn every_model_in_the_repository_gives_the_same_answers_whole_and_cut_anywhere() {
    let files = files();
    assert!(files.iter().any(|(name, _)| name == "digits"), "models/digits is missing");
    for (name, path) in files {
        let file = OnnxFile::open(&path).unwrap_or_else(|error| panic!("{error}"));
        let inspection = inspected(&file, &name).with_golden().unwrap_or_else(|error| panic!("{error}"));
        eprintln!(
            "{name}: {} blocks, borders {:?}",
            inspection.profile().blocks().len(),
            inspection.borders().iter().map(ToString::to_string).collect::<Vec<_>>()
        );
        eprintln!("inputs {:?} outputs {:?}", inspection.inputs(), inspection.outputs());
        assert!(!inspection.legal_cuts().is_empty(), "{name} cannot be cut");
        let mut lengths: Vec<(String, usize)> = vec![];
        for spec in inspection.inputs() {
            for dimension in &spec.shape {
                for symbol in dimension.to_string().split(" + ") {
                    lengths.push((symbol.to_owned(), if symbol.contains("batch") { 1 } else { 6 }));
                }
            }
        }
        let lengths: Vec<(&str, usize)> = lengths.iter().map(|(name, length)| (name.as_str(), *length)).collect();
        // Optimising plans of different extent may add in another order; small models of plain layers differ by rounding only.
        equal_whole(&inspection, &[inputs(inspection.inputs(), &lengths, 8, 1)], Near::Within(1e-5));
    }
}
