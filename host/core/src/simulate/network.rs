//! How long messages are on their way: over the line of whoever sends, the way between two sites, and the line of whoever
//! receives. Each carries one message after another; a message goes on while it still comes in, so what takes longest counts
//! once, and all latencies count.
//!
//! Files of shards travel in a lane of their own: hosts send in small portions over connections of their own, so that activations
//! never wait behind files. While both are under way the line carries up to twice what it could.

use std::collections::BTreeMap;

use super::scenario::Scenario;
use crate::{
    ids::{DeviceId, SiteName},
    link::{Links, Speed},
    profile::{Fluctuation, Throttle},
    units::{Bytes, Millis},
};

/// One end of a message's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Central,
    Device(usize),
}

/// What goes beside what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    Activations,
    Files,
}

/// One direction of a line, or the way from one site to another.
#[derive(Clone, Debug)]
struct Line {
    lanes: [Throttle; 2],
}

#[derive(Clone, Debug)]
struct Place {
    site: usize,
    speed: Speed,
    up: Line,
    down: Line,
}

/// All lines.
#[derive(Clone, Debug)]
pub(super) struct Network {
    devices: Vec<Place>,
    central: Place,
    within: Speed,
    between: BTreeMap<(usize, usize), Line>,
    between_speed: Speed,
    pairs: BTreeMap<(usize, usize), Speed>,
}

impl Line {
    fn new(speed: Speed, fluctuation: Fluctuation) -> Self {
        Self { lanes: [Throttle::new(speed).varying(fluctuation), Throttle::new(speed).varying(fluctuation)] }
    }
}

impl Network {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let links = &scenario.links;
        let mut sites: Vec<&SiteName> = scenario.devices.iter().map(|device| &device.device.site).chain([&links.central]).collect();
        sites.sort_unstable();
        sites.dedup();
        let index = |site: &SiteName| sites.binary_search(&site).unwrap_or(0);
        let place = |site: &SiteName, speed: Speed, fluctuation: Fluctuation| {
            let line = |way: u64| Line::new(speed, Fluctuation { seed: fluctuation.seed.wrapping_add(way), ..fluctuation });
            Place { site: index(site), speed, up: line(1), down: line(2) }
        };
        let devices = scenario.devices.iter().map(|device| place(&device.device.site, device.network, device.fluctuation)).collect();
        let both = |(one, other, speed): &(SiteName, SiteName, Speed)| [((index(one), index(other)), *speed), ((index(other), index(one)), *speed)];
        Self {
            devices,
            central: place(&links.central, links.central_line, Fluctuation::NONE),
            within: links.within_site,
            between: BTreeMap::new(),
            between_speed: links.between_sites,
            pairs: links.pairs.iter().flat_map(both).collect(),
        }
    }

    /// Sends a message and says when its last byte arrives.
    pub(super) fn send(&mut self, lane: Lane, source: End, target: End, size: Bytes, now: Millis) -> Millis {
        if source == target {
            return now;
        }
        let (from, to) = (self.place(source).site, self.place(target).site);
        let speed = self.way(from, to);
        // When the first byte goes out, and when the last one has come in, of the leg that was looked at last.
        let (mut first, mut last) = (now, now);
        let mut over = |line: &mut Line| {
            let throttle = &mut line.lanes[lane as usize];
            let whole = first + throttle.delay(size, first);
            let behind = last + throttle.latency();
            last = if whole > behind { whole } else { behind };
            first = first + throttle.latency();
        };
        over(&mut self.place_mut(source).up);
        if from == to {
            // A switch: nobody waits for others.
            over(&mut Line::new(speed, Fluctuation::NONE));
        } else {
            over(self.between.entry((from, to)).or_insert_with(|| Line::new(speed, Fluctuation::NONE)));
        }
        over(&mut self.place_mut(target).down);
        last
    }

    /// The site of a device, as a number.
    pub(super) fn site(&self, device: usize) -> usize {
        self.devices.get(device).map_or(0, |place| place.site)
    }

    /// What a host that has measured it knows of the way between two places, nothing else being under way.
    pub(super) fn speed(&self, source: End, target: End) -> Speed {
        if source == target {
            return Speed::FREE;
        }
        let (from, to) = (self.place(source), self.place(target));
        let legs = [from.speed, self.way(from.site, to.site), to.speed];
        let slowest = legs.iter().map(|leg| leg.bytes_per_ms).fold(f64::INFINITY, f64::min);
        Speed { latency: legs.iter().map(|leg| leg.latency).sum(), bytes_per_ms: slowest }
    }

    /// What policies know of all ways, if there are no more than `pairs_max`; else what a host assumes.
    pub(super) fn known(&self, devices: &[DeviceId], pairs_max: usize) -> Links {
        let mut links = Links::default();
        if devices.len().saturating_mul(devices.len().saturating_sub(1)) > pairs_max {
            return links;
        }
        for (source, from) in devices.iter().enumerate() {
            for (target, to) in devices.iter().enumerate().filter(|(target, _)| *target != source) {
                links.measured.insert((from.clone(), to.clone()), self.speed(End::Device(source), End::Device(target)));
            }
        }
        links
    }

    fn way(&self, from: usize, to: usize) -> Speed {
        if from == to { self.within } else { self.pairs.get(&(from, to)).copied().unwrap_or(self.between_speed) }
    }

    fn place(&self, end: End) -> &Place {
        match end {
            End::Device(index) => self.devices.get(index).unwrap_or(&self.central),
            End::Central => &self.central,
        }
    }

    fn place_mut(&mut self, end: End) -> &mut Place {
        match end {
            End::Device(index) => self.devices.get_mut(index).unwrap_or(&mut self.central),
            End::Central => &mut self.central,
        }
    }
}
