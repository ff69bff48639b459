//! What is known of each link, for whoever shows it to people.

use super::{Endpoint, MeasuredLinks};
use crate::{ids::DeviceId, units::Millis};

/// One direction of a link as it was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct KnownLink<'a> {
    /// The other end.
    pub target: &'a Endpoint,
    /// Mean time of a message of no bytes, if it was measured.
    pub latency: Option<Millis>,
    /// Mean bandwidth, if it was measured.
    pub bytes_per_ms: Option<f64>,
    /// Whether the one end cannot reach the other, so that the central relays; then the numbers are those of the way over it.
    pub relayed: bool,
}

impl MeasuredLinks {
    /// What is known of the ways from one end, sorted by the other.
    pub fn from_end(&self, source: &Endpoint) -> impl Iterator<Item = KnownLink<'_>> {
        let own = self.pairs.iter().filter(move |((from, _), _)| from == source);
        own.map(move |((from, target), pair)| {
            if pair.failed.is_some() {
                let speed = self.relayed(from, target);
                return KnownLink { target, latency: Some(speed.latency), bytes_per_ms: Some(speed.bytes_per_ms), relayed: true };
            }
            KnownLink { target, latency: pair.latency_ms.map(Millis), bytes_per_ms: pair.bytes_per_ms, relayed: false }
        })
    }

    /// What is known of the way from one end to another; none if nothing was measured.
    pub fn link(&self, source: &Endpoint, target: &Endpoint) -> Option<KnownLink<'_>> {
        self.from_end(source).find(|link| link.target == target)
    }

    /// Whether the central relays what one device sends to another.
    pub fn is_relayed(&self, source: &DeviceId, target: &DeviceId) -> bool {
        let pair = (Endpoint::Device(source.clone()), Endpoint::Device(target.clone()));
        self.pairs.get(&pair).is_some_and(|pair| pair.failed.is_some())
    }
}
