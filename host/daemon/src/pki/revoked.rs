//! The certificates that no longer count although they have not ended. Shared by every listener of a host: what is added acts on
//! the next handshake. Connections that are open already are the caller's to cut.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;

use super::Serial;

/// A handle; clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Revoked(Arc<ArcSwap<BTreeSet<Serial>>>);

impl Revoked {
    /// Refuses these besides, from now on.
    pub fn add(&self, serials: &[Serial]) {
        self.0.rcu(|before| before.iter().chain(serials).copied().collect::<BTreeSet<Serial>>());
    }

    /// Refuses these from now on, and no others.
    pub fn replace(&self, serials: &[Serial]) {
        self.0.store(Arc::new(serials.iter().copied().collect()));
    }

    /// All of them.
    pub fn all(&self) -> Vec<Serial> {
        self.0.load().iter().copied().collect()
    }

    /// Whether a certificate no longer counts.
    pub fn contains(&self, serial: Serial) -> bool {
        self.0.load().contains(&serial)
    }
}
