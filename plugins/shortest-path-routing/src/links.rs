//! How long it takes to send something from one device of a topology to another.

use shardhost_sdk::routing::{Speed, Topology};

/// The links of a topology, ready to be asked.
#[derive(Debug)]
pub struct Links {
    /// By source and then by target, each pair once.
    measured: Vec<(u32, Speed)>,
    /// Where the links of each source begin in `measured`; one more for the end of the last.
    begins: Vec<usize>,
    /// By device.
    sites: Vec<u32>,
    within_site: Speed,
    between_sites: Speed,
}

impl Links {
    /// Those of a topology. Links of devices that it does not have are dropped.
    pub fn of(topology: &Topology) -> Self {
        let devices = topology.devices.len();
        let mut begins = vec![0; devices + 1];
        let known = || topology.links.iter().filter(|link| (link.source as usize) < devices);
        known().for_each(|link| begins[link.source as usize + 1] += 1);
        (0..devices).for_each(|source| begins[source + 1] += begins[source]);
        let mut measured = vec![(u32::MAX, topology.between_sites); begins[devices]];
        let mut next = begins.clone();
        for link in known() {
            measured[next[link.source as usize]] = (link.target, link.speed);
            next[link.source as usize] += 1;
        }
        // Stable: of two links for one pair the first counts, because it is the first that is found.
        begins.windows(2).for_each(|row| measured[row[0]..row[1]].sort_by_key(|(target, _)| *target));
        let sites = topology.devices.iter().map(|device| device.site).collect();
        Self { measured, begins, sites, within_site: topology.within_site, between_sites: topology.between_sites }
    }

    /// Milliseconds for so many bytes. Within a device nothing; a pair that was not measured is as fast as the contract assumes;
    /// infinite where no bytes flow.
    pub fn hop_ms(&self, source: u32, target: u32, bytes: f64) -> f64 {
        let row = self.row(source);
        let index = row.partition_point(|(known, _)| *known < target);
        let measured = row.get(index).filter(|(known, _)| *known == target).map(|(_, speed)| *speed);
        self.time_ms(source, target, measured, bytes)
    }

    /// The same from one source to many targets, which ascend. One walk over what was measured answers for all of them.
    pub fn hops_ms(&self, source: u32, targets: &[u32], bytes: f64) -> impl Iterator<Item = f64> {
        let mut row = self.row(source).iter().peekable();
        targets.iter().map(move |&target| {
            while row.next_if(|(known, _)| *known < target).is_some() {}
            let measured = row.peek().filter(|(known, _)| *known == target).map(|(_, speed)| *speed);
            self.time_ms(source, target, measured, bytes)
        })
    }

    fn row(&self, source: u32) -> &[(u32, Speed)] {
        let begin = self.begins.get(source as usize).copied().unwrap_or(self.measured.len());
        let end = self.begins.get(source as usize + 1).copied().unwrap_or(self.measured.len());
        &self.measured[begin..end]
    }

    fn time_ms(&self, source: u32, target: u32, measured: Option<Speed>, bytes: f64) -> f64 {
        if source == target {
            return 0.0;
        }
        let site = |device: u32| self.sites.get(device as usize);
        let assumed = if site(source).is_some() && site(source) == site(target) { self.within_site } else { self.between_sites };
        time_ms(measured.unwrap_or(assumed), bytes)
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
            Link { source: 7, target: 0, speed: speed(1.0, 1.0) },
        ];
        let topology = Topology { devices, links, within_site: speed(0.5, 100.0), between_sites: speed(20.0, 50.0), ..Topology::empty() };
        let links = Links::of(&topology);
        assert_eq!(links.hop_ms(0, 2, 100.0), 13.0, "measured, and the first of two entries counts");
        assert_eq!([links.hop_ms(1, 0, 100.0), links.hop_ms(2, 0, 100.0)], [1.5, 22.0], "not measured");
        assert_eq!([links.hop_ms(1, 1, 1e9), links.hop_ms(1, 9, 100.0), links.hop_ms(9, 1, 100.0)], [0.0, 22.0, 22.0]);
        let one_by_one = |source| [0, 1, 2, 9].map(|target| links.hop_ms(source, target, 100.0));
        assert!((0..4).all(|source| links.hops_ms(source, &[0, 1, 2, 9], 100.0).eq(one_by_one(source))));
        assert_eq!([links.hop_ms(0, 1, 1.0), links.hop_ms(0, 1, 0.0)], [f64::INFINITY, 2.0], "nothing flows over it");
        assert_eq!([links.entry_ms(None, 100.0), links.entry_ms(Some(4.0), 100.0)], [22.0, 4.0]);
        assert_eq!(time_ms(speed(f64::NAN, 1.0), 1.0), f64::INFINITY);
    }
}
