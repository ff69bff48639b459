//! Files on disk: read and written again without loss, weights beside the model, and nothing half written.

use std::{fs, path::Path};

use host_engine::{CnnSize, Kind, MlpSize, OnnxFile, generate, split};

use crate::chain::{Near, compare, inputs, inspected, run};

fn cnn() -> OnnxFile {
    generate(&Kind::Cnn(CnnSize { pixels: 8, channels: 16, blocks: 2, classes: 4 }), 1).expect("a small model")
}

#[test]
fn a_file_read_and_written_again_is_the_same_byte_for_byte() {
    let first = cnn().to_bytes().expect("a small file");
    assert_eq!(OnnxFile::parse(first.clone(), None).expect("just written").to_bytes().expect("a small file"), first);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/digits/1");
    for folder in [fixtures, models] {
        for entry in fs::read_dir(folder).expect("part of the repository").flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "onnx")) {
            let data = fs::read(entry.path()).expect("a readable file");
            let again = OnnxFile::open(&entry.path()).expect("a sound model").to_bytes().expect("a small file");
            // Other writers may order fields otherwise; ours is a fixed point, and no byte is lost on the way to it.
            assert_eq!(again.len(), data.len(), "{}", entry.path().display());
        }
    }
}

#[test]
fn weights_in_a_file_of_their_own_give_the_same_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let inspection = inspected(&cnn(), "cnn");
    let whole = split(&inspection, &[]).expect("the whole model").remove(0);
    let path = whole.write_with(folder.path(), 0).expect("room on disk");
    assert_eq!(path.file_name().and_then(|name| name.to_str()), Some("cnn@1-0-4.onnx"));
    assert!(fs::metadata(&path).expect("written").len() < whole.file.len() as u64 / 2, "the weights are still inside");
    let opened = inspected(&OnnxFile::open(&path).expect("both files are there"), "cnn");
    let given = inputs(inspection.inputs(), &[("batch", 1)], 0, 1);
    let engines = host_engine::Engines::default();
    let expected = run(&engines, &[whole], &given);
    let found = run(&engines, &split(&opened, &opened.legal_cuts()).expect("legal cuts"), &given);
    compare("logits", &found["logits"], &expected["logits"], Near::Within(1e-5), "weights beside the model");
}

#[test]
fn weights_that_are_missing_too_short_or_outside_the_folder_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("model");
    fs::create_dir(&inner).expect("a new folder");
    let inspection = inspected(&cnn(), "cnn");
    let whole = split(&inspection, &[]).expect("the whole model").remove(0);
    let path = whole.write_with(&inner, 0).expect("room on disk");
    let data = inner.join("cnn@1-0-4.onnx.data");
    let text = fs::read(&path).expect("just written");
    let weights = fs::read(&data).expect("just written");
    let refused = |expected: &str| {
        let error = OnnxFile::open(&path).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    fs::write(&data, &weights[..weights.len() / 2]).expect("writable");
    refused("are needed, the file has");
    fs::remove_file(&data).expect("there");
    refused("the file is missing");
    fs::write(folder.path().join("outside.data"), &weights).expect("writable");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("outside.data"), &data).expect("a link");
        refused("the file lies outside the model's folder");
        fs::remove_file(&data).expect("there");
    }
    // The same length, so that the file stays sound.
    let replaced = |to: &str| {
        let from = b"cnn@1-0-4.onnx.data";
        let mut changed = text.clone();
        while let Some(place) = changed.windows(from.len()).position(|window| window == from) {
            changed[place..place + from.len()].copy_from_slice(to.as_bytes());
        }
        fs::write(&path, changed).expect("writable");
    };
    replaced("../outside.data....");
    refused("the location must be a path inside the model's folder");
    replaced("/tmp/outside.data..");
    refused("the location must be a path inside the model's folder");
    assert!(OnnxFile::parse(text.into(), None).expect_err("no folder").to_string().contains("no folder to look in"));
}

#[test]
fn a_shard_that_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = generate(&Kind::Mlp(MlpSize { inputs: 4, hidden: 8, layers: 1, outputs: 2 }), 1).expect("small");
    let shard = split(&inspected(&file, "mlp"), &[]).expect("the whole model").remove(0);
    // A folder in the place of the file: the rename fails after the bytes were written.
    fs::create_dir_all(folder.path().join(shard.file_name()).join("full")).expect("a new folder");
    let error = shard.write(folder.path()).expect_err("a folder is in the way");
    assert!(error.to_string().starts_with("cannot write `"), "{error}");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("readable").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [shard.file_name().as_str()]);
    assert!(shard.write(&folder.path().join("no such folder")).is_err());
}

#[test]
fn equal_ranges_have_equal_digests_and_others_do_not() {
    let shards = |cuts: &[u32]| split(&inspected(&cnn(), "cnn"), cuts).expect("legal cuts");
    assert_eq!(shards(&[1, 2])[0].digest, shards(&[1])[0].digest);
    assert_ne!(shards(&[1, 2])[1].digest, shards(&[1])[1].digest);
}
