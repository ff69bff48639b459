//! Join tokens as people handle them on a running host: created, listed, taken back, and never shown twice.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::process::Command;

use host_wire::join::JoinToken;
use running::{Host, text};
use serde_json::Value;

const EMPTY: [&str; 2] = ["--models", "no-models"];
const DAY_MS: u64 = 86_400_000;

fn listening() -> Host {
    Host::start(&[&EMPTY[..], &["--join-listen", "127.0.0.1:0"]].concat())
}

fn refused(host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
    let output = host.command(arguments);
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_token_is_created_with_the_command_for_the_device_listed_and_taken_back() {
    let host = listening();
    let plain = host.json(&["token", "create"]);
    let token = JoinToken::parse(plain["text"].as_str().expect("a text")).expect("a token");
    assert_eq!(plain["id"], token.id.to_string());
    assert_eq!(plain["command"], format!("host run --join {} --token {}", plain["central"].as_str().expect("an address"), token.text()));
    assert!(plain["central"].as_str().is_some_and(|central| central.starts_with("127.0.0.1:")), "{plain}");
    let life_ms = plain["expires_at_ms"].as_u64().zip(plain["created_at_ms"].as_u64()).map(|(end, start)| end - start);
    assert_eq!((life_ms, &plain["uses"], &plain["roles"]), (Some(DAY_MS), &Value::from(1), &serde_json::json!(["head", "body", "tail"])));

    let other = host.json(&["token", "create", "--ttl", "7d", "--uses", "3", "--roles", "body,tail"]);
    let listed = host.json(&["token", "list"]);
    let ids: Vec<&str> = listed.as_array().expect("a list").iter().filter_map(|token| token["id"].as_str()).collect();
    assert!(ids.len() == 2 && ids.contains(&other["id"].as_str().expect("an id")), "{listed}");
    assert!(!listed.to_string().contains("shj1."), "{listed}");

    // By its id, and by the token itself.
    let id = other["id"].as_str().expect("an id");
    assert_eq!(host.ok(&["token", "revoke", id]).trim(), format!("token {id} is revoked"));
    assert_eq!(host.json(&["token", "revoke", &token.text()])["state"], "revoked");
    let printed = host.ok(&["token", "list"]);
    let row = printed.lines().find(|line| line.starts_with(id)).expect("a row");
    assert!(row.contains("revoked") && row.contains("3 of 3") && row.ends_with("body,tail"), "{row}");
}

#[test]
fn the_printed_token_is_followed_by_the_command_alone() {
    let host = listening();
    let printed = host.ok(&["token", "create", "--uses", "2"]);
    let lines: Vec<&str> = printed.lines().collect();
    let token = lines[0].strip_prefix("token    ").and_then(|rest| rest.strip_suffix(", shown only now")).expect("the token comes first");
    assert!(JoinToken::parse(token).is_ok(), "{token}");
    assert!(lines[2].ends_with(" UTC, for 2 devices of head, body, tail"), "{}", lines[2]);
    assert!(lines.last().is_some_and(|line| line.starts_with("host run --join ") && line.ends_with(token)), "{printed}");
}

#[test]
fn tokens_and_the_authority_outlive_a_kill() {
    let host = listening();
    let before = JoinToken::parse(host.json(&["token", "create"])["text"].as_str().expect("a text")).expect("a token");
    let host = Host::start_in(host.kill(), &[&EMPTY[..], &["--join-listen", "127.0.0.1:0"]].concat());
    assert_eq!(host.json(&["token", "list"])[0]["id"], before.id.to_string());
    let after = JoinToken::parse(host.json(&["token", "create"])["text"].as_str().expect("a text")).expect("a token");
    assert_eq!(after.fingerprint, before.fingerprint);
}

#[test]
fn what_cannot_be_is_said_in_words() {
    let host = listening();
    let cases: [(&[&str], i32, &str); 7] = [
        (&["token", "revoke", "0123456789abcdef"], 1, "token `0123456789abcdef` does not exist, there are none"),
        (&["token", "revoke", "mine"], 1, "`mine` is no token id, which is 16 hexadecimal digits"),
        (&["token", "create", "--ttl", "0s"], 1, "ttl_ms is not understood: it is 0, it must be 1000 to 31536000000"),
        (&["token", "create", "--uses", "0"], 1, "uses is not understood: it is 0, it must be 1 to 100000"),
        (&["token", "create", "--roles", "arm"], 1, "role `arm` is not known, it must be one of head, body, tail"),
        (&["token", "create", "--ttl", "soon"], 2, "it must be a whole number and s, m, h or d"),
        (&["--url", "http://127.0.0.1:1", "token", "list"], 2, "leads to the HTTP door"),
    ];
    for (arguments, code, expected) in cases {
        let (found, said) = refused(&host, arguments);
        assert!(found == Some(code) && said.contains(expected), "{arguments:?}: {found:?} {said}");
    }
}

#[test]
fn a_host_whose_join_port_is_closed_creates_no_token() {
    let host = Host::start(&EMPTY);
    let (code, said) = refused(&host, &["token", "create"]);
    assert_eq!((code, said.trim()), (Some(1), "error: this host lets no devices join; start it with --join-listen"));
    assert_eq!(host.json(&["token", "list"]), serde_json::json!([]));
    assert!(!host.data().join("ca").exists());
}

#[test]
fn a_host_that_would_join_and_let_join_does_not_start_and_repeats_no_token() {
    let data = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_host")).args(["run", "--data"]).arg(data.path()).args(arguments).output().expect("it runs");
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = run(&["--join", "shed:23457", "--join-listen"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("join.central is shed:23457 and join.address is 127.0.0.1:23457; a host joins a central or lets devices join, not both"), "{said}");
    let (code, said) = run(&["--join", "shed:23457", "--token", "shj1.secretsecretsecret"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("it has 23 characters, a whole one has 85; its end is missing") && !said.contains("secretsecret"), "{said}");
}
