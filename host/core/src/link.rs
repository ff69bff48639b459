//! What it costs to send an activation from one device to another.

use std::collections::BTreeMap;

mod echoes;
mod measured;
mod survey;

pub use echoes::{EchoSizes, bytes_per_ms};
pub use measured::{Endpoint, KnownLink, LinkChange, LinkSettings, MeasuredLinks, Reach};
pub use survey::{Link, Survey, SurveySettings};

use crate::{
    ids::{DeviceId, SiteName},
    units::{Bytes, Millis},
};

/// Latency and bandwidth of a way from one device to another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Speed {
    /// Time for a message of no bytes.
    pub latency: Millis,
    /// Bytes per millisecond once it flows.
    pub bytes_per_ms: f64,
}

impl Speed {
    /// Between devices in one process, and within one device.
    pub const FREE: Self = Self { latency: Millis::ZERO, bytes_per_ms: f64::INFINITY };
    /// Assumed within a site until measured: gigabit Ethernet.
    pub const WITHIN_SITE: Self = Self { latency: Millis(0.3), bytes_per_ms: 110_000.0 };
    /// Assumed between sites until measured: a 100 Mbit/s line.
    pub const BETWEEN_SITES: Self = Self { latency: Millis(20.0), bytes_per_ms: 11_000.0 };

    /// How long this many bytes take.
    pub fn time(self, size: Bytes) -> Millis {
        Millis(self.latency.0 + size.as_f64() / self.bytes_per_ms)
    }

    /// This way and then another, each taking the whole message before it goes on.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self { latency: self.latency + next.latency, bytes_per_ms: 1.0 / (1.0 / self.bytes_per_ms + 1.0 / next.bytes_per_ms) }
    }
}

/// All that is known of the ways between devices.
#[derive(Clone, PartialEq, Debug)]
pub struct Links {
    /// Pairs that were measured, in one direction.
    pub measured: BTreeMap<(DeviceId, DeviceId), Speed>,
    /// For the other pairs of one site.
    pub within_site: Speed,
    /// For the other pairs of two sites.
    pub between_sites: Speed,
}

impl Links {
    /// The way from one device to another.
    pub fn between(&self, source: (&DeviceId, &SiteName), target: (&DeviceId, &SiteName)) -> Speed {
        if source.0 == target.0 {
            return Speed::FREE;
        }
        let pair = (source.0.clone(), target.0.clone());
        let default = if source.1 == target.1 { self.within_site } else { self.between_sites };
        self.measured.get(&pair).copied().unwrap_or(default)
    }
}

impl Default for Links {
    fn default() -> Self {
        Self { measured: BTreeMap::new(), within_site: Speed::WITHIN_SITE, between_sites: Speed::BETWEEN_SITES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device_id, site};

    #[test]
    fn two_ways_in_a_row_take_as_long_as_both() {
        let slow = Speed { latency: Millis(1.0), bytes_per_ms: 4.0 };
        let both = slow.then(Speed { latency: Millis(2.0), bytes_per_ms: 4.0 });
        assert_eq!((both.latency, both.time(Bytes(8))), (Millis(3.0), Millis(7.0)));
        assert_eq!(slow.then(Speed::FREE), slow);
        assert_eq!(Speed::FREE.then(Speed::FREE), Speed::FREE);
    }

    #[test]
    fn a_measured_link_wins_over_the_sites_default() {
        let (a, b) = (device_id("a"), device_id("b"));
        let (home, away) = (site("home"), site("away"));
        let mut links = Links::default();
        assert_eq!(links.between((&a, &home), (&a, &home)), Speed::FREE);
        assert_eq!(links.between((&a, &home), (&b, &home)), Speed::WITHIN_SITE);
        assert_eq!(links.between((&a, &home), (&b, &away)), Speed::BETWEEN_SITES);
        let measured = Speed { latency: Millis(1.0), bytes_per_ms: 10.0 };
        links.measured.insert((a.clone(), b.clone()), measured);
        assert_eq!(links.between((&a, &home), (&b, &away)).time(Bytes(20)), Millis(3.0));
        assert_eq!(links.between((&b, &away), (&a, &home)), Speed::BETWEEN_SITES);
    }
}
