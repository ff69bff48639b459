//! Keys and certificates on a real disk, and real TLS handshakes in memory.

mod badges;
mod files;
mod handshakes;
mod requests;

use std::time::Duration;

use host_core::ids::DeviceId;
use rustls::{Connection, Error as TlsError};
use tempfile::TempDir;

use super::*;
use crate::clock;

const HOUR: Duration = Duration::from_secs(3_600);

/// An authority with a data directory of its own.
struct Scene {
    data: TempDir,
    authority: Authority,
}

impl Scene {
    fn new() -> Self {
        let data = folder();
        let authority = Authority::open(data.path(), clock::unix_ms()).expect("made");
        Self { data, authority }
    }

    fn central(&self) -> Identity {
        self.authority.central_identity(Validity::from_now(clock::unix_ms(), HOUR)).expect("signed")
    }

    /// A device that enrolled just now.
    fn device(&self, name: &str) -> Identity {
        self.device_until(name, Validity::from_now(clock::unix_ms(), HOUR))
    }

    fn device_until(&self, name: &str, validity: Validity) -> Identity {
        let data = folder();
        let folder = IdentityFolder::open(data.path()).expect("made");
        self.enrol(&folder, name, validity)
    }

    fn enrol(&self, folder: &IdentityFolder, name: &str, validity: Validity) -> Identity {
        let device = id(name);
        let request = SigningRequest::read(&folder.signing_request(&device).expect("made")).expect("sound");
        assert_eq!(request.key_digest(), folder.key_digest());
        let certificate = self.authority.sign(&request, &device, Serial::random().expect("random"), validity).expect("signed");
        folder.keep(&device, certificate.der(), self.authority.certificate(), self.authority.fingerprint()).expect("kept")
    }
}

/// Hands on everything that one side of a connection has to say; the other's error.
fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), TlsError> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("memory takes everything");
    }
    let mut rest = &wire[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("memory gives everything");
        to.process_new_packets()?;
    }
    Ok(())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn id(name: &str) -> DeviceId {
    DeviceId::parse(name).expect("a name")
}

fn subject(name: &str) -> Subject {
    Subject::device(&id(name)).expect("not the central")
}

#[test]
fn every_subject_has_a_dns_name_of_its_own() {
    let longest = "x".repeat(64);
    let names = ["central.x", "pi-4", "Pi-4", "a_b.c", "central-", &longest];
    let mut found: Vec<String> = names.iter().map(|name| subject(name).dns_name()).chain([Subject::Central.dns_name()]).collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), names.len() + 1, "{found:?}");
    assert!(names.iter().all(|name| subject(name).server_name().to_str().ends_with(".device.shardhost")));
    for name in ["central", "Central"] {
        let error = Subject::device(&id(name)).expect_err("kept for the central").to_string();
        assert_eq!(error, format!("device id `{name}` is the central's, choose another"));
    }
}

#[test]
fn a_serial_reads_back_what_it_prints_and_no_two_are_equal() {
    let (one, two) = (Serial::random().expect("random"), Serial::random().expect("random"));
    assert_ne!(one, two);
    assert_eq!(Serial::parse(&one.to_string()), Some(one));
    for text in ["", "0123456789abcdef0123456789abcdef", "c0000000000000000000000000000000", "+0000000000000000000000000000000", "4000"] {
        assert_eq!(Serial::parse(text), None, "{text}");
    }
}

#[test]
fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
    let scene = Scene::new();
    let (start, end) = (1_000_000_000_000, 1_000_000_900_000);
    let certificate = scene.device_until("pi", Validity { not_before_ms: start, not_after_ms: end }).certificate().clone();
    assert_eq!((certificate.expires_ms(), certificate.renewal_ms()), (end, start + 600_000));
    for (now_ms, needs) in [(0, false), (start + 599_999, false), (start + 600_000, true), (end + 1, true)] {
        assert_eq!(certificate.needs_renewal(now_ms), needs, "at {now_ms}");
    }
}

#[test]
fn a_certificate_is_good_from_a_little_before_it_was_made_and_needs_no_renewal_then() {
    let now_ms = 1_000_000_000_000;
    // Life and how long before, in seconds.
    for (life_s, before_s) in [(10, 1), (600, 60), (3_000, 300), (30 * 24 * 3_600, 300)] {
        let validity = Validity::from_now(now_ms, Duration::from_secs(life_s));
        assert_eq!(validity, Validity { not_before_ms: now_ms - before_s * 1_000, not_after_ms: now_ms + life_s * 1_000 });
        let certificate = Scene::new().device_until("pi", validity).certificate().clone();
        assert!(certificate.renewal_ms() > now_ms + life_s * 600 && certificate.renewal_ms() < now_ms + life_s * 700, "a life of {life_s} s");
    }
}
