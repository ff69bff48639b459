//! What a signing request can and cannot bring about.

use host_wire::der;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType};

use super::*;

/// 1.3.6.1.5.5.7.3.1 to 3.
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];

/// A request for everything that nobody should get.
fn greedy(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["central.shardhost".to_owned(), "bank.example.org".to_owned(), "10.0.0.1".to_owned()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, "central");
    params.distinguished_name.push(DnType::OrganizationName, "somebody");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.subject_alt_names.push(SanType::DnsName("x.device.shardhost".try_into().expect("a name")));
    params.serialize_request(key).expect("made").der().to_vec()
}

fn sign(scene: &Scene, request: &[u8]) -> Result<Certificate, crate::error::Error> {
    let request = SigningRequest::read(request)?;
    scene.authority.sign(&request, &id("pi"), Serial::random().expect("random"), Validity::from_now(clock::unix_ms(), HOUR))
}

#[test]
fn names_and_usages_are_ours_whatever_the_request_asks_for() {
    let (scene, key) = (Scene::new(), KeyPair::generate().expect("made"));
    let before_ms = clock::unix_ms();
    let certificate = sign(&scene, &greedy(&key)).expect("its key is sound");
    assert_eq!(*certificate.subject(), subject("pi"));
    let der = certificate.der();
    for ours in [&subject("pi").dns_name().into_bytes()[..], SERVER_AUTH, CLIENT_AUTH] {
        assert_eq!(times(der, ours), 1, "{ours:x?}");
    }
    for theirs in [&b"central"[..], b"somebody", b"bank.example.org", b"x.device", CODE_SIGNING] {
        assert_eq!(times(der, theirs), 0, "{theirs:x?}");
    }
    let read = der::certificate(der).expect("sound");
    assert_eq!((read.common_name(), read.serial), (Some("pi"), &certificate.serial().bytes()[..]));
    let early_ms = before_ms - read.not_before_ms;
    assert!((240_000..=300_999).contains(&early_ms), "{early_ms} ms before it was made");
}

fn times(der: &[u8], part: &[u8]) -> usize {
    der.windows(part.len()).filter(|window| *window == part).count()
}

#[test]
fn no_certificate_outlives_the_authority() {
    let (scene, key) = (Scene::new(), KeyPair::generate().expect("made"));
    let request = SigningRequest::read(&greedy(&key)).expect("its key is sound");
    let for_ever = Validity { not_before_ms: 0, not_after_ms: u64::MAX };
    let certificate = scene.authority.sign(&request, &id("pi"), Serial::random().expect("random"), for_ever).expect("signed");
    let authority = der::certificate(scene.authority.certificate()).expect("sound");
    assert_eq!(certificate.expires_ms(), authority.not_after_ms);
}

#[test]
fn the_authority_signs_nobody_as_the_central_and_no_two_serials_are_alike() {
    let (scene, key) = (Scene::new(), KeyPair::generate().expect("made"));
    let request = SigningRequest::read(&greedy(&key)).expect("its key is sound");
    let validity = Validity::from_now(clock::unix_ms(), HOUR);
    let error = scene.authority.sign(&request, &id("central"), Serial::random().expect("random"), validity).expect_err("refused").to_string();
    assert_eq!(error, "device id `central` is the central's, choose another");
    let serials = [sign(&scene, &greedy(&key)), sign(&scene, &greedy(&key))].map(|signed| signed.expect("signed").serial());
    assert_ne!(serials[0], serials[1]);
}

#[test]
fn a_request_with_any_byte_changed_is_refused() {
    let (scene, key) = (Scene::new(), KeyPair::generate().expect("made"));
    let sound = greedy(&key);
    for index in 0..sound.len() {
        let mut changed = sound.clone();
        changed[index] ^= 0x15;
        assert!(sign(&scene, &changed).is_err(), "byte {index}");
    }
    for length in 0..sound.len() {
        assert!(sign(&scene, &sound[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_request_that_proves_no_key_of_the_right_kind_is_refused_in_words() {
    let request = |algorithm| greedy(&KeyPair::generate_for(algorithm).expect("made"));
    let mut stolen = greedy(&KeyPair::generate().expect("made"));
    let last = stolen.len() - 1;
    stolen[last] ^= 1;
    let cases = [
        (Vec::new(), "the signing request is refused: it is no PKCS#10 request in DER"),
        (b"GET / HTTP/1.1".to_vec(), "the signing request is refused: it is no PKCS#10 request in DER"),
        (stolen, "the signing request is refused: its signature is not by the key in it"),
        (request(&PKCS_ECDSA_P384_SHA384), "the signing request is refused: it is not one of ECDSA on P-256 with SHA-256"),
        (request(&PKCS_ED25519), "the signing request is refused: it is not one of ECDSA on P-256 with SHA-256"),
        (vec![0; 4_097], "the signing request has 4097 bytes, at most 4096 are accepted"),
    ];
    for (der, expected) in cases {
        assert_eq!(SigningRequest::read(&der).expect_err(expected).to_string(), expected);
    }
}

#[test]
fn a_certificate_whose_names_do_not_agree_is_nobodys() {
    let key = KeyPair::generate().expect("made");
    let good = subject("pi").dns_name();
    let cases: [(&str, &[&str], &str); 6] = [
        ("pi", &[], "`pi` must have the one DNS name"),
        ("pi", &["other.device.shardhost"], "it has `other.device.shardhost`"),
        ("pi", &[&good, "central.shardhost"], "it has none or several"),
        ("pi", &["10.0.0.1"], "it has none or several"),
        ("central", &[&good], "`central` must have the one DNS name `central.shardhost`"),
        ("a b", &[&good], "device name `a b` may hold letters"),
    ];
    for (common_name, names, expected) in cases {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&Serial::random().expect("random").bytes()));
        let error = Certificate::read(params.self_signed(&key).expect("made").der()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    for text in [&b""[..], b"scribble", &[0x30, 0x80, 0, 0]] {
        assert_eq!(Certificate::read(text).expect_err("no certificate").to_string(), "the certificate is not one of a host: it is not X.509 in DER");
    }
}

#[test]
fn a_certificate_that_was_cut_off_or_changed_is_read_as_what_it_is_or_not_at_all() {
    let scene = Scene::new();
    let sound = scene.device("pi").certificate().clone();
    for length in 0..sound.der().len() {
        assert!(Certificate::read(&sound.der()[..length]).is_err(), "{length} bytes");
    }
    for index in 0..sound.der().len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = sound.der().to_vec();
            changed[index] ^= change;
            let read = Certificate::read(&changed);
            assert!(read.is_err() || read.is_ok_and(|read| read.check_signed_by(scene.authority.certificate()).is_err()), "byte {index}");
        }
    }
}
