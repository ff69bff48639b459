//! Ways: paths with the devices that they lead over. A routing policy names the way of a request; where that one has failed the
//! request before, or is reserved, the host finds it a detour among the complete replicas. Pure; called for each request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    ids::DeviceId,
    topology::{Path, ServedModel, Topology},
    units::{Bytes, Millis},
};

/// A path of one model in one topology.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// Proved.
    pub path: Path,
    /// The devices that it leads over, sorted, each once.
    pub devices: Arc<[DeviceId]>,
}

impl Way {
    /// The way that a path is.
    pub fn of(model: &ServedModel, path: Path) -> Self {
        let device = |&index: &u32| model.segments.get(index as usize).map(|segment| segment.offer().device.clone());
        let mut devices: Vec<DeviceId> = path.segments().iter().filter_map(device).collect();
        devices.sort_unstable();
        devices.dedup();
        Self { path, devices: devices.into() }
    }

    /// How many of its devices are among these.
    pub fn count_of(&self, devices: &BTreeSet<DeviceId>) -> usize {
        self.devices.iter().filter(|device| devices.contains(*device)).count()
    }
}

/// The complete replicas that lead over no more of the `tried` devices than `chosen` does. First those over the fewest of them, and
/// among these the one with the least work on its way: run times of the requests that are there and of the new one.
/// `outstanding` counts requests by segment.
pub fn detours(model: &ServedModel, outstanding: &[u32], chosen: &Way, tried: &BTreeSet<DeviceId>) -> Vec<Way> {
    let most = chosen.count_of(tried);
    let work = |way: &Way| way.path.segments().iter().map(|&index| work_on(model, outstanding, index)).sum::<f64>();
    let mut found: Vec<(usize, f64, Way)> = replicas(model).into_iter().map(|way| (way.count_of(tried), work(&way), way)).collect();
    found.retain(|(count, ..)| *count <= most);
    found.sort_by(|one, two| one.0.cmp(&two.0).then(one.1.total_cmp(&two.1)));
    found.into_iter().map(|(_, _, way)| way).collect()
}

/// The first of the detours that leads over fewer of the `tried` devices than `chosen`, if there is one.
pub fn untried(model: &ServedModel, outstanding: &[u32], chosen: &Way, tried: &BTreeSet<DeviceId>) -> Option<Way> {
    let most = chosen.count_of(tried);
    detours(model, outstanding, chosen, tried).into_iter().next().filter(|way| way.count_of(tried) < most)
}

/// Time that one row with an input of this size spends between devices: on its way to the first, as fast as between sites, and
/// from stage to stage.
pub fn sending_time(topology: &Topology, model: &ServedModel, path: &Path, input: Bytes) -> Millis {
    let segments: Vec<_> = path.segments().iter().filter_map(|&index| model.segments.get(index as usize)).collect();
    let between = segments.windows(2).map(|pair| {
        let border = model.borders.get(pair[0].range().end().saturating_sub(1) as usize).copied().unwrap_or(Bytes::ZERO);
        topology.speed(pair[0].device, pair[1].device).time(border)
    });
    topology.links.between_sites.time(input) + between.sum::<Millis>()
}

/// Every replica whose stages are all there, by its number in the plan.
fn replicas(model: &ServedModel) -> Vec<Way> {
    let mut segments: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (index, segment) in (0_u32..).zip(&model.segments) {
        segments.entry(segment.replica).or_default().push(index);
    }
    segments.into_values().filter_map(|indexes| Some(Way::of(model, model.check(&indexes).ok()?))).collect()
}

fn work_on(model: &ServedModel, outstanding: &[u32], index: u32) -> f64 {
    let waiting = outstanding.get(index as usize).copied().unwrap_or(0);
    model.segments.get(index as usize).map_or(0.0, |segment| (f64::from(waiting) + 1.0) * segment.run.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        link::Speed,
        plan::Stage,
        testing::{device_id, model_id, offer_id, range},
        topology::{Segment, TopologyDevice},
    };

    /// Replicas of one or two stages on these devices, each stage with its run time.
    fn served(replicas: &[&[(&str, f64)]]) -> ServedModel {
        let mut segments = Vec::new();
        for (replica, stages) in (0_u32..).zip(replicas) {
            let blocks: &[(u32, u32)] = if stages.len() == 1 { &[(0, 2)] } else { &[(0, 1), (1, 2)] };
            for (position, (&(device, run), &(start, end))) in (0_u32..).zip(stages.iter().zip(blocks)) {
                let stage = Stage { offer: offer_id(device), range: range(start, end) };
                segments.push(Segment { stage, device: 0, replica, position, run: Millis(run), divisible: false });
            }
        }
        ServedModel { id: model_id("m"), blocks: 2, borders: vec![Bytes(1_000), Bytes(10)], segments }
    }

    fn way(model: &ServedModel, segments: &[u32]) -> Way {
        Way::of(model, model.check(segments).expect("a path"))
    }

    fn set(devices: &[&str]) -> BTreeSet<DeviceId> {
        devices.iter().map(|name| device_id(name)).collect()
    }

    fn devices(ways: &[Way]) -> Vec<Vec<&str>> {
        ways.iter().map(|way| way.devices.iter().map(DeviceId::as_str).collect()).collect()
    }

    #[test]
    fn a_way_names_each_of_its_devices_once_and_sorted() {
        let model = served(&[&[("b", 1.0), ("a", 1.0)], &[("c", 1.0), ("c", 1.0)]]);
        assert_eq!(devices(&[way(&model, &[0, 1]), way(&model, &[2, 3]), way(&model, &[0, 3])]), [vec!["a", "b"], vec!["c"], vec!["b", "c"]]);
    }

    #[test]
    fn detours_lead_over_few_tried_devices_first_and_then_over_little_work() {
        let model = served(&[&[("a", 1.0), ("b", 1.0)], &[("a", 1.0), ("c", 1.0)], &[("d", 9.0)], &[("e", 2.0)]]);
        let chosen = way(&model, &[0, 1]);
        let outstanding = [0, 0, 0, 0, 0, 3];
        let found = |tried: &[&str]| detours(&model, &outstanding, &chosen, &set(tried));
        assert_eq!(devices(&found(&[])), [vec!["a", "b"], vec!["a", "c"], vec!["e"], vec!["d"]], "the work is 2, 2, 8 and 9 ms");
        assert_eq!(devices(&found(&["b", "e"])), [vec!["a", "c"], vec!["d"], vec!["a", "b"], vec!["e"]]);
        assert_eq!(devices(&found(&["c"])), [vec!["a", "b"], vec!["e"], vec!["d"]], "no detour leads over more tried devices");
    }

    #[test]
    fn another_way_is_one_with_fewer_tried_devices_or_there_is_none() {
        let model = served(&[&[("a", 1.0), ("b", 1.0)], &[("a", 1.0), ("c", 1.0)], &[("a", 1.0), ("b", 1.0)]]);
        let found = |tried: &[&str]| untried(&model, &[], &way(&model, &[0, 1]), &set(tried)).map(|way| way.path.segments().to_vec());
        assert_eq!(found(&[]), None);
        assert_eq!(found(&["a", "b"]), Some(vec![2, 3]));
        assert_eq!(found(&["a", "b", "c"]), None);
    }

    #[test]
    fn a_replica_without_one_of_its_stages_is_no_detour() {
        let mut model = served(&[&[("a", 1.0)], &[("b", 1.0), ("c", 1.0)]]);
        model.segments.pop();
        let chosen = way(&model, &[0]);
        assert_eq!(untried(&model, &[], &chosen, &set(&["a"])), None);
    }

    #[test]
    fn rows_are_on_their_way_for_as_long_as_their_bytes_take() {
        let mut model = served(&[&[("a", 1.0), ("b", 1.0)]]);
        model.segments[1].device = 1;
        let device = |name: &str, site| TopologyDevice { id: device_id(name), site };
        let mut topology = Topology { devices: vec![device("a", 0), device("b", 0)], ..Topology::default() };
        topology.links.between_sites = Speed { latency: Millis(20.0), bytes_per_ms: 100.0 };
        topology.links.within_site = Speed { latency: Millis(1.0), bytes_per_ms: 10.0 };
        let path = way(&model, &[0, 1]).path;
        assert_eq!(sending_time(&topology, &model, &path, Bytes(300)), Millis(20.0 + 3.0 + 1.0 + 100.0));
    }
}
