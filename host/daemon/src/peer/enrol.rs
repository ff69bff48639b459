//! How a device gets its identity: the one that it kept, or one that it gets for a token, the first time or when the one before does
//! not count any more.

use std::time::Duration;

use host_core::ids::DeviceId;
use host_wire::{join::JoinToken, peer::pb};
use tonic::{Code, Status};

use super::{
    dial::{Dialer, Lane},
    rpc::{enrolment_client::EnrolmentClient, peer_client::PeerClient},
    simulated::Network,
};
use crate::{
    clock,
    config::Config,
    error::{Error, Fault},
    pki::{Badge, Callers, Certificate, Identity, IdentityFolder, Revoked, Subject, Verdict, enrolment_client_config},
};

/// How long connecting and enrolling may take.
const ENROL_MAX: Duration = Duration::from_secs(30);
/// How long asking may take whether a certificate still counts. A central that is not there then will say so later.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Why a device did not get a certificate.
#[derive(Debug)]
pub enum NotEnrolled {
    /// The central has said no, or there is nothing to ask it with. Asking again changes nothing.
    Refused(Error),
    /// The central could not be asked now.
    Away(Error),
}

/// A certificate that does not count any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lapsed {
    /// Whose it was.
    pub device: Option<DeviceId>,
    /// Why it does not count; a sentence without its end.
    pub why: String,
}

impl From<Error> for NotEnrolled {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<NotEnrolled> for Error {
    fn from(failure: NotEnrolled) -> Self {
        match failure {
            NotEnrolled::Refused(error) | NotEnrolled::Away(error) => error,
        }
    }
}

/// The identity of this host as a device of the central at this address.
pub async fn identity(config: &Config, folder: &IdentityFolder, network: &Network, central: &str) -> Result<Identity, Error> {
    let Some(kept) = folder.load()? else {
        return Ok(anew(config, folder, network, central, None).await?);
    };
    match lapsed(config, &kept, network, central).await? {
        None => Ok(kept),
        Some(lapsed) => Ok(anew(config, folder, network, central, Some(&lapsed)).await?),
    }
}

/// An identity for the token of the config, which takes the place of one that has lapsed, if there was one.
pub async fn anew(config: &Config, folder: &IdentityFolder, network: &Network, central: &str, lapsed: Option<&Lapsed>) -> Result<Identity, NotEnrolled> {
    let fault = |reason: String| Error::from(Fault::Enrol { central: central.to_owned(), reason });
    let Some(token) = config.join.token.as_ref() else {
        let why = lapsed.map_or("this host has not joined it yet", |lapsed| lapsed.why.as_str());
        return Err(fault(format!("{why}, and no token is given; `host token create` on the central makes one, for --token here")).into());
    };
    let device = match config.join.device_id.as_ref().or(lapsed.and_then(|lapsed| lapsed.device.as_ref())) {
        Some(id) => id.clone(),
        None => DeviceId::parse(&format!("device-{}", &folder.key_digest().to_string()[..8])).map_err(Error::from)?,
    };
    let answered = tokio::time::timeout(ENROL_MAX, ask(token, folder, network, central, &device)).await;
    let late = |_| NotEnrolled::Away(fault("it did not answer in time".to_owned()));
    let answer = answered.map_err(late)?.map_err(|asked| match asked {
        Asked::Not(error) => NotEnrolled::Refused(error),
        Asked::Answered(status) => {
            let before = lapsed.map_or_else(String::new, |lapsed| format!("{}, and there is no other one: ", lapsed.why));
            let error = fault(format!("{before}{}", described(&status)));
            if is_final(status.code()) { NotEnrolled::Refused(error) } else { NotEnrolled::Away(error) }
        }
    })?;
    let [certificate, authority] = answer.chain.as_slice() else {
        return Err(fault(format!("it sent {} certificates, there must be 2", answer.chain.len())).into());
    };
    Ok(folder.keep(&device, certificate, authority, token.fingerprint)?)
}

/// Why there is no certificate.
enum Asked {
    /// The central was not even asked.
    Not(Error),
    /// The central, or the way to it, has said no.
    Answered(Status),
}

async fn ask(token: &JoinToken, folder: &IdentityFolder, network: &Network, central: &str, device: &DeviceId) -> Result<pb::Certificate, Asked> {
    let tls = enrolment_client_config(token.fingerprint).map_err(Asked::Not)?;
    let channel = Dialer::stranger(tls, ENROL_MAX, ENROL_MAX).over(network.clone()).channel(central, &Subject::Central, Lane::Latency);
    let request = pb::EnrolRequest {
        token: token.id.0.to_vec(),
        secret: token.secret.0.to_vec(),
        signing_request: folder.signing_request(device).map_err(Asked::Not)?,
        device: device.to_string(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let answer = EnrolmentClient::new(channel).enrol(request).await.map_err(Asked::Answered)?;
    Ok(answer.into_inner())
}

/// Whether another try would get the same answer.
fn is_final(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::AlreadyExists | Code::OutOfRange)
}

/// Why the identity that was kept cannot be used, if it cannot.
async fn lapsed(config: &Config, kept: &Identity, network: &Network, central: &str) -> Result<Option<Lapsed>, Error> {
    let certificate = kept.certificate();
    let device = match certificate.subject() {
        Subject::Device(id) => Some(id.clone()),
        Subject::Central => None,
    };
    let why = match (&config.join.device_id, &device) {
        (Some(asked), Some(is)) if asked != is => Some(format!("the certificate that was kept is that of device {is}, and this one shall be {asked}")),
        _ if certificate.expires_ms() <= clock::unix_ms() => Some(ended(certificate)),
        _ => verdict(kept, network, central).await?.map(|verdict| verdict.to_string()),
    };
    Ok(why.map(|why| Lapsed { device, why }))
}

/// Since when a certificate does not count any more, in words.
pub(super) fn ended(certificate: &Certificate) -> String {
    match clock::unix_ms().checked_sub(certificate.expires_ms()) {
        Some(since_ms) => format!("the certificate of this device ended {} s ago", since_ms / 1_000),
        None => format!("{}, by the central's clock and not by this one's", Verdict::Ended),
    }
}

/// What the central says against a certificate; nothing where it cannot be asked now.
async fn verdict(kept: &Identity, network: &Network, central: &str) -> Result<Option<Verdict>, Error> {
    let dialer = Dialer::new(Badge::new(kept, Callers::Known, Revoked::default())?, ASK_MAX, ASK_MAX).over(network.clone());
    let mut client = PeerClient::new(dialer.channel(central, &Subject::Central, Lane::Latency));
    let asked = tokio::time::timeout(ASK_MAX, client.echo(pb::EchoRequest::default())).await;
    Ok(dialer.take_verdict().filter(|_| !matches!(asked, Ok(Ok(_)))))
}

/// A status with what caused it: a connection that fails says why only there.
pub(super) fn described(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
