//! Builds the built-in plugins, so that a fresh clone needs nothing but rustup. Each is built by a nested cargo of its own
//! into `target/plugins`: one call for all would unify the SDK's features, and a guest would have to be of every kind.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const PLUGINS: [&str; 24] = [
    "balanced-allocation",
    "least-loaded-routing",
    "round-robin-routing",
    "shortest-path-routing",
    "random-routing",
    "power-of-two-routing",
    "weighted-routing",
    "sticky-routing",
    "prefix-affinity-routing",
    "load-greedy-routing",
    "ascend-adapter",
    "cpu-adapter",
    "cuda-adapter",
    "tensorrt-adapter",
    "rknn-adapter",
    "greedy-allocation",
    "parallax-greedy-allocation",
    "parallax-dp-allocation",
    "memory-proportional-allocation",
    "compute-proportional-allocation",
    "min-sum-dp-allocation",
    "priority-queueing",
    "deadline-queueing",
    "first-come-queueing",
];
const TARGET: &str = "wasm32-wasip2";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"));
    let crate_folder = variable("CARGO_MANIFEST_DIR")?;
    let root = crate_folder.ancestors().nth(2).ok_or("host/plugin lies in no workspace")?;
    let out = variable("OUT_DIR")?;
    // OUT_DIR is TARGET/PROFILE/build/CRATE-HASH/out, below a folder of the triple in a cross build.
    let target_folder = out.ancestors().nth(4).ok_or("OUT_DIR is not in a target folder")?.join("plugins");
    for watched in ["plugins", "sdk", "wit", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    for name in ["build.rs", "src/contract/v0_1/bindings.rs"] {
        println!("cargo::rerun-if-changed={name}");
    }
    install_target(root)?;
    for plugin in PLUGINS {
        cargo_build(root, &target_folder, plugin)?;
        let file = format!("{}.wasm", plugin.replace('-', "_"));
        let built = target_folder.join(TARGET).join("plugin").join(&file);
        copy(&built, &out.join(format!("{plugin}.wasm")))?;
    }
    Ok(())
}

/// Cargo starts without the target where rustup's automatic install is off.
fn install_target(root: &Path) -> Result<(), String> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).current_dir(root).output();
    let Ok(installed) = installed else {
        // Without rustup the target may still be there; the nested cargo says so if not.
        return Ok(());
    };
    if String::from_utf8_lossy(&installed.stdout).lines().any(|line| line.trim() == TARGET) {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(root).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("the plugins need the Rust target {TARGET}, and `rustup target add {TARGET}` failed: run it with a connection, then build again")),
    }
}

fn cargo_build(root: &Path, target_folder: &Path, plugin: &str) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The component alone: link-time optimisation leaves out crates that are also made for others to depend on.
    let component = ["--lib", "--crate-type", "cdylib"];
    command.args(["rustc", "--quiet", "--package", plugin, "--target", TARGET, "--profile", "plugin"]).args(component);
    command.arg("--target-dir").arg(target_folder).current_dir(root);
    // What the outer cargo, clippy or a coverage tool set for the host's code must not reach the guests'.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let leaks = [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_TARGET_DIR",
            "CLIPPY_ARGS",
            "TARGET",
            "HOST",
            "PROFILE",
        ];
        if leaks.contains(&name.as_str()) || name.starts_with("CARGO_BUILD_") || name.starts_with("CARGO_CFG_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().map_err(|error| format!("cannot start cargo for plugin {plugin}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err(format!("plugin {plugin} does not build for {TARGET}: see the messages of the nested cargo"))
}

/// Leaves the copy alone if it is the same, so that its age does not make cargo rebuild what embeds it.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let bytes = fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    if fs::read(to).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).map_err(|error| format!("cannot write {}: {error}", to.display()))
}
