//! What lies on disk, who may read it, and what happens when it was damaged.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn an_authority_is_made_once_for_its_owner_alone() {
    let scene = Scene::new();
    let folder = scene.data.path().join("ca");
    assert_eq!((mode(&folder), mode(&folder.join("key.pem")), mode(&folder.join("certificate.pem"))), (0o700, 0o600, 0o600));
    let again = Authority::open(scene.data.path(), clock::unix_ms()).expect("read");
    assert_eq!((again.fingerprint(), again.certificate()), (scene.authority.fingerprint(), scene.authority.certificate()));
    assert_ne!(Scene::new().authority.fingerprint(), again.fingerprint());
    // What the one signed, the other stands by.
    let device = scene.device("pi");
    device.certificate().check_signed_by(again.certificate()).expect("the same authority");
}

#[test]
fn an_authority_that_was_half_made_is_made_anew() {
    let data = folder();
    fs::create_dir(data.path().join("ca.part")).expect("made");
    fs::write(data.path().join("ca.part/key.pem"), "half a k").expect("written");
    Authority::open(data.path(), clock::unix_ms()).expect("made");
    assert!(!data.path().join("ca.part").exists());
}

#[test]
fn a_damaged_authority_is_named_and_not_replaced() {
    let refused = |damage: fn(&Path)| {
        let scene = Scene::new();
        damage(&scene.data.path().join("ca"));
        Authority::open(scene.data.path(), clock::unix_ms()).expect_err("damaged").to_string().replace(&scene.data.path().display().to_string(), "DATA")
    };
    assert!(refused(|ca| fs::write(ca.join("key.pem"), "scribble").expect("written")).starts_with("`DATA/ca/key.pem` does not hold a private key"));
    assert!(refused(|ca| fs::remove_file(ca.join("key.pem")).expect("removed")).starts_with("cannot read `DATA/ca/key.pem`"));
    assert!(
        refused(|ca| fs::write(ca.join("certificate.pem"), "").expect("written"))
            .starts_with("`DATA/ca/certificate.pem` does not hold the certificate of an authority")
    );
    let two = |ca: &Path| fs::write(ca.join("certificate.pem"), fs::read_to_string(ca.join("certificate.pem")).expect("read").repeat(2)).expect("written");
    assert!(refused(two).starts_with("`DATA/ca/certificate.pem` does not hold the certificate of an authority"));
    let other = |ca: &Path| fs::copy(Scene::new().data.path().join("ca/key.pem"), ca.join("key.pem")).map(drop).expect("copied");
    assert_eq!(refused(other), "the certificate in `DATA/ca/certificate.pem` is not for the key in `DATA/ca/key.pem`; restore the two together");
}

#[test]
fn a_device_keeps_its_key_and_its_newest_certificate() {
    let (scene, data) = (Scene::new(), folder());
    let identity = IdentityFolder::open(data.path()).expect("made");
    assert!(identity.load().expect("sound").is_none());
    let now_ms = clock::unix_ms();
    let first = scene.enrol(&identity, "pi", Validity::from_now(now_ms, HOUR));
    let second = scene.enrol(&identity, "pi", Validity::from_now(now_ms, 2 * HOUR));
    assert_eq!(first.certificate().key_digest(), second.certificate().key_digest());
    let again = IdentityFolder::open(data.path()).expect("read");
    assert_eq!(again.key_digest(), identity.key_digest());
    let loaded = again.load().expect("sound").expect("kept");
    assert_eq!((loaded.certificate(), loaded.authority()), (second.certificate(), second.authority()));
    for file in ["identity/key.pem", "identity/certificate.pem"] {
        assert_eq!(mode(&data.path().join(file)), 0o600, "{file}");
    }
}

#[test]
fn an_identity_that_has_ended_is_still_known() {
    let (scene, data) = (Scene::new(), folder());
    let identity = IdentityFolder::open(data.path()).expect("made");
    scene.enrol(&identity, "pi", Validity { not_before_ms: 1_000_000_000, not_after_ms: 2_000_000_000 });
    let loaded = identity.load().expect("sound").expect("kept");
    assert!(loaded.certificate().needs_renewal(clock::unix_ms()));
}

#[test]
fn an_answer_that_does_not_fit_is_refused_and_what_was_kept_stays() {
    let (scene, others, data) = (Scene::new(), Scene::new(), folder());
    let identity = IdentityFolder::open(data.path()).expect("made");
    let kept = scene.enrol(&identity, "pi", Validity::from_now(clock::unix_ms(), HOUR));
    let (ours, theirs) = (scene.authority.certificate(), others.authority.certificate());
    let fingerprint = scene.authority.fingerprint();
    let foreign = scene.device("pi");
    let cases = [
        (identity.keep(&id("pi"), kept.certificate().der(), theirs, fingerprint), "was expected"),
        (identity.keep(&id("pi"), kept.certificate().der(), theirs, others.authority.fingerprint()), "is not signed by the authority beside it"),
        (identity.keep(&id("pi"), foreign.certificate().der(), ours, fingerprint), "is for another key than this device has"),
        (identity.keep(&id("other"), kept.certificate().der(), ours, fingerprint), "it names `pi`, this device is `other`"),
        (identity.keep(&id("pi"), b"scribble", ours, fingerprint), "the certificate is not one of a host"),
    ];
    for (answer, expected) in cases {
        let error = answer.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(identity.load().expect("sound").expect("kept").certificate(), kept.certificate());
    fs::remove_file(data.path().join("identity/key.pem")).expect("removed");
    let error = IdentityFolder::open(data.path()).expect("a new key").load().expect_err("not for this key").to_string();
    assert!(error.contains("identity/certificate.pem` is not for the key in"), "{error}");
}
