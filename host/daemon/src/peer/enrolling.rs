//! Gives devices their certificates: the first for a join token, later ones for the one before.

use std::{sync::Arc, time::Duration};

use host_core::{error::ErrorKind, ids::DeviceId};
use host_wire::{
    join::{TokenId, TokenSecret},
    peer::pb,
};
use tonic::{Code, Status};

use super::{refusals::Refusals, unwelcome::Unwelcome};
use crate::{
    clock,
    error::{Error, Fault},
    pki::{Authority, Certificate, Serial, SigningRequest, Validity},
    store::{Enrolment, Renewal, Store},
};

/// Signs for a central.
#[derive(Clone, Debug)]
pub struct Enrolling {
    /// Whose signature it is.
    pub authority: Arc<Authority>,
    /// Where tokens and devices are kept.
    pub store: Store,
    /// How long a certificate is good.
    pub life: Duration,
    /// Where those are noted who get none.
    pub refusals: Arc<Refusals>,
}

/// What a device sends to enrol, in the forms that these things have.
struct Asked {
    device: DeviceId,
    signing: SigningRequest,
    token: TokenId,
    secret: TokenSecret,
}

impl Enrolling {
    /// The first certificate of a device that knows a token. Takes a disk: not for an async thread.
    pub fn enrol(&self, request: &pb::EnrolRequest) -> Result<pb::Certificate, Status> {
        let Asked { device, signing, token, secret } = Asked::read(request).inspect_err(|status| {
            self.refusals.note(Unwelcome::Request, &"a stranger", status.message());
        })?;
        let certificate = self.sign(&signing, &device)?;
        let enrolment = Enrolment {
            token,
            secret,
            device: device.clone(),
            key: signing.key_digest(),
            serial: certificate.serial(),
            expires_at_ms: certificate.expires_ms(),
        };
        self.store.enrol(enrolment, clock::unix_ms()).map_err(|error| self.refuse(&device, &error))?;
        tracing::info!(%device, serial = %certificate.serial(), "a device has enrolled");
        Ok(self.chain(&certificate))
    }

    /// The next certificate of a device that has proved the present one.
    pub fn renew(&self, device: &DeviceId, request: &pb::RenewRequest) -> Result<pb::Certificate, Status> {
        let signing = SigningRequest::read(&request.signing_request).map_err(|error| {
            self.refusals.note(Unwelcome::Request, device, &error.to_string());
            status(&error)
        })?;
        let certificate = self.sign(&signing, device)?;
        let renewal = Renewal { device: device.clone(), key: signing.key_digest(), serial: certificate.serial(), expires_at_ms: certificate.expires_ms() };
        self.store.renew(renewal, clock::unix_ms()).map_err(|error| self.refuse(device, &error))?;
        Ok(self.chain(&certificate))
    }

    fn sign(&self, signing: &SigningRequest, device: &DeviceId) -> Result<Certificate, Status> {
        let serial = Serial::random().map_err(|error| status(&error))?;
        self.authority.sign(signing, device, serial, Validity::from_now(clock::unix_ms(), self.life)).map_err(|error| status(&error))
    }

    /// What the device hears: nothing about tokens but that this one is not good.
    fn refuse(&self, device: &DeviceId, error: &Error) -> Status {
        let Fault::Join(refusal) = error.fault() else {
            tracing::warn!(%device, %error, "a device got no certificate");
            return status(error);
        };
        self.refusals.note(refusal.into(), device, &error.to_string());
        if refusal.is_about_token() {
            return Status::permission_denied("the token cannot be used; the central's log says why, and `host token create` there makes another");
        }
        status(error)
    }

    fn chain(&self, certificate: &Certificate) -> pb::Certificate {
        pb::Certificate { chain: vec![certificate.der().to_vec(), self.authority.certificate().to_vec()] }
    }
}

impl Asked {
    fn read(request: &pb::EnrolRequest) -> Result<Self, Status> {
        let bytes = |what: &str, need: usize, have: usize| Status::invalid_argument(format!("{what} has {need} bytes, {have} were sent"));
        let (token, secret) = (request.token.as_slice(), request.secret.as_slice());
        Ok(Self {
            device: DeviceId::parse(&request.device).map_err(|error| Status::invalid_argument(error.to_string()))?,
            signing: SigningRequest::read(&request.signing_request).map_err(|error| status(&error))?,
            token: TokenId(token.try_into().map_err(|_| bytes("a token's id", size_of::<TokenId>(), token.len()))?),
            secret: TokenSecret(secret.try_into().map_err(|_| bytes("a secret", size_of::<TokenSecret>(), secret.len()))?),
        })
    }
}

fn status(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Busy => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Plugin | ErrorKind::Internal => Code::Internal,
    };
    Status::new(code, error.to_string())
}
