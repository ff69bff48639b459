//! A real host process for tests: its own data directory, ports chosen by the system, stopped when dropped.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take before a test gives up. Generous: machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The variable that names the folder of native code, and the folder that all tests share.
pub const NATIVE_CODE: (&str, &str) = ("HOST_NATIVE_CODE_FOLDER", concat!(env!("CARGO_TARGET_TMPDIR"), "/native-code"));

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
    readers: Vec<JoinHandle<()>>,
    /// The network namespace that it and its commands are in, if it has one of its own.
    namespace: Option<String>,
    /// `http://127.0.0.1:PORT`
    pub url: String,
}

/// A host that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// Everything that it printed.
    pub said: String,
    /// Its data directory, for the next one.
    pub data: tempfile::TempDir,
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
        let mut device = Self::spawn(None, data, flags, &[]);
        device.wait_for("attending");
        device
    }

    /// Starts a host in a data directory that may have been used before, and does not wait for anything.
    pub fn launch_in(data: tempfile::TempDir, flags: &[&str]) -> Self {
        Self::spawn(None, data, flags, &[])
    }

    /// Starts a host in a network namespace, and waits until it is ready.
    pub fn start_within(namespace: &str, flags: &[&str]) -> Self {
        Self::started(Some(namespace), tempfile::tempdir().expect("a temporary folder"), flags, &[])
    }

    /// Starts a device of a central in a network namespace, and waits until it attends.
    pub fn join_within(namespace: &str, central: &Self, id: &str, flags: &[&str]) -> Self {
        let token = central.json(&["token", "create"]);
        let (address, token) = (token["central"].as_str().expect("an address"), token["text"].as_str().expect("a token"));
        let flags = [&["--join", address, "--token", token, "--device-id", id], flags].concat();
        let mut device = Self::spawn(Some(namespace), tempfile::tempdir().expect("a temporary folder"), &flags, &[]);
        device.wait_for("attending");
        device
    }

    /// Starts a host with these flags besides and waits until it is ready.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), flags)
    }

    /// The same with these variables in its environment.
    pub fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::started(None, tempfile::tempdir().expect("a temporary folder"), flags, environment)
    }

    /// The same in a data directory that was used before.
    pub fn start_in(data: tempfile::TempDir, flags: &[&str]) -> Self {
        Self::started(None, data, flags, &[])
    }

    fn started(namespace: Option<&str>, data: tempfile::TempDir, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut host = Self::spawn(namespace, data, &[&["--http", "127.0.0.1:0"], flags].concat(), environment);
        let status = host.wait_for("ready");
        host.url = format!("http://{}", status["http"].as_str().expect("an address").trim_start_matches("http://"));
        host
    }

    fn spawn(namespace: Option<&str>, data: tempfile::TempDir, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = program(namespace)
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
        let readers = vec![drain(child.stdout.take().expect("piped"), &said), drain(child.stderr.take().expect("piped"), &said)];
        Self { child, data, said, readers, namespace: namespace.map(str::to_owned), url: String::new() }
    }

    /// Runs a host that must end by itself.
    pub fn refused(flags: &[&str]) -> Ended {
        Self::refused_in(tempfile::tempdir().expect("a temporary folder"), flags)
    }

    /// The same in a data directory that was used before.
    pub fn refused_in(data: tempfile::TempDir, flags: &[&str]) -> Ended {
        Self::spawn(None, data, flags, &[]).ended()
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> Ended {
        let code = wait(&mut self.child);
        // What it printed last is read when its pipes are closed.
        for reader in self.readers.drain(..) {
            reader.join().expect("it only reads");
        }
        let data = std::mem::replace(&mut self.data, tempfile::tempdir().expect("a temporary folder"));
        Ended { code, said: self.said().join("\n"), data }
    }

    /// Runs `host` with these arguments against this host.
    pub fn command(&self, arguments: &[&str]) -> Output {
        program(self.namespace.as_deref()).current_dir(root()).args(arguments).arg("--data").arg(self.data.path()).output().expect("the command runs")
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

    /// The value of a metric of the central, by its name and labels as they are printed; 0 before it is counted.
    pub fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).expect("the host listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: host\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("whole");
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
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

/// The program; in a network namespace the one that enters it, which becomes the program. Native code is kept between tests and runs.
fn program(namespace: Option<&str>) -> Command {
    let host = env!("CARGO_BIN_EXE_host");
    let mut program = Command::new(if namespace.is_some() { "ip" } else { host });
    if let Some(namespace) = namespace {
        program.args(["netns", "exec", namespace, host]);
    }
    program.env(NATIVE_CODE.0, NATIVE_CODE.1);
    program
}

/// Reads a child's output so that it never blocks; shown when the test fails.
fn drain(stream: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            eprintln!("host: {line}");
            said.lock().expect("no test panics while it holds this").push(line);
        }
    })
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
