//! What a host shows of its identity in handshakes, as client and as server. A renewed identity takes the place of the one before
//! it from the next handshake on; connections that are open stay open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use host_wire::join::Fingerprint;
use rustls::{ClientConfig, ServerConfig};

use super::{
    Callers, Certificate, Identity, Revoked,
    handshake::{client_config, server_config},
};
use crate::error::Error;

/// A handle; clones share what is shown.
#[derive(Clone, Debug)]
pub struct Badge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    callers: Callers,
    revoked: Revoked,
    shown: ArcSwap<Shown>,
}

#[derive(Debug)]
struct Shown {
    certificate: Certificate,
    authority: Fingerprint,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Badge {
    /// Shows an identity. Who may call, and whose certificates no longer count, holds for every identity that follows.
    pub fn new(identity: &Identity, callers: Callers, revoked: Revoked) -> Result<Self, Error> {
        let shown = ArcSwap::from_pointee(show(identity, callers, &revoked)?);
        Ok(Self(Arc::new(Inner { callers, revoked, shown })))
    }

    /// Shows another identity from now on.
    pub fn renew(&self, identity: &Identity) -> Result<(), Error> {
        let Inner { callers, revoked, shown } = &*self.0;
        shown.store(Arc::new(show(identity, *callers, revoked)?));
        Ok(())
    }

    /// The certificate that is shown.
    pub fn certificate(&self) -> Certificate {
        self.0.shown.load().certificate.clone()
    }

    /// The authority that signed it, and that others are held to.
    pub fn authority(&self) -> Fingerprint {
        self.0.shown.load().authority
    }

    /// For the next connection that this host opens.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.0.shown.load().client.clone()
    }

    /// For the next connection that comes to this host.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.0.shown.load().server.clone()
    }
}

fn show(identity: &Identity, callers: Callers, revoked: &Revoked) -> Result<Shown, Error> {
    Ok(Shown {
        certificate: identity.certificate().clone(),
        authority: Fingerprint::of(identity.authority()),
        client: client_config(identity)?,
        server: server_config(identity, callers, revoked)?,
    })
}
