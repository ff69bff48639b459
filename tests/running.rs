//! A real host process for tests: its own data directory, ports chosen by the system, stopped when dropped.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take before a test gives up. Generous: machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace's root exists")
}

/// A running host.
#[derive(Debug)]
pub struct Host {
    child: Child,
    data: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
    /// `http://127.0.0.1:PORT`
    pub url: String,
}

impl Host {
    /// Starts a device of a central that devices may join, with these flags besides, and waits until it attends.
    pub fn join(central: &Self, id: &str, flags: &[&str]) -> Self {
        let token = central.json(&["token", "create"]);
        let (address, token) = (token["central"].as_str().expect("an address"), token["text"].as_str().expect("a token"));
        Self::join_in(tempfile::tempdir().expect("a temporary folder"), &[&["--join", address, "--token", token, "--device-id", id], flags].concat())
    }

    /// Starts a device in a data directory that may have been used before.
    pub fn join_in(data: tempfile::TempDir, flags: &[&str]) -> Self {
        let mut device = Self::spawn(data, flags, &[]);
        device.wait_for("attending");
        device
    }

    /// Starts a host in a data directory that may have been used before, and does not wait for anything.
    pub fn launch_in(data: tempfile::TempDir, flags: &[&str]) -> Self {
        Self::spawn(data, flags, &[])
    }

    /// Waits until it ends by itself: its exit code, all that it said, and the data directory for the next one.
    pub fn ended(mut self) -> (Option<i32>, String, tempfile::TempDir) {
        let code = wait(&mut self.child);
        // Whoever reads its output holds a second handle until it has come to the end.
        let deadline = Instant::now() + PATIENCE;
        while Arc::strong_count(&self.said) > 1 {
            assert!(Instant::now() < deadline, "the host's output did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = self.said().join("\n");
        (code, said, std::mem::replace(&mut self.data, tempfile::tempdir().expect("a temporary folder")))
    }

    /// Starts a host with these flags besides and waits until it is ready.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), flags)
    }

    /// The same with these variables in its environment.
    pub fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::started(tempfile::tempdir().expect("a temporary folder"), flags, environment)
    }

    /// The same in a data directory that was used before.
    pub fn start_in(data: tempfile::TempDir, flags: &[&str]) -> Self {
        Self::started(data, flags, &[])
    }

    fn started(data: tempfile::TempDir, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut host = Self::spawn(data, &[&["--http", "127.0.0.1:0"], flags].concat(), environment);
        let status = host.wait_for("ready");
        host.url = format!("http://{}", status["http"].as_str().expect("an address").trim_start_matches("http://"));
        host
    }

    fn spawn(data: tempfile::TempDir, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_host"))
            .current_dir(root())
            .args(["run", "--data"])
            .arg(data.path())
            .args(flags)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the host starts");
        let said = Arc::default();
        drain(child.stdout.take().expect("piped"), &said);
        drain(child.stderr.take().expect("piped"), &said);
        Self { child, data, said, url: String::new() }
    }

    /// Runs `host` with these arguments against this host.
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_host")).current_dir(root()).args(arguments).arg("--data").arg(self.data.path()).output().expect("the command runs")
    }

    /// The same, when it must succeed; its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "host {arguments:?} failed: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// The same, as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.ok(&[arguments, &["-o", "json"]].concat());
        let parsed = serde_json::from_str(&answer);
        assert!(parsed.is_ok(), "host {arguments:?} printed no JSON: {answer}");
        parsed.unwrap_or_default()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// What it printed so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("no test panics while it holds this").clone()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends its process a signal, by name.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Asks it to stop and waits: its exit code, and the data directory for the next one.
    pub fn stop(mut self) -> (Option<i32>, tempfile::TempDir) {
        signal(self.pid(), "TERM");
        let code = wait(&mut self.child);
        let data = std::mem::replace(&mut self.data, tempfile::tempdir().expect("a temporary folder"));
        (code, data)
    }

    /// Kills it as a power cut would.
    pub fn kill(mut self) -> tempfile::TempDir {
        signal(self.pid(), "KILL");
        wait(&mut self.child);
        std::mem::replace(&mut self.data, tempfile::tempdir().expect("a temporary folder"))
    }

    /// The data directory of a host that something else killed.
    pub fn kill_again(mut self) -> tempfile::TempDir {
        wait(&mut self.child);
        std::mem::replace(&mut self.data, tempfile::tempdir().expect("a temporary folder"))
    }

    /// Waits until it says that it is in this state; its status.
    fn wait_for(&mut self, state: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(self.child.try_wait().expect("the child can be asked").is_none(), "the host ended while it started");
            assert!(Instant::now() < deadline, "the host was not {state} in time");
            let output = self.command(&["status", "-o", "json"]);
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if status["state"] == state {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Gone already where the test stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a child's output so that it never blocks; shown when the test fails.
fn drain(stream: impl std::io::Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            eprintln!("host: {line}");
            said.lock().expect("no test panics while it holds this").push(line);
        }
    });
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "no signal {name} for {pid}");
}

fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the child can be asked") {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the host did not stop in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An HTTP client. Its TLS is not used on loopback, but it must know one.
pub fn client() -> reqwest::Client {
    // A second call finds it there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The 200 held-out digits, sorted.
pub fn samples() -> Vec<PathBuf> {
    let folder = root().join("models/digits/samples");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).expect("the samples are there").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    assert_eq!(files.len(), 200);
    files
}
