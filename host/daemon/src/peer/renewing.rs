//! Certificates are renewed long before they end, by the time of day. How a device gets the next one is in `standing`; a central
//! signs its own.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    error::Error,
    pki::{Authority, Badge, Certificate, Validity},
};

/// A machine that slept, or whose clock was set, notices within this.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Pause before a renewal that failed is tried again; it doubles up to the other. Also the least time between two renewals.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(1);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(60);

/// Returns when a certificate is to be renewed.
pub(super) async fn due(certificate: &Certificate) {
    loop {
        let now_ms = clock::unix_ms();
        if certificate.needs_renewal(now_ms) {
            return;
        }
        let left = Duration::from_millis(certificate.renewal_ms().saturating_sub(now_ms));
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// Renews what a central shows of itself until the token is cancelled.
pub async fn renew_central(badge: Badge, authority: Arc<Authority>, life: Duration, closing: CancellationToken) {
    tokio::select! {
        () = renew_in_time(&badge, &authority, life) => {}
        () = closing.cancelled() => {}
    }
}

async fn renew_in_time(badge: &Badge, authority: &Authority, life: Duration) {
    loop {
        due(&badge.certificate()).await;
        match sign(badge, authority, life) {
            Ok(()) => tracing::info!(serial = %badge.certificate().serial(), "the central has renewed its certificate"),
            Err(error) => tracing::warn!(%error, "the central could not renew its certificate"),
        }
        tokio::time::sleep(RETRY_FIRST).await;
    }
}

fn sign(badge: &Badge, authority: &Authority, life: Duration) -> Result<(), Error> {
    badge.renew(&authority.central_identity(Validity::from_now(clock::unix_ms(), life))?)
}
