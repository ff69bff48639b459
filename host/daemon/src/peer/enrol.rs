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
    pki::{Identity, IdentityFolder, Subject, enrolment_client_config},
};

/// How long connecting and enrolling may take.
const ENROL_MAX: Duration = Duration::from_secs(30);

/// The identity of this host as a device of a central.
pub async fn identity(config: &Config, folder: &IdentityFolder, network: &Network, central: &str) -> Result<Identity, Error> {
    let kept = folder.load()?.filter(|identity| identity.certificate().expires_ms() > clock::unix_ms());
    if let Some(identity) = kept {
        return Ok(identity);
    }
    let fault = |reason: String| Error::from(Fault::Enrol { central: central.to_owned(), reason });
    let token =
        config.join.token.as_ref().ok_or_else(|| fault("this host has not joined it yet, and no token is given; `host token create` makes one".into()))?;
    let device = match &config.join.device_id {
        Some(id) => id.clone(),
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
