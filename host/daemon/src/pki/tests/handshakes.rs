//! Who gets through a handshake, and who is turned away by whom.

use std::sync::Arc;

use host_wire::join::Fingerprint;
use rustls::{CertificateError, ClientConfig, ClientConnection, Connection, Error as TlsError, ProtocolVersion, ServerConfig, ServerConnection};

use super::{
    super::{
        handshake::{client_config, server_config},
        subject::CENTRAL,
    },
    *,
};

/// What the server knows of its caller, or the first error of either side.
fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, expected: &Subject) -> Result<Option<Subject>, TlsError> {
    let mut client = Connection::from(ClientConnection::new(client.clone(), expected.server_name()).expect("sound settings"));
    let mut server = Connection::from(ServerConnection::new(server.clone()).expect("sound settings"));
    while client.wants_write() || server.wants_write() {
        carry(&mut client, &mut server)?;
        carry(&mut server, &mut client)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking(), "the handshake stood still");
    for side in [&client, &server] {
        assert_eq!((side.protocol_version(), side.alpn_protocol()), (Some(ProtocolVersion::TLSv1_3), Some(&b"h2"[..])));
    }
    let caller = Certificate::of_peer(server.peer_certificates()).expect("it was read in the handshake");
    Ok(caller.map(|certificate| certificate.subject().clone()))
}

fn serving(identity: &Identity, callers: Callers) -> Arc<ServerConfig> {
    server_config(identity, callers, &Revoked::default()).expect("sound settings")
}

fn calling(identity: &Identity) -> Arc<ClientConfig> {
    client_config(identity).expect("sound settings")
}

fn enrolling(fingerprint: Fingerprint) -> Arc<ClientConfig> {
    enrolment_client_config(fingerprint).expect("sound settings")
}

#[test]
fn a_device_and_the_central_prove_themselves_to_each_other() {
    let scene = Scene::new();
    let (central, device) = (scene.central(), scene.device("pi-4"));
    for callers in [Callers::Known, Callers::KnownAndStrangers] {
        assert_eq!(shake(&serving(&central, callers), &calling(&device), &Subject::Central), Ok(Some(subject("pi-4"))));
    }
    assert_eq!(shake(&serving(&device, Callers::Known), &calling(&central), &subject("pi-4")), Ok(Some(Subject::Central)));
}

#[test]
fn a_stranger_reaches_the_central_by_its_fingerprint_and_no_host_that_takes_known_callers_only() {
    let scene = Scene::new();
    let (central, stranger) = (scene.central(), enrolling(scene.authority.fingerprint()));
    assert_eq!(shake(&serving(&central, Callers::KnownAndStrangers), &stranger, &Subject::Central), Ok(None));
    assert_eq!(shake(&serving(&central, Callers::Known), &stranger, &Subject::Central), Err(TlsError::NoCertificatesPresented));
}

#[test]
fn hosts_of_another_authority_are_refused_by_both_sides() {
    let (ours, theirs) = (Scene::new(), Scene::new());
    let unknown = Err(TlsError::InvalidCertificate(CertificateError::UnknownIssuer));
    // The client proves the server first, so a caller of theirs that trusts anything is made of their client and our authority.
    let intruder = ours_trusted_by(&theirs.device("pi"), &ours);
    assert_eq!(shake(&serving(&ours.central(), Callers::KnownAndStrangers), &intruder, &Subject::Central), unknown);
    assert_eq!(shake(&serving(&theirs.central(), Callers::KnownAndStrangers), &calling(&ours.device("pi")), &Subject::Central), unknown);
}

/// A client that shows one authority's certificate and trusts another.
fn ours_trusted_by(device: &Identity, scene: &Scene) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(scene.authority.certificate().clone()).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(handshake::provider()).with_protocol_versions(&[&rustls::version::TLS13]).expect("known");
    let mut config = builder.with_root_certificates(roots).with_client_auth_cert(device.chain(), device.key()).expect("sound");
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[test]
fn a_central_with_another_fingerprint_is_refused_with_both() {
    let (ours, theirs) = (Scene::new(), Scene::new());
    let expected = ours.authority.fingerprint();
    let error = shake(&serving(&theirs.central(), Callers::KnownAndStrangers), &enrolling(expected), &Subject::Central).expect_err("refused");
    let words = format!("the authority's certificate has fingerprint {}, {expected} was expected", theirs.authority.fingerprint());
    assert_eq!(explain_handshake(&error), words);
    assert_eq!(explain_handshake(&std::io::Error::new(std::io::ErrorKind::InvalidData, error)), words);
    assert_eq!(explain_handshake(&TlsError::HandshakeNotComplete), TlsError::HandshakeNotComplete.to_string());
}

#[test]
fn the_right_authority_beside_a_certificate_that_it_did_not_sign_proves_nothing() {
    let (ours, theirs) = (Scene::new(), Scene::new());
    let central = theirs.central();
    let key = rcgen::KeyPair::try_from(central.key().secret_der()).expect("a key");
    let forged = Identity::new(&key, central.certificate().clone(), ours.authority.certificate().clone());
    let refused = shake(&serving(&forged, Callers::KnownAndStrangers), &enrolling(ours.authority.fingerprint()), &Subject::Central);
    assert_eq!(refused, Err(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)));
}

#[test]
fn a_device_that_pretends_to_be_the_central_or_another_device_is_refused() {
    let scene = Scene::new();
    let (device, other) = (scene.device("pi"), scene.device("other"));
    let server = serving(&device, Callers::KnownAndStrangers);
    for (client, expected) in [
        (calling(&other), Subject::Central),
        (calling(&other), subject("third")),
        (enrolling(scene.authority.fingerprint()), Subject::Central),
        // Whatever name the connection is opened with, a stranger talks to the central only.
        (enrolling(scene.authority.fingerprint()), subject("pi")),
    ] {
        let refused = shake(&server, &client, &expected);
        let wrong_name = |error: &TlsError| matches!(error, TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { .. }));
        assert!(refused.as_ref().is_err_and(wrong_name), "{expected}: {refused:?}");
    }
    assert_eq!(shake(&server, &calling(&other), &subject("pi")), Ok(Some(subject("other"))));
}

#[test]
fn a_certificate_that_has_ended_is_refused_by_both_sides() {
    let scene = Scene::new();
    let ended = scene.device_until("pi", Validity::from_now(clock::unix_ms() - 7_200_000, HOUR));
    let expired = |outcome: Result<_, TlsError>| matches!(outcome, Err(TlsError::InvalidCertificate(CertificateError::ExpiredContext { .. })));
    assert!(expired(shake(&serving(&scene.central(), Callers::KnownAndStrangers), &calling(&ended), &Subject::Central)));
    assert!(expired(shake(&serving(&ended, Callers::Known), &calling(&scene.central()), &subject("pi"))));
}

#[test]
fn a_certificate_that_is_revoked_is_refused_from_then_on_also_on_a_session_that_could_be_resumed() {
    let scene = Scene::new();
    let (one, two) = (scene.device("one"), scene.device("two"));
    let revoked = Revoked::default();
    let server = server_config(&scene.central(), Callers::KnownAndStrangers, &revoked).expect("sound settings");
    let client = calling(&one);
    assert_eq!(shake(&server, &client, &Subject::Central), Ok(Some(subject("one"))));
    revoked.add(&[one.certificate().serial()]);
    assert_eq!(shake(&server, &client, &Subject::Central), Err(TlsError::InvalidCertificate(CertificateError::Revoked)));
    assert_eq!(shake(&server, &calling(&two), &Subject::Central), Ok(Some(subject("two"))));
}

#[test]
fn a_device_whose_certificate_is_revoked_is_told_so() {
    let scene = Scene::new();
    let (device, revoked) = (scene.device("pi"), Revoked::default());
    revoked.add(&[device.certificate().serial()]);
    let server = server_config(&scene.central(), Callers::KnownAndStrangers, &revoked).expect("sound settings");
    let mut client = Connection::from(ClientConnection::new(calling(&device), Subject::Central.server_name()).expect("sound settings"));
    let mut server = Connection::from(ServerConnection::new(server).expect("sound settings"));
    carry(&mut client, &mut server).expect("it begins");
    carry(&mut server, &mut client).expect("the central proves itself");
    carry(&mut client, &mut server).expect_err("the central refuses what it is shown");
    assert!(!client.is_handshaking(), "for the device the handshake is over");
    let told = carry(&mut server, &mut client).expect_err("it hears why");
    assert_eq!(Verdict::of_alert(&std::io::Error::new(std::io::ErrorKind::InvalidData, told)), Some(Verdict::Revoked));
    let others = [std::io::Error::other("cut"), std::io::Error::new(std::io::ErrorKind::InvalidData, TlsError::HandshakeNotComplete)];
    assert!(others.iter().all(|other| Verdict::of_alert(other).is_none()));
}

#[test]
fn a_device_signs_for_nobody() {
    let (scene, data) = (Scene::new(), folder());
    let identity = IdentityFolder::open(data.path()).expect("made");
    let device = scene.enrol(&identity, "pi", Validity::from_now(clock::unix_ms(), HOUR));
    let key = rcgen::KeyPair::try_from(device.key().secret_der()).expect("a key");
    let mut issuer = rcgen::CertificateParams::default();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(rcgen::DnType::CommonName, "pi");
    let mut forged = rcgen::CertificateParams::new(vec![Subject::Central.dns_name()]).expect("a name");
    forged.distinguished_name = rcgen::DistinguishedName::new();
    forged.distinguished_name.push(rcgen::DnType::CommonName, CENTRAL);
    forged.serial_number = Some(rcgen::SerialNumber::from_slice(&Serial::random().expect("random").bytes()));
    let (own, issuer) = (rcgen::KeyPair::generate().expect("made"), rcgen::Issuer::new(issuer, key));
    let certificate = Certificate::read(forged.signed_by(&own, &issuer).expect("signed").der()).expect("it looks like one");
    // It comes with the certificate of its signer.
    let intruder = Identity::new(&own, certificate, device.certificate().der().clone());
    let refused = shake(&serving(&intruder, Callers::KnownAndStrangers), &calling(&scene.device("other")), &Subject::Central);
    assert!(matches!(refused, Err(TlsError::InvalidCertificate(_))), "{refused:?}");
}
