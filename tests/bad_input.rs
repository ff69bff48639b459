//! What bad input gets from a running host: the right status, an error that names the two values that disagree, and a host
//! that goes on, with everything in service that was in service.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{fs, path::Path};

use running::{Host, samples, text};
use serde_json::{Value, json};

/// What a request is answered with.
fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let request = headers.iter().fold(running::client().post(url), |request, (name, value)| request.header(*name, *value));
        let answer = request.body(body).send().await.expect("the host answers");
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.expect("whole")).expect("JSON"))
    })
}

fn classify(host: &Host) {
    let line = host.json(&["infer", "digits", &samples()[0].display().to_string()]);
    assert_eq!(line["right"], true, "{line}");
}

#[test]
fn requests_that_do_not_fit_are_refused_with_both_values_and_the_host_goes_on() {
    struct Case {
        path: &'static str,
        headers: &'static [(&'static str, &'static str)],
        body: Vec<u8>,
        status: u16,
        says: &'static str,
    }
    let host = Host::start(&["--local-devices", "2", "--models", "models", "--set", "http.body_bytes_max=65536"]);
    let image =
        |shape: Value, datatype: &str, data: Vec<Value>| json!({"inputs": [{"name": "image", "shape": shape, "datatype": datatype, "data": data}]}).to_string();
    let zeros = |count: usize| vec![json!(0); count];
    let nan = r#"{"inputs":[{"name":"x","shape":[1,16],"datatype":"FP32","data":[0,NaN,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}]}"#;
    let digits = "/v2/models/digits/infer";
    let png: &[(&str, &str)] = &[("content-type", "image/png")];
    let whole = fs::read(&samples()[0]).expect("readable");
    let case = |path, body: String, status, says| Case { path, headers: &[], body: body.into_bytes(), status, says };
    let cases = [
        case(
            digits,
            json!({"inputs": [{"name": "picture", "shape": [1], "datatype": "FP32", "data": [0]}]}).to_string(),
            400,
            "input `picture` does not exist, there are image",
        ),
        case(digits, image(json!([1, 1, 8, 9]), "FP32", zeros(72)), 400, "[batch, 1, 8, 8], it is [1, 1, 8, 9]"),
        case(digits, image(json!([1, 1, 8, 8]), "INT32", zeros(64)), 400, "must be FP32, it is INT32"),
        case(digits, image(json!([1, 1, 8, 8]), "FP32", zeros(63)), 400, "has 64 elements, its data has 63"),
        case(digits, image(json!([65, 1, 8, 8]), "FP32", zeros(65 * 64)), 400, "must be 1 to 64, it is 65"),
        case("/v2/models/mlp/infer", nan.to_owned(), 400, "element 1 is NaN, infinite or null"),
        case("/v2/models/mlp/infer", "{\"inputs\":".to_owned(), 400, "not the JSON that is expected"),
        case("/v2/models/nothing/infer", "{}".to_owned(), 404, "unknown model: 'nothing'"),
        case("/v2/models/digits/versions/9/infer", "{}".to_owned(), 404, "version 9 is not found, loaded are [1]"),
        Case { path: digits, headers: png, body: b"no picture".to_vec(), status: 400, says: "neither PNG nor JPEG" },
        Case { path: digits, headers: png, body: whole[..whole.len() / 2].to_vec(), status: 400, says: "no picture that can be read" },
        Case { path: digits, headers: &[], body: vec![b' '; 65_537], status: 413, says: "65537 bytes, at most 65536" },
        Case {
            path: "/v2/models/mlp/infer",
            headers: &[("inference-header-content-length", "0")],
            body: vec![0; 63],
            status: 400,
            says: "63 bytes are no multiple of 64",
        },
    ];
    for Case { path, headers, body, status, says } in cases {
        let (found, answer) = post(&format!("{}{path}", host.url), headers, body);
        assert!(found == status && answer["error"].as_str().is_some_and(|error| error.contains(says)), "{found} {answer}\ninstead of {status} {says}");
    }
    classify(&host);
}

#[test]
fn files_that_are_no_plugin_are_refused_and_what_serves_stays() {
    let host = Host::start(&["--local-devices", "1", "--models", "models"]);
    // A routing policy that nothing uses yet is prepared after the start, so more slots may be filled later.
    let slots = |host: &Host| -> Vec<Value> {
        let slots = host.json(&["status"])["slots"].take();
        let without_calls = |mut slot: Value| {
            slot["calls"] = Value::Null;
            slot
        };
        slots.as_array().expect("slots").iter().cloned().map(without_calls).collect()
    };
    let before = slots(&host);
    let routing = host_plugin::PluginSource::builtin("round-robin-routing").expect("it is built in").bytes;
    let cases: [(&str, &[u8], &str); 4] = [
        ("text.wasm", b"not a component", "component"),
        ("module.wasm", b"\0asm\x01\0\0\0", "component"),
        ("cut.wasm", &routing[..routing.len() / 2], "cut.wasm"),
        ("empty.wasm", b"", "component"),
    ];
    for (name, bytes, says) in cases {
        let output = install(&host, name, bytes, "routing");
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(says), "{name}: {said}");
    }
    let wrong = text(&install(&host, "routing.wasm", &routing, "allocation").stderr);
    assert!(wrong.contains("allocation") && wrong.contains("routing"), "{wrong}");
    let after = slots(&host);
    let changed: Vec<_> = before.iter().filter(|slot| !after.contains(slot)).collect();
    assert!(changed.is_empty(), "{changed:?} became {after:?}");
    classify(&host);
}

#[test]
fn settings_that_are_wrong_are_all_named_before_a_port_is_bound() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("host.yaml");
    fs::write(&file, "htpp: { address: 127.0.0.1:0 }\nrequests: { timeout_ms: never }\n").expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["run", "--local-devices", "0", "--http", "0.0.0.0:0", "--data"])
        .arg(data.path().join("data"))
        .arg("--config")
        .arg(&file)
        .output()
        .expect("the command runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["`htpp`", "requests.timeout_ms", "local_devices", "http.address is 0.0.0.0:0"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(!Path::new(&data.path().join("data")).exists());
}

fn install(host: &Host, name: &str, bytes: &[u8], slot: &str) -> std::process::Output {
    let file = host.data().join(name);
    fs::write(&file, bytes).expect("written");
    host.command(&["plugin", "install", &file.display().to_string(), "--slot", slot])
}
