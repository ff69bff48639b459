//! How long it takes to send something from one device of a topology to another.

use shardhost_sdk::routing::{Speed, Topology};

/// The links of a topology, ready to be asked.
#[derive(Debug)]
pub struct Links {
    /// Sorted by source and target.
    measured: Vec<((u32, u32), Speed)>,
    /// By device.
    sites: Vec<u32>,
    within_site: Speed,
    between_sites: Speed,
}

impl Links {
    /// Those of a topology.
    pub fn of(topology: &Topology) -> Self {
        let mut measured: Vec<_> = topology.links.iter().map(|link| ((link.source, link.target), link.speed)).collect();
        measured.sort_by_key(|(pair, _)| *pair);
        // Of two entries for one pair the first counts.
        measured.dedup_by_key(|(pair, _)| *pair);
        Self {
            measured,
            sites: topology.devices.iter().map(|device| device.site).collect(),
            within_site: topology.within_site,
            between_sites: topology.between_sites,
        }
    }

    /// Milliseconds for so many bytes. Within a device nothing; a pair that was not measured is as fast as the contract assumes;
    /// infinite where no bytes flow.
    pub fn hop_ms(&self, source: u32, target: u32, bytes: f64) -> f64 {
        if source == target {
            return 0.0;
        }
        let site = |device: u32| self.sites.get(device as usize);
        let assumed = if site(source).is_some() && site(source) == site(target) { self.within_site } else { self.between_sites };
        let measured = self.measured.binary_search_by_key(&(source, target), |(pair, _)| *pair);
        time_ms(measured.map_or(assumed, |index| self.measured[index].1), bytes)
    }

    /// Milliseconds for the inputs of a request on their way to a device whose round trip to the central is known, or not. The
    /// contract tells nothing of that way's bandwidth: it is taken to be that between sites, for every device.
    pub fn entry_ms(&self, round_trip_ms: Option<f64>, bytes: f64) -> f64 {
        let latency_ms = round_trip_ms.map_or(self.between_sites.latency_ms, |round_trip_ms| round_trip_ms / 2.0);
        time_ms(Speed { latency_ms, ..self.between_sites }, bytes)
    }
}

fn time_ms(speed: Speed, bytes: f64) -> f64 {
    let flowing = if bytes > 0.0 { bytes / speed.bytes_per_ms } else { 0.0 };
    let time = speed.latency_ms + flowing;
    if time >= 0.0 { time } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use shardhost_sdk::{routing::Link, scene::device};

    use super::*;

    #[test]
    fn what_was_measured_wins_and_what_was_not_is_as_fast_as_the_sites_are() {
        let speed = |latency_ms, bytes_per_ms| Speed { latency_ms, bytes_per_ms };
        let mut devices = ["a", "b", "c"].map(device).to_vec();
        devices[2].site = 1;
        let links = vec![
            Link { source: 0, target: 2, speed: speed(3.0, 10.0) },
            Link { source: 0, target: 1, speed: speed(2.0, 0.0) },
            Link { source: 0, target: 2, speed: speed(9.0, 9.0) },
        ];
        let topology = Topology { devices, links, within_site: speed(0.5, 100.0), between_sites: speed(20.0, 50.0), ..Topology::empty() };
        let links = Links::of(&topology);
        assert_eq!(links.hop_ms(0, 2, 100.0), 13.0, "measured, and the first of two entries counts");
        assert_eq!([links.hop_ms(1, 0, 100.0), links.hop_ms(2, 0, 100.0)], [1.5, 22.0], "not measured");
        assert_eq!([links.hop_ms(1, 1, 1e9), links.hop_ms(1, 9, 100.0)], [0.0, 22.0]);
        assert_eq!([links.hop_ms(0, 1, 1.0), links.hop_ms(0, 1, 0.0)], [f64::INFINITY, 2.0], "nothing flows over it");
        assert_eq!([links.entry_ms(None, 100.0), links.entry_ms(Some(4.0), 100.0)], [22.0, 4.0]);
        assert_eq!(time_ms(speed(f64::NAN, 1.0), 1.0), f64::INFINITY);
    }
}
