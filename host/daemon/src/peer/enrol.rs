//! How a device gets its identity: the one that it kept, or with a token the first one.

use std::time::Duration;

use host_core::ids::DeviceId;
use host_wire::peer::pb;

use super::{
    dial::{Dialer, Lane},
    rpc::enrolment_client::EnrolmentClient,
    simulated::Network,
};
use crate::{
    clock,
    config::Config,
    error::{Error, Fault},
    pki::{Identity, IdentityFolder, Subject, client_config, enrolment_client_config},
};

/// How long connecting and enrolling may take.
const ENROL_MAX: Duration = Duration::from_secs(30);
/// How long opening a connection may take that only asks whether this host may still come.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The identity of this host as a device of a central.
pub async fn identity(config: &Config, folder: &IdentityFolder, network: &Network, central: &str) -> Result<Identity, Error> {
    let kept = folder.load()?;
    let id = kept.as_ref().and_then(own_id);
    let mut lacks = "this host has not joined it yet";
    if let Some(identity) = kept.filter(|identity| identity.certificate().expires_ms() > clock::unix_ms()) {
        if !is_revoked(&identity, network, central).await? {
            return Ok(identity);
        }
        lacks = "somebody removed this host there";
    }
    let fault = |reason: String| Error::from(Fault::Enrol { central: central.to_owned(), reason });
    let token = config.join.token.as_ref().ok_or_else(|| fault(format!("{lacks}, and no token is given; `host token create` makes one")))?;
    let device = match config.join.device_id.clone().or(id) {
        Some(id) => id,
        None => DeviceId::parse(&format!("device-{}", &folder.key_digest().to_string()[..8]))?,
    };
    let dialer = Dialer::new(enrolment_client_config(token.fingerprint)?, ENROL_MAX, ENROL_MAX).over(network.clone());
    let channel = dialer.channel(central, &Subject::Central, Lane::Latency);
    let request = pb::EnrolRequest {
        token: token.id.0.to_vec(),
        secret: token.secret.0.to_vec(),
        signing_request: folder.signing_request(&device)?,
        device: device.to_string(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let enrolled = tokio::time::timeout(ENROL_MAX, EnrolmentClient::new(channel).enrol(request)).await;
    let answer = enrolled.map_err(|_| fault("it did not answer in time".into()))?.map_err(|status| fault(described(&status)))?;
    let chain = answer.into_inner().chain;
    let [certificate, authority] = chain.as_slice() else {
        return Err(fault(format!("it sent {} certificates, there must be 2", chain.len())));
    };
    folder.keep(&device, certificate, authority, token.fingerprint)
}

/// Who this host was the last time.
fn own_id(identity: &Identity) -> Option<DeviceId> {
    match identity.certificate().subject() {
        Subject::Device(id) => Some(id.clone()),
        Subject::Central => None,
    }
}

/// Whether the central does not take this identity any more. One that cannot be reached may take it later.
async fn is_revoked(identity: &Identity, network: &Network, central: &str) -> Result<bool, Error> {
    let dialer = Dialer::new(client_config(identity)?, CONNECT_MAX, CONNECT_MAX).over(network.clone());
    Ok(dialer.is_revoked_at(central, &Subject::Central).await)
}

/// A status with what caused it: a connection that fails says why only there.
fn described(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
