//! Who joins a central and who does not: each refusal with its words and its count, thousands that say nothing, certificates that are
//! renewed or end, and a central that is looked for.

#[allow(dead_code, reason = "the other tests of a pool use the rest")]
mod pooled;
#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use pooled::{classify, serves, wait_until};
use running::{Host, PATIENCE};

const NO_MODELS: [&str; 2] = ["--models", "no-models"];
/// What every refusal ends with that another token would change.
const ADVICE: &str = "`host token create`";

/// A central without devices of its own and without models.
fn central(flags: &[&str]) -> Host {
    Host::start(&[&["--join-listen", "127.0.0.1:0", "--local-devices", "0"], &NO_MODELS[..], flags].concat())
}

/// The same at the address and with the data of one that is gone.
fn again(data: tempfile::TempDir, address: &str, flags: &[&str]) -> Host {
    Host::start_in(data, &[&["--join-listen", address, "--local-devices", "0"], flags].concat())
}

fn address(central: &Host) -> String {
    central.json(&["status"])["join"].as_str().expect("devices may join").to_owned()
}

/// A new token with these flags: its id and its text.
fn token(central: &Host, flags: &[&str]) -> (String, String) {
    let token = central.json(&[&["token", "create"], flags].concat());
    let word = |key: &str| token[key].as_str().expect("a text").to_owned();
    (word("id"), word("text"))
}

fn refused(central: &Host, reason: &str) -> f64 {
    central.metric(&format!("host_join_refused_total{{reason=\"{reason}\"}}"))
}

fn attends(device: &Host) -> bool {
    device.json(&["status"])["state"] == "attending"
}

#[test]
fn a_token_that_is_no_good_is_refused_without_saying_why_and_counted_by_why() {
    let central = central(&[]);
    let address = address(&central);
    let (used_id, used) = token(&central, &[]);
    let _first = Host::join_in(tempfile::tempdir().expect("a folder"), &["--join", &address, "--token", &used, "--device-id", "a"]);
    let (expired_id, expired) = token(&central, &["--ttl", "1s"]);
    let (revoked_id, revoked) = token(&central, &[]);
    central.ok(&["token", "revoke", &revoked_id]);
    let state = |id: &str| {
        let listed = central.json(&["token", "list"]);
        let row = listed.as_array().and_then(|rows| rows.iter().find(|row| row["id"] == id)).cloned().unwrap_or_default();
        row["state"].as_str().unwrap_or_default().to_owned()
    };
    wait_until("the end of a token", || state(&expired_id) == "expired");
    assert_eq!((state(&used_id), state(&revoked_id)), ("used_up".to_owned(), "revoked".to_owned()));
    for (text, reason) in [(&used, "token_used_up"), (&expired, "token_expired"), (&revoked, "token_revoked")] {
        let ended = Host::refused(&["--join", &address, "--token", text, "--device-id", "b"]);
        assert!(ended.code == Some(1) && ended.said.contains("the token cannot be used") && ended.said.contains(ADVICE), "{reason}: {}", ended.said);
        assert_eq!(refused(&central, reason), 1.0, "{reason}");
        wait_until("a line that says why", || central.said().iter().any(|line| line.contains(reason)));
    }
}

#[test]
fn a_token_of_another_central_and_a_secret_that_was_guessed_lead_nowhere() {
    let (ours, theirs) = (central(&[]), central(&[]));
    let (_, foreign) = token(&theirs, &[]);
    let ended = Host::refused(&["--join", &address(&ours), "--token", &foreign]);
    assert!(ended.code == Some(1) && ended.said.contains("the authority's certificate has fingerprint"), "{}", ended.said);
    wait_until("a count of it", || refused(&ours, "other_authority") >= 1.0);

    let mut guessed = host_wire::join::JoinToken::parse(&token(&ours, &[]).1).expect("a token");
    guessed.secret.0[0] ^= 1;
    let ended = Host::refused(&["--join", &address(&ours), "--token", &guessed.text()]);
    assert!(ended.code == Some(1) && ended.said.contains("the token cannot be used"), "{}", ended.said);
    assert_eq!(refused(&ours, "token_secret"), 1.0);
}

#[test]
fn a_device_without_a_token_is_told_how_to_get_one() {
    let central = central(&[]);
    let ended = Host::refused(&["--join", &address(&central)]);
    let expected = format!("this host has not joined it yet, and no token is given; {ADVICE} on the central makes one");
    assert!(ended.code == Some(1) && ended.said.contains(&expected), "{}", ended.said);
}

#[test]
fn a_device_of_another_central_is_refused_until_it_has_a_token_of_this_one() {
    let (ours, theirs) = (central(&[]), central(&[]));
    let (_, data) = Host::join(&theirs, "a", &[]).stop();
    let ended = Host::refused_in(data, &["--join", &address(&ours)]);
    assert!(ended.code == Some(1) && ended.said.contains("it has another authority") && ended.said.contains(ADVICE), "{}", ended.said);
    wait_until("a count of it", || refused(&ours, "other_authority") >= 1.0);
    let device = Host::join_in(ended.data, &["--join", &address(&ours), "--token", &token(&ours, &[]).1]);
    assert_eq!(device.json(&["status"])["devices"][0], "a", "it keeps its name");
}

#[test]
fn a_second_device_with_a_name_that_is_taken_is_refused_and_the_first_stays() {
    let central = central(&[]);
    let first = Host::join(&central, "a", &[]);
    let stranger = Host::refused(&["--join", &address(&central), "--token", &token(&central, &[]).1, "--device-id", "a"]);
    assert!(stranger.code == Some(1) && stranger.said.contains("device `a` has enrolled with key"), "{}", stranger.said);

    // One that has the first one's key and certificate.
    let copy = tempfile::tempdir().expect("a folder");
    copy_folder(&first.data().join("identity"), &copy.path().join("identity"));
    let twin = Host::refused_in(copy, &["--join", &address(&central), "--set", "join.id_taken_ms_max=500"]);
    assert!(twin.code == Some(1) && twin.said.contains("device a is here already, as process"), "{}", twin.said);
    assert!(refused(&central, "id_taken") >= 2.0);
    assert!(attends(&first));
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("readable");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

#[test]
fn a_device_whose_certificate_was_revoked_stops_with_words_and_joins_with_another_token() {
    let before = central(&[]);
    let address = address(&before);
    let device = Host::join(&before, "a", &[]);
    let (_, data) = before.stop();
    revoke(data.path(), "a");
    let central = again(data, &address, &NO_MODELS);
    let ended = device.ended();
    assert!(ended.code == Some(1) && ended.said.contains("it has revoked the certificate of this device") && ended.said.contains(ADVICE), "{}", ended.said);
    wait_until("a count of it", || refused(&central, "certificate_revoked") >= 1.0);

    let without = Host::refused_in(ended.data, &["--join", &address]);
    assert!(without.code == Some(1) && without.said.contains("it has revoked the certificate of this device"), "{}", without.said);
    let device = Host::join_in(without.data, &["--join", &address, "--token", &token(&central, &[]).1]);
    assert_eq!(device.json(&["status"])["devices"][0], "a");
}

/// Does to the store of a host that is stopped what removing a device does.
fn revoke(data: &Path, device: &str) {
    let store = rusqlite::Connection::open(data.join("host.sqlite")).expect("a store");
    let revoked = store.execute("UPDATE certificate SET revoked_at_ms = 1 WHERE device = ?1", [device]).expect("revoked");
    let removed = store.execute("UPDATE device SET removed_at_ms = 1 WHERE id = ?1", [device]).expect("removed");
    assert_eq!((revoked, removed), (1, 1));
}

#[test]
fn a_device_that_says_it_has_more_memory_than_is_believed_is_refused_with_both() {
    let central = central(&["--set", "join.device_memory_bytes_max=1073741824"]);
    let liar = r#"local_devices=[{"id":"x","memory_bytes":2147483648}]"#;
    let ended = Host::refused(&["--join", &address(&central), "--token", &token(&central, &[]).1, "--device-id", "a", "--set", liar]);
    let expected = "device a says that it has 2147483648 bytes of memory, at most 1073741824 are believed; `join.device_memory_bytes_max` of the central";
    assert!(ended.code == Some(1) && ended.said.contains(expected), "{}", ended.said);
    assert_eq!(refused(&central, "memory"), 1.0);
    let known = central.json(&["device", "list"]);
    assert_eq!((&known[0]["state"], &known[0]["offers"]), (&serde_json::json!("lost"), &serde_json::json!([])), "it has enrolled and is not there");
}

#[test]
fn whoever_speaks_something_else_is_shown_out_and_counted() {
    let central = central(&[]);
    for words in [&b"GET / HTTP/1.1\r\nHost: central\r\n\r\n"[..], &[0xff; 4_096]] {
        let mut stream = TcpStream::connect(address(&central)).expect("it listens");
        stream.write_all(words).expect("sent");
        assert!(is_closed(&mut stream), "it is still open");
    }
    wait_until("a count of both", || refused(&central, "not_tls") == 2.0);
}

/// Whether the other end closes the connection, whatever it says before.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut answer = [0; 1024];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

#[test]
fn thousands_that_say_nothing_keep_no_device_out_are_closed_and_fill_no_log() {
    let started = Instant::now();
    let central = central(&["--set", "join.handshake_ms_max=20000"]);
    let address = address(&central);
    let count = if descriptors_max() >= 12_000 { 10_000 } else { 2_000_usize.min(descriptors_max().saturating_sub(200)) };
    let mut silent: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(&address).expect("it listens")).collect();
    let device = Host::join(&central, "a", &[]);
    assert!(attends(&device));
    assert!(silent.iter_mut().all(is_closed), "a connection that said nothing is still open");
    wait_until("a count of all", || refused(&central, "silent") == count as f64);
    assert!(attends(&device));
    let lines = central.said().iter().filter(|line| line.contains("a host was not let in") && line.contains("silent")).count() as u64;
    assert!(lines >= 1 && lines <= started.elapsed().as_secs() + 1, "{lines} lines in {:?}", started.elapsed());
}

/// Files and connections that this process may have open at once.
fn descriptors_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    match row.and_then(|row| row.split_whitespace().next()) {
        Some("unlimited") => usize::MAX,
        Some(number) => number.parse().expect("a number"),
        None => 1_024,
    }
}

#[test]
fn certificates_are_renewed_while_requests_run_and_none_fails() {
    const SHORT: [&str; 4] = ["--models", "models", "--set", "join.certificate_ms=6000"];
    let central = Host::start(&[&["--join-listen", "127.0.0.1:0", "--local-devices", "0"], &SHORT[..]].concat());
    let address = address(&central);
    let devices = ["a", "b"].map(|id| Host::join(&central, id, &[]));
    wait_until("a plan", || serves(&central, "digits"));
    let renewals = |host: &Host, line: &str| host.said().iter().filter(|said| said.contains(line)).count();
    let started = Instant::now();
    // The third certificate begins when the first has ended.
    while devices.iter().any(|device| renewals(device, "the certificate was renewed") < 3) || renewals(&central, "the central has renewed its certificate") < 3
    {
        assert!(started.elapsed() < PATIENCE, "certificates were not renewed");
        assert_eq!(classify(&central, 20).0, 20);
    }
    // Every connection is opened anew, with the certificates of now.
    let central = again(central.kill(), &address, &SHORT);
    wait_until("the return of both", || devices.iter().all(attends) && serves(&central, "digits"));
    assert_eq!(classify(&central, 20).0, 20);
}

#[test]
fn a_device_whose_certificate_ended_while_it_was_away_enrols_again_if_its_token_is_still_good() {
    const SHORT: [&str; 4] = ["--models", "no-models", "--set", "join.certificate_ms=5000"];
    let central = central(&SHORT[2..]);
    let address = address(&central);
    let (id, text) = token(&central, &[]);
    let flags = ["--join", &address, "--token", &text, "--device-id", "a"];
    let device = Host::join_in(tempfile::tempdir().expect("a folder"), &flags);

    // The central is away for longer than the certificate is good.
    let data = central.kill();
    outlive_certificates();
    let central = again(data, &address, &SHORT);
    wait_until("the return of the device", || attends(&device));
    wait_until("a line about it", || device.said().iter().any(|line| line.contains("the device has enrolled again")));

    // The device is away.
    let (_, data) = device.stop();
    outlive_certificates();
    let ended = Host::refused_in(data, &flags[..2]);
    assert!(ended.code == Some(1) && ended.said.contains("the certificate of this device ended") && ended.said.contains(ADVICE), "{}", ended.said);
    let device = Host::join_in(ended.data, &flags);

    // And the token is taken back.
    central.ok(&["token", "revoke", &id]);
    let (_, data) = device.stop();
    outlive_certificates();
    let ended = Host::refused_in(data, &flags);
    assert!(ended.code == Some(1) && ended.said.contains("the token cannot be used") && ended.said.contains(ADVICE), "{}", ended.said);
}

/// Waits until every certificate of now has ended, of those that are good for 5 s.
fn outlive_certificates() {
    let started = Instant::now();
    wait_until("the end of certificates", || started.elapsed() > Duration::from_secs(6));
}

#[test]
fn a_central_is_found_on_the_network_by_the_authority_that_the_token_or_the_certificate_names() {
    const LOOK: [&str; 4] = ["--join", "auto", "--set", "join.discover_interface=127.0.0.1"];
    let announcing = || central(&["--join-announce"]);
    let (other, ours, hidden) = (announcing(), announcing(), central(&[]));
    let (_, text) = token(&ours, &[]);
    let device = Host::join_in(tempfile::tempdir().expect("a folder"), &[&LOOK[..], &["--token", &text, "--device-id", "a"]].concat());
    assert_eq!(device.json(&["status"])["central"], address(&ours));
    let (_, data) = device.stop();
    let device = Host::join_in(data, &LOOK);
    assert_eq!(device.json(&["status"])["central"], address(&ours));

    let quick = [&LOOK[..], &["--set", "join.discover_ms_max=3000"]].concat();
    let ended = Host::refused(&[&quick[..], &["--token", &token(&hidden, &[]).1]].concat());
    let said = &ended.said;
    assert!(ended.code == Some(1) && said.contains("no central was found: one with authority"), "{said}");
    for part in ["was looked for by mDNS for 3000 ms", "only others announced themselves", &address(&other), &address(&ours), "--join-announce"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let ended = Host::refused(&LOOK);
    assert!(ended.said.contains("neither a token nor a certificate that was kept says which one is meant") && ended.said.contains(ADVICE), "{}", ended.said);
}

#[test]
fn a_device_that_found_its_central_by_itself_finds_it_again_where_it_has_moved() {
    let announces = [&NO_MODELS[..], &["--join-announce"]].concat();
    let ours = central(&["--join-announce"]);
    let (_, text) = token(&ours, &[]);
    let looks = ["--join", "auto", "--set", "join.discover_interface=127.0.0.1", "--set", "join.search_after_ms=500", "--token", &text, "--device-id", "a"];
    let device = Host::join_in(tempfile::tempdir().expect("a folder"), &looks);
    let before = address(&ours);
    let data = ours.kill();
    // Nobody else gets the port while the central looks for another one.
    let taken = std::net::TcpListener::bind(&before).expect("the port is free");
    let ours = again(data, "127.0.0.1:0", &announces);
    assert_ne!(address(&ours), before);
    wait_until("the device is back", || attends(&device) && device.json(&["status"])["central"] == address(&ours));
    let is_ready =
        || ours.json(&["device", "list"]).as_array().is_some_and(|devices| devices.iter().any(|device| device["id"] == "a" && device["state"] == "ready"));
    wait_until("the central sees it", is_ready);
    drop(taken);
}

#[test]
fn a_host_that_nothing_could_compute_on_does_not_start() {
    let ended = Host::refused(&["--local-devices", "0"]);
    assert!(ended.code == Some(2) && ended.said.contains("local_devices is 0 and join.address is not given"), "{}", ended.said);
}
