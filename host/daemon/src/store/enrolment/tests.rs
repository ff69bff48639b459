//! Tokens and devices on a real disk: who may enrol, how often, and what is left of a device that was removed.

use std::path::Path;

use super::*;
use crate::{config::StoreLimits, store::tokens::TokenState};

const NOW_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 3_600_000;

fn open(data: &Path) -> Store {
    Store::open(data, StoreLimits::default()).expect("opens")
}

fn token(number: u8, uses: u32) -> TokenRecord {
    TokenRecord {
        id: TokenId([number; 8]),
        secret_digest: TokenSecret([number; 16]).digest(),
        roles: Roles { head: false, body: true, tail: true },
        uses,
        uses_left: uses,
        created_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + HOUR_MS,
        revoked_at_ms: None,
    }
}

/// A device of this name with a key of this name, and the secret that belongs to the token.
fn enrolment(number: u8, device: &str, key: &str) -> Enrolment {
    Enrolment {
        token: TokenId([number; 8]),
        secret: TokenSecret([number; 16]),
        device: DeviceId::parse(device).expect("a name"),
        key: Digest::of(key.as_bytes()),
        serial: Serial::random().expect("random"),
        expires_at_ms: NOW_MS + 24 * HOUR_MS,
    }
}

fn refusal(outcome: Result<Roles, Error>) -> JoinRefusal {
    match outcome.expect_err("refused").fault() {
        crate::error::Fault::Join(refusal) => refusal.clone(),
        other => panic!("{other}"),
    }
}

fn uses_left(store: &Store) -> Vec<u32> {
    store.tokens().expect("read").iter().map(|token| token.uses_left).collect()
}

#[test]
fn each_thing_that_is_wrong_with_a_token_has_a_refusal_of_its_own_and_takes_no_use() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.create_token(token(1, 1)).expect("kept");
    store.create_token(TokenRecord { uses_left: 0, ..token(2, 3) }).expect("kept");
    store.create_token(token(3, 1)).expect("kept");
    store.revoke_token(TokenId([3; 8]), NOW_MS + 5).expect("revoked").expect("there");
    let wrong = Enrolment { secret: TokenSecret([9; 16]), ..enrolment(1, "pi", "k") };
    let late = NOW_MS + HOUR_MS;
    let id = |number| TokenId([number; 8]);
    let cases = [
        (enrolment(7, "pi", "k"), NOW_MS, JoinRefusal::UnknownToken { token: id(7) }),
        (wrong.clone(), NOW_MS, JoinRefusal::WrongSecret { token: id(1) }),
        (enrolment(1, "pi", "k"), late, JoinRefusal::TokenExpired { token: id(1), at_ms: late, now_ms: late }),
        (enrolment(2, "pi", "k"), NOW_MS, JoinRefusal::TokenUsedUp { token: id(2), uses: 3 }),
        (enrolment(3, "pi", "k"), NOW_MS, JoinRefusal::TokenRevoked { token: id(3), at_ms: NOW_MS + 5 }),
        // Whoever does not know the secret is not told that the time is over.
        (wrong, late, JoinRefusal::WrongSecret { token: id(1) }),
    ];
    for (enrolment, now_ms, expected) in cases {
        let found = refusal(store.enrol(enrolment, now_ms));
        assert!(found.is_about_token());
        assert_eq!(found, expected);
    }
    assert_eq!(uses_left(&store), [1, 0, 1]);
    assert_eq!(store.enrolled_devices().expect("read"), []);
    let states: Vec<TokenState> = store.tokens().expect("read").iter().map(|token| token.state(NOW_MS)).collect();
    assert_eq!(states, [TokenState::Valid, TokenState::UsedUp, TokenState::Revoked]);
    assert_eq!(token(1, 1).state(late), TokenState::Expired);
}

#[test]
fn of_many_that_race_for_the_last_use_one_gets_it() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.create_token(token(1, 2)).expect("kept");
    store.enrol(enrolment(1, "first", "first"), NOW_MS).expect("enrolled");
    let barrier = std::sync::Barrier::new(8);
    let race = |number: usize| {
        barrier.wait();
        let name = format!("device-{number}");
        store.enrol(enrolment(1, &name, &name), NOW_MS)
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let racing: Vec<_> = (0..8).map(|number| scope.spawn(move || race(number))).collect();
        racing.into_iter().map(|thread| thread.join().expect("it ends")).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    assert!(lost.into_iter().all(|outcome| refusal(outcome) == JoinRefusal::TokenUsedUp { token: TokenId([1; 8]), uses: 2 }));
    assert_eq!((uses_left(&store), store.enrolled_devices().expect("read").len()), (vec![0], 2));
}

#[test]
fn a_device_that_did_not_get_its_answer_may_ask_again() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.create_token(token(1, 1)).expect("kept");
    let roles = token(1, 1).roles;
    for _ in 0..3 {
        assert_eq!(store.enrol(enrolment(1, "pi", "k"), NOW_MS).expect("enrolled"), roles);
    }
    assert_eq!(uses_left(&store), [0]);
    // It is one device: the id with another key, or the key with another id, is somebody else.
    let (has, asks) = (Digest::of(b"k"), Digest::of(b"other"));
    let device = DeviceId::parse("pi").expect("a name");
    assert_eq!(refusal(store.enrol(enrolment(1, "pi", "other"), NOW_MS)), JoinRefusal::DeviceTaken { device, has, asks });
    assert_eq!(refusal(store.enrol(enrolment(1, "pi-2", "k"), NOW_MS)), JoinRefusal::TokenUsedUp { token: TokenId([1; 8]), uses: 1 });
}

#[test]
fn another_token_lets_the_same_device_in_again_with_what_people_said_of_it() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    let device = DeviceId::parse("pi").expect("a name");
    store.create_token(token(1, 1)).expect("kept");
    store.create_token(TokenRecord { roles: Roles::ALL, ..token(2, 1) }).expect("kept");
    store.enrol(enrolment(1, "pi", "k"), NOW_MS).expect("enrolled");
    let labels = BTreeMap::from([("rack".to_owned(), "b".to_owned())]);
    store.label_device(&device, &labels).expect("kept");
    store.restrain_device(&device, Restraint::Cordoned).expect("kept");
    store.enrol(enrolment(2, "pi", "k"), NOW_MS + 1).expect("enrolled");
    drop(store);
    let found = open(data.path()).enrolled_devices().expect("read");
    let expected = DeviceRecord {
        id: device,
        key: Digest::of(b"k"),
        token: TokenId([2; 8]),
        roles: Roles::ALL,
        labels,
        restraint: Restraint::Cordoned,
        enrolled_at_ms: NOW_MS + 1,
        removed_at_ms: None,
    };
    assert_eq!(found, [expected]);
}

#[test]
fn every_certificate_of_a_removed_device_is_revoked_until_it_ends() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.create_token(token(1, 3)).expect("kept");
    let first = enrolment(1, "pi", "k");
    store.enrol(first.clone(), NOW_MS).expect("enrolled");
    store.enrol(enrolment(1, "other", "o"), NOW_MS).expect("enrolled");
    let renewal = Renewal { device: first.device.clone(), key: first.key, serial: Serial::random().expect("random"), expires_at_ms: NOW_MS + 48 * HOUR_MS };
    assert_eq!(store.renew(renewal.clone(), NOW_MS + HOUR_MS).expect("renewed"), token(1, 1).roles);
    let mut both = vec![first.serial, renewal.serial];
    both.sort();
    let mut revoked = store.remove_device(&first.device, NOW_MS + 2 * HOUR_MS).expect("removed");
    revoked.sort();
    assert_eq!(revoked, both);
    drop(store);

    let store = open(data.path());
    let at = |hours: u64| store.revoked_certificates(NOW_MS + hours * HOUR_MS).expect("read");
    assert_eq!((at(2), at(24), at(48)), (both, vec![renewal.serial], Vec::new()));
    let gone = JoinRefusal::NotEnrolled { device: first.device.clone() };
    assert_eq!(refusal(store.renew(renewal, NOW_MS)), gone);
    let text = store.remove_device(&first.device, NOW_MS).expect_err("gone").to_string();
    assert_eq!(text, "device `pi` is not enrolled");
    assert!(store.restrain_device(&first.device, Restraint::Draining).is_err() && store.label_device(&first.device, &BTreeMap::new()).is_err());
}

#[test]
fn a_device_that_was_removed_may_enrol_again_and_starts_afresh() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.create_token(token(1, 2)).expect("kept");
    let first = enrolment(1, "pi", "k");
    store.enrol(first.clone(), NOW_MS).expect("enrolled");
    for restraint in [Restraint::Leaving, Restraint::Draining] {
        store.restrain_device(&first.device, restraint).expect("kept");
        assert_eq!(store.enrolled_device(&first.device).expect("read").map(|device| device.restraint), Some(restraint));
    }
    store.remove_device(&first.device, NOW_MS).expect("removed");
    assert_eq!(store.enrolled_device(&first.device).expect("read"), None);
    let again = enrolment(1, "pi", "another key");
    store.enrol(again.clone(), NOW_MS).expect("enrolled");
    let found = store.enrolled_devices().expect("read");
    assert_eq!((found[0].key, found[0].restraint, found[0].removed_at_ms), (again.key, Restraint::None, None));
    assert_eq!(store.revoked_certificates(NOW_MS).expect("read"), [first.serial]);
    assert_eq!(uses_left(&store), [0]);
}

#[test]
fn a_renewal_with_another_key_is_refused() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.create_token(token(1, 1)).expect("kept");
    let Enrolment { device, serial, .. } = enrolment(1, "pi", "k");
    store.enrol(enrolment(1, "pi", "k"), NOW_MS).expect("enrolled");
    let (has, asks) = (Digest::of(b"k"), Digest::of(b"stolen"));
    let renewal = Renewal { device: device.clone(), key: asks, serial, expires_at_ms: NOW_MS + HOUR_MS };
    let found = refusal(store.renew(renewal, NOW_MS));
    assert!(!found.is_about_token());
    assert_eq!(found, JoinRefusal::OtherKey { device, has, asks });
}

#[test]
fn a_token_is_forgotten_a_month_after_its_end() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.create_token(token(1, 1)).expect("kept");
    let month_ms = 30 * 24 * HOUR_MS;
    store.create_token(TokenRecord { created_at_ms: NOW_MS + HOUR_MS + month_ms, ..token(2, 1) }).expect("kept");
    assert_eq!(store.tokens().expect("read").len(), 2);
    store.create_token(TokenRecord { created_at_ms: NOW_MS + HOUR_MS + month_ms + 1, ..token(3, 1) }).expect("kept");
    let left: Vec<TokenId> = store.tokens().expect("read").iter().map(|token| token.id).collect();
    assert_eq!(left, [TokenId([3; 8])]);
}

#[test]
fn a_token_is_revoked_once_and_an_unknown_one_is_not_there() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.create_token(token(1, 1)).expect("kept");
    for now_ms in [NOW_MS + 1, NOW_MS + 2] {
        let revoked = store.revoke_token(TokenId([1; 8]), now_ms).expect("asked").expect("there");
        assert_eq!(revoked.revoked_at_ms, Some(NOW_MS + 1));
    }
    assert_eq!(store.revoke_token(TokenId([2; 8]), NOW_MS).expect("asked"), None);
}
