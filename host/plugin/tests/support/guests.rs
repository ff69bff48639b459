//! Guests for tests: misbehaving ones, built by a nested cargo once per test run, and hand-made components.
#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    collections::HashMap,
    env, fs,
    path::Path,
    process::Command,
    sync::{Mutex, OnceLock},
};

use host_plugin::PluginSource;

/// A guest from `tests/plugins`, as the build script builds plugins.
pub fn guest(name: &str) -> PluginSource {
    static BUILT: OnceLock<Mutex<HashMap<String, Vec<u8>>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().expect("no test panics while it builds");
    let bytes = built.entry(name.to_owned()).or_insert_with(|| build(name)).clone();
    PluginSource { name: format!("{name}.wasm"), bytes: bytes.into(), manifest: None }
}

fn build(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    // The executable is TARGET/PROFILE/deps/NAME; the plugins' folder lies beside the profile.
    let target = env::current_exe().expect("a test has an executable").ancestors().nth(3).expect("a target folder").join("plugins");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--package", name, "--target", "wasm32-wasip2", "--profile", "plugin", "--target-dir"]).arg(&target).current_dir(root);
    for (variable, _) in env::vars() {
        let leaks = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"];
        if leaks.contains(&variable.as_str()) || variable.starts_with("CARGO_BUILD_") {
            command.env_remove(variable);
        }
    }
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "guest {name} does not build: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(target.join("wasm32-wasip2/plugin").join(format!("{}.wasm", name.replace('-', "_")))).expect("cargo built it")
}

/// The bytes of a component without code that imports and exports empty interfaces of these names.
pub fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
    fn name(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).expect("a short name");
        assert!(length < 128);
        [&[0, length], text.as_bytes()].concat()
    }
    fn section(id: u8, items: &[Vec<u8>]) -> Vec<u8> {
        let body = [vec![u8::try_from(items.len()).expect("few")], items.concat()].concat();
        let mut length = body.len();
        let mut section = vec![id];
        loop {
            let low = u8::try_from(length & 0x7f).expect("seven bits");
            length >>= 7;
            section.push(if length == 0 { low } else { low | 0x80 });
            if length == 0 {
                return [section, body].concat();
            }
        }
    }
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    if !imports.is_empty() {
        // Type 0: an instance with nothing in it.
        bytes.extend(section(7, &[vec![0x42, 0]]));
        bytes.extend(section(10, &imports.iter().map(|import| [name(import), vec![0x05, 0]].concat()).collect::<Vec<_>>()));
    }
    if !exports.is_empty() {
        let first = u8::try_from(imports.len()).expect("few");
        bytes.extend(section(5, &[vec![0x01, 0]]));
        bytes.extend(section(11, &exports.iter().map(|export| [name(export), vec![0x05, first, 0]].concat()).collect::<Vec<_>>()));
    }
    bytes
}
