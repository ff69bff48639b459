//! A renewed identity shows in the next handshake, and what a central says against a certificate is understood.

use std::{io, sync::Arc};

use rustls::{AlertDescription, ClientConfig, ClientConnection, Connection, Error as TlsError, ServerConfig, ServerConnection};

use super::*;

const TWO_HOURS_MS: u64 = 7_200_000;

fn badge(identity: &Identity, callers: Callers) -> Badge {
    Badge::new(identity, callers, Revoked::default()).expect("sound settings")
}

/// What the server ends with, and then what the client reads.
fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, expected: &Subject) -> (Result<(), TlsError>, Result<(), TlsError>) {
    let mut client = Connection::from(ClientConnection::new(client.clone(), expected.server_name()).expect("sound settings"));
    let mut server = Connection::from(ServerConnection::new(server.clone()).expect("sound settings"));
    let mut outcomes = (Ok(()), Ok(()));
    while client.wants_write() || server.wants_write() {
        let heard = carry(&mut client, &mut server);
        outcomes.0 = outcomes.0.and(heard);
        let heard = carry(&mut server, &mut client);
        outcomes.1 = outcomes.1.and(heard);
    }
    outcomes
}

fn alert(outcome: Result<(), TlsError>) -> Option<Verdict> {
    Verdict::of_alert(&io::Error::new(io::ErrorKind::InvalidData, outcome.expect_err("turned away")))
}

#[test]
fn a_renewed_device_gets_in_again_and_lets_others_in_again() {
    let scene = Scene::new();
    let central = badge(&scene.central(), Callers::KnownAndStrangers);
    let ended = scene.device_until("pi", Validity::from_now(clock::unix_ms() - TWO_HOURS_MS, HOUR));
    let device = badge(&ended, Callers::Known);
    let pi = subject("pi");
    assert!(shake(&central.server(), &device.client(), &Subject::Central).0.is_err());
    assert!(shake(&device.server(), &central.client(), &pi).1.is_err());
    let (handle, renewed) = (device.clone(), scene.device("pi"));
    handle.renew(&renewed).expect("sound settings");
    assert_eq!(device.certificate(), *renewed.certificate());
    assert_eq!(device.authority(), scene.authority.fingerprint());
    assert_eq!(shake(&central.server(), &device.client(), &Subject::Central), (Ok(()), Ok(())));
    assert_eq!(shake(&device.server(), &central.client(), &pi), (Ok(()), Ok(())));
}

#[test]
fn a_renewed_central_keeps_to_whom_it_lets_in() {
    let scene = Scene::new();
    let (revoked, device) = (Revoked::default(), scene.device("pi"));
    let central = Badge::new(&scene.central(), Callers::KnownAndStrangers, revoked.clone()).expect("sound settings");
    revoked.add(&[device.certificate().serial()]);
    let before = central.certificate().serial();
    central.renew(&scene.central()).expect("sound settings");
    assert_ne!(central.certificate().serial(), before);
    assert!(shake(&central.server(), &badge(&device, Callers::Known).client(), &Subject::Central).0.is_err());
    let stranger = enrolment_client_config(scene.authority.fingerprint()).expect("sound settings");
    assert_eq!(shake(&central.server(), &stranger, &Subject::Central), (Ok(()), Ok(())));
}

#[test]
fn a_device_learns_why_its_certificate_does_not_count_any_more() {
    let (scene, others) = (Scene::new(), Scene::new());
    let (revoked, device) = (Revoked::default(), scene.device("pi"));
    let central = Badge::new(&scene.central(), Callers::KnownAndStrangers, revoked.clone()).expect("sound settings");
    let client = badge(&device, Callers::Known);
    assert_eq!(shake(&central.server(), &client.client(), &Subject::Central), (Ok(()), Ok(())));
    revoked.add(&[device.certificate().serial()]);
    assert_eq!(alert(shake(&central.server(), &client.client(), &Subject::Central).1), Some(Verdict::Revoked));

    let ended = scene.device_until("pi", Validity::from_now(clock::unix_ms() - TWO_HOURS_MS, HOUR));
    assert_eq!(alert(shake(&central.server(), &badge(&ended, Callers::Known).client(), &Subject::Central).1), Some(Verdict::Ended));

    // The device is the first to see that the authority is another one.
    let (heard, seen) = shake(&central.server(), &badge(&others.device("pi"), Callers::Known).client(), &Subject::Central);
    let seen = io::Error::new(io::ErrorKind::InvalidData, seen.expect_err("refused"));
    assert_eq!((Verdict::of_proof(&seen), Verdict::of_alert(&seen)), (Some(Verdict::OtherAuthority), None));
    assert_eq!(heard, Err(TlsError::AlertReceived(AlertDescription::UnknownCA)));
}

#[test]
fn an_error_of_the_network_is_no_verdict() {
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!((Verdict::of_alert(&reset), Verdict::of_proof(&reset)), (None, None));
    let refused = io::Error::new(io::ErrorKind::InvalidData, TlsError::AlertReceived(AlertDescription::HandshakeFailure));
    assert_eq!((Verdict::of_alert(&refused), Verdict::of_proof(&refused)), (None, None));
}
