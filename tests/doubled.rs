//! Pools in which doubles of vendors' libraries compute. The program of such a test is also the converter that its host calls, so it has
//! no harness: with `convert` for its first word it makes a double's model file, else it runs its tests one after another.

use std::{collections::BTreeMap, fs, path::Path};

use double_core::Payload;
use host_core::ids::{ModelId, ModelName};
use host_engine::{Engine as _, LoadOptions, OnnxFile, Shard, Tensor, TractEngine, inspect, split};
use serde_json::{Value, json};

use super::running::{Host, client};

/// The chips that the doubles are.
pub const CHIPS: [(&str, &str); 2] = [("rknn", "rk3588"), ("acl", "ascend310p3")];
/// Largest difference from what one engine makes of the whole model, as a part of the output's largest value. The double of Rockchip's
/// library computes with floats of 16 bits, whose rounding adds up over the layers.
pub const TOLERANCE: f64 = 2e-2;

/// Converts if it is asked to; else runs the tests that the command line names, or all.
pub fn run(tests: &[(&str, fn())]) {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["convert", kind, model, output] => return write(output, &converted(kind, model)),
        ["spoil", kind, model, output] => {
            let whole = converted(kind, model);
            return write(output, &whole[..whole.len() / 2]);
        }
        _ => {}
    }
    let is_wanted = |name: &str| words.iter().all(|word| word.starts_with('-')) || words.iter().any(|word| name.contains(word.as_str()));
    for (name, test) in tests.iter().filter(|(name, _)| is_wanted(name)) {
        test();
        println!("test {name} ... ok");
    }
}

/// The setting by which this program is the converter for a double: as `convert`, or as `spoil`, which writes half a file.
pub fn converter(role: &str, kind: &str) -> Value {
    json!({"command": [std::env::current_exe().expect("it runs"), role, kind, "{model}", "{output}"]})
}

/// What a vendor's tool does: reads a shard with fixed lengths, and makes what its library loads.
fn converted(kind: &str, model: &str) -> Vec<u8> {
    let shard = Shard::read(fs::read(model).expect("the model is there").into(), None).expect("it is a shard");
    let chip = CHIPS.iter().find(|(known, _)| *known == kind).expect("a kind of double").1;
    let payload = Payload::of(kind, chip, &shard, &BTreeMap::new()).expect("its lengths are fixed");
    let payload = if kind == "rknn" { payload.half() } else { payload };
    payload.to_bytes().to_vec()
}

fn write(output: &str, bytes: &[u8]) {
    fs::write(output, bytes).expect("there is room");
}

/// Puts a model into a folder of models.
pub fn put(models: &Path, name: &str, file: &OnnxFile) {
    let version = models.join(name).join("1");
    fs::create_dir_all(&version).expect("there is room");
    fs::write(version.join("model.onnx"), file.to_bytes().expect("it is whole")).expect("there is room");
}

/// What tract makes of each of these inputs of the whole model.
pub fn expected(file: &OnnxFile, inputs: impl IntoIterator<Item = Vec<Tensor>>) -> Vec<Vec<f64>> {
    let id = ModelId { name: ModelName::parse("whole").expect("a name"), version: 1 };
    let shard = split(&inspect(file, id).expect("it has blocks"), &[]).expect("no cut").remove(0);
    let mut graph = TractEngine.load(&shard, &LoadOptions::default()).expect("it loads");
    inputs.into_iter().map(|inputs| graph.run(inputs).expect("it runs")[0].to_f64()).collect()
}

/// What a request is answered with; the error is what came instead.
pub fn infer(host: &Host, model: &str, inputs: &Value) -> Result<Vec<f64>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let url = format!("{}/v2/models/{model}/infer", host.url);
    let body = json!({"inputs": inputs}).to_string();
    let answer = runtime.block_on(async { client().post(url).body(body).send().await?.text().await }).map_err(|error| error.to_string())?;
    let read: Value = serde_json::from_str(&answer).unwrap_or_default();
    let data = read["outputs"][0]["data"].as_array().ok_or(answer)?;
    Ok(data.iter().filter_map(Value::as_f64).collect())
}

/// Panics where an answer is not the expected one.
pub fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-6_f64, |largest, value| largest.max(value.abs()));
    let far = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max);
    assert!(far <= TOLERANCE * largest, "{what}: {far} of {largest}");
}
