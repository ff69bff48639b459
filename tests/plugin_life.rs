//! The life of a plugin in a running host, whole: where it comes from, whom the host trusts, what every step leaves in the audit
//! log, and that a host which is killed at any step comes back with the old plugin or the new one.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use running::{Host, PATIENCE, samples, text};
use serde_json::Value;

const MODELS: [&str; 2] = ["--models", "models"];

/// A routing policy called `mine` that is not the one in service; each mark makes another digest.
fn plugin(mark: u8) -> Vec<u8> {
    marked(mark, "name = \"mine\"\n")
}

/// The same, and its manifest names the slot.
fn with_slot(mark: u8) -> Vec<u8> {
    marked(mark, "name = \"mine\"\nslot = \"routing\"\n")
}

fn marked(mark: u8, manifest: &str) -> Vec<u8> {
    let mut bytes = host_plugin::PluginSource::builtin("round-robin-routing").expect("it is built in").bytes.to_vec();
    let custom = |name: &str, content: &[u8]| [&[u8::try_from(name.len()).expect("short")], name.as_bytes(), content].concat();
    section(&mut bytes, 0, &custom("mark", &[mark]));
    section(&mut bytes, 0, &custom("shardhost:manifest", manifest.as_bytes()));
    bytes
}

fn digest(bytes: &[u8]) -> String {
    host_engine::Digest::of(bytes).to_string()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("written");
        path.display().to_string()
    }
}

fn slot(host: &Host, name: &str) -> Value {
    let status = host.json(&["status"]);
    status["slots"].as_array().and_then(|slots| slots.iter().find(|slot| slot["slot"] == name)).cloned().unwrap_or_default()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::yield_now();
    }
}

fn refused(host: &Host, arguments: &[&str]) -> String {
    let output = host.command(arguments);
    assert!(!output.status.success(), "host {arguments:?} should have been refused");
    text(&output.stderr)
}

fn classifies(host: &Host) {
    let answer = host.json(&["infer", "digits", &samples()[0].display().to_string()]);
    assert!(answer["label"].as_str().is_some_and(|label| label.len() == 1), "{answer}");
}

#[test]
fn every_step_is_in_the_audit_log_and_a_plugin_comes_and_goes() {
    let host = Host::start(&MODELS);
    let folder = Folder::new();
    let file = folder.put("mine.wasm", plugin(1));
    let installed = host.json(&["plugin", "install", &file, "--slot", "routing"]);
    assert_eq!(installed["digest"], digest(&plugin(1)));
    let audit = host.json(&["plugin", "audit"]);
    let steps: Vec<&str> = audit.as_array().expect("lines").iter().filter_map(|line| line["step"].as_str()).collect();
    assert_eq!(steps, ["asked", "fetched", "verified", "granted", "compiled", "rehearsed", "stored", "swapped", "recorded"]);
    let last = audit.as_array().and_then(|lines| lines.last()).expect("a line");
    assert!(last["who"].as_str().is_some_and(|who| who.starts_with("user ")), "{last}");
    assert_eq!((last["slot"].as_str(), last["digest"].as_str()), (Some("routing"), installed["digest"].as_str()));

    let name = installed["plugin"].as_str().expect("a name").to_owned();
    let disabled = host.json(&["plugin", "disable", &name]);
    assert_eq!(disabled["slots"][0][1], "least-loaded-routing", "{disabled}");
    let error = refused(&host, &["plugin", "swap", "routing/mine", &name]);
    assert!(error.contains("is disabled"), "{error}");
    let (_, data) = host.stop();
    let host = Host::start_in(data, &MODELS);
    assert_eq!(slot(&host, "routing")["plugin"], "least-loaded-routing", "a disabled plugin stays out after a restart");
    host.ok(&["plugin", "enable", &name]);
    assert_eq!(slot(&host, "routing")["digest"], installed["digest"]);
    classifies(&host);
    let logs = host.ok(&["plugin", "logs", &name]);
    assert!(logs.contains("serves as generation"), "{logs}");
    host.ok(&["plugin", "uninstall", &name]);
    assert_eq!(slot(&host, "routing")["plugin"], "least-loaded-routing");
    assert!(!host.data().join("blobs").join(digest(&plugin(1))).exists(), "its bytes are gone too");
    let (_, data) = host.stop();
    let host = Host::start_in(data, &MODELS);
    assert_eq!(slot(&host, "routing")["plugin"], "least-loaded-routing");
    let error = refused(&host, &["plugin", "uninstall", "least-loaded-routing"]);
    assert!(error.contains("is part of the host"), "{error}");
}

#[test]
fn a_slot_goes_back_after_a_restart_to_what_it_held_before_it_and_replaced_plugins_serve_on() {
    let host = Host::start(&MODELS);
    let folder = Folder::new();
    let [one, two] = [1, 2].map(|mark| folder.put(&format!("{mark}.wasm"), plugin(mark)));
    for slot in ["routing", "routing/first"] {
        host.ok(&["plugin", "install", &one, "--slot", slot]);
    }
    host.ok(&["plugin", "install", &two, "--slot", "routing"]);
    let (_, data) = host.stop();
    let host = Host::start_in(data, &MODELS);
    let served = |name: &str| slot(&host, name)["digest"].as_str().map(str::to_owned);
    assert_eq!((served("routing"), served("routing/first")), (Some(digest(&plugin(2))), Some(digest(&plugin(1)))));
    let listed = host.json(&["plugin", "list"]);
    let mine = listed.as_array().expect("plugins").iter().filter(|plugin| plugin["name"] == "mine");
    let mine: Vec<_> = mine.map(|plugin| (plugin["digest"].as_str(), plugin["is_earlier"].as_bool())).collect();
    let (first, second) = (digest(&plugin(1)), digest(&plugin(2)));
    assert!(mine.len() == 2 && mine.contains(&(Some(first.as_str()), Some(true))) && mine.contains(&(Some(second.as_str()), Some(false))), "{mine:?}");
    assert!(host.ok(&["plugin", "inspect", "mine"]).contains(&second));
    host.ok(&["plugin", "rollback", "routing"]);
    assert_eq!(served("routing"), Some(first));
    classifies(&host);
    host.ok(&["plugin", "uninstall", "mine"]);
    assert_eq!(slot(&host, "routing")["plugin"], "least-loaded-routing");
    assert!([1, 2].iter().all(|mark| !host.data().join("blobs").join(digest(&plugin(*mark))).exists()), "the bytes of both are gone");
}

#[test]
fn a_canary_and_a_shadow_are_tried_promoted_and_stopped_from_the_command_line() {
    let host = Host::start(&MODELS);
    let folder = Folder::new();
    let file = folder.put("mine.wasm", plugin(2));
    host.ok(&["plugin", "install", &file, "--slot", "routing", "--canary", "50%"]);
    for _ in 0..6 {
        classifies(&host);
    }
    let trial = slot(&host, "routing")["trial"].clone();
    assert_eq!((trial["kind"].as_str(), trial["share"].as_f64(), trial["questions"].as_u64()), (Some("canary"), Some(0.5), Some(3)), "{trial}");
    host.ok(&["plugin", "promote", "routing"]);
    assert_eq!(slot(&host, "routing")["digest"], digest(&plugin(2)));
    let other = folder.put("other.wasm", plugin(3));
    host.ok(&["plugin", "install", &other, "--slot", "routing", "--shadow"]);
    classifies(&host);
    host.ok(&["plugin", "stop-trial", "routing"]);
    assert_eq!(slot(&host, "routing")["digest"], digest(&plugin(2)));
    let stats = host.ok(&["plugin", "stats"]);
    assert!(stats.contains("routing"), "{stats}");
    let (_, data) = host.stop();
    assert_eq!(slot(&Host::start_in(data, &MODELS), "routing")["digest"], digest(&plugin(2)), "what was promoted outlives a restart");
}

#[test]
fn a_host_that_is_killed_at_any_step_comes_back_with_the_old_plugin_or_the_new_one() {
    let mut data = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::new();
    let steps = ["asked", "fetched", "verified", "granted", "compiled", "rehearsed", "stored", "swapped", "recorded"];
    let mut before = None;
    for (round, step) in (10_u8..).zip(steps) {
        let host = Host::start_in(data, &MODELS);
        let held = slot(&host, "routing")["digest"].as_str().map(str::to_owned);
        assert!(before.is_none() || held == before, "{step}: what was in the slot before the start is there after it");
        let file = folder.put("mine.wasm", plugin(round));
        let audit = host.data().join("audit.jsonl");
        let lines = || fs::read_to_string(&audit).unwrap_or_default();
        let known = lines().len();
        let installing = std::thread::scope(|scope| {
            let asked = scope.spawn(|| host.command(&["plugin", "install", &file, "--slot", "routing"]));
            wait_until(step, || lines().get(known..).is_some_and(|new| new.contains(&format!("\"step\":\"{step}\""))));
            let killed = Command::new("kill").args(["-KILL", &host.pid().to_string()]).status().expect("kill runs");
            assert!(killed.success());
            asked.join().expect("the command ends")
        });
        drop(installing);
        data = host.kill_again();
        let host = Host::start_in(data, &MODELS);
        let now = slot(&host, "routing");
        let new = digest(&plugin(round));
        let (now, old) = (now["digest"].as_str().expect("a digest"), held.as_deref().expect("a digest"));
        assert!(now == old || now == new, "{step}: neither the old plugin nor the new one serves, but {now}");
        assert!(step != "recorded" || now == new, "what was recorded is there");
        classifies(&host);
        before = Some(now.to_owned());
        data = host.stop().1;
    }
}

#[test]
fn a_watched_folder_installs_what_is_whole_and_takes_back_what_is_gone() {
    let folder = Folder::new();
    let plugins = folder.0.path().display().to_string();
    let host = Host::start(&["--models", "models", "--plugins", &plugins]);
    let (one, two) = (with_slot(1), with_slot(2));
    // Half a component is no component: it is left alone until the rest comes.
    folder.put("mine.wasm", &one[..one.len() / 2]);
    wait_until("the half file is looked at and refused", || host.ok(&["plugin", "audit"]).contains("is damaged at byte"));
    assert_eq!(slot(&host, "routing")["plugin"], "least-loaded-routing");
    folder.put("mine.wasm", &one);
    wait_until("the whole file serves", || slot(&host, "routing")["digest"] == digest(&one));
    folder.put("mine.wasm", &two);
    wait_until("the changed file serves", || slot(&host, "routing")["digest"] == digest(&two));
    // A second file for the same slot is refused by name.
    folder.put("second.wasm", with_slot(3));
    wait_until("the second claim is refused", || host.ok(&["plugin", "audit"]).contains("is claimed by"));
    assert_eq!(slot(&host, "routing")["digest"], digest(&two));
    fs::remove_file(folder.path("second.wasm")).expect("removed");
    fs::remove_file(folder.path("mine.wasm")).expect("removed");
    wait_until("the built-in serves again", || slot(&host, "routing")["plugin"] == "least-loaded-routing");
    // While no host runs the same happens at the next start.
    folder.put("mine.wasm", &one);
    wait_until("it serves once more", || slot(&host, "routing")["digest"] == digest(&one));
    let (_, data) = host.stop();
    fs::remove_file(folder.path("mine.wasm")).expect("removed");
    let host = Host::start_in(data, &["--models", "models", "--plugins", &plugins]);
    assert_eq!(slot(&host, "routing")["plugin"], "least-loaded-routing");
}

#[test]
fn only_what_a_trusted_key_signed_is_taken_where_the_config_says_so() {
    let folder = Folder::new();
    let keys = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
    let stranger = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
    let config = format!("plugin_trust:\n  allow_unsigned: never\n  keys: [\"{}\"]\n", keys.pk.to_base64());
    let config = folder.put("host.yaml", config);
    let host = Host::start(&["--models", "models", "--config", &config]);
    let sign = |keys: &minisign::KeyPair, bytes: &[u8]| minisign::sign(None, &keys.sk, bytes, None, None).expect("signed").into_string();
    let install = |name: &str| ["plugin".to_owned(), "install".into(), folder.path(name).display().to_string(), "--slot".into(), "routing".into()];
    let refused = |name: &str| {
        let arguments = install(name);
        refused(&host, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    folder.put("plain.wasm", plugin(1));
    assert!(refused("plain.wasm").contains("it has no signature, and plugin_trust.allow_unsigned is `never`"));
    folder.put("strange.wasm", plugin(1));
    folder.put("strange.wasm.minisig", sign(&stranger, &plugin(1)));
    assert!(refused("strange.wasm").contains("is by none of the 1 keys"));
    folder.put("changed.wasm", plugin(2));
    folder.put("changed.wasm.minisig", sign(&keys, &plugin(1)));
    assert!(refused("changed.wasm").contains("is by none of the 1 keys"));
    assert_eq!(slot(&host, "routing")["plugin"], "least-loaded-routing");

    let signed = folder.put("signed.wasm", plugin(1));
    folder.put("signed.wasm.minisig", sign(&keys, &plugin(1)));
    host.ok(&["plugin", "install", &signed, "--slot", "routing"]);
    let shown = host.json(&["plugin", "list"]);
    let signer = shown.as_array().expect("plugins").iter().find(|plugin| plugin["digest"] == digest(&crate::plugin(1))).map(|plugin| plugin["signer"].clone());
    assert_eq!(signer, Some(Value::String(keys.pk.to_base64())));
    let verified = host.ok(&["plugin", "verify", &signed, "--config", &config]);
    assert!(verified.contains(&format!("signed by {}", keys.pk.to_base64())), "{verified}");
}

/// A component with another text of the same length in place of each one.
fn renamed(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = bytes.windows(from.len()).enumerate().filter(|(_, part)| *part == from.as_bytes()).map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "{from} does not occur");
    places.into_iter().for_each(|place| bytes[place..place + to.len()].copy_from_slice(to.as_bytes()));
    bytes
}

#[test]
fn a_file_is_shown_with_whether_this_host_can_run_it_and_why_not() {
    struct Case {
        name: &'static str,
        bytes: Vec<u8>,
        signature: Option<String>,
        contract: &'static str,
        says: &'static str,
    }
    let keys = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
    let folder = Folder::new();
    let config = folder.put("host.yaml", format!("plugin_trust:\n  allow_unsigned: never\n  keys: [\"{}\"]\n", keys.pk.to_base64()));
    folder.put("plugin.toml", "name = \"mine\"\nversion = \"1.2.3\"\nlicense = \"MIT\"\ndescription = \"takes turns\"\ncall_ms_max = 3\n");
    let signature = |bytes: &[u8]| Some(minisign::sign(None, &keys.sk, bytes, None, None).expect("signed").into_string());
    let good = plugin(1);
    let newer = renamed(&good, "@0.1.0", "@0.9.0");
    let strange = renamed(&good, "shardhost:plugin/log", "shardhost:driver/log");
    let cases = [
        Case { name: "good.wasm", signature: signature(&good), bytes: good.clone(), contract: "0.1.0", says: "yes" },
        Case { name: "unsigned.wasm", bytes: good, signature: None, contract: "0.1.0", says: "it has no signature" },
        Case { name: "newer.wasm", signature: signature(&newer), bytes: newer, contract: "0.9.0", says: "of version 0.9.0, this host speaks version 0.1.0" },
        Case { name: "strange.wasm", signature: signature(&strange), bytes: strange, contract: "0.1.0", says: "imports `shardhost:driver/log@0.1.0`" },
    ];
    for Case { name, bytes, signature, contract, says } in cases {
        let path = folder.put(name, &bytes);
        let signer = signature.map_or("nobody that is trusted".to_owned(), |signature| {
            folder.put(&format!("{name}.minisig"), signature);
            keys.pk.to_base64()
        });
        let output = Command::new(env!("CARGO_BIN_EXE_host")).args(["plugin", "inspect", &path, "--config", &config]).output().expect("the command runs");
        let shown = text(&output.stdout);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let line = |label: &str| shown.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_else(|| panic!("{name} has no {label}: {shown}")).trim();
        let found = [line("plugin "), line("does "), line("world "), line("licence "), line("contract "), line("signer "), line("serves ")];
        assert_eq!(found, ["mine 1.2.3", "takes turns", "routing-policy", "MIT", contract, &signer, "nothing"]);
        assert!(line("imports ").contains("/log@") && line("digest ").contains(&digest(&bytes)), "{shown}");
        assert!(line("asks for ").starts_with("call_ms_max = 3 (granted up to "), "{shown}");
        assert!(line("runs here ").contains(says), "{shown}");
        assert_eq!(line("limits ").contains("route_ms_max = 3"), contract == "0.1.0" && name != "strange.wasm", "{shown}");
    }
}

#[test]
fn a_plugin_is_fetched_over_https_if_its_digest_is_named() {
    let folder = Folder::new();
    let (address, authority) = serve_tls(vec![("/mine.wasm", plugin(1))]);
    let authority = folder.put("ca.pem", authority);
    let config = folder.put("host.yaml", format!("plugin_fetch:\n  ca_file: {authority}\n"));
    let host = Host::start(&["--models", "models", "--config", &config]);
    let url = format!("https://localhost:{}/mine.wasm", address.port());
    let error = refused(&host, &["plugin", "install", &url, "--slot", "routing"]);
    assert!(error.contains("it has no signature, and plugin_trust.allow_unsigned is `files`"), "{error}");
    let wrong = digest(&plugin(2));
    let error = refused(&host, &["plugin", "install", &url, "--slot", "routing", "--digest", &format!("sha256:{wrong}")]);
    assert!(error.contains(&wrong) && error.contains(&digest(&plugin(1))), "{error}");
    host.ok(&["plugin", "install", &url, "--slot", "routing", "--digest", &digest(&plugin(1))]);
    assert_eq!(slot(&host, "routing")["digest"], digest(&plugin(1)));
    let missing = format!("https://localhost:{}/other.wasm", address.port());
    let error = refused(&host, &["plugin", "install", &missing, "--digest", &wrong]);
    assert!(error.contains("other.wasm") && error.contains("could not be fetched"), "{error}");
}

/// Serves files over TLS on loopback until the process ends; gives the certificate that says so.
fn serve_tls(files: Vec<(&'static str, Vec<u8>)>) -> (SocketAddr, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("they fit together");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address")).expect("somebody waits");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let answer = match files.iter().find(|(known, _)| *known == path) {
                    Some((_, body)) => {
                        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).into_bytes(), body.clone()].concat()
                    }
                    None => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
                };
                // A client that went away is its own business.
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
    });
    (told.recv().expect("it listens"), certified.cert.pem())
}

/// A real registry on loopback, if there is one on this machine.
struct Registry {
    child: Child,
    address: String,
    _folder: Folder,
}

impl Registry {
    fn start() -> Option<Self> {
        let required = std::env::var_os("SHARDHOST_REQUIRE_REGISTRY").is_some();
        let program = ["docker-registry", "registry"].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
        let Some(program) = program else {
            assert!(!required, "SHARDHOST_REQUIRE_REGISTRY is set and no registry program was found");
            eprintln!("skipped: no docker-registry on this machine");
            return None;
        };
        let folder = Folder::new();
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let address = format!("127.0.0.1:{port}");
        let storage = folder.path("storage").display().to_string();
        let config = folder.put("registry.yml", format!("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {storage}\nhttp:\n  addr: {address}\n"));
        let child = Command::new(program).args(["serve", &config]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the registry starts");
        wait_until("the registry listens", || std::net::TcpStream::connect(&address).is_ok());
        Some(Self { child, address, _folder: folder })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Gone already if it failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_plugin_goes_through_a_registry_with_its_signature() {
    let Some(registry) = Registry::start() else { return };
    let folder = Folder::new();
    let keys = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
    let config = folder.put("host.yaml", format!("plugin_trust:\n  keys: [\"{}\"]\n", keys.pk.to_base64()));
    let host = Host::start(&["--models", "models", "--config", &config]);
    let image = format!("oci://{}/plugins/mine:1.0", registry.address);
    let unsigned = folder.put("mine.wasm", plugin(1));
    host.ok(&["plugin", "push", &unsigned, &image]);
    let error = refused(&host, &["plugin", "install", &image, "--slot", "routing"]);
    assert!(error.contains("it has no signature"), "{error}");
    let signature = minisign::sign(None, &keys.sk, plugin(1).as_slice(), None, None).expect("signed").into_string();
    folder.put("mine.wasm.minisig", signature);
    host.ok(&["plugin", "push", &unsigned, &image]);
    host.ok(&["plugin", "install", &image, "--slot", "routing"]);
    assert_eq!(slot(&host, "routing")["digest"], digest(&plugin(1)));

    let pulled = folder.path("pulled.wasm");
    host.ok(&["plugin", "pull", &image, &pulled.display().to_string(), "--config", &config]);
    assert_eq!(fs::read(&pulled).expect("written"), plugin(1));
    // The layout is the one that other tools for components write.
    let manifest = manifest_of(&registry.address);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["digest"], format!("sha256:{}", digest(&plugin(1))));
}

fn manifest_of(registry: &str) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let request = running::client().get(format!("http://{registry}/v2/plugins/mine/manifests/1.0"));
        let answer = request.header("accept", "application/vnd.oci.image.manifest.v1+json").send().await.expect("the registry answers");
        serde_json::from_str(&answer.text().await.expect("whole")).expect("JSON")
    })
}

#[test]
fn what_takes_too_long_to_compile_ends_with_its_child_and_the_host_goes_on() {
    let folder = Folder::new();
    let config = folder.put("host.yaml", "plugin_limits:\n  compile_ms_max: 100\n");
    let host = Host::start(&["--models", "models", "--config", &config]);
    let file = folder.put("endless.wasm", endless());
    let error = refused(&host, &["plugin", "install", &file, "--slot", "routing"]);
    assert!(error.contains("to compile"), "{error}");
    assert_eq!(slot(&host, "routing")["plugin"], "least-loaded-routing");
    classifies(&host);
    assert!(host.ok(&["plugin", "audit"]).contains("failed"));
}

#[test]
#[cfg(unix)]
fn a_plugin_runs_where_there_is_little_address_space_by_code_of_its_own() {
    let folder = Folder::new();
    let (file, code) = (folder.put("mine.wasm", plugin(2)), folder.path("code"));
    let files = || fs::read_dir(&code).expect("the folder for code").count();
    // In KiB. The first has room for a host, not for the gigabytes that each memory has where there is room; the second sets no limit.
    for (limit, kept) in [("16777216", 1), ("unlimited", 2)] {
        let tested = Command::new("sh")
            .args(["-c", "ulimit -v \"$1\" && exec \"$2\" plugin test \"$3\"", "sh", limit, env!("CARGO_BIN_EXE_host"), &file])
            .env(running::NATIVE_CODE.0, &code)
            .output()
            .expect("a shell starts");
        assert!(tested.status.success(), "with {limit}: {}{}", text(&tested.stdout), text(&tested.stderr));
        assert_eq!(files(), kept, "files of native code after a test with {limit}");
    }
}

/// A sound component with a module beside it that nobody uses and that takes seconds to compile.
fn endless() -> Vec<u8> {
    const FUNCTIONS: u32 = 20_000;
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 1, 0x7f]);
    section(&mut module, 3, &[leb(FUNCTIONS), vec![0; FUNCTIONS as usize]].concat());
    let sums: Vec<u8> = (0..200).flat_map(|step| [0x41, step & 0x3f, 0x41, 3, 0x6c, 0x6a]).collect();
    let body = [vec![0, 0x41, 1], sums, vec![0x0b]].concat();
    let bodies: Vec<u8> = (0..FUNCTIONS).flat_map(|_| [leb(u32::try_from(body.len()).expect("short")), body.clone()].concat()).collect();
    section(&mut module, 10, &[leb(FUNCTIONS), bodies].concat());
    let mut component = plugin(1);
    section(&mut component, 1, &module);
    component
}

fn section(file: &mut Vec<u8>, id: u8, content: &[u8]) {
    file.push(id);
    file.extend(leb(u32::try_from(content.len()).expect("below 4 GiB")));
    file.extend(content);
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
    bytes
}
