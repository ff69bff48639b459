//! A device's standing with its central: its certificate is renewed in time, replaced if it ended all the same, and what the central
//! holds against it ends the device with words.

use std::{sync::Arc, time::Duration};

use host_core::ids::DeviceId;
use host_wire::peer::pb;
use tokio_util::sync::CancellationToken;

use super::{
    dial::{Dialer, Lane},
    enrol::{self, Lapsed, NotEnrolled},
    links::{LinkFault, Links},
    renewing::{RETRY_FIRST, RETRY_MAX, due},
    rpc::central_client::CentralClient,
    simulated::Network,
    whereabouts::Whereabouts,
};
use crate::{
    config::Config,
    error::{Error, Fault},
    pki::{Badge, Identity, IdentityFolder, Subject, Verdict},
    stage_fault::StageFault,
};

/// How long one try to renew may take.
const RENEW_MAX: Duration = Duration::from_secs(10);

/// What a device proves itself with, for as long as it runs.
#[derive(Debug)]
pub struct Standing {
    /// Settings: the token, if there is one.
    pub config: Arc<Config>,
    /// Where the certificate is kept.
    pub folder: Arc<IdentityFolder>,
    /// Over what it is reached.
    pub network: Network,
    /// Where the central is.
    pub central: Whereabouts,
    /// Who this device is.
    pub device: DeviceId,
    /// What it shows.
    pub badge: Badge,
    /// Knows what the central says against that.
    pub dialer: Dialer,
    /// The way to the central.
    pub links: Arc<Links>,
}

impl Standing {
    /// Renews the certificate, whenever it is time, until the token is cancelled.
    pub async fn keep_up(self: Arc<Self>, closing: CancellationToken) {
        tokio::select! {
            () = self.renew_in_time() => {}
            () = closing.cancelled() => {}
        }
    }

    async fn renew_in_time(&self) {
        let mut pause = RETRY_FIRST;
        loop {
            due(&self.badge.certificate()).await;
            match self.renew().await {
                Ok(()) => pause = RETRY_FIRST,
                Err(reason) => {
                    tracing::warn!(reason, pause_ms = pause.as_millis() as u64, "the certificate could not be renewed yet");
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// After a connection to the central was cut: what it holds against this device, if anything, as an error that ends it. A
    /// certificate that has ended is replaced, if the token still gets one.
    pub async fn review(&self) -> Result<(), Error> {
        match self.dialer.take_verdict() {
            None => Ok(()),
            Some(Verdict::Ended) => self.enrol_again().await,
            Some(verdict @ (Verdict::Revoked | Verdict::OtherAuthority)) => {
                let reason = format!("{verdict}; with a token of the central, which `host token create` makes there, this host can join anew");
                Err(Fault::SentAway { device: self.device.clone(), reason }.into())
            }
        }
    }

    async fn renew(&self) -> Result<(), String> {
        let signing_request = self.folder.signing_request(&self.device).map_err(|error| error.to_string())?;
        let channel = self.links.lane(&Subject::Central, Lane::Latency).map_err(|(LinkFault::Refused(_, reason) | LinkFault::Unreachable(reason))| reason)?;
        let mut client = CentralClient::new(channel);
        let answered = tokio::time::timeout(RENEW_MAX, client.renew(pb::RenewRequest { signing_request })).await;
        let answer = answered.map_err(|_| "the central did not answer in time".to_owned())?.map_err(|status| enrol::described(&status))?;
        let identity = self.keep(answer.into_inner().chain).await.map_err(|error| error.to_string())?;
        self.show(&identity).map_err(|error| error.to_string())?;
        tracing::info!(serial = %identity.certificate().serial(), "the certificate was renewed");
        Ok(())
    }

    /// On disk first: a device that is killed in between comes back with the new one.
    async fn keep(&self, chain: Vec<Vec<u8>>) -> Result<Identity, Error> {
        let (folder, device, fingerprint) = (self.folder.clone(), self.device.clone(), self.badge.authority());
        let central = self.central.address();
        let kept = tokio::task::spawn_blocking(move || {
            let [certificate, authority] = chain.as_slice() else {
                let reason = format!("it sent {} certificates, there must be 2", chain.len());
                return Err(Error::from(Fault::Enrol { central, reason }));
            };
            folder.keep(&device, certificate, authority, fingerprint)
        });
        kept.await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?
    }

    fn show(&self, identity: &Identity) -> Result<(), Error> {
        self.badge.renew(identity)?;
        // It was about the certificate of before.
        self.dialer.take_verdict();
        Ok(())
    }

    async fn enrol_again(&self) -> Result<(), Error> {
        let lapsed = Lapsed { device: Some(self.device.clone()), why: enrol::ended(&self.badge.certificate()) };
        match enrol::anew(&self.config, &self.folder, &self.network, &self.central.address(), Some(&lapsed)).await {
            Ok(identity) => {
                tracing::info!(serial = %identity.certificate().serial(), "the certificate had ended, and the device has enrolled again");
                self.show(&identity)
            }
            Err(NotEnrolled::Refused(error)) => Err(error),
            Err(NotEnrolled::Away(error)) => {
                tracing::warn!(%error, "the certificate has ended, and there is no other one yet");
                Ok(())
            }
        }
    }
}
