//! Makes the services of the protocols between hosts. Embeds the templates of `host plugin new` and the SDK that plugins in Rust are written with. The SDK is published nowhere, so
//! its manifest is rewritten to stand alone, and new plugins start with a lock file that names the versions of this workspace.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use toml::{Table, Value};

/// What plugins in Rust depend on.
const SDK: &str = "shardhost-sdk";

fn main() -> ExitCode {
    match embed().and_then(|()| services()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the services of the protocols between hosts; their messages are those of host-wire.
fn services() -> Result<(), String> {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../wire/proto");
    println!("cargo::rerun-if-changed={}", folder.display());
    let parsed = protox::compile(["peer.proto"], [folder]).map_err(|error| error.to_string())?;
    let builder = tonic_prost_build::configure().extern_path(".shardhost.peer.v1", "::host_wire::peer::pb");
    builder.compile_fds(parsed).map_err(|error| error.to_string())
}

fn embed() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"));
    let crate_folder = variable("CARGO_MANIFEST_DIR")?;
    let root = crate_folder.ancestors().nth(2).ok_or("host/daemon lies in no workspace")?;
    let out = variable("OUT_DIR")?;
    for watched in ["sdk", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let workspace = table(&root.join("Cargo.toml"))?;
    let manifest = standalone(table(&root.join("sdk/Cargo.toml"))?, &workspace).ok_or("sdk/Cargo.toml names something that Cargo.toml does not have")?;
    let lock = table(&root.join("Cargo.lock"))?;
    let locked = locked(&lock, SDK).ok_or_else(|| format!("Cargo.lock does not have {SDK}"))?;
    write(&out.join("sdk.toml"), &manifest.to_string())?;
    write(&out.join("plugin.lock"), &pruned(lock, locked).to_string())?;

    let templates = root.join("sdk/templates");
    let mut code = String::from("const TEMPLATES: &[Template] = &[\n");
    for folder in entries(&templates)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        code += &format!("Template {{ name: {name:?}, files: {} }},\n", embedded(&folder)?);
    }
    code += &format!("];\nconst SDK_SOURCES: &[(&str, &str)] = {};\n", embedded(&root.join("sdk/src"))?);
    write(&out.join("templates.rs"), &code)
}

/// The manifest with what it takes from the workspace written out, and without what holds in the workspace only.
fn standalone(mut manifest: Table, workspace: &Table) -> Option<Table> {
    manifest.remove("lints");
    let shared = workspace.get("workspace")?.as_table()?;
    for (key, value) in manifest.get_mut("package")?.as_table_mut()? {
        if is_shared(value) {
            *value = shared.get("package")?.get(key)?.clone();
        }
    }
    write_out_dependencies(&mut manifest, shared)?;
    if let Some(targets) = manifest.get_mut("target") {
        for target in targets.as_table_mut()?.iter_mut().map(|(_, target)| target) {
            write_out_dependencies(target.as_table_mut()?, shared)?;
        }
    }
    Some(manifest)
}

fn is_shared(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// What a manifest needs everywhere or on one target, without what its tests need.
fn write_out_dependencies(section: &mut Table, shared: &Table) -> Option<()> {
    section.remove("dev-dependencies");
    let Some(needed) = section.get_mut("dependencies") else { return Some(()) };
    for (name, value) in needed.as_table_mut()? {
        if is_shared(value) {
            let own: Vec<Value> = value.get("features").and_then(Value::as_array).cloned().unwrap_or_default();
            let optional = value.get("optional").cloned();
            *value = shared.get("dependencies")?.get(name)?.clone();
            let value = value.as_table_mut()?;
            value.entry("features").or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?.extend(own);
            value.extend(optional.map(|optional| ("optional".to_owned(), optional)));
        }
    }
    Some(())
}

/// What a package depends on, as the lock file names it: a name, and a version where there are several.
fn locked(lock: &Table, package: &str) -> Option<Vec<String>> {
    let packages = lock.get("package")?.as_array()?;
    let found = packages.iter().find(|found| found.get("name").and_then(Value::as_str) == Some(package))?;
    Some(found.get("dependencies")?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The lock file with these packages and all that they need, and nothing else.
fn pruned(lock: Table, wanted: Vec<String>) -> Table {
    let packages = lock.get("package").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut open = wanted;
    let mut kept = BTreeSet::new();
    while let Some(reference) = open.pop() {
        let (name, version) = reference.split_once(' ').map_or((reference.as_str(), None), |(name, rest)| (name, rest.split(' ').next()));
        let found = packages.iter().position(|package| text(package, "name") == name && version.is_none_or(|version| text(package, "version") == version));
        let Some(index) = found.filter(|index| kept.insert(*index)) else { continue };
        let needs = packages[index].get("dependencies").and_then(Value::as_array).cloned().unwrap_or_default();
        open.extend(needs.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    let mut pruned = lock;
    pruned.insert("package".to_owned(), Value::Array(kept.into_iter().map(|index| packages[index].clone()).collect()));
    pruned
}

/// A constant with every file below a folder: its path there and its text.
fn embedded(folder: &Path) -> Result<String, String> {
    let mut code = String::from("&[\n");
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(entries(&path)?.into_iter().rev());
        } else {
            let name = path.strip_prefix(folder).map_err(|error| error.to_string())?.to_string_lossy().into_owned();
            code += &format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string());
        }
    }
    Ok(code + "]")
}

/// What lies in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let mut found = fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    found.sort();
    Ok(found)
}

fn table(path: &Path) -> Result<Table, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.parse().map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
