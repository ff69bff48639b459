//! What gives cause to review a plan.

use std::{collections::BTreeSet, fmt};

use crate::{
    cluster::reason::names,
    ids::{DeviceId, OfferId},
    shard::ShardId,
    units::Millis,
};

/// Why the allocation policy is asked whether a plan is still good.
#[derive(Clone, PartialEq, Debug)]
pub enum Cause {
    /// Requests came, and it was not asked for long.
    Interval,
    /// A device is back that was away.
    Returned(DeviceId),
    /// Devices were lost, all at once. Models that did not use them may share an offer now with one that did.
    Lost(BTreeSet<DeviceId>),
    /// The way from the first device to the second is known for the first time, or is not as fast as it was.
    Link(DeviceId, DeviceId),
    /// A stage does not take what was reckoned with.
    Drifted {
        /// Where it runs.
        offer: OfferId,
        /// What runs there.
        shard: ShardId,
        /// What was predicted when the plan was made, or measured when it was reviewed last.
        reckoned: Millis,
        /// What it takes by now.
        measured: Millis,
    },
    /// One device of the plan has far more to do than the others.
    Imbalanced {
        /// Share of time that the busiest is busy.
        most: f64,
        /// The mean over all of them.
        mean: f64,
    },
}

impl Cause {
    /// Whether what the plan was made with has turned out to be wrong.
    pub(super) fn is_drift(&self) -> bool {
        matches!(self, Self::Drifted { .. })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval => f.write_str("it was time for it"),
            Self::Returned(device) => write!(f, "device {device} is back"),
            Self::Lost(devices) => write!(f, "lost {}", names(devices)),
            Self::Link(source, target) => write!(f, "the way from {source} to {target} changed"),
            Self::Drifted { offer, shard, reckoned, measured } => write!(f, "{shard} takes {measured} on {offer}, {reckoned} was reckoned with"),
            Self::Imbalanced { most, mean } => write!(f, "the busiest device is busy for {:.0} % of the time, the mean is {:.0} %", most * 100.0, mean * 100.0),
        }
    }
}
