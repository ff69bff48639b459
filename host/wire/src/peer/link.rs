//! Questions about links and the answers of those that measured them.

use host_core::{
    link::{Endpoint, Reach, Speed},
    units::Millis,
};

use super::{
    pb,
    read::{device, finite},
};
use crate::error::Error;

/// What a device found of its way to another end.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkMeasured {
    /// The other end.
    pub target: Endpoint,
    /// The way there.
    pub reach: Reach,
    /// Bytes per millisecond of the way back, where that was measured too.
    pub bytes_per_ms_back: Option<f64>,
}

/// The question for a way.
impl From<&Endpoint> for pb::MeasureLink {
    fn from(target: &Endpoint) -> Self {
        Self { device: word(target) }
    }
}

/// The other end of the way that is asked for.
impl TryFrom<pb::MeasureLink> for Endpoint {
    type Error = Error;

    fn try_from(wire: pb::MeasureLink) -> Result<Self, Error> {
        endpoint(&wire.device)
    }
}

impl From<LinkMeasured> for pb::LinkMeasured {
    fn from(measured: LinkMeasured) -> Self {
        let (reached, speed) = match measured.reach {
            Reach::Direct(speed) => (true, speed),
            Reach::Unreachable => (false, Speed { latency: Millis::ZERO, bytes_per_ms: 0.0 }),
        };
        Self {
            device: word(&measured.target),
            reached,
            latency_ms: speed.latency.0,
            bytes_per_ms: speed.bytes_per_ms,
            bytes_per_ms_back: measured.bytes_per_ms_back.unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::LinkMeasured> for LinkMeasured {
    type Error = Error;

    fn try_from(wire: pb::LinkMeasured) -> Result<Self, Error> {
        let target = endpoint(&wire.device)?;
        if !wire.reached {
            return Ok(Self { target, reach: Reach::Unreachable, bytes_per_ms_back: None });
        }
        let latency = Millis(finite(wire.latency_ms, "latency_ms")?);
        let reach = Reach::Direct(Speed { latency, bytes_per_ms: finite(wire.bytes_per_ms, "bytes_per_ms")? });
        let back = finite(wire.bytes_per_ms_back, "bytes_per_ms_back")?;
        Ok(Self { target, reach, bytes_per_ms_back: Some(back).filter(|back| *back > 0.0) })
    }
}

fn endpoint(text: &str) -> Result<Endpoint, Error> {
    if text.is_empty() { Ok(Endpoint::Central) } else { device(text).map(Endpoint::Device) }
}

fn word(end: &Endpoint) -> String {
    match end {
        Endpoint::Central => String::new(),
        Endpoint::Device(id) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use host_core::ids::DeviceId;

    use super::*;

    #[test]
    fn what_was_measured_reads_back_as_it_was_written() {
        let pi = Endpoint::Device(DeviceId::parse("pi").expect("a name"));
        let direct = Reach::Direct(Speed { latency: Millis(0.25), bytes_per_ms: 1e5 });
        for measured in [
            LinkMeasured { target: Endpoint::Central, reach: direct, bytes_per_ms_back: Some(9e4) },
            LinkMeasured { target: pi.clone(), reach: direct, bytes_per_ms_back: None },
            LinkMeasured { target: pi.clone(), reach: Reach::Unreachable, bytes_per_ms_back: None },
        ] {
            assert_eq!(LinkMeasured::try_from(pb::LinkMeasured::from(measured.clone())), Ok(measured));
        }
        for target in [Endpoint::Central, pi] {
            assert_eq!(Endpoint::try_from(pb::MeasureLink::from(&target)), Ok(target));
        }
    }

    #[test]
    fn names_and_numbers_that_cannot_be_are_refused() {
        let sound = pb::LinkMeasured { device: "pi".into(), reached: true, latency_ms: 1.0, bytes_per_ms: 1.0, bytes_per_ms_back: 0.0 };
        assert!(LinkMeasured::try_from(sound.clone()).is_ok());
        for broken in [
            pb::LinkMeasured { device: "no/name".into(), ..sound.clone() },
            pb::LinkMeasured { latency_ms: f64::NAN, ..sound.clone() },
            pb::LinkMeasured { latency_ms: -1.0, ..sound.clone() },
            pb::LinkMeasured { bytes_per_ms: f64::INFINITY, ..sound.clone() },
            pb::LinkMeasured { bytes_per_ms_back: f64::NAN, ..sound.clone() },
        ] {
            assert!(LinkMeasured::try_from(broken.clone()).is_err(), "{broken:?}");
        }
        let nothing = pb::LinkMeasured { reached: false, latency_ms: f64::NAN, ..sound };
        assert_eq!(LinkMeasured::try_from(nothing).map(|measured| measured.reach), Ok(Reach::Unreachable), "its figures mean nothing");
    }
}
