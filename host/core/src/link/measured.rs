//! Links as they are measured while the pool works: smoothed, told to policies only when they changed by enough, and
//! relayed by the central where two devices cannot reach each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

mod known;

pub use known::KnownLink;

use super::{Links, Speed};
use crate::{
    error::{Error, Fault},
    ids::DeviceId,
    units::Millis,
};

/// One end of a link. The central is one too: it relays for devices that cannot reach each other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Endpoint {
    /// The host that plans.
    Central,
    /// A device.
    Device(DeviceId),
}

/// What was found when one end was asked how it reaches another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Reach {
    /// Straight, at this speed.
    Direct(Speed),
    /// Not at all. Of a link to or from the central it says nothing: a device that the central cannot reach is away.
    Unreachable,
}

/// How measured links are taken.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LinkSettings {
    /// Weight of the newest measurement against the mean of those before, 0..1.
    pub newest_weight: f64,
    /// Policies are told of a link again when its mean differs by this share of what they know.
    pub change_ratio: f64,
    /// Two devices that could not reach each other are relayed for at least this long, so that a way that comes and
    /// goes does not move the plan each time.
    pub relayed_min: Millis,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { newest_weight: 0.2, change_ratio: 0.25, relayed_min: Millis(60_000.0) }
    }
}

/// What a measurement changed for policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkChange {
    /// Nothing that policies are told of.
    None,
    /// Policies are told of it for the first time, or again because it is not as fast as it was.
    Told,
    /// Two devices cannot reach each other any more.
    Lost,
    /// They can again.
    Regained,
}

/// Latencies below this differ by less than can be measured well, in milliseconds.
const LATENCY_MS_FLOOR: f64 = 1.0;

/// All that was measured of the ways between devices, and between them and the central.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MeasuredLinks {
    pairs: BTreeMap<(Endpoint, Endpoint), Measured>,
    /// The defaults of what is not measured.
    defaults: Links,
}

/// One direction of one link.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Measured {
    /// Mean time of a message of no bytes, in milliseconds.
    latency_ms: Option<f64>,
    bytes_per_ms: Option<f64>,
    /// What policies know.
    told: Option<Speed>,
    /// When the last attempt to reach the other end failed, while it counts as unreachable.
    failed: Option<Millis>,
}

impl MeasuredLinks {
    /// Notes a measurement.
    pub(crate) fn note(&mut self, source: Endpoint, target: Endpoint, reach: Reach, now: Millis, settings: &LinkSettings) -> Result<LinkChange, Error> {
        let central = source == Endpoint::Central || target == Endpoint::Central;
        let fallback = self.defaults.between_sites;
        match reach {
            Reach::Unreachable if central => Ok(LinkChange::None),
            Reach::Unreachable => {
                let pair = self.pairs.entry((source, target)).or_default();
                Ok(if pair.failed.replace(now).is_none() { LinkChange::Lost } else { LinkChange::None })
            }
            Reach::Direct(speed) => {
                check(&source, &target, speed)?;
                let pair = self.pairs.entry((source, target)).or_default();
                pair.latency_ms = Some(smoothed(pair.latency_ms, speed.latency.0, settings));
                pair.bytes_per_ms = Some(smoothed(pair.bytes_per_ms, speed.bytes_per_ms, settings));
                let told = pair.tell(fallback, settings);
                let regained = pair.failed.take_if(|failed| now - *failed >= settings.relayed_min).is_some();
                // What is relayed is as fast as the way over the central, whatever was measured.
                let told = told && pair.failed.is_none();
                Ok(if regained {
                    LinkChange::Regained
                } else if told {
                    LinkChange::Told
                } else {
                    LinkChange::None
                })
            }
        }
    }

    /// Notes the round trip between a device and the central, as heartbeats bring it. 0 is one that was not measured. Says whether
    /// it is news to policies.
    pub(crate) fn note_round_trip(&mut self, device: &DeviceId, round_trip: Millis, settings: &LinkSettings) -> bool {
        if !(round_trip.0.is_finite() && round_trip.0 > 0.0) {
            return false;
        }
        let mut news = false;
        let fallback = self.defaults.between_sites;
        let end = Endpoint::Device(device.clone());
        for pair in [(end.clone(), Endpoint::Central), (Endpoint::Central, end)] {
            let pair = self.pairs.entry(pair).or_default();
            pair.latency_ms = Some(smoothed(pair.latency_ms, round_trip.0 / 2.0, settings));
            news |= pair.tell(fallback, settings);
        }
        news
    }

    /// The ways between some devices, as policies know them: a pair that cannot reach each other is as slow as the way
    /// through the central.
    pub fn between(&self, devices: &BTreeSet<&DeviceId>) -> Links {
        let mut links = Links { measured: BTreeMap::new(), ..self.defaults };
        for ((source, target), pair) in &self.pairs {
            let (Endpoint::Device(from), Endpoint::Device(to)) = (source, target) else { continue };
            if !devices.contains(from) || !devices.contains(to) {
                continue;
            }
            let speed = if pair.failed.is_some() { Some(self.relayed(source, target)) } else { pair.told };
            links.measured.extend(speed.map(|speed| ((from.clone(), to.clone()), speed)));
        }
        links
    }

    /// Forgets a device.
    pub(crate) fn forget(&mut self, device: &DeviceId) {
        let is_end = |end: &Endpoint| matches!(end, Endpoint::Device(id) if id == device);
        self.pairs.retain(|(source, target), _| !is_end(source) && !is_end(target));
    }

    fn relayed(&self, source: &Endpoint, target: &Endpoint) -> Speed {
        let leg = |from: &Endpoint, to: &Endpoint| self.pairs.get(&(from.clone(), to.clone())).and_then(|pair| pair.told);
        let fallback = self.defaults.between_sites;
        leg(source, &Endpoint::Central).unwrap_or(fallback).then(leg(&Endpoint::Central, target).unwrap_or(fallback))
    }
}

impl From<Links> for MeasuredLinks {
    fn from(links: Links) -> Self {
        let measured = |speed: Speed| Measured { latency_ms: Some(speed.latency.0), bytes_per_ms: Some(speed.bytes_per_ms), told: Some(speed), failed: None };
        let pair = |((source, target), speed)| ((Endpoint::Device(source), Endpoint::Device(target)), measured(speed));
        Self { pairs: links.measured.into_iter().map(pair).collect(), defaults: Links { measured: BTreeMap::new(), ..links } }
    }
}

impl Measured {
    /// Tells policies what the mean is by now, if that is news to them, and says whether it is. What was not measured is assumed to be
    /// as `fallback`.
    fn tell(&mut self, fallback: Speed, settings: &LinkSettings) -> bool {
        let mean = Speed { latency: self.latency_ms.map_or(fallback.latency, Millis), bytes_per_ms: self.bytes_per_ms.unwrap_or(fallback.bytes_per_ms) };
        let far = |new: f64, known: f64, floor: f64| {
            let limitless = new.is_finite() != known.is_finite();
            limitless || (new - known).abs() > settings.change_ratio * known.max(floor)
        };
        let news = |known: &Speed| far(mean.latency.0, known.latency.0, LATENCY_MS_FLOOR) || far(mean.bytes_per_ms, known.bytes_per_ms, 0.0);
        let is_news = self.told.as_ref().is_none_or(news);
        if is_news {
            self.told = Some(mean);
        }
        is_news
    }
}

/// The mean with the newest value in it. Beside a speed without limit there is no mean: the newest value counts.
fn smoothed(mean: Option<f64>, newest: f64, settings: &LinkSettings) -> f64 {
    match mean {
        Some(mean) if mean.is_finite() && newest.is_finite() => mean + settings.newest_weight * (newest - mean),
        _ => newest,
    }
}

fn check(source: &Endpoint, target: &Endpoint, speed: Speed) -> Result<(), Error> {
    let fault = |field, value, needed| Err(Fault::Link { source: source.clone(), target: target.clone(), field, value, needed }.into());
    if !(speed.latency.0.is_finite() && speed.latency.0 >= 0.0) {
        return fault("latency in ms", speed.latency.0, "a finite number, 0 or more");
    }
    if speed.bytes_per_ms > 0.0 { Ok(()) } else { fault("bytes per ms", speed.bytes_per_ms, "a number above 0") }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Central => f.write_str("the central"),
            Self::Device(device) => write!(f, "{device}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::device_id;

    fn end(name: &str) -> Endpoint {
        Endpoint::Device(device_id(name))
    }

    fn at(latency_ms: f64, bytes_per_ms: f64) -> Reach {
        Reach::Direct(Speed { latency: Millis(latency_ms), bytes_per_ms })
    }

    /// A pool whose links were measured one after another, all at time 0.
    fn measured(measurements: &[(&Endpoint, &Endpoint, Reach)]) -> MeasuredLinks {
        let mut links = MeasuredLinks::default();
        for &(source, target, reach) in measurements {
            links.note(source.clone(), target.clone(), reach, Millis(0.0), &LinkSettings::default()).expect("sound numbers");
        }
        links
    }

    fn speed(links: &MeasuredLinks, source: &str, target: &str) -> Option<(f64, f64)> {
        let (source, target) = (device_id(source), device_id(target));
        let known = links.between(&[&source, &target].into());
        known.measured.get(&(source, target)).map(|speed| (speed.latency.0, speed.bytes_per_ms.round()))
    }

    #[test]
    fn a_link_is_told_again_only_when_its_mean_moved_far_enough() {
        let (a, b) = (end("a"), end("b"));
        assert_eq!(speed(&measured(&[(&a, &b, at(10.0, 100.0))]), "a", "b"), Some((10.0, 100.0)));
        assert_eq!(speed(&measured(&[(&a, &b, at(10.0, 100.0)), (&a, &b, at(20.0, 100.0))]), "a", "b"), Some((10.0, 100.0)));
        assert_eq!(speed(&measured(&[(&a, &b, at(10.0, 100.0)), (&a, &b, at(30.0, 100.0))]), "a", "b"), Some((14.0, 100.0)));
        assert_eq!(speed(&measured(&[(&a, &b, at(10.0, 100.0))]), "b", "a"), None);
    }

    #[test]
    fn a_change_is_told_once_and_small_ones_are_none() {
        let (a, b, settings) = (end("a"), end("b"), LinkSettings::default());
        let mut links = MeasuredLinks::default();
        let cases = [
            (at(10.0, 100.0), LinkChange::Told),
            (at(12.0, 100.0), LinkChange::None),
            (at(40.0, 100.0), LinkChange::Told),
            (at(16.0, 100.0), LinkChange::None),
        ];
        for (reach, change) in cases {
            assert_eq!(links.note(a.clone(), b.clone(), reach, Millis(0.0), &settings), Ok(change), "{reach:?}");
        }
    }

    #[test]
    fn latencies_too_small_to_measure_well_are_no_news() {
        let (a, b) = (end("a"), end("b"));
        assert_eq!(speed(&measured(&[(&a, &b, at(0.1, 1.0)), (&a, &b, at(0.5, 1.0))]), "a", "b"), Some((0.1, 1.0)));
    }

    #[test]
    fn devices_that_cannot_reach_each_other_are_as_far_apart_as_both_ways_to_the_central() {
        let (a, b) = (end("a"), end("b"));
        let mut links = measured(&[(&a, &b, Reach::Unreachable), (&a, &Endpoint::Central, at(2.0, 100.0)), (&Endpoint::Central, &b, at(3.0, 300.0))]);
        assert_eq!(speed(&links, "a", "b"), Some((5.0, 75.0)));
        links = measured(&[(&a, &b, Reach::Unreachable)]);
        links.note_round_trip(&device_id("a"), Millis(8.0), &LinkSettings::default());
        assert_eq!(speed(&links, "a", "b"), Some((24.0, 5_500.0)), "what is not measured is assumed to lie between sites");
    }

    #[test]
    fn a_pair_stays_relayed_for_a_while_after_the_last_failure() {
        let (a, b, settings) = (end("a"), end("b"), LinkSettings::default());
        let mut links = MeasuredLinks::default();
        let cases = [
            (0.0, Reach::Unreachable, LinkChange::Lost),
            (30_000.0, Reach::Unreachable, LinkChange::None),
            (60_000.0, at(1.0, 1.0), LinkChange::None),
            (90_000.0, at(1.0, 1.0), LinkChange::Regained),
            (91_000.0, at(1.0, 1.0), LinkChange::None),
        ];
        for (now, reach, change) in cases {
            assert_eq!(links.note(a.clone(), b.clone(), reach, Millis(now), &settings), Ok(change), "at {now}");
        }
        assert_eq!(speed(&links, "a", "b"), Some((1.0, 1.0)));
    }

    #[test]
    fn numbers_that_no_link_can_have_are_refused() {
        let mut links = MeasuredLinks::default();
        let mut refused = |reach| links.note(end("a"), Endpoint::Central, reach, Millis(0.0), &LinkSettings::default());
        let error = refused(at(1.0, 0.0)).expect_err("no bytes ever arrive");
        assert_eq!(error.to_string(), "link from a to the central: bytes per ms is 0, it must be a number above 0");
        assert!(refused(at(f64::NAN, 1.0)).is_err() && refused(at(1.0, f64::NAN)).is_err() && refused(at(-1.0, 1.0)).is_err());
    }

    #[test]
    fn people_see_what_was_measured_and_where_the_central_relays() {
        let (a, b, c) = (end("a"), end("b"), end("c"));
        let mut seen = measured(&[(&a, &b, Reach::Unreachable), (&a, &c, at(1.0, 7.0)), (&b, &a, at(9.0, 9.0)), (&Endpoint::Central, &b, at(3.0, 300.0))]);
        seen.note_round_trip(&device_id("a"), Millis(8.0), &LinkSettings::default());
        let shown: Vec<_> = seen.from_end(&a).map(|link| (link.target.to_string(), link.latency.map(|time| time.0), link.bytes_per_ms, link.relayed)).collect();
        let over_the_central = 1.0 / (1.0 / Speed::BETWEEN_SITES.bytes_per_ms + 1.0 / 300.0);
        assert_eq!(
            shown,
            [
                ("the central".to_owned(), Some(4.0), None, false),
                ("b".to_owned(), Some(7.0), Some(over_the_central), true),
                ("c".to_owned(), Some(1.0), Some(7.0), false)
            ]
        );
        assert!(seen.is_relayed(&device_id("a"), &device_id("b")) && !seen.is_relayed(&device_id("b"), &device_id("a")));
        assert_eq!(seen.link(&b, &a).and_then(|link| link.bytes_per_ms), Some(9.0));
        assert_eq!(seen.link(&c, &a), None);
    }

    #[test]
    fn a_forgotten_device_has_no_links() {
        let (a, b, c) = (end("a"), end("b"), end("c"));
        let mut links = measured(&[(&a, &b, at(1.0, 1.0)), (&b, &c, at(1.0, 1.0)), (&c, &a, at(1.0, 1.0)), (&a, &Endpoint::Central, at(1.0, 1.0))]);
        links.forget(&device_id("a"));
        assert_eq!(links.pairs.keys().cloned().collect::<Vec<_>>(), [(b, c)]);
    }
}
