//! Compilers of plugins: finds the one for a language, or says how to install it, and runs it. What compilers print goes to
//! standard error as it comes. Called by `host plugin build`.

use std::{
    env, fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use host_plugin::{Build, Language, PluginKind, RustTarget};
use serde_json::Value;

use super::{
    entry::{self, Entry},
    pack::file_fault,
};
use crate::error::{Error, Fault};

/// Where a compiler that is told a file name writes; removed once it is read.
const PART: &str = "plugin.wasm.part";

/// What is compiled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources<'a> {
    /// The plugin's folder.
    pub folder: &'a Path,
    /// Folder of the contract.
    pub wit: &'a Path,
    /// What it implements; Rust sources say it themselves.
    pub kind: Option<PluginKind>,
}

/// A component or a core module, as the language's compiler writes it.
pub(super) fn compile(sources: &Sources<'_>, build: &Build) -> Result<Vec<u8>, Error> {
    match build.language {
        Language::Rust => rust(sources.folder, build.target),
        Language::C => c(sources),
        Language::Python => python(sources),
        Language::JavaScript => javascript(sources),
    }
}

impl Sources<'_> {
    fn kind(&self) -> Result<PluginKind, Error> {
        self.kind.ok_or_else(|| Fault::Usage { reason: "plugin.toml has no `slot`, which says what the plugin implements".to_owned() }.into())
    }

    /// Runs a compiler that writes the part file, and takes that file away.
    fn written_by(&self, mut compiler: Command, name: &str) -> Result<Vec<u8>, Error> {
        let part = self.folder.join(PART);
        run(compiler.current_dir(self.folder), name)?;
        let bytes = fs::read(&part).map_err(|error| file_fault("read", &part, error))?;
        fs::remove_file(&part).map_err(|error| file_fault("remove", &part, error))?;
        Ok(bytes)
    }
}

fn rust(folder: &Path, target: RustTarget) -> Result<Vec<u8>, Error> {
    let target = match target {
        RustTarget::Wasip2 => "wasm32-wasip2",
        RustTarget::Unknown => "wasm32-unknown-unknown",
    };
    let missing = |tool: &str, install: &str| Error::from(Fault::Tool { tool: tool.to_owned(), install: install.to_owned() });
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).current_dir(folder).stderr(Stdio::inherit()).output();
    let Ok(sysroot) = sysroot else { return Err(missing("rustc", "install Rust from https://rustup.rs")) };
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    if !sysroot.join("lib/rustlib").join(target).is_dir() {
        return Err(missing(&format!("the Rust target {target}"), &format!("run `rustup target add {target}`")));
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--target", target, "--message-format", "json-render-diagnostics"]).current_dir(folder);
    let output = cargo.stderr(Stdio::inherit()).output().map_err(|_| missing("cargo", "install Rust from https://rustup.rs"))?;
    if !output.status.success() {
        return Err(failed("cargo build", output.status));
    }
    let file = built_by_cargo(&output.stdout)
        .ok_or_else(|| Fault::Usage { reason: "cargo built no WebAssembly: Cargo.toml needs `crate-type = [\"cdylib\", \"rlib\"]` in `[lib]`".to_owned() })?;
    fs::read(&file).map_err(|error| file_fault("read", &file, error))
}

/// The last WebAssembly file that cargo says it made: the package itself comes after what it depends on.
fn built_by_cargo(messages: &[u8]) -> Option<PathBuf> {
    let files = |line: String| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(&line).ok()?;
        let names = message.get("filenames")?.as_array()?.iter().filter_map(Value::as_str);
        names.filter(|name| name.ends_with(".wasm")).map(PathBuf::from).next()
    };
    messages.lines().map_while(Result::ok).filter_map(files).last()
}

fn c(sources: &Sources<'_>) -> Result<Vec<u8>, Error> {
    let world = sources.kind()?.world();
    let mut compiler = c_compiler()?;
    let name = compiler.get_program().to_string_lossy().into_owned();
    compiler.args(["-Oz", "-Wall", "-mexec-model=reactor", "-Wl,-s", "-o", PART]);
    // Generated bindings ask the linker for an object that describes the world. The description is added when the module is
    // packed, so the function that asks, which is never called, gets any function to name.
    compiler.arg(format!("-D__component_type_object_force_link_{}=abort", world.replace('-', "_")));
    compiler.args(c_files(sources.folder)?);
    sources.written_by(compiler, &name)
}

/// Every C file of the folder and of its bindings, as paths in the folder.
fn c_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for place in [folder.to_owned(), folder.join("bindings")] {
        let Ok(entries) = fs::read_dir(&place) else { continue };
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|extension| extension == "c"));
        files.extend(paths.filter_map(|path| path.strip_prefix(folder).ok().map(Path::to_owned)));
    }
    files.sort();
    if files.is_empty() {
        return Err(Fault::Usage { reason: format!("`{}` has no C file", folder.display()) }.into());
    }
    Ok(files)
}

/// The first C compiler for WebAssembly on this machine. Zig brings its own C library, clang needs one beside it.
fn c_compiler() -> Result<Command, Error> {
    if let Some(sdk) = env::var_os("WASI_SDK_PATH").map(PathBuf::from) {
        let mut clang = Command::new(sdk.join("bin/clang"));
        clang.arg("--target=wasm32-wasi").arg(format!("--sysroot={}", sdk.join("share/wasi-sysroot").display()));
        return Ok(clang);
    }
    for (program, arguments) in [("zig", &[][..]), ("python3", &["-m", "ziglang"])] {
        if answers(Command::new(program).args(arguments).arg("version")) {
            let mut zig = Command::new(program);
            zig.args(arguments).args(["cc", "-target", "wasm32-wasi"]);
            return Ok(zig);
        }
    }
    // Debian puts the C library for WASI where its clang looks for it.
    let has_library = Path::new("/usr/include/wasm32-wasi/stdlib.h").is_file();
    if has_library && answers(Command::new("clang").arg("--version")) {
        let mut clang = Command::new("clang");
        clang.arg("--target=wasm32-wasi");
        return Ok(clang);
    }
    let install = "run `pip install ziglang`, or on Debian `apt install clang lld wasi-libc libclang-rt-dev-wasm32`, or name a WASI SDK in WASI_SDK_PATH";
    Err(Fault::Tool { tool: "a C compiler for WebAssembly".to_owned(), install: install.to_owned() }.into())
}

fn python(sources: &Sources<'_>) -> Result<Vec<u8>, Error> {
    let program = tool("componentize-py", &sources.folder.join(".venv/bin"), "run `pip install -r requirements.txt` in the plugin's folder")?;
    let _entry = Entry::python(sources.folder)?;
    let mut command = Command::new(program);
    command.arg("--wit-path").arg(sources.wit).args(["--world", sources.kind()?.world(), "componentize", entry::PYTHON_MODULE]);
    command.args(["--python-path", ".", "--python-path", entry::FOLDER]);
    // A guest gets next to nothing of WASI; what the interpreter asks for when it starts is answered when it is built.
    command.args(["--stub-wasi", "--output", PART]);
    sources.written_by(command, "componentize-py")
}

fn javascript(sources: &Sources<'_>) -> Result<Vec<u8>, Error> {
    let program = tool("componentize-qjs", &sources.folder.join("node_modules/.bin"), "run `npm install` in the plugin's folder")?;
    let kind = sources.kind()?;
    let _entry = Entry::javascript(sources.folder, kind)?;
    let mut command = Command::new(program);
    command.arg("--wit").arg(sources.wit).args(["--world", kind.world(), "--js", entry::JAVASCRIPT_FILE, "--module-root", "."]);
    // The contract has no asynchronous functions. WASI stays: the interpreter prints why it fails, and asks for nothing else.
    command.args(["--sync", "--output", PART]);
    sources.written_by(command, "componentize-qjs")
}

/// A program from a folder of the plugin's own, else from the PATH.
fn tool(name: &'static str, own: &Path, install: &str) -> Result<PathBuf, Error> {
    let own = own.join(name);
    if own.is_file() {
        return Ok(own);
    }
    if answers(Command::new(name).arg("--help")) {
        return Ok(PathBuf::from(name));
    }
    Err(Fault::Tool { tool: format!("`{name}`"), install: install.to_owned() }.into())
}

fn answers(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command, name: &str) -> Result<(), Error> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::from(io::stderr())).status();
    let status = status.map_err(|error| Error::from(Fault::File { doing: "start", path: name.to_owned() }).because(error))?;
    if status.success() { Ok(()) } else { Err(failed(name, status)) }
}

fn failed(tool: &str, status: std::process::ExitStatus) -> Error {
    Fault::ToolFailed { tool: tool.to_owned(), status: status.to_string() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_last_webassembly_file_is_the_plugin() {
        let messages = br#"{"reason":"compiler-artifact","filenames":["/t/libdep.rlib"]}
{"reason":"compiler-artifact","filenames":["/t/other.wasm"]}
{"reason":"compiler-artifact","filenames":["/t/mine.wasm","/t/libmine.rlib"]}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(built_by_cargo(messages), Some(PathBuf::from("/t/mine.wasm")));
        assert_eq!(built_by_cargo(b"{\"reason\":\"build-finished\"}\n"), None);
    }

    #[test]
    fn a_tool_that_is_missing_is_named_with_the_way_to_install_it() {
        let error = tool("no-such-compiler", Path::new("/nowhere"), "run `install it`").expect_err("not there").to_string();
        assert_eq!(error, "`no-such-compiler` is not on this machine: run `install it`");
    }

    #[test]
    fn c_files_of_the_folder_and_its_bindings_are_compiled() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("bindings")).expect("made");
        for file in ["plugin.c", "plugin.h", "bindings/generated.c"] {
            fs::write(folder.path().join(file), "").expect("written");
        }
        assert_eq!(c_files(folder.path()).expect("found"), ["bindings/generated.c", "plugin.c"].map(PathBuf::from));
        assert!(c_files(&folder.path().join("nowhere")).is_err());
    }
}
