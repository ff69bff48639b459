//! Each template of `host plugin new`, as its user meets it: written, built, installed into a running host, and asked. Templates in
//! Rust always run. Those in other languages run where their compiler is; with SHARDHOST_REQUIRE_TEMPLATES a compiler that is
//! missing is a failure.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Instant,
};

use running::{Host, NATIVE_CODE, PATIENCE, samples, text};
use serde_json::Value;

/// Pictures that go through each plugin.
const PICTURES: usize = 20;

/// A folder of this test's own that is the same in each run, so that cargo finds what it built before.
fn workplace(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates").join(name)
}

/// A command as in a user's shell: without what cargo sets for the test.
fn shell(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for (variable, _) in env::vars() {
        let leaks = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"];
        if leaks.contains(&variable.as_str()) || variable.starts_with("CARGO_BUILD_") {
            command.env_remove(variable);
        }
    }
    // What the templates need is in the workspace's lock file and so on this machine already.
    command.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", workplace("target")).env(NATIVE_CODE.0, NATIVE_CODE.1);
    command
}

fn host(folder: &Path, arguments: &[&str]) -> Output {
    shell(env!("CARGO_BIN_EXE_host"), folder).args(arguments).output().expect("the command runs")
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Writes a plugin from a template.
fn written(template: &str, name: &str) -> PathBuf {
    let folder = workplace("plugins");
    fs::create_dir_all(&folder).expect("made");
    let _ = fs::remove_dir_all(folder.join(name));
    let said = succeeds(&host(&folder, &["plugin", "new", "-t", template, name]));
    assert!(said.contains(&format!("host plugin build {name}")), "{said}");
    folder.join(name)
}

/// Builds a plugin; none where its compiler is missing and may be.
fn built(folder: &Path, name: &str) -> Option<PathBuf> {
    let output = host(folder, &["plugin", "build"]);
    let said = text(&output.stderr);
    if !output.status.success() && said.contains("is not on this machine: ") && env::var_os("SHARDHOST_REQUIRE_TEMPLATES").is_none() {
        eprintln!("{name} was left out: {said}");
        return None;
    }
    let said = succeeds(&output);
    let file = folder.join(format!("{name}.wasm"));
    for part in ["world     ", "size      ", "digest    sha256:"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(file.is_file(), "{said}");
    Some(file)
}

/// Installs a plugin and sends pictures through the host: all are answered, and the plugin alone decided.
fn serves(host: &Host, file: &Path, name: &str, slot: &str) {
    let installed = host.json(&["plugin", "install", &file.display().to_string()]);
    assert_eq!((installed["slot"].as_str(), installed["plugin"].as_str()), (Some(slot), Some(name)), "{installed}");
    let pictures: Vec<String> = samples().iter().take(PICTURES).map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> = ["infer", "digits"].into_iter().chain(pictures.iter().map(String::as_str)).collect();
    let answered = host.ok(&arguments);
    assert!(answered.contains(&format!("{PICTURES} pictures")), "{answered}");

    let status = host.json(&["status"]);
    let found = status["slots"].as_array().expect("slots").iter().find(|found| found["slot"] == slot).expect("the slot").clone();
    assert_eq!((&found["plugin"], &found["strikes"], &found["fallbacks"]), (&name.into(), &0.into(), &0.into()), "{found}");
    // Whether anyone had to wait, and whether the plan needed a stage anew, is not for this test to say.
    let least = if slot == "routing" { PICTURES as u64 } else { u64::from(slot == "allocation") };
    assert!(found["calls"].as_u64().expect("a number") >= least, "{found}");
    let plugin = host.json(&["plugin", "inspect", name]);
    assert_eq!((plugin["version"].as_str(), plugin["licence"].as_str()), (Some("0.1.0"), Some("Apache-2.0")), "{plugin}");
}

/// What a person adds to a routing policy who looks for a mistake: it prints in each route, and fails in `configure` if it is told to.
struct Talk {
    language: &'static str,
    file: &'static str,
    /// Where it goes, and what stands there.
    added: &'static [(&'static str, &'static str)],
    level: &'static str,
}

const TALKS: [Talk; 4] = [
    Talk {
        language: "rust",
        file: "src/lib.rs",
        added: &[
            ("fn configure(config: &str) -> Result<Self, String> {", "assert!(!config.contains(\"fail\"), \"it cannot count\");"),
            ("fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {", "eprintln!(\"it routes {}\", request.ordinal);"),
        ],
        level: "warn",
    },
    Talk {
        language: "c",
        file: "plugin.c",
        added: &[
            (
                "bool exports_shardhost_plugin_plugin_configure(routing_policy_string_t *config, routing_policy_string_t *err) {",
                "if (config->len > 2) { fprintf(stderr, \"it cannot count\\n\"); abort(); }",
            ),
            (
                "bool exports_shardhost_plugin_routing_route(request_t *request, routing_policy_list_u32_t *ret, refusal_t *err) {",
                "printf(\"it routes %u\\n\", (unsigned)request->ordinal);",
            ),
        ],
        level: "info",
    },
    Talk {
        language: "python",
        file: "policy.py",
        added: &[
            ("    def configure(self, config: str) -> None:", "\n        if 'fail' in config: raise ValueError('it cannot count')"),
            ("    def route(self, request) -> list[int]:", "\n        import sys; print('it routes', request.ordinal, file=sys.stderr)"),
        ],
        level: "warn",
    },
    Talk {
        language: "javascript",
        file: "policy.js",
        added: &[
            ("  configure(config) {", "if (config.includes('fail')) throw new Error('it cannot count');"),
            ("  route(request) {", "console.log('it routes', request.ordinal);"),
        ],
        level: "info",
    },
];

/// Adds the talk of its language to a routing policy.
fn made_to_talk(folder: &Path, talk: &Talk) {
    let path = folder.join(talk.file);
    let mut source = fs::read_to_string(&path).expect("the template wrote it");
    for (place, added) in talk.added {
        assert!(source.contains(place), "{} has no {place}", talk.file);
        source = source.replacen(place, &format!("{place} {added}"), 1);
    }
    fs::write(path, source).expect("written");
}

/// What the policy printed is in its log, and its last words are in the reason for which it does not start.
fn talks(host: &Host, file: &Path, name: &str, talk: &Talk) {
    let lines = host.json(&["plugin", "logs", name]);
    let printed: Vec<&Value> =
        lines.as_array().expect("lines").iter().filter(|line| line["line"].as_str().is_some_and(|line| line.starts_with("it routes "))).collect();
    assert!(printed.len() >= PICTURES && printed.iter().all(|line| line["level"] == talk.level), "{lines}");
    let refused = host.command(&["plugin", "install", &file.display().to_string(), "--plugin-config", "{\"fail\": 1}"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("it cannot count"), "{said}");
}

fn templates_serve(language: &str, kinds: &[(&str, &str)]) {
    let mut host = None;
    for (kind, slot) in kinds {
        let name = format!("my-{kind}-{language}");
        let folder = written(&format!("{kind}-{language}"), &name);
        let talk = TALKS.iter().find(|talk| *kind == "routing" && talk.language == language);
        if let Some(talk) = talk {
            made_to_talk(&folder, talk);
        }
        let Some(file) = built(&folder, &name) else { return };
        let host = host.get_or_insert_with(|| Host::start(&["--local-devices", "3", "--models", "models"]));
        serves(host, &file, &name, slot);
        if let Some(talk) = talk {
            talks(host, &file, &name, talk);
        }
    }
}

const POLICIES: [(&str, &str); 3] = [("routing", "routing"), ("allocation", "allocation"), ("queueing", "queueing")];

#[test]
fn templates_in_rust_are_built_tested_and_serve() {
    let kinds = [POLICIES[0], POLICIES[1], POLICIES[2], ("adapter", "adapter/cpu")];
    templates_serve("rust", &kinds);
    for (kind, _) in kinds {
        let folder = workplace("plugins").join(format!("my-{kind}-rust"));
        succeeds(&shell("cargo", &folder).args(["test", "--quiet"]).output().expect("cargo starts"));
    }
}

#[test]
fn a_plugin_in_rust_needs_no_wasi() {
    let name = "my-policy-without-wasi";
    let folder = written("routing-rust", name);
    let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("written");
    fs::write(folder.join("plugin.toml"), manifest.replace("# target = ", "target = ")).expect("written");
    let Some(file) = built(&folder, name) else { return };
    let bytes = fs::read(&file).expect("built");
    assert!(!bytes.windows(5).any(|window| window == b"wasi:"), "it imports something of WASI");
    serves(&Host::start(&["--local-devices", "2", "--models", "models"]), &file, name, "routing");
}

#[test]
fn templates_in_c_serve() {
    templates_serve("c", &POLICIES);
}

#[test]
fn templates_in_python_serve() {
    templates_serve("python", &POLICIES);
}

#[test]
fn templates_in_javascript_serve() {
    templates_serve("javascript", &POLICIES);
}

/// `host plugin dev` on a folder, and what it prints.
struct Dev {
    child: Child,
    printed: Receiver<String>,
}

impl Dev {
    fn start(host: &Host, folder: &Path) -> Self {
        let arguments = ["plugin", "dev", ".", "--data", &host.data().display().to_string()];
        let mut child = shell(env!("CARGO_BIN_EXE_host"), folder).args(arguments).stdout(Stdio::piped()).spawn().expect("the command runs");
        let (tell, printed) = channel();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, printed }
    }

    /// Waits for a line that says this.
    fn says(&self, wanted: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let line = self.printed.recv_timeout(end.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|error| unreachable!("nothing says `{wanted}` ({error}): {seen:?}"));
            if line.contains(wanted) {
                return line;
            }
            seen.push(line);
        }
    }

    /// As Ctrl-C does; its exit code.
    fn interrupt(mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        self.child.wait().expect("it ends").code()
    }
}

/// What serves routing: plugin, generation and digest.
fn routing(host: &Host) -> (String, u64, String) {
    let status = host.json(&["status"]);
    let slot = status["slots"].as_array().expect("slots").iter().find(|slot| slot["slot"] == "routing").expect("a routing slot").clone();
    let text = |key: &str| slot[key].as_str().expect("a text").to_owned();
    (text("plugin"), slot["generation"].as_u64().expect("a number"), text("digest"))
}

#[test]
fn what_is_saved_is_swapped_in_and_what_is_wrong_leaves_the_last_version_in_service() {
    const NAME: &str = "my-saved-policy";
    let route = "bool exports_shardhost_plugin_routing_route(request_t *request, routing_policy_list_u32_t *ret, refusal_t *err) {";
    let nowhere = format!("{route} ret->ptr = malloc(4); ret->ptr[0] = 7777; ret->len = 1; return true;");
    let mut folder = written("routing-c", NAME);
    let mut source = ("plugin.c", ("has no settings", "takes no settings"), (route.to_owned(), nowhere));
    if built(&folder, NAME).is_none() {
        let route = "fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {";
        folder = written("routing-rust", NAME);
        source = (
            "src/lib.rs",
            ("no_settings(\"my-saved-policy\"", "no_settings(\"my-policy, saved\""),
            (route.to_owned(), format!("{route} if request.model < 9 {{ return Ok(vec![7777]); }}")),
        );
    }
    let (file, (old, new), (route, nowhere)) = source;
    let path = folder.join(file);
    let first = fs::read_to_string(&path).expect("the template wrote it");
    let save = |text: &str| fs::write(&path, text).expect("written");
    let host = Host::start(&["--local-devices", "2", "--models", "models"]);
    let dev = Dev::start(&host, &folder);

    dev.says("built and swapped in");
    let (plugin, generation, digest) = routing(&host);
    assert_eq!(plugin, NAME);
    let second = first.replace(old, new);
    save(&second);
    let told = dev.says("built and swapped in");
    let served = routing(&host);
    assert_eq!((&served.0, served.1), (&plugin, generation + 1));
    assert_ne!(served.2, digest);
    assert!(told.contains(&format!("generation {}, sha256:{}", served.1, &served.2[..12])), "{told}");

    save(&format!("{second}\nthis is a mistake"));
    dev.says("not built: ");
    assert_eq!(routing(&host), served);
    save(&second.replace(&route, &nowhere));
    let told = dev.says("refused: ");
    assert!(told.contains("failed its rehearsal in route") && told.contains("7777"), "{told}");
    assert_eq!(routing(&host), served);
    save(&second);
    dev.says("it serves already");
    assert_eq!(routing(&host), served);

    assert_eq!(dev.interrupt(), Some(0));
    assert_eq!(routing(&host), served);
}

#[test]
fn what_cannot_become_a_plugin_is_refused_in_words() {
    struct Case {
        arguments: &'static [&'static str],
        code: i32,
        says: &'static str,
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("taken")).expect("made");
    fs::write(folder.path().join("plugin.toml"), "name = \"x\"\n").expect("written");
    fs::write(folder.path().join("core.wasm"), b"\0asm\x01\0\0\0").expect("written");
    let cases = [
        Case { arguments: &["new", "-t", "routing-cobol", "mine"], code: 2, says: "routing-rust" },
        Case { arguments: &["new", "-t", "routing-c", "My_Plugin"], code: 2, says: "`My_Plugin` cannot name a plugin" },
        Case { arguments: &["new", "-t", "routing-c", "taken"], code: 2, says: "`taken` exists already" },
        Case { arguments: &["build"], code: 2, says: "does not say how to build it" },
        Case { arguments: &["build", "nowhere"], code: 1, says: "cannot find `nowhere`" },
        Case { arguments: &["pack", "core.wasm"], code: 1, says: "name the slot in `plugin.toml`, or the world with --world" },
        Case { arguments: &["pack", "core.wasm", "--world", "routing-policy"], code: 1, says: "`core.wasm` cannot be packed: " },
    ];
    for Case { arguments, code, says } in cases {
        let output = host(folder.path(), &[&["plugin"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
