//! Devices, and the offers of accelerators that they make. An offer is the unit of planning.

use std::{collections::BTreeMap, fmt};

use crate::{
    cost::CostModel,
    error::{Error, Fault},
    ids::{AcceleratorName, DeviceId, OfferId, SiteName},
    units::{Bytes, Millis},
};

/// Which places in a chain of stages an offer may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles {
    /// First stage of several, or the only one.
    pub head: bool,
    /// Between the first and the last.
    pub body: bool,
    /// Last stage of several, or the only one.
    pub tail: bool,
}

impl Roles {
    /// Every place.
    pub const ALL: Self = Self { head: true, body: true, tail: true };

    /// The places that both take.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self { head: self.head && other.head, body: self.body && other.body, tail: self.tail && other.tail }
    }

    /// Whether there is no place left that it takes.
    pub fn is_none(self) -> bool {
        !(self.head || self.body || self.tail)
    }

    /// The role that position `index` of `count` stages asks for and that these roles do not take.
    pub fn missing_at(self, index: usize, count: usize) -> Option<&'static str> {
        let first = index == 0;
        let last = index + 1 == count;
        match (first, last) {
            (true, _) if !self.head => Some("head"),
            (_, true) if !self.tail => Some("tail"),
            (false, false) if !self.body => Some("body"),
            _ => None,
        }
    }
}

/// How hard a device works. All are ratios 0..1 but the latency.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Pressures {
    /// Share of its CPU time in use.
    pub cpu: f64,
    /// Share of its memory in use.
    pub memory: f64,
    /// Share of time that its accelerator is busy.
    pub accelerator: f64,
    /// Share of its network bandwidth in use.
    pub bandwidth: f64,
    /// Round trip to the central.
    pub latency: Millis,
}

impl Pressures {
    /// Whether any ratio differs by at least `step`, or the latency by that share.
    pub fn differs(&self, other: &Self, step: f64) -> bool {
        let ratios = [(self.cpu, other.cpu), (self.memory, other.memory), (self.accelerator, other.accelerator), (self.bandwidth, other.bandwidth)];
        let latency = (self.latency.0 - other.latency.0).abs() > step * other.latency.0.max(1.0);
        latency || ratios.iter().any(|(one, two)| (one - two).abs() >= step)
    }
}

/// One accelerator of a device with what its adapter says it can hold and run.
#[derive(Clone, PartialEq, Debug)]
pub struct Offer {
    /// Which accelerator.
    pub accelerator: AcceleratorName,
    /// The adapter slot that drives it: `cpu` for `adapter/cpu`.
    pub adapter: String,
    /// Offers of one device with the same pool share its memory.
    pub memory_pool: u32,
    /// What the pool can hold.
    pub memory: Bytes,
    /// Bytes in memory for one byte of weights.
    pub weight_factor: f64,
    /// Bytes that one loaded shard takes beside weights, cache and workspace.
    pub fixed: Bytes,
    /// Places in a chain that it takes.
    pub roles: Roles,
    /// How long it takes for what.
    pub cost: CostModel,
    /// Names of the devices that computed at the same time when this one was calibrated, because they share its cores.
    pub shares_cores_with: Vec<DeviceId>,
    /// The adapter's word for the element types it computes: `fp32`, `int8`, …
    pub element_types: Vec<String>,
    /// What shards must be converted for to run on it, such as `rknn:rk3588`; none where it takes them as they are.
    pub needs_artefacts: Option<String>,
}

/// A machine, or a simulated one, with its offers.
#[derive(Clone, PartialEq, Debug)]
pub struct Device {
    /// Its identity, whatever its address.
    pub id: DeviceId,
    /// The group of devices that it reaches over fast links.
    pub site: SiteName,
    /// What people call it by.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub offers: Vec<Offer>,
}

impl Device {
    /// Proves that every number in the offers is one that planning can compute with.
    pub fn check(&self) -> Result<(), Error> {
        for offer in &self.offers {
            let id = self.offer_id(offer);
            let fault = |field, value| Err(Fault::Offer { offer: id.clone(), field, value }.into());
            if !(offer.weight_factor.is_finite() && offer.weight_factor > 0.0) {
                return fault("weight factor", offer.weight_factor);
            }
            if let Some((name, value)) = offer.cost.coefficients().into_iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
                return fault(name, value);
            }
            let positive = offer.cost.coefficients().into_iter().any(|(_, value)| value > 0.0);
            if !positive {
                return fault("sum of cost coefficients", 0.0);
            }
        }
        Ok(())
    }

    /// The full id of one of its offers.
    pub fn offer_id(&self, offer: &Offer) -> OfferId {
        OfferId { device: self.id.clone(), accelerator: offer.accelerator.clone() }
    }
}

/// Where a device is in its life. One that was removed is forgotten and is in none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DeviceState {
    /// It takes work.
    Ready,
    /// Its connection is cut and its lease still runs. Nothing is routed to it; what was planned for it stays planned, and if
    /// it comes back in time it goes on where it was.
    Away,
    /// It keeps what it serves and gets nothing new.
    Cordoned,
    /// Its work moves away; then it may leave.
    Draining,
    /// It came and went too often. It gets nothing new until it has been there for a while, and what it still serves moves away
    /// where it can.
    Damped,
    /// Its lease ended, or it left.
    Lost,
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Away => "away",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Damped => "damped",
            Self::Lost => "lost",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::device;

    #[test]
    fn a_chain_asks_for_head_body_and_tail_by_position() {
        let body_only = Roles { head: false, body: true, tail: false };
        assert_eq!(body_only.missing_at(0, 3), Some("head"));
        assert_eq!(body_only.missing_at(1, 3), None);
        assert_eq!(body_only.missing_at(2, 3), Some("tail"));
        assert_eq!(body_only.missing_at(0, 1), Some("head"));
        assert_eq!(Roles { head: true, body: false, tail: false }.missing_at(0, 1), Some("tail"));
        assert_eq!(Roles::ALL.missing_at(1, 3), None);
        let head_only = Roles { head: true, body: false, tail: false };
        assert_eq!(Roles::ALL.both(body_only), body_only);
        assert!(head_only.both(body_only).is_none() && !head_only.is_none());
    }

    #[test]
    fn offers_with_numbers_that_cannot_be_computed_with_are_refused() {
        let mut broken = device("a", Bytes::mib(1));
        broken.offers[0].weight_factor = 0.0;
        assert_eq!(broken.check().expect_err("a factor of 0").to_string(), "offer a/cpu: weight factor is 0, it must be a finite number above 0");
        broken = device("a", Bytes::mib(1));
        broken.offers[0].cost.gflop_ms = f64::NAN;
        assert!(broken.check().is_err());
    }
}
